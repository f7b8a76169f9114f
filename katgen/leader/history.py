"""Versions of workloads that nodes have run, for `rollback`: kept by commits, not by writes.

What the committed plan has is in `accepted/<workload>`, what earlier ones had in
`history/<workload>/<n>`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from katgen.leader.clock import shown_time
from katgen.leader.desired import Wanted
from katgen.leader.documents import ObjectKey, Stored, parsed
from katgen.leader.draft import COMPANIONS, Before
from katgen.leader.store import Store
from katgen.model.objects import BuildDefinition, JobDefinition
from katgen.model.spec import Document
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import WorkloadKey, split_key
from katgen.revision import revision
from katgen.validate.load import load

PREFIX: Final = "history/"
ACCEPTED: Final = "accepted/"


class Version(msgspec.Struct, frozen=True):
    """A workload's objects as users wrote them, by kind. `n` counts up.

    `revision` hashes what rolls instances; `generation` is the first plan's that had it, made at
    `time`.
    """

    n: int
    revision: str
    objects: Mapping[str, dict[str, Any]]
    generation: int
    time: str


class Accepted(msgspec.Struct, frozen=True):
    """What the committed plan has of a workload: one made anew has another uid."""

    uid: str
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """What a commit carries out: the objects that it was planned from, and when."""

    want: Wanted
    generation: int
    now: float


@dataclass(slots=True)
class Kept:
    """Writes that go into the transaction of a commit."""

    puts: dict[str, bytes] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)


async def past(store: Store, workload: WorkloadKey, now: str) -> tuple[Version, ...]:
    """Return the versions that have run and differ from the hash `now`, oldest first."""
    listing = await store.list(f"{PREFIX}{workload}/")
    found = [msgspec.json.decode(item.value, type=Version) for item in listing.items]
    running = (await _accepted(store, workload)).version
    every = (*found, running) if running is not None else (*found,)
    return tuple(one for one in every if one.revision != now)


def current(key: WorkloadKey, before: Before) -> str:
    """Return the hash of what is stored now."""
    namespace, name = split_key(key)
    keys = (ObjectKey(kind, namespace, name) for kind in ("Workload", *COMPANIONS))
    return _hash(_models(before[one] for one in keys if one in before))


def _models(stored: Iterable[Stored]) -> list[Document]:
    loaded = [load(document)[0] for document in parsed(stored).documents]
    return [one.object for one in loaded if one is not None]


async def kept(store: Store, carried: Carried, changed: Iterable[WorkloadKey]) -> Kept:
    """Return what to remember of workloads of which a plan now has what is wanted."""
    result = Kept()
    for key in sorted(changed):
        await _keep(store, key, carried, result)
    return result


async def forget(store: Store, key: WorkloadKey, result: Kept) -> None:
    """Drop all of a workload that the plan has no more."""
    listing = await store.list(f"{PREFIX}{key}/")
    result.deletes += [f"{ACCEPTED}{key}", *(item.key for item in listing.items)]


async def _keep(store: Store, key: WorkloadKey, carried: Carried, result: Kept) -> None:
    uid = carried.want.uid(key)
    before = (await _accepted(store, key)).version
    made = _version(key, carried, before)
    result.puts[f"{ACCEPTED}{key}"] = msgspec.json.encode(Accepted(uid, made))
    if before is None or before.revision == made.revision:
        return
    listing = await store.list(f"{PREFIX}{key}/")
    earlier = [item.key for item in listing.items]
    path = f"{PREFIX}{key}/{before.n:08d}"
    limit = carried.want.specs.workloads[key].workload.spec.revision_history_limit
    result.deletes += [*earlier, path][: max(0, len(earlier) + 1 - limit)]
    if path in result.deletes:
        result.deletes.remove(path)
    else:
        result.puts[path] = msgspec.json.encode(before)


def _version(key: WorkloadKey, carried: Carried, before: Version | None) -> Version:
    namespace, name = split_key(key)
    keys = (ObjectKey(kind, namespace, name) for kind in ("Workload", *COMPANIONS))
    found = (carried.want.known.get(one) for one in keys)
    models = [one.model for one in found if one is not None and one.model is not None]
    made, objects = _hash(models), {one.kind: _wire(one, namespace) for one in models}
    if before is not None and before.revision == made:
        return msgspec.structs.replace(before, objects=objects)
    n = before.n + 1 if before is not None else 1
    return Version(n, made, objects, carried.generation, shown_time(carried.now))


def _wire(model: Document, namespace: str) -> dict[str, Any]:
    wire = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    metadata = {"namespace": namespace, **wire["metadata"]}
    return {"apiVersion": model.api_version, **wire, "metadata": metadata}


async def _accepted(store: Store, key: WorkloadKey) -> Accepted:
    item = await store.get(f"{ACCEPTED}{key}")
    return msgspec.json.decode(item.value, type=Accepted) if item else Accepted("")


def _hash(models: Iterable[Document]) -> str:
    models = list(models)
    workload = next((one for one in models if isinstance(one, Workload)), None)
    if workload is None:
        return ""
    return revision(
        WorkloadObjects(
            workload,
            job=next((one for one in models if isinstance(one, JobDefinition)), None),
            build=next((one for one in models if isinstance(one, BuildDefinition)), None),
        ),
        {},
    )
