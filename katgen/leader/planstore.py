"""The committed plan in the store: cut into records, so that a change writes what it changed.

| key | what |
|---|---|
| `plan/meta` | generation, epoch, parent, signed commit record |
| `plan/workloads/<ns>/<name>` | the decisions on a workload, its documents, also earlier ones |
| `plan/configs/<ns>/<name>` | a Config's document |
| `plan/nodes/<name>` | a node as the planner saw it |
| `plan/parts/<part>` | what belongs to no one of them: `cluster`, `resting`, … |
| `plan/number` | the highest generation number that was ever given out |

A record that is too large for one value goes on in `<key>/00001`, `<key>/00002`, …; its first value
then begins with a line `chunks <count>`. All of a plan's records change in one transaction, by
compare-and-swap on `plan/meta`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from katgen.errors import Problem, Source, SpecError
from katgen.leader.store import VALUE_MAX, ConflictError, Store, Transaction
from katgen.model.specs import Specs
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Plan, WorkloadPlan
from katgen.protocol import SignedRecord
from katgen.wire import plan_from_json
from katgen.wire.specs import WireEarlier, WireObjects, earlier_on_wire, specs_on_wire

FORMAT: Final = 1
PREFIX: Final = "plan/"
META: Final = "plan/meta"
NUMBER: Final = "plan/number"
WORKLOADS: Final = "plan/workloads/"
CONFIGS: Final = "plan/configs/"
NODES: Final = "plan/nodes/"
PARTS: Final = "plan/parts/"
CHUNK: Final = VALUE_MAX - 64
"""Bytes of a record in one value; the rest is for the line that counts the chunks."""

_COUNT: Final = b"chunks "  # no JSON document begins so
_PARTS: Final = ("cluster", "namespaces", "secrets", "inventory", "subnets", "resting", "retired")
_HINT: Final = "restore a backup of the store"
_UNREADABLE: Final = (
    "start the version that wrote it, or restore a backup of the store; nodes keep what they run"
)

_NOTHING: Final = msgspec.Raw(b"{}")
T = TypeVar("T")
Records = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Committed:
    """A plan that was published. `revision` is that of `plan/meta`, if it was loaded."""

    plan: Plan
    epoch: int
    signed: SignedRecord
    revision: int = field(default=0, compare=False)


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    format: int
    generation: int
    epoch: int
    parent: int
    plan_format: int
    signed: SignedRecord


class _Stamp(msgspec.Struct, frozen=True):
    format: int


class _Workload(msgspec.Struct, frozen=True, omit_defaults=True):
    plan: WorkloadPlan
    objects: WireObjects
    earlier: Mapping[str, WireEarlier] = {}


class _RawWorkload(msgspec.Struct, frozen=True):
    plan: msgspec.Raw
    objects: msgspec.Raw
    earlier: msgspec.Raw = _NOTHING


@dataclass(frozen=True, slots=True)
class _Selection:
    """Some of a plan's records; a plan need not have all of them."""

    workloads: Collection[WorkloadKey]
    configs: Collection[WorkloadKey]
    nodes: Collection[NodeName]
    parts: Collection[str]


async def load(store: Store) -> Committed | None:
    """Return the last committed plan. Raises SpecError if its records do not make one."""
    items = {item.key: item for item in (await store.list(PREFIX)).items}
    if META not in items:
        left = sorted(items.keys() - {NUMBER})
        if left:  # to plan as if nothing ran would take from the nodes what they run
            raise _damage(META, f"the record is missing, and {left[0]} is there")
        return None
    meta = _meta(items[META].value)
    plan = _plan(meta, {key: item.value for key, item in items.items()})
    return Committed(plan, meta.epoch, meta.signed, items[META].modified)


def transaction(
    before: Committed | None,
    after: Committed,
    changed: Collection[WorkloadKey],
    meta_revision: int,
) -> Transaction:
    """Return what turns the stored plan `before` into `after`: O(what differs) records.

    `changed` are workloads that are known to differ; others are compared, at once if they are the
    same object. `meta_revision` is `plan/meta`'s, 0 if there is none: any other conflicts.
    """
    old = before.plan if before else None
    selection = _differing(old, after.plan, frozenset(changed))
    stored = _chunks(_records(old, selection)) if old else {}
    wanted = _chunks(_records(after.plan, selection))
    puts = {key: value for key, value in wanted.items() if stored.get(key) != value}
    plan = after.plan
    meta = _Meta(FORMAT, plan.generation, after.epoch, plan.parent, plan.format, after.signed)
    return Transaction(
        puts={**puts, META: _encoded(meta)},
        deletes=sorted(stored.keys() - wanted.keys()),
        expected={META: meta_revision},
    )


async def next_number(store: Store) -> int:
    """Return a generation number that was never given out before, nor will be again."""
    while True:
        item, committed = await store.get(NUMBER), await store.get(META)
        given = _decoded(NUMBER, item.value, int) if item else 0
        # A store that was put together by hand may have a plan and no number.
        number = max(given, _meta(committed.value).generation if committed else 0) + 1
        expected = {NUMBER: item.modified if item else 0}
        try:
            await store.commit(Transaction({NUMBER: _encoded(number)}, expected=expected))
        except ConflictError:
            continue
        return number


def _differing(
    old: Plan | None, new: Plan, changed: Collection[WorkloadKey] = frozenset()
) -> _Selection:
    if old is None:
        return _Selection(
            new.workloads.keys(), new.specs.configs.keys(), new.inventory.nodes.keys(), _parts(new)
        )
    return _Selection(
        _unequal(old.workloads, new.workloads, changed)
        | _unequal(old.specs.workloads, new.specs.workloads, changed)
        | _unequal(old.earlier, new.earlier),
        _unequal(old.specs.configs, new.specs.configs),
        _unequal(old.inventory.nodes, new.inventory.nodes),
        _unequal(_parts(old), _parts(new)),
    )


def _unequal(
    old: Mapping[T, object], new: Mapping[T, object], known: Collection[T] = frozenset()
) -> set[T]:
    found = set()
    for key in old.keys() | new.keys():
        one, other = old.get(key), new.get(key)
        if key in known or (one is not other and one != other):
            found.add(key)
    return found


def _parts(plan: Plan) -> dict[str, object]:
    specs = plan.specs
    return {
        "cluster": specs.cluster,
        "namespaces": specs.namespaces,
        "secrets": specs.secrets,
        "inventory": msgspec.structs.replace(plan.inventory, nodes={}),
        "subnets": plan.subnets,
        "resting": plan.resting,
        "retired": plan.retired,
    }


def _records(plan: Plan, selection: _Selection) -> Records:
    """Return the selected records that a plan has."""
    values: dict[str, object] = {}
    specs, parts = plan.specs, selection.parts
    some = Specs(
        specs.cluster,
        specs.namespaces if "namespaces" in parts else {},
        {key: specs.workloads[key] for key in selection.workloads if key in specs.workloads},
        {key: specs.configs[key] for key in selection.configs if key in specs.configs},
        specs.secrets if "secrets" in parts else {},
    )
    wire = specs_on_wire(some)
    for key, objects in wire.workloads.items():
        earlier = earlier_on_wire(plan.earlier.get(key, {}))
        values[f"{WORKLOADS}{key}"] = _Workload(plan.workloads[key], objects, earlier)
    values |= {f"{CONFIGS}{key}": one for key, one in wire.configs.items()}
    nodes = plan.inventory.nodes
    values |= {f"{NODES}{name}": nodes[name] for name in selection.nodes if name in nodes}
    documents = {
        "cluster": wire.cluster, "namespaces": wire.namespaces, "secrets": wire.secrets
    }  # fmt: skip
    whole = _parts(plan) | documents
    values |= {f"{PARTS}{name}": whole[name] for name in parts}
    return {key: _encoded(value) for key, value in values.items()}


def _chunks(records: Records) -> Records:
    """Cut what is too large for one value."""
    values: Records = {}
    for key, data in records.items():
        if len(data) <= CHUNK:
            values[key] = data
            continue
        pieces = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
        values[key] = b"%s%d\n%s" % (_COUNT, len(pieces), pieces[0])
        values |= {f"{key}/{n:05}": piece for n, piece in enumerate(pieces[1:], 1)}
    return values


def _whole(key: str, values: Mapping[str, bytes]) -> bytes:
    """Return a record. Chunks beyond its count are of an older one."""
    value = values.get(key)
    if value is None:
        raise _damage(key, "the record is missing")
    if not value.startswith(_COUNT):
        return value
    head, _, first = value.partition(b"\n")
    count = head.removeprefix(_COUNT)
    more = [f"{key}/{n:05}" for n in range(1, int(count))] if count.isdigit() else [key]
    missing = [name for name in more if name not in values]
    if missing:
        raise _damage(missing[0], "a part of the record is missing")
    return b"".join((first, *(values[name] for name in more)))


def _plan(meta: _Meta, values: Mapping[str, bytes]) -> Plan:
    """Put the records together as the plan's JSON, which has one reader with all its checks."""
    workloads = {
        key: _decoded(f"{WORKLOADS}{key}", data, _RawWorkload)
        for key, data in _below(WORKLOADS, 2, values).items()
    }
    part = {name: msgspec.Raw(_whole(f"{PARTS}{name}", values)) for name in _PARTS}
    inventory = _decoded(f"{PARTS}inventory", part["inventory"], dict[str, Any])
    wire = {
        "format": meta.plan_format,
        "generation": meta.generation,
        "parent": meta.parent,
        "specs": {
            "cluster": part["cluster"],
            "namespaces": part["namespaces"],
            "workloads": {key: one.objects for key, one in workloads.items()},
            "configs": _raw(_below(CONFIGS, 2, values)),
            "secrets": part["secrets"],
        },
        "inventory": {**inventory, "nodes": _raw(_below(NODES, 1, values))},
        "subnets": part["subnets"],
        "workloads": {key: one.plan for key, one in workloads.items()},
        "resting": part["resting"],
        "retired": part["retired"],
        "earlier": {k: one.earlier for k, one in workloads.items() if one.earlier != _NOTHING},
    }
    try:
        return plan_from_json(msgspec.json.encode(wire), f"the stored plan {meta.generation}")
    except SpecError as err:
        raise _unreadable(err.problems) from err


def _unreadable(problems: Sequence[Problem]) -> SpecError:
    """Return what to say of a plan that some version of KAT has committed, in one line."""
    first, rest = problems[0], len(problems) - 1
    more = f" (and {rest} more)" if rest else ""
    what = f"{first.what}{more}: this version of KAT cannot read it"
    return SpecError([Problem(first.at, what, _UNREADABLE)])


def _below(prefix: str, depth: int, values: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the records below a prefix by the rest of their keys, `depth` names each."""
    rests = [key.removeprefix(prefix) for key in values if key.startswith(prefix)]
    return {rest: _whole(prefix + rest, values) for rest in rests if rest.count("/") == depth - 1}


def _raw(records: Mapping[str, bytes]) -> dict[str, msgspec.Raw]:
    return {key: msgspec.Raw(data) for key, data in records.items()}


def _meta(value: bytes) -> _Meta:
    stamp = _decoded(META, value, _Stamp)
    if stamp.format != FORMAT:
        what = f"format {stamp.format} is not known here, which reads format {FORMAT}"
        hint = "start the version of KAT that wrote it"
        raise SpecError([Problem(Source("the stored plan", path=META), what, hint)])
    return _decoded(META, value, _Meta)


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _decoded(key: str, data: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise _damage(key, str(err)) from err


def _damage(key: str, what: str) -> SpecError:
    return SpecError([Problem(Source("the stored plan", path=key), what, _HINT)])
