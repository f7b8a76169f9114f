"""The stored objects, kept up to date by a watch: what the loop carries out."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from katgen.leader.clock import Clock
from katgen.leader.cluster import Cluster
from katgen.leader.desired import EMPTY, Known, Wanted, joined, read, rejoined
from katgen.leader.documents import CLUSTER_WIDE, PREFIX, ObjectKey, Stored, key_from_path
from katgen.leader.store import Change, CompactedError, Store, StoreError
from katgen.model.specs import WorkloadObjects
from katgen.names import WorkloadKey
from katgen.revision import named_by

_LOG: Final = logging.getLogger(__name__)
_RETRY_S: Final = 5.0
_COMPANIONS: Final = ("Workload", "VirtualLoadBalancer", "JobDefinition", "BuildDefinition")


@dataclass(eq=False, slots=True)
class Stock:
    """`seen` is the store's revision up to which `want` has every change."""

    store: Store
    cluster: Cluster
    clock: Clock
    on_change: Callable[[frozenset[str]], None]
    """Is told the kinds of what changed."""
    want: Wanted = EMPTY
    seen: int = 0
    _users: "_Users | None" = None

    async def load(self) -> None:
        """Read everything. Raises StoreError."""
        listing = await self.store.list(PREFIX)
        known: dict[ObjectKey, Known] = {}
        changed: dict[ObjectKey, Known | None] = {}
        for item in listing.items:
            key = key_from_path(item.key)
            old = self.want.known.get(key)
            if old is None or old.revision != item.modified:
                document = msgspec.json.decode(item.value, type=dict[str, Any])
                old = changed[key] = read(Stored(key, document, item.modified))
            known[key] = old
        changed |= dict.fromkeys(self.want.known.keys() - known.keys())
        self._take(known, changed, listing.revision)

    async def follow(self) -> None:
        """Take in every change, for ever."""
        while True:
            try:
                async for changes in self.store.watch(PREFIX, self.seen):
                    self.take(changes)
            except CompactedError:
                _LOG.info("the watch of objects fell behind, reading them anew")
            except StoreError as err:
                _LOG.warning("objects cannot be watched, retrying in 5 s: %s", err)
                await self.clock.sleep(_RETRY_S)
            await self._reload()

    async def _reload(self) -> None:
        while True:
            try:
                await self.load()
            except StoreError as err:
                _LOG.warning("objects cannot be read, retrying in 5 s: %s", err)
                await self.clock.sleep(_RETRY_S)
            else:
                return

    def take(self, changes: Iterable[Change]) -> None:
        """Take in one transaction's changes."""
        known = dict(self.want.known)
        changed: dict[ObjectKey, Known | None] = {}
        revision = self.seen
        for change in changes:
            key, revision = key_from_path(change.key), change.revision
            if change.value is None:
                known.pop(key, None)
                changed[key] = None
                continue
            document = msgspec.json.decode(change.value, type=dict[str, Any])
            known[key] = changed[key] = read(Stored(key, document, change.revision))
        self._take(known, changed, revision)

    def _take(
        self,
        known: Mapping[ObjectKey, Known],
        changed: Mapping[ObjectKey, Known | None],
        revision: int,
    ) -> None:
        before = self.want
        self.want = (
            rejoined(known, before, changed.keys()) if before.known else joined(known, before)
        )
        self.seen = revision
        self.cluster.seen, self.cluster.wanted = revision, self.want.specs.workloads.keys()
        users = self._users_of(before)
        by_revision: dict[int, set[WorkloadKey]] = {}
        for key, one in changed.items():
            at = one.revision if one is not None else revision
            by_revision.setdefault(at, set()).update(users.of(key))
        for at in sorted(by_revision):  # the latest are remembered longest
            self.cluster.touch(at, by_revision[at])
        if changed:
            self.on_change(frozenset(key.kind for key in changed))

    def _users_of(self, before: Wanted) -> "_Users":
        """Return who used what and who does; the same as long as no workload changes."""
        every = (before.specs.workloads, self.want.specs.workloads)
        kept = self._users
        if kept is None or any(a is not b for a, b in zip(kept.every, every, strict=True)):
            kept = self._users = _Users(every)
        return kept


@dataclass(slots=True)
class _Users:
    """Which workloads an object is about."""

    every: tuple[Mapping[WorkloadKey, WorkloadObjects], ...]
    _by_data: dict[tuple[str, WorkloadKey], set[WorkloadKey]] | None = field(default=None)

    def of(self, key: ObjectKey) -> Iterable[WorkloadKey]:
        if key.kind in _COMPANIONS:
            return (key.workload,)
        if key.kind in CLUSTER_WIDE:
            return ()
        if self._by_data is None:
            self._by_data = {}
            for workloads in self.every:
                for name, objects in workloads.items():
                    configs, secrets = named_by(objects)
                    for kind, used in (("Config", configs), ("Secret", secrets)):
                        for one in used:
                            self._by_data.setdefault((kind, one), set()).add(name)
        return self._by_data.get((key.kind, key.workload), ())
