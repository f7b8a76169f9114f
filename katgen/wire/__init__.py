"""Plans and manifests as bytes, and back.

The bytes are canonical: one value has one spelling, whatever order its mappings were made in.
Whatever fits on a line stands on one line, so that a plan can be read, and compared line by line.
Specs travel as documents in the words of the input, without what equals a default; of a Secret
only the names of its values exist here.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from katgen.bundle import Manifest, Root
from katgen.errors import Problem, Source, SpecError
from katgen.names import NodeName, WorkloadKey, split_key
from katgen.planned import Inventory, Plan, Resting, Retired, WorkloadPlan
from katgen.wire.layout import laid_out
from katgen.wire.specs import HINT, WireSpecs, specs_from_wire, specs_on_wire

PLAN_FORMAT: Final = 1

_T = TypeVar("_T")
_OCTET = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
_DOTTED = re.compile(rf"{_OCTET}(\.{_OCTET}){{3}}", re.ASCII)
_DOTTED_NET = re.compile(rf"{_DOTTED.pattern}/(3[0-2]|[12]?\d)", re.ASCII)


class _WirePlan(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """planned.Plan, field for field, with its specs as documents."""

    format: int
    generation: int
    parent: int
    specs: WireSpecs
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
    return laid_out(_WirePlan(**{**parts, "specs": specs_on_wire(plan.specs)}))


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
    misfits = [_fault(shown_name, path, what, HINT) for path, what in _misfits(wire)]
    if misfits:
        raise SpecError(misfits)
    parts = {name: getattr(wire, name) for name in _WirePlan.__struct_fields__}
    return Plan(**{**parts, "specs": specs_from_wire(wire.specs, shown_name)})


def manifest_json(manifest: Manifest) -> bytes:
    """Return the manifest's canonical bytes: what its digest covers, with a final newline."""
    return laid_out(manifest)


def manifest_from_json(data: bytes, shown_name: str) -> Manifest:
    """Return the manifest whose bytes these are. Raises SpecError, and nothing else."""
    return _decoded(data, Manifest, shown_name)


def root_json(root: Root) -> bytes:
    """Return the root's canonical bytes, with a final newline."""
    return laid_out(root)


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


def _fault(shown_name: str, path: str, what: str, hint: str = "") -> Problem:
    return Problem(Source(shown_name, path=path), what, hint)


def _wrong(shown_name: str, path: str, what: str, hint: str) -> SpecError:
    return SpecError([_fault(shown_name, path, what, hint)])


def _decoded(data: bytes, kind: type[_T], shown_name: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as err:
        raise _wrong(shown_name, "", "nested too deeply", HINT) from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        what, _, place = str(err).partition(" - at `$")
        raise _wrong(shown_name, place.strip("`.[]"), what, HINT) from err
