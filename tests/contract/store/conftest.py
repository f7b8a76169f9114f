"""One suite, three stores."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from katgen.leader.store import Store
from katgen.leader.store.etcd import EtcdStore
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_calls import REVOKE, Calls, Method, RefusedCallError
from katgen.leader.store.limits import Memory
from katgen.leader.store.memory import MemoryStore
from katgen.leader.store.sqlite import SqliteStore
from tests.contract.store.etcd_server import EtcdServer, running
from tests.contract.store.shifted import ShiftedStore
from tests.contract.store.world import StillClock

LEASES: Method[pb.LeaseLeasesRequest, pb.LeaseLeasesResponse] = Method(
    "/etcdserverpb.Lease/LeaseLeases", pb.LeaseLeasesResponse, is_read=True
)
Opens = Callable[[Memory], Awaitable[Store]]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Return an etcd for the whole session: each test has a cluster of its own there."""
    with running(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(params=["sqlite", "memory", "etcd"])
async def opens(
    request: pytest.FixtureRequest, tmp_path: Path, clock: StillClock
) -> AsyncIterator[Opens]:
    """Return a function that makes an empty store with so much history."""

    async def opened(memory: Memory) -> Store:
        store: Store
        if request.param == "sqlite":
            store = await SqliteStore.open(tmp_path / "store.db", clock=clock, memory=memory)
        elif request.param == "etcd":
            store = await opened_in_etcd(request.getfixturevalue("etcd"), clock, memory)
        else:
            store = MemoryStore(clock, memory)
        stack.push_async_callback(store.close)
        return store

    async with AsyncExitStack() as stack:
        yield opened


async def opened_in_etcd(server: EtcdServer, clock: StillClock, memory: Memory) -> Store:
    await end_leases(server)
    store = await EtcdStore.open(
        server.members, str(uuid4()), found=True, clock=clock, memory=memory
    )
    return ShiftedStore(store, (await store.list("")).revision)


async def end_leases(server: EtcdServer) -> None:
    """End what earlier tests have left: etcd gives a revision to every lease that ends later."""
    calls = Calls(server.members)
    for lease in (await calls.ask(LEASES, pb.LeaseLeasesRequest())).leases:
        with suppress(RefusedCallError):  # it ends just now
            await calls.ask(REVOKE, pb.LeaseRevokeRequest(ID=lease.ID))
    await calls.close()


@pytest.fixture
async def store(opens: Opens) -> Store:
    """Return an empty store."""
    return await opens(Memory())
