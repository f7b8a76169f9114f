"""Plans and manifests as bytes, and back.

The bytes are canonical: one value has one spelling, whatever order its mappings were made in.
Whatever fits on a line stands on one line, so that a plan can be read, and compared line by line.
Specs travel as documents in the words of the input, without what equals a default; of a Secret
only the names of its values exist here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec
from pydantic import ValidationError

from katgen import names
from katgen.bundle import Manifest, Root
from katgen.errors import Problem, Source, SpecError
from katgen.model.base import Spec
from katgen.model.cluster import ClusterConfiguration
from katgen.model.objects import (
    BuildDefinition,
    Config,
    JobDefinition,
    Namespace,
    VirtualLoadBalancer,
)
from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import NodeName, WorkloadKey, split_key
from katgen.planned import Inventory, Plan, Resting, Retired, WorkloadPlan

PLAN_FORMAT: Final = 1
LINE_MAX: Final = 120
"""Columns; a longer value is broken over lines."""
_HINT: Final = "give a file that KAT wrote"

Document = dict[str, Any]
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Spec)
_OBJECTS: Final[Mapping[str, type[Spec]]] = {
    "load_balancer": VirtualLoadBalancer,
    "job": JobDefinition,
    "build": BuildDefinition,
}
_DOTTED = re.compile(r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}", re.ASCII)
_DOTTED_NET = re.compile(_DOTTED.pattern + r"/(3[0-2]|[12]?\d)", re.ASCII)


class _WireObjects(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    workload: Document
    load_balancer: Document | None = None
    job: Document | None = None
    build: Document | None = None


class _WireSpecs(msgspec.Struct, frozen=True, omit_defaults=True):
    cluster: Document
    namespaces: Mapping[str, Document] = {}
    workloads: Mapping[WorkloadKey, _WireObjects] = {}
    configs: Mapping[WorkloadKey, Document] = {}
    secrets: Mapping[WorkloadKey, tuple[str, ...]] = {}


class _WirePlan(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """planned.Plan, field for field, with its specs as documents."""

    format: int
    generation: int
    parent: int
    specs: _WireSpecs
    inventory: Inventory
    subnets: Mapping[NodeName, str]
    workloads: Mapping[WorkloadKey, WorkloadPlan]
    resting: Mapping[str, Resting] = {}
    retired: Mapping[WorkloadKey, Retired] = {}


class _Stamp(msgspec.Struct, frozen=True):
    format: int


def plan_json(plan: Plan) -> bytes:
    """Return the plan's canonical bytes, with a final newline."""
    parts = {name: getattr(plan, name) for name in Plan.__struct_fields__}
    return _laid_out(_WirePlan(**{**parts, "specs": _specs_on_wire(plan.specs)}))


def plan_from_json(data: bytes, shown_name: str) -> Plan:
    """Return the plan whose bytes these are; `shown_name` is what errors call the file.

    Unknown fields are ignored. Raises SpecError, and nothing else, on anything but a plan.
    """
    stamp = _decoded(data, _Stamp, shown_name)
    if stamp.format != PLAN_FORMAT:
        raise _wrong(
            shown_name,
            "format",
            f"plan format {stamp.format} is not known here, which reads format {PLAN_FORMAT}",
            "read it with the version of KAT that wrote it",
        )
    wire = _decoded(data, _WirePlan, shown_name)
    misfits = [_fault(shown_name, path, what, _HINT) for path, what in _misfits(wire)]
    if misfits:
        raise SpecError(misfits)
    parts = {name: getattr(wire, name) for name in _WirePlan.__struct_fields__}
    return Plan(**{**parts, "specs": _specs_from_wire(wire.specs, shown_name)})


def manifest_json(manifest: Manifest) -> bytes:
    """Return the manifest's canonical bytes: what its digest covers, with a final newline."""
    return _laid_out(manifest)


def manifest_from_json(data: bytes, shown_name: str) -> Manifest:
    """Return the manifest whose bytes these are. Raises SpecError, and nothing else."""
    return _decoded(data, Manifest, shown_name)


def root_json(root: Root) -> bytes:
    """Return the root's canonical bytes, with a final newline."""
    return _laid_out(root)


def _document(model: Spec) -> Document:
    dumped: Document = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return dumped


def _specs_on_wire(specs: Specs) -> _WireSpecs:
    return _WireSpecs(
        cluster=_document(specs.cluster),
        namespaces={name: _document(one) for name, one in specs.namespaces.items()},
        workloads={key: _objects_on_wire(one) for key, one in specs.workloads.items()},
        configs={key: _document(one) for key, one in specs.configs.items()},
        secrets=specs.secrets,
    )


def _objects_on_wire(objects: WorkloadObjects) -> _WireObjects:
    present = {name: getattr(objects, name) for name in _OBJECTS}
    return _WireObjects(
        workload=_document(objects.workload),
        **{name: _document(one) for name, one in present.items() if one is not None},
    )


def _specs_from_wire(wire: _WireSpecs, shown_name: str) -> Specs:
    read = _Reader(shown_name)
    specs = Specs(
        cluster=read.one(ClusterConfiguration, wire.cluster, "specs.cluster"),
        namespaces=read.each(Namespace, wire.namespaces, "specs.namespaces"),
        workloads={
            key: _objects_from_wire(read, objects, f"specs.workloads.{key}")
            for key, objects in sorted(wire.workloads.items())
        },
        configs=read.each(Config, wire.configs, "specs.configs"),
        secrets=dict(sorted(wire.secrets.items())),
    )
    if not read.problems:
        read.problems += [
            _fault(shown_name, path, f"{key} holds a document of {name}", _HINT)
            for path, key, name in _names_of(specs)
            if key != name
        ]
    if read.problems:
        raise SpecError(read.problems)
    return specs


def _objects_from_wire(read: "_Reader", wire: _WireObjects, path: str) -> WorkloadObjects:
    further: dict[str, Any] = {
        name: read.one(kind, document, f"{path}.{name}")
        for name, kind in _OBJECTS.items()
        if (document := getattr(wire, name)) is not None
    }
    return WorkloadObjects(read.one(Workload, wire.workload, f"{path}.workload"), **further)


class _Reader:
    """Validates documents and collects every problem; an empty model stands in for what failed."""

    def __init__(self, shown_name: str) -> None:
        self.shown_name = shown_name
        self.problems: list[Problem] = []

    def one(self, kind: type[_S], document: Document, path: str) -> _S:
        try:
            return kind.model_validate(document)
        except ValidationError as err:
            for fault in err.errors(include_url=False, include_input=False):
                place = ".".join(map(str, (path, *fault["loc"])))
                what = fault["msg"].removeprefix("Value error, ")
                self.problems.append(Problem(Source(self.shown_name, path=place), what))
            return cast("_S", kind.model_construct())

    def each(self, kind: type[_S], documents: Mapping[Any, Document], path: str) -> dict[Any, _S]:
        return {
            key: self.one(kind, document, f"{path}.{key}")
            for key, document in sorted(documents.items())
        }


def _misfits(wire: _WirePlan) -> Iterator[tuple[str, str]]:
    """Yield path and fault of what the types cannot say and every reader of a plan relies on."""
    for path, text in _addresses(wire):
        if not _DOTTED.fullmatch(text):
            yield path, f"{text[:40]!r} is not an IPv4 address"
    for name, subnet in wire.subnets.items():
        if not _DOTTED_NET.fullmatch(subnet):
            yield f"subnets.{name}", f"{subnet[:40]!r} is not an IPv4 network"
    yield from _loose_ends(wire)


def _loose_ends(wire: _WirePlan) -> Iterator[tuple[str, str]]:
    specs = wire.specs
    for name, node in wire.inventory.nodes.items():
        if node.name != name or name not in wire.subnets:
            yield f"inventory.nodes.{name}", "the node has another name, or no subnet"
    for key in sorted(wire.workloads.keys() ^ specs.workloads.keys()):
        lacks = "specs.workloads" if key in wire.workloads else "workloads"
        yield lacks, f"{key} is missing; a plan specifies what it decides on"
    for key in (*specs.workloads, *specs.configs, *specs.secrets):
        if split_key(key)[0] not in specs.namespaces:
            yield "specs.namespaces", f"the namespace of {key} is missing"


def _addresses(wire: _WirePlan) -> Iterator[tuple[str, str]]:
    for key, planned in wire.workloads.items():
        at = f"workloads.{key}"
        yield from ((at, one.address) for one in planned.placements)
        if planned.virtual_address:
            yield at, planned.virtual_address
    for name, node in wire.inventory.nodes.items():
        if node.gateway:
            yield f"inventory.nodes.{name}.gateway", node.gateway


def _names_of(specs: Specs) -> Iterator[tuple[str, str, str]]:
    """Yield path, key and the name that the document itself gives."""
    for name, one in specs.namespaces.items():
        yield "specs.namespaces", name, one.metadata.name
    for key, config in specs.configs.items():
        yield "specs.configs", key, names.key(config.metadata.namespace, config.metadata.name)
    for key, objects in specs.workloads.items():
        all_of_it = (objects.workload, objects.load_balancer, objects.job, objects.build)
        for document in filter(None, all_of_it):
            meta = document.metadata
            yield "specs.workloads", key, names.key(meta.namespace, meta.name)


def _fault(shown_name: str, path: str, what: str, hint: str = "") -> Problem:
    return Problem(Source(shown_name, path=path), what, hint)


def _wrong(shown_name: str, path: str, what: str, hint: str) -> SpecError:
    return SpecError([_fault(shown_name, path, what, hint)])


def _decoded(data: bytes, kind: type[_T], shown_name: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as err:
        raise _wrong(shown_name, "", "nested too deeply", _HINT) from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        what, _, place = str(err).partition(" - at `$")
        raise _wrong(shown_name, place.strip("`.[]"), what, _HINT) from err


def _laid_out(value: msgspec.Struct) -> bytes:
    plain = msgspec.to_builtins(value, order="deterministic")
    lines: list[str] = []
    _lay(plain, "", lines.append)
    return ("".join(lines) + "\n").encode()


def _lay(value: object, margin: str, write: Callable[[str], None]) -> None:
    flat = msgspec.json.encode(value).decode()
    if len(flat) + len(margin) <= LINE_MAX or not isinstance(value, dict | list | tuple):
        write(flat)
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inner = margin + "  "
    separator = f"{opening}\n{inner}"
    for key, item in value.items() if isinstance(value, dict) else ((None, i) for i in value):
        write(separator if key is None else f"{separator}{msgspec.json.encode(key).decode()}: ")
        _lay(item, inner, write)
        separator = f",\n{inner}"
    write(f"\n{margin}{closing}")
