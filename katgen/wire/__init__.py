"""Plans and manifests as bytes, and back.

The bytes are canonical: one value has one spelling, whatever order its mappings were made in.
Whatever fits on a line stands on one line, so that a plan can be read, and compared line by line.
Specs travel as documents in the words of the input, without what equals a default; of a Secret
only the names of its values exist here.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from katgen.bundle import Manifest, Root
from katgen.errors import Problem, Source, SpecError
from katgen.names import NodeName, WorkloadKey, is_label, split_key
from katgen.planned import Inventory, Plan, Resting, Retired, WorkloadPlan
from katgen.wire import values
from katgen.wire.layout import laid_out
from katgen.wire.specs import (
    HINT,
    WireEarlierOf,
    WireSpecs,
    earlier_from_wire,
    earlier_on_wire,
    specs_from_wire,
    specs_on_wire,
)

PLAN_FORMAT: Final = 1

_T = TypeVar("_T")
_GENERATIONS: Final = range(2**63)


class _WirePlan(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """planned.Plan, field for field, with its specs and those of earlier revisions as documents."""

    format: int
    generation: int
    parent: int
    specs: WireSpecs
    inventory: Inventory
    subnets: Mapping[NodeName, str]
    workloads: Mapping[WorkloadKey, WorkloadPlan]
    resting: Mapping[str, Resting] = {}
    retired: Mapping[WorkloadKey, Retired] = {}
    earlier: WireEarlierOf = {}


class _Stamp(msgspec.Struct, frozen=True):
    format: int


def plan_json(plan: Plan) -> bytes:
    """Return the plan's canonical bytes, with a final newline."""
    parts = {name: getattr(plan, name) for name in _WirePlan.__struct_fields__}
    parts["specs"] = specs_on_wire(plan.specs)
    parts["earlier"] = {key: earlier_on_wire(known) for key, known in plan.earlier.items()}
    return laid_out(_WirePlan(**parts))


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
    parts["specs"] = specs_from_wire(wire.specs, shown_name)
    parts["earlier"] = earlier_from_wire(wire.earlier, shown_name)
    return Plan(**parts)


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
    for path, generation in (("generation", wire.generation), ("parent", wire.parent)):
        if generation not in _GENERATIONS:
            yield path, f"{generation} is not the number of a plan"
    yield from _misnamed(wire)
    yield from values.of_inventory(wire.inventory)
    yield from values.of_subnets(wire.subnets)
    yield from values.of_workloads(wire.workloads)
    yield from values.of_resting(wire.resting)
    yield from values.of_retired(wire.retired)
    yield from values.of_earlier(wire.earlier)
    yield from _loose_ends(wire)


def _loose_ends(wire: _WirePlan) -> Iterator[tuple[str, str]]:
    specs = wire.specs
    for name, node in wire.inventory.nodes.items():
        if node.name != name or name not in wire.subnets:
            yield f"inventory.nodes.{name}", "the node has another name, or no subnet"
    for key in sorted(wire.workloads.keys() ^ specs.workloads.keys()):
        lacks = "specs.workloads" if key in wire.workloads else "workloads"
        yield lacks, f"{key} is missing; a plan specifies what it decides on"
    for key in sorted(wire.earlier.keys() - wire.workloads.keys()):
        yield "earlier", f"{key} has instances of an earlier revision, and no decisions"
    for key in (*specs.workloads, *specs.configs, *specs.secrets):
        if split_key(key)[0] not in specs.namespaces:
            yield "specs.namespaces", f"the namespace of {key} is missing"


def _misnamed(wire: _WirePlan) -> Iterator[tuple[str, str]]:
    """Yield the names that are no DNS labels: paths, units and zones are made of them."""
    for path, name in _labels(wire):
        if not is_label(name):
            yield path, f"{name[:40]!r} is not a DNS label"
    specs, inventory = wire.specs, wire.inventory
    for path, keys in (
        ("specs.workloads", specs.workloads),
        ("specs.configs", specs.configs),
        ("specs.secrets", specs.secrets),
        ("workloads", wire.workloads),
        ("retired", wire.retired),
        ("inventory.finished", inventory.finished),
        ("inventory.available", inventory.available),
        ("earlier", wire.earlier),
    ):
        for key in keys:
            if not all(map(is_label, split_key(key))):
                yield path, f"{key[:40]!r} is not <namespace>/<name>, both DNS labels"


def _labels(wire: _WirePlan) -> Iterator[tuple[str, str]]:
    yield from (("specs.namespaces", name) for name in wire.specs.namespaces)
    yield from (("inventory.nodes", name) for name in wire.inventory.nodes)
    yield from (("inventory.volumes", name) for name in wire.inventory.volumes.values())
    yield from (("inventory.lost", name) for name in sorted(wire.inventory.lost))
    yield from (("subnets", name) for name in wire.subnets)
    for key, planned in wire.workloads.items():
        at = f"workloads.{key}"
        for one in planned.placements:
            yield at, one.ordinal
            yield at, one.node
        yield from ((at, one.ordinal) for one in planned.unplaced)
        yield from ((at, name) for home in planned.homes.items() for name in home)
    for key, gone in wire.retired.items():
        yield from ((f"retired.{key}", name) for home in gone.homes.items() for name in home)


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
