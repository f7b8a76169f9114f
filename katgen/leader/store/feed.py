"""Watches: what a store publishes, to everyone who watches, in order and with nothing left out.

A watcher first reads the history up to now, page by page, then lives on what is published. It is
subscribed before it reads, so that nothing falls between the two.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Self
from weakref import WeakSet

from katgen.errors import KatError
from katgen.leader.store import Change, CompactedError, StoreError

Changes = tuple[Change, ...]
"""Of one transaction, sorted by key."""
QUEUE: Final = 1024
"""Transactions that may wait for a consumer."""
PAGE: Final = 256
"""Revisions that one look at the history covers."""


@dataclass(frozen=True, slots=True)
class Page:
    """Transactions up to and with revision `reached`; `is_last`: there were no later ones."""

    transactions: tuple[Changes, ...]
    reached: int
    is_last: bool


History = Callable[[int], Awaitable[Page]]
"""Return the page after a revision. Raises CompactedError, StoreError."""


class Feed:
    """Hands every transaction to all watchers. Belongs to one event loop."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._closed = False

    def watch(self, prefix: str, after: int) -> "Watcher":
        """Return a watcher; one that nobody holds any more is forgotten."""
        watcher = Watcher(prefix, after, self._history)
        if self._closed:
            watcher.end()
        self._watchers.add(watcher)
        return watcher

    def publish(self, transactions: Iterable[Changes]) -> None:
        """Take in what was committed, in the order of revisions."""
        watchers = tuple(self._watchers)
        for changes in transactions:
            for watcher in watchers:
                watcher.push(changes)

    def gap(self, oldest: int) -> None:
        """End every watch there is with CompactedError: something before `oldest` is missing."""
        for watcher in tuple(self._watchers):
            watcher.cut(CompactedError(oldest))

    def close(self) -> None:
        """End every watch, also future ones, with StoreError."""
        self._closed = True
        for watcher in tuple(self._watchers):
            watcher.end()


class Watcher(AsyncIterator[Changes]):
    """One watch. A cancelled wait loses nothing."""

    def __init__(self, prefix: str, after: int, history: History) -> None:
        self._prefix, self._seen, self._history = prefix, after, history
        self._queue: deque[Changes] = deque()
        self._ready: deque[Changes] = deque()
        self._is_live = False
        self._missed = False
        self._error: KatError | None = None
        self._woken = asyncio.Event()

    def push(self, changes: Changes) -> None:
        """Queue a transaction. What no longer fits is read from the history, or ends the watch."""
        if self._missed or self._error:
            return
        matching = tuple(change for change in changes if change.key.startswith(self._prefix))
        if not matching:
            return
        if len(self._queue) < QUEUE:
            self._queue.append(matching)
        elif self._is_live:
            self.cut(CompactedError(changes[0].revision + 1))
        else:
            self._missed = True
        self._woken.set()

    def end(self) -> None:
        """End the watch, because its store is closed."""
        self.cut(StoreError("the store is closed"))

    def cut(self, error: KatError) -> None:
        """End the watch with an error."""
        self._error = self._error or error
        self._queue.clear()
        self._ready.clear()
        self._woken.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changes:
        while True:
            if self._error:
                raise self._error
            if self._ready:
                return self._ready.popleft()
            if not self._is_live:
                await self._read()
            elif self._queue:
                changes = self._queue.popleft()
                if changes[0].revision > self._seen:
                    return changes
            else:
                self._woken.clear()
                await self._woken.wait()

    async def _read(self) -> None:
        """Read a page. What is published from now on is queued; what came before is in the page."""
        if self._missed:
            self._queue.clear()
            self._missed = False
        try:
            page = await self._history(self._seen)
        except KatError as err:
            self.cut(err)
            return
        for changes in page.transactions:
            matching = tuple(change for change in changes if change.key.startswith(self._prefix))
            if matching:
                self._ready.append(matching)
        self._seen = page.reached
        self._is_live = page.is_last and not self._missed
