"""What the store's tests share: a clock that stands still, and short ways to write and look."""

import asyncio
from collections.abc import AsyncIterator

from katgen.leader.store import Change, Store, Transaction

DEADLINE_S = 20


class StillClock:
    """Time that only a test moves."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def boottime(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        wakes: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, wakes))
        await wakes

    async def advance(self, seconds: float) -> None:
        """Move on, once everybody who is about to sleep does."""
        for _ in range(5):
            await asyncio.sleep(0)
        self._now += seconds
        for due, wakes in self._sleepers:
            if due <= self._now and not wakes.done():
                wakes.set_result(None)


async def put(store: Store, **values: str) -> int:
    """Put texts; `_` in a name stands for `/`."""
    puts = {key.replace("_", "/"): value.encode() for key, value in values.items()}
    return await store.commit(Transaction(puts=puts))


async def delete(store: Store, *keys: str) -> int:
    return await store.commit(Transaction(deletes=keys))


async def values(store: Store, prefix: str = "") -> dict[str, str]:
    listing = await store.list(prefix)
    return {item.key: item.value.decode() for item in listing.items}


Shown = list[tuple[int, str, str | None]]


def shown(changes: tuple[Change, ...]) -> Shown:
    """Return (revision, key, value) of changes."""
    return [(c.revision, c.key, None if c.value is None else c.value.decode()) for c in changes]


async def next_of(watch: AsyncIterator[tuple[Change, ...]]) -> Shown:
    """Return the next transaction of a watch, in time."""
    async with asyncio.timeout(DEADLINE_S):
        return shown(await anext(watch))


async def watched(watch: AsyncIterator[tuple[Change, ...]], last: int) -> Shown:
    """Return everything up to and with a revision."""
    found: Shown = []
    while not found or found[-1][0] < last:
        found += await next_of(watch)
    return found
