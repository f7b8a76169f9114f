"""Earlier versions of workloads, for `rollback`: kept when a change rolls the instances."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from katgen.leader.clock import shown_time
from katgen.leader.documents import ObjectKey, Stored, parsed
from katgen.leader.draft import COMPANIONS, Before, Draft
from katgen.leader.store import Store
from katgen.model.objects import BuildDefinition, JobDefinition
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import WorkloadKey
from katgen.revision import revision
from katgen.validate.load import load

PREFIX: Final = "history/"


class Version(msgspec.Struct, frozen=True):
    """A workload's objects as they were, by kind. `n` counts up; `time` is when they were replaced.

    `revision` hashes what rolls instances; `generation` is the Workload's.
    """

    n: int
    revision: str
    objects: Mapping[str, dict[str, Any]]
    generation: int
    time: str


@dataclass(slots=True)
class Kept:
    """Writes that go into the transaction of the change."""

    puts: dict[str, bytes] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)


async def versions(store: Store, workload: WorkloadKey) -> tuple[Version, ...]:
    """Return the versions that are remembered, oldest first."""
    listing = await store.list(f"{PREFIX}{workload}/")
    return tuple(msgspec.json.decode(item.value, type=Version) for item in listing.items)


async def kept(store: Store, draft: Draft, before: Before, now: float) -> Kept:
    """Return what to remember of the versions that a change replaces, and what to forget."""
    result = Kept()
    for key in _touched(draft):
        old = _objects(key, before)
        workload = ObjectKey("Workload", *key.split("/"))
        if workload not in draft.after:
            listing = await store.list(f"{PREFIX}{key}/")
            result.deletes += [item.key for item in listing.items]
        elif "Workload" in old and _hash(old.values()) != _hash(
            _objects(key, draft.after).values()
        ):
            earlier = await versions(store, key)
            made = _version(old, earlier[-1].n + 1 if earlier else 1, now)
            result.puts[_path(key, made.n)] = msgspec.json.encode(made)
            limit = _limit(draft.after[workload])
            dropped = [*earlier, made][: max(0, len(earlier) + 1 - limit)]
            for one in dropped:
                _forget(result, _path(key, one.n))
    return result


def current(key: WorkloadKey, before: Before) -> str:
    """Return the hash of what is stored now."""
    return _hash(_objects(key, before).values())


def _forget(result: Kept, path: str) -> None:
    if result.puts.pop(path, None) is None:
        result.deletes.append(path)


def _touched(draft: Draft) -> list[WorkloadKey]:
    kinds = {"Workload", *COMPANIONS}
    keys = (*draft.puts, *draft.deletes)
    return sorted({key.workload for key in keys if key.kind in kinds})


def _objects(key: WorkloadKey, objects: Before) -> dict[str, Stored]:
    namespace, _, name = key.partition("/")
    keys = {kind: ObjectKey(kind, namespace, name) for kind in ("Workload", *COMPANIONS)}
    return {kind: objects[one] for kind, one in keys.items() if one in objects}


def _version(old: Mapping[str, Stored], n: int, now: float) -> Version:
    return Version(
        n=n,
        revision=_hash(old.values()),
        objects={kind: dict(one.document) for kind, one in old.items()},
        generation=old["Workload"].document["metadata"].get("generation", 0),
        time=shown_time(now),
    )


def _hash(stored: Iterable[Stored]) -> str:
    loaded = [load(document)[0] for document in parsed(stored).documents]
    models = [one.object for one in loaded if one is not None]
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


def _limit(workload: Stored) -> int:
    loaded, _ = load(parsed([workload]).documents[0])
    found = loaded.object if loaded else None
    return found.spec.revision_history_limit if isinstance(found, Workload) else 0


def _path(key: WorkloadKey, n: int) -> str:
    return f"{PREFIX}{key}/{n:08d}"
