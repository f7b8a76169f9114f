"""Waiting until what was written has arrived, also while the store cannot be followed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from katgen.leader.feeds import objects
from katgen.leader.feeds.objects import ObjectsFeed
from katgen.leader.store import Change, StoreError
from katgen.leader.store.memory import MemoryStore

DEADLINE_S = 1.0
"""Less than whoever waits would wait in vain."""


class Torn(MemoryStore):
    """A store of which the first watch fails."""

    def __init__(self) -> None:
        super().__init__()
        self.is_torn = asyncio.Event()

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:  # type: ignore[override]  # -- an iterator all the same
        if not self.is_torn.is_set():
            self.is_torn.set()
            raise StoreError("the connection is gone")
        async for changes in super().watch(prefix, after):
            yield changes


async def test_who_gives_up_waiting_is_forgotten() -> None:
    store = MemoryStore()
    feed = ObjectsFeed(store, lambda _: {})
    await feed.load()
    waiting = [asyncio.create_task(feed.caught_up(7)) for _ in range(3)]
    await asyncio.sleep(0)
    assert feed.waiting == 3
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert feed.waiting == 0
    await store.close()


async def test_who_waits_hears_when_the_store_is_followed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "_RETRY_S", 0.01)
    store = Torn()
    feed = ObjectsFeed(store, lambda _: {})
    following = asyncio.create_task(feed.run())
    async with asyncio.timeout(DEADLINE_S):
        await store.is_torn.wait()
        assert not feed.is_current
        assert await feed.caught_up(0)
    assert feed.waiting == 0
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await store.close()
