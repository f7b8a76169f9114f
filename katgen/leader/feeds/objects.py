"""The stored objects in memory, by one watch of the store, and what changes in them.

Lists, watches and writes live on it. A Workload is shown with its status, which is not stored: when
that alone changes, it is news too. What statuses were with another leader is not known: versions of
workloads say whose they are.
"""

import asyncio
import logging
import re
import secrets
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from katgen.leader.answers import WorkloadStatus
from katgen.leader.documents import (
    NO_NAMESPACE,
    PREFIX,
    ObjectKey,
    Stored,
    key_from_path,
    shown,
)
from katgen.leader.feeds.ring import GoneError, Mark, News, Ring, Row, Wire
from katgen.leader.store import Change, CompactedError, Store, StoreError
from katgen.names import WorkloadKey

_LOG: Final = logging.getLogger(__name__)
_RETRY_S: Final = 5.0
_CATCH_UP_S: Final = 2.0
_SILENCE_S: Final = 5.0
_STORED: Final = 999_999
"""Within a revision: above its stored changes, below the news of statuses that came after them."""
_VERSION: Final = re.compile(r"(\d{1,16})(?:\.(\d{1,6})|-([0-9a-f]{8})\.(\d{1,12}))?", re.ASCII)
_WORKLOAD: Final = "Workload"
_AFTER_SLASH: Final = chr(ord("/") + 1)

Statuses = Callable[[Sequence[WorkloadKey]], Mapping[WorkloadKey, WorkloadStatus]]


@dataclass(eq=False, slots=True)
class _Kind:
    """The objects of a kind as they are shown, and their keys in order."""

    rows: dict[str, Row] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def put(self, row: Row) -> None:
        if row.key not in self.rows:
            insort(self.order, row.key)
        self.rows[row.key] = row

    def drop(self, key: str) -> None:
        if self.rows.pop(key, None) is not None:
            del self.order[bisect_left(self.order, key)]

    def within(self, namespace: str) -> tuple[int, int]:
        """Return from where to where a namespace is in the order."""
        if not namespace:
            return 0, len(self.order)
        first, end = f"{namespace}/", f"{namespace}{_AFTER_SLASH}"
        return bisect_left(self.order, first), bisect_left(self.order, end)


class ObjectsFeed:
    """See the module. `run` keeps it up to date; `revision` is the store's, up to which it is."""

    def __init__(self, store: Store, statuses: Statuses, ring: Ring | None = None) -> None:
        self._store, self._statuses = store, statuses
        self.ring = ring or Ring()
        self.objects: dict[ObjectKey, Stored] = {}
        self.spaces: Counter[str] = Counter()
        """How many objects name each namespace."""
        self.revision = 0
        self.is_current = False
        self._kinds: dict[str, _Kind] = {}
        self._start = secrets.token_hex(4)
        self._told = 0
        self._shown: dict[WorkloadKey, WorkloadStatus] = {}
        self._dirty: set[ObjectKey] | None = None
        self._waiting: dict[asyncio.Future[None], int] = {}
        """Who waits for which revision."""
        self._news = asyncio.Event()
        self._history = asyncio.Lock()
        self._has_history = False

    # -- keeping up

    async def run(self) -> None:
        """Follow the store, for ever."""
        is_loaded = False
        while True:
            try:
                if not is_loaded:
                    await self.load()
                    is_loaded = True
                async for changes in self._store.watch("", self.revision):
                    self.take(changes)
            except CompactedError:
                _LOG.info("the watch of the store fell behind, reading it anew")
                is_loaded = False
            except StoreError as err:
                self.is_current = False
                _LOG.warning("objects cannot be watched, retrying in 5 s: %s", err)
                await asyncio.sleep(_RETRY_S)
                self.is_current = is_loaded
                if is_loaded:
                    self._arrived()
            except Exception:  # noqa: BLE001 -- writes and watches live on it, whatever a fault did
                self.is_current = is_loaded = False
                _LOG.exception("following the store failed, reading it anew in 5 s")
                await asyncio.sleep(_RETRY_S)

    async def load(self) -> None:
        """Read everything anew; whoever watches has to list again. Raises StoreError."""
        listing = await self._store.list(PREFIX)
        found = [
            Stored(key_from_path(one.key), msgspec.json.decode(one.value, type=dict), one.modified)
            for one in listing.items
        ]
        self.objects = {one.key: one for one in found}
        self.spaces = Counter(one.key.namespace for one in found)
        self._shown = dict(self._statuses([k.workload for k in self._workloads()]))
        self._kinds = {}
        for one in found:
            self._kind(one.key.kind).put(self._row(one))
        self.revision = listing.revision
        self._has_history = False
        self._dirty = None
        self.ring.restart((self.revision, _STORED))
        self.is_current = True
        self._arrived()

    def take(self, changes: Sequence[Change]) -> None:
        """Take in one transaction."""
        ours = [one for one in changes if one.key.startswith(PREFIX)]
        revision = changes[0].revision
        if self._dirty is not None:
            self._dirty.update(key_from_path(one.key) for one in ours)
        news = [
            self._changed(change, self._mark(change, number, len(ours)))
            for number, change in enumerate(ours, 1)
        ]
        self.revision = revision
        if news:
            self.ring.add(news)
        self._arrived()

    def _changed(self, change: Change, at: tuple[Mark, str]) -> News:
        key = key_from_path(change.key)
        kind = self._kind(key.kind)
        old = kind.rows.get(_name(key))
        if change.value is None:
            if self.objects.pop(key, None) is not None:
                self._count(key, -1)
            kind.drop(_name(key))
            if key.kind == _WORKLOAD:
                self._shown.pop(key.workload, None)
            row = None if old is not None else _partial(key)
            return News(key.kind, *at, old or row, None, gone_at=str(change.revision))
        stored = Stored(key, msgspec.json.decode(change.value, type=dict), change.revision)
        if key not in self.objects:
            self._count(key, 1)
        self.objects[key] = stored
        if key.kind == _WORKLOAD:
            self._shown |= self._statuses([key.workload])
        row = self._row(stored)
        kind.put(row)
        return News(key.kind, *at, old, row, gone_at=str(change.revision))

    def _mark(self, change: Change, number: int, count: int) -> tuple[Mark, str]:
        mark, version = _mark(change.revision, number, count)
        is_workload = key_from_path(change.key).kind == _WORKLOAD
        return mark, self._own(change.revision) if is_workload and number == count else version

    def _own(self, revision: int) -> str:
        """Return a revision as seen with all statuses that were told here up to now."""
        return f"{revision}-{self._start}.{self._told}"

    def _count(self, key: ObjectKey, by: int) -> None:
        self.spaces[key.namespace] += by
        if not self.spaces[key.namespace]:
            del self.spaces[key.namespace]

    def _kind(self, kind: str) -> _Kind:
        return self._kinds.setdefault(kind, _Kind())

    def _row(self, stored: Stored) -> Row:
        key = stored.key
        document = shown(stored)
        status = self._shown.get(key.workload) if key.kind == _WORKLOAD else None
        if status is not None:
            document["status"] = msgspec.to_builtins(status)
        return Row(_name(key), _space(key), document)

    def _workloads(self) -> Iterator[ObjectKey]:
        return (key for key in self.objects if key.kind == _WORKLOAD)

    # -- being up to date

    async def caught_up(self, revision: int) -> bool:
        """Wait until a revision has arrived; return whether it has, in time."""
        if self.is_current and self.revision >= revision:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = revision
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return self.is_current

    @property
    def waiting(self) -> int:
        """How many wait for a revision."""
        return len(self._waiting)

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next change after this call."""
        return self._news.wait()

    def _arrived(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
        here = [future for future, revision in self._waiting.items() if revision <= self.revision]
        for future in here:
            del self._waiting[future]
            if not future.done():
                future.set_result(None)

    def changed_keys(self) -> Collection[ObjectKey] | None:
        """Return what has changed since the last call; None if that may be anything."""
        found, self._dirty = self._dirty, set()
        return found

    # -- what is shown

    async def refresh(self, kind: str) -> None:
        """Take in how the workloads are now, if it is about them."""
        if kind == _WORKLOAD:
            self._look()

    def _look(self) -> None:
        now = self._statuses([key.workload for key in self._workloads()])
        news = []
        for key in self._workloads():
            status = now.get(key.workload)
            if status is None or status == self._shown.get(key.workload):
                continue
            self._shown[key.workload] = status
            kind = self._kind(_WORKLOAD)
            old, row = kind.rows.get(_name(key)), self._row(self.objects[key])
            kind.put(row)
            self._told += 1
            mark = (self.revision, _STORED + self._told)
            news.append(News(_WORKLOAD, mark, self._own(self.revision), old, row))
        if news:
            self.ring.add(news)

    def version(self, kind: str) -> str:
        """Return where a watch of a kind begins that has seen all of it."""
        return self._own(self.revision) if kind == _WORKLOAD else str(self.revision)

    def is_own(self, version: str) -> bool:
        """Whether statuses were told here up to a version, and so all that came after it are."""
        match = _VERSION.fullmatch(version)
        return match is not None and match[3] == self._start

    def rows(self, kind: str, namespace: str = "") -> list[Row]:
        """Return the objects of a kind by namespace and name."""
        found = self._kind(kind)
        first, end = found.within(namespace)
        return [found.rows[key] for key in found.order[first:end]]

    def page(self, kind: str, namespace: str, after: str, limit: int) -> tuple[list[Row], int]:
        """Return some of the rows after a key, and how many more there are. Raises ValueError."""
        found = self._kind(kind)
        first, end = found.within(namespace)
        if after:
            if after not in found.rows:
                raise ValueError(after)
            first = max(first, bisect_right(found.order, after))
        keys = found.order[first : min(end, first + limit)]
        return [found.rows[key] for key in keys], max(0, end - first - len(keys))

    async def number(self, version: str) -> int:
        """Return the number of the first news after a version. Raises GoneError, ValueError.

        What happened before this leader began is read from the store, as far as that remembers.
        """
        match = _VERSION.fullmatch(version)
        if match is None:
            raise ValueError(version)
        revision, stored, start, told = match.groups()
        mark = (int(revision), int(stored) if stored else _STORED)
        if start == self._start:
            mark = (int(revision), _STORED + int(told))
        if mark[0] > self.revision:
            await self._refuse_the_future(mark[0])
        if mark < self.ring.floor and not self._has_history:
            await self._recall()
        return self.ring.after(mark)

    async def _refuse_the_future(self, revision: int) -> None:
        """Raise GoneError if the store has never been there: it was put back from a backup."""
        if revision > (await self._store.list(PREFIX, limit=1)).revision:
            raise GoneError(f"resourceVersion {revision} is not known here")
        await self.caught_up(revision)

    async def _recall(self) -> None:
        """Put what the store remembers before the first news."""
        async with self._history:
            if self._has_history:
                return
            life, until = self.ring.life, self.ring.floor
            news, floor = await self._replayed(until[0])
            if life == self.ring.life and until == self.ring.floor:
                self.ring.prepend(news, floor)
                self._has_history = True

    async def _replayed(self, until: int) -> tuple[list[News], Mark]:
        after, news = 0, list[News]()
        rows: dict[str, Row] = {}
        while True:
            try:
                async with aclosing(_transactions(self._store, after, until)) as each:
                    async for changes in each:
                        ours = [one for one in changes if one.key.startswith(PREFIX)]
                        for number, one in enumerate(ours, 1):
                            at = _mark(one.revision, number, len(ours))
                            news.append(self._recalled(one, at, rows))
            except CompactedError as err:
                if after:
                    raise GoneError("the store forgets faster than it is read") from err
                after = err.oldest - 1
            else:
                return news, (after, _STORED)

    def _recalled(self, change: Change, at: tuple[Mark, str], rows: dict[str, Row]) -> News:
        """Return earlier news; what an object was before the store's history is not known."""
        key = key_from_path(change.key)
        old = rows.pop(change.key, None)
        if old is None and (change.value is None or change.created != change.revision):
            old = _partial(key)
        if change.value is None:
            return News(key.kind, *at, old, None, gone_at=str(change.revision))
        document = msgspec.json.decode(change.value, type=dict)
        row = rows[change.key] = self._row(Stored(key, document, change.revision))
        return News(key.kind, *at, old, row, gone_at=str(change.revision))


async def _transactions(
    store: Store, after: int, until: int
) -> AsyncGenerator[Sequence[Change], None]:
    """Yield the store's transactions up to a revision. Raises CompactedError, StoreError."""
    watch = store.watch("", after)
    while after < until:
        try:
            async with asyncio.timeout(_SILENCE_S):
                changes = await anext(watch)
        except TimeoutError:  # the last revisions were none of KAT's
            return
        after = changes[0].revision
        if after <= until:
            yield changes


def _mark(revision: int, number: int, count: int) -> tuple[Mark, str]:
    """Return the place of one of a transaction's changes, and how it is written."""
    return (revision, number), str(revision) if number == count else f"{revision}.{number}"


def _space(key: ObjectKey) -> str:
    return "" if key.namespace == NO_NAMESPACE else key.namespace


def _name(key: ObjectKey) -> str:
    return f"{key.namespace}/{key.name}"


def _partial(key: ObjectKey) -> Row:
    metadata = {"name": key.name}
    if _space(key):
        metadata["namespace"] = key.namespace
    document: Wire = {"kind": key.kind, "metadata": metadata}
    return Row(_name(key), _space(key), document, is_partial=True)
