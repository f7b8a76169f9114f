"""Everything that can be listed and watched, and watches: each is a number in a ring of news."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from katgen.leader.feeds.derived import DerivedFeed
from katgen.leader.feeds.objects import ObjectsFeed
from katgen.leader.feeds.ring import GoneError, News, Ring, Row, line
from katgen.leader.feeds.things import Looks
from katgen.leader.selectors import Selection
from katgen.leader.services import Services
from katgen.leader.store import StoreError

BATCH_BYTES: Final = 32 << 10
_LOOK_S: Final = 0.1
"""Between two looks at what is not stored."""
_STEP: Final = 256

News_ = Callable[[], Coroutine[Any, Any, object]]
"""Returns what waits for the next change."""


class Feed(Protocol):
    """Objects, and what changes in them."""

    ring: Ring

    async def refresh(self, kind: str) -> None:
        """Take in what is there now, if it does not come by itself."""

    def rows(self, kind: str, namespace: str = "") -> list[Row]:
        """Return what is there, in order; '' is every namespace."""

    def page(self, kind: str, namespace: str, after: str, limit: int) -> tuple[list[Row], int]:
        """Return some of the rows after a key ('' for the first), and how many more there are.

        Raises ValueError if no row has the key.
        """

    def version(self, kind: str) -> str:
        """Return where a watch begins that has seen all of it."""

    async def number(self, version: str) -> int:
        """Return the number of the first news after a version. Raises GoneError, ValueError."""


class Feeds:
    """The feeds of a leader. `run` keeps them up to date."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.objects = ObjectsFeed(services.store, services.view.workload_statuses)
        looks = Looks(services, self.objects)
        self._derived: Mapping[str, Feed] = {
            "Instance": DerivedFeed("Instance", looks.instances),
            "Node": DerivedFeed("Node", looks.nodes, is_volatile=True),
            "Namespace": DerivedFeed("Namespace", looks.namespaces),
            "Generation": DerivedFeed("Generation", looks.plans),
            "Event": DerivedFeed("Event", looks.events),
        }
        view, stored = services.view.changed, self.objects.changed
        self._sources: Mapping[str, tuple[News_, ...]] = {
            "Workload": (view,),
            "Instance": (view, stored),
            "Node": (view, stored),
            "Namespace": (stored,),
            "Generation": (view,),
            "Event": (services.chronicle.changed,),
        }
        self._watchers: Counter[str] = Counter()
        self._lookers: dict[str, asyncio.Task[None]] = {}
        self.is_closing = False

    def of(self, kind: str) -> Feed:
        """Return the feed that has a kind."""
        return self._derived.get(kind, self.objects)

    async def current(self, kind: str) -> Feed:
        """Return the feed of a kind with everything that was written here. Raises StoreError."""
        if not await self.objects.caught_up(self._services.objects.written):
            raise StoreError("what changes in it cannot be followed now")
        feed = self.of(kind)
        await feed.refresh(kind)
        return feed

    async def run(self) -> None:
        """Follow the store, for ever."""
        await self.objects.run()

    def close(self) -> None:
        """End every watch."""
        self.is_closing = True
        for ring in {self.objects.ring, *(one.ring for one in self._derived.values())}:
            ring.restart(ring.floor)

    @asynccontextmanager
    async def watching(self, kind: str) -> AsyncIterator[None]:
        """Look at what does not come by itself for as long as somebody watches it."""
        self._watchers[kind] += 1
        if kind in self._sources and kind not in self._lookers:
            self._lookers[kind] = asyncio.create_task(self._look(kind), name=f"look at {kind}")
        try:
            yield
        finally:
            self._watchers[kind] -= 1
            if not self._watchers[kind]:
                looker = self._lookers.pop(kind, None)
                if looker is not None:
                    looker.cancel()
                    with suppress(asyncio.CancelledError):
                        await looker

    async def _look(self, kind: str) -> None:
        while True:
            waits = {asyncio.ensure_future(one()) for one in self._sources[kind]}
            try:
                with suppress(StoreError):  # there is a next time
                    await self.of(kind).refresh(kind)
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
            await asyncio.sleep(_LOOK_S)


FEEDS: Final = web.AppKey("feeds", Feeds)


class Watch:
    """One watch: lines for what is meant, from a number on."""

    def __init__(self, feed: Feed, kind: str, selection: Selection, number: int) -> None:
        self._feed, self._kind, self._selection = feed, kind, selection
        self._number, self._life = number, feed.ring.life

    def take(self) -> bytes:
        """Return the next lines, some at a time; none if there is no more. Raises GoneError."""
        self.refuse_if_lost()
        ring = self._feed.ring
        parts: list[bytes] = []
        size = 0
        while size < BATCH_BYTES and self._number < ring.end:
            for news in ring.since(self._number, _STEP):
                self._number += 1
                if news.kind == self._kind and (text := self._line(news)):
                    parts.append(text)
                    size += len(text)
                    if size >= BATCH_BYTES:
                        break
        return b"".join(parts)

    def refuse_if_lost(self) -> None:
        """Raise GoneError if what comes next is not remembered any more."""
        ring = self._feed.ring
        if ring.life != self._life:
            raise GoneError("the leader has read everything anew")
        ring.since(self._number, 0)

    def _line(self, news: News) -> bytes:
        wanted = self._selection
        if wanted.namespace and news.row.namespace != wanted.namespace:
            return b""
        was, now = _fits(wanted, news.before), _fits(wanted, news.after)
        if now:
            return news.line("MODIFIED" if was else "ADDED")
        return news.line("DELETED") if was else b""

    def bookmark(self) -> bytes:
        """Return the line that says how far this is; only after everything was taken."""
        return bookmark(self._kind, self._feed.version(self._kind))

    def waiting(self) -> "asyncio.Future[None]":
        """Return what is done once there may be more."""
        return self._feed.ring.waiting(self._kind, self._selection.namespace)


def _fits(selection: Selection, row: Row | None) -> bool:
    if row is None:
        return False
    if row.is_partial:
        return selection.may_take(row.document)
    return selection.takes(row.document)


def chosen(feed: Feed, kind: str, selection: Selection) -> list[Row]:
    """Return the rows that are meant."""
    rows = feed.rows(kind, selection.namespace)
    return [row for row in rows if selection.takes(row.document)] if selection.is_narrow else rows


def first_lines(rows: list[Row], what: str = "ADDED") -> Iterator[bytes]:
    """Yield what is there already, some at a time. Nobody can resume from within."""
    parts: list[bytes] = []
    size = 0
    for row in rows:
        parts.append(line(what, row.encoded))
        size += len(parts[-1])
        if size >= BATCH_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def bookmark(kind: str, version: str) -> bytes:
    """Return a line that has nothing to tell but where to resume from."""
    shown = {"kind": kind, "metadata": {"resourceVersion": version}}
    return line("BOOKMARK", msgspec.json.encode(shown), version)
