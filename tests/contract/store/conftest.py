"""One suite, two stores."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from katgen.leader.store import Store
from katgen.leader.store.limits import Memory
from katgen.leader.store.memory import MemoryStore
from katgen.leader.store.sqlite import SqliteStore
from tests.contract.store.world import StillClock

Opens = Callable[[Memory], Awaitable[Store]]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(params=["sqlite", "memory"])
async def opens(
    request: pytest.FixtureRequest, tmp_path: Path, clock: StillClock
) -> AsyncIterator[Opens]:
    """Return a function that makes an empty store with so much history."""

    async def opened(memory: Memory) -> Store:
        store: Store
        if request.param == "sqlite":
            store = await SqliteStore.open(tmp_path / "store.db", clock=clock, memory=memory)
        else:
            store = MemoryStore(clock, memory)
        stack.push_async_callback(store.close)
        return store

    async with AsyncExitStack() as stack:
        yield opened


@pytest.fixture
async def store(opens: Opens) -> Store:
    """Return an empty store."""
    return await opens(Memory())
