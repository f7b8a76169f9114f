"""What happens in etcd: one stream that feeds every watch, and looks at the history before it.

The stream outlives etcd's absences. Where it goes on, it asks again for the last revision that it
has seen: etcd before 3.5.18 forgets a deletion at the very revision that it is compacted to, and
so never gets the chance. For the same reason `Store.compact(n)` compacts etcd to n - 1.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from katgen.leader.store import Change, CompactedError, StoreError
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_aside import Aside
from katgen.leader.store.etcd_calls import CALL_S, RANGE, Calls
from katgen.leader.store.etcd_keys import Space, below, change
from katgen.leader.store.feed import PAGE, Changes, Feed, Page
from katgen.leader.store.limits import Memory

_ASK_S: Final = 10.0
"""Between two questions whether the stream still lives."""
_DEAD_S: Final = 25.0
"""Without a word: it has missed two."""
_POLL_S: Final = 0.05
"""Between two questions whether history has come to its end: etcd answers only if it has."""
_RETRY_S: Final = (0.2, 0.4, 1.0)
_LOG: Final = logging.getLogger(__name__)


class Stream:
    """Feeds watches. `reached` is the revision up to which everything is published."""

    def __init__(self, calls: Calls, space: Space, aside: Aside, memory: Memory) -> None:
        self._calls, self._space, self._aside = calls, space, aside
        self.reached = 0
        self.bounds = Bounds(memory)
        self.feed = Feed(self._page)
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._is_up = True  # what was logged last
        self._is_astray = False
        self._is_closed = False

    async def shown(self, revision: int) -> None:
        """Wait until a revision, which changes something, is published. Raises StoreError."""
        if self.reached >= revision:
            return
        if self._is_closed:
            raise StoreError("etcd has written it, and nothing is watched any more")
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, seen))
        try:
            async with asyncio.timeout(CALL_S):
                await seen
        except TimeoutError as err:
            raise StoreError("etcd has written it, and its watch does not show it") from err

    async def run(self) -> None:
        """Follow etcd for ever. What cannot be read of it is passed over: everybody reads anew."""
        failures = 0
        while True:
            before = self.reached
            try:
                if self._is_astray:
                    await self._begin_anew()
                await self._follow()
            except CompactedError as gone:
                _LOG.warning("etcd has forgotten what the watch has not shown: it begins anew")
                self._skip(gone.oldest)
            except StoreError as err:
                self._calls.refuse_if_closed()
                failures = 0 if self.reached > before else failures + 1
                self._tell_down(err)
                self._calls.move_on()
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S)) - 1])
            except Exception:  # noqa: BLE001 -- every commit and every watch lives on it
                self._calls.refuse_if_closed()
                _LOG.exception("the watch of etcd failed, and begins anew")
                self._is_astray = True
                await asyncio.sleep(_RETRY_S[-1])

    def close(self) -> None:
        """End every watch, and whoever waits for what comes no more."""
        self._is_closed = True
        self.feed.close()
        for _, seen in self._waiting:
            if not seen.done():
                seen.set_exception(StoreError("the store is closed"))

    async def _follow(self) -> None:
        gathering, now = Gathering(self._space, self.reached), asyncio.get_running_loop().time
        try:
            async with (
                asyncio.timeout(CALL_S) as patience,
                self._calls.watching(_from(self._space, self.reached)) as (answers, ask),
                _asking(ask, _ASK_S),
            ):
                async for answer in answers:
                    patience.reschedule(now() + _DEAD_S)
                    _refuse(answer)
                    self._tell_up()
                    for changes in gathering.add(answer):
                        await self._publish(changes)
                    if _is_progress(answer):
                        self._reach(answer.header.revision)
        except TimeoutError as err:
            raise StoreError(f"etcd at {self._calls.where} says nothing any more") from err
        raise StoreError("etcd ended the watch")

    async def _publish(self, changes: Changes) -> None:
        self._aside.note(changes)
        changes = await self._aside.resolved(changes, changes[0].revision)
        self.bounds.take(changes)
        self.feed.publish([changes])
        self._reach(changes[0].revision)

    def _reach(self, revision: int) -> None:
        self.reached = max(self.reached, revision)
        for at, seen in self._waiting:
            if at <= self.reached and not seen.done():
                seen.set_result(None)
        self._waiting = [(at, seen) for at, seen in self._waiting if not seen.done()]

    async def _begin_anew(self) -> None:
        """Go on behind all that there is. Raises StoreError."""
        head = await self._calls.ask(RANGE, pb.RangeRequest(key=self._space.head))
        self._skip(head.header.revision + 1)
        self._is_astray = False

    def _skip(self, oldest: int) -> None:
        """Go on behind what nobody can be told of any more."""
        self._aside.is_dirty = True
        self.bounds.forget(oldest)
        self._reach(oldest - 1)
        self.feed.gap(oldest)

    async def _page(self, after: int) -> Page:
        """Return transactions after a revision. Raises CompactedError, StoreError."""
        self.bounds.refuse(after)
        begun = self.reached
        if after >= begun:
            return Page((), after, is_last=True)
        try:
            async with asyncio.timeout(CALL_S):
                return await self._history(after, begun)
        except TimeoutError as err:
            self._calls.move_on()
            raise StoreError(f"etcd did not show its history within {CALL_S:g} s") from err

    async def _history(self, after: int, begun: int) -> Page:
        gathering, found = Gathering(self._space, after), list[Changes]()
        async with (
            self._calls.watching(_from(self._space, after)) as (answers, ask),
            _asking(ask, _POLL_S),
        ):
            async for answer in answers:
                _refuse(answer)
                for changes in gathering.add(answer):
                    found.append(await self._aside.resolved(changes, changes[0].revision))
                if len(found) >= PAGE:
                    return Page(tuple(found), found[-1][0].revision, is_last=False)
                if _is_progress(answer) and answer.header.revision >= begun:
                    return Page(tuple(found), answer.header.revision, is_last=True)
        raise StoreError("etcd ended the watch")

    def _tell_up(self) -> None:
        if not self._is_up:
            _LOG.info("etcd answers again, the watch goes on after revision %d", self.reached)
        self._is_up = True

    def _tell_down(self, err: StoreError) -> None:
        if self._is_up:
            _LOG.warning("the watch of etcd is cut, trying again: %s", err)
        self._is_up = False


class Gathering:
    """Puts a watch's answers together to transactions: etcd cuts large answers anywhere."""

    def __init__(self, space: Space, after: int) -> None:
        self._space, self._after = space, after
        self._begun: list[Change] = []

    def add(self, answer: pb.WatchResponse) -> Iterator[Changes]:
        """Yield the transactions that are whole. Raises CompactedError."""
        for event in answer.events:
            if event.kv.mod_revision <= self._after:
                continue
            one = change(self._space, event)
            if one.value is None and not one.created:  # what it was is compacted, and what else is?
                raise CompactedError(one.revision + 1)
            if self._begun and self._begun[0].revision != one.revision:
                yield self._taken()
            self._begun.append(one)
        if self._begun and not answer.fragment:
            yield self._taken()

    def _taken(self) -> Changes:
        changes, self._begun = self._begun, []
        self._after = changes[0].revision
        return tuple(sorted(changes, key=lambda change: change.key))


class Bounds:
    """How much history is promised: what is published from now on counts, by number and size."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._sizes: deque[tuple[int, int]] = deque()
        self._size = 0
        self.oldest = 1

    def take(self, changes: Changes) -> None:
        """Take note of a transaction, and forget what is too much."""
        revision, size = changes[0].revision, sum(len(change.value or b"") for change in changes)
        self._sizes.append((revision, size))
        self._size += size
        self.forget(revision - self._memory.revisions + 1)
        while len(self._sizes) > 1 and self._size > self._memory.size_bytes:
            self.forget(self._sizes[0][0] + 1)

    def forget(self, oldest: int) -> None:
        """Promise nothing before a revision."""
        self.oldest = max(self.oldest, oldest)
        while self._sizes and self._sizes[0][0] < self.oldest:
            self._size -= self._sizes.popleft()[1]

    def refuse(self, after: int) -> None:
        """Raise CompactedError if the history after a revision is not promised."""
        if after + 1 < self.oldest:
            raise CompactedError(self.oldest)


def _from(space: Space, after: int) -> pb.WatchCreateRequest:
    """Return the request of everything from a revision on; the first is known already."""
    key, end = below(space.items)
    return pb.WatchCreateRequest(
        key=key, range_end=end, start_revision=max(after, 1), prev_kv=True, fragment=True
    )


def _refuse(answer: pb.WatchResponse) -> None:
    if answer.compact_revision:
        raise CompactedError(answer.compact_revision + 1)
    if answer.canceled:
        raise StoreError(f"etcd ended the watch: {answer.cancel_reason}")


def _is_progress(answer: pb.WatchResponse) -> bool:
    """Whether all that happened up to the answer's revision has been shown before it."""
    return not (answer.created or answer.events or answer.fragment)


@asynccontextmanager
async def _asking(ask: Callable[[], Awaitable[None]], every_s: float) -> AsyncIterator[None]:
    """Have a stream asked how far it is, again and again."""

    async def again_and_again() -> None:
        while True:
            await asyncio.sleep(every_s)
            await ask()

    asking = asyncio.create_task(again_and_again(), name="store watch asks")
    try:
        yield
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
