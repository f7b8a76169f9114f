"""The stores side by side: durable writes, watches, and plans, in SQLite and in etcd.

`python -m tests.bench.store_bench` prints Markdown. Both are on this machine's disk and take turns.
Every write is one value of 1 KiB, answered once it is on the disk. The first row is the floor: what
the disk takes for an append with nothing around it; etcd's own puts are what its store adds to.
"""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from katgen.leader.planstore import Committed, load, transaction
from katgen.leader.store import Store, Transaction
from katgen.leader.store.etcd import EtcdStore
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_calls import TXN, Calls
from katgen.leader.store.etcd_keys import putting
from katgen.leader.store.sqlite import SqliteStore
from katgen.plan import PlanState, advance, start
from katgen.protocol import SignedRecord
from tests.bench import synthetic
from tests.bench.leader_process import percentile
from tests.bench.plan_bench import NEW_IMAGE, with_image
from tests.contract.store.etcd_server import EtcdServer, running
from tests.environment import CACHE

ROUNDS = 3
WRITES = 2_000
"""Of each round, and a quarter of them by one client."""
CLIENTS = (1, 16, 64)
WATCHED = 300
VALUE = bytes(1024)
NODES, WORKLOADS, REPLICAS = 500, 500, 20
CHANGES = 20
SIGNED = SignedRecord("{}", "", "")

Write = Callable[[int, int], Awaitable[object]]
"""Carry out a client's n-th write."""
Rows = dict[str, float]
"""What was measured → the figure; times are in ms."""


def main() -> None:
    """Measure, and print the rows of a table."""
    with (
        tempfile.TemporaryDirectory(dir=CACHE) as folder,
        tempfile.TemporaryDirectory(dir=CACHE) as data,
        running(Path(data)) as etcd,
    ):
        say("| what | SQLite | etcd |", "|---|---:|---:|")
        show([{"an append of 4 KiB with fsync, p50, ms": fsync_ms(Path(folder))}, {}])
        asyncio.run(measure(Path(folder), etcd))


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def fsync_ms(folder: Path) -> float:
    """Return the median time of an append with fsync."""
    taken = []
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(200):
            begin = perf_counter()
            file.write(VALUE * 4)
            os.fdatasync(file.fileno())
            taken.append(ms_since(begin))
    return statistics.median(taken)


async def measure(folder: Path, etcd: EtcdServer) -> None:
    """Measure both and print what comes out, row by row."""
    async with opened(folder, etcd) as stores:
        for clients in CLIENTS:
            show(await in_turns([partial(writes, writer(one), clients) for one in stores]))
        calls = Calls(etcd.members)
        for clients in CLIENTS:
            plain = await writes(putter(calls), clients)
            show([{}, {f"{what}, etcd's own put": one for what, one in plain.items()}])
        await calls.close()
        show(await in_turns([partial(watch_delays, one) for one in stores]))
        show([await plans(store) for store in stores])


@asynccontextmanager
async def opened(folder: Path, etcd: EtcdServer) -> AsyncIterator[tuple[Store, Store]]:
    """Return SQLite and etcd for as long as they are needed."""
    sqlite = await SqliteStore.open(folder / "store.db")
    other = await EtcdStore.open(etcd.members, str(uuid4()), found=True)
    try:
        yield sqlite, other
    finally:
        await other.close()
        await sqlite.close()


async def in_turns(measures: Sequence[Callable[[], Awaitable[Rows]]]) -> Sequence[Rows]:
    """Measure each some times, one after the other; return of each figure its median."""
    rounds = [[await one() for one in measures] for _ in range(ROUNDS)]
    return [
        {what: statistics.median(one[at][what] for one in rounds) for what in rounds[0][at]}
        for at in range(len(measures))
    ]


def show(found: Sequence[Rows]) -> None:
    """Print rows with what each store has."""
    for what in dict.fromkeys(key for one in found for key in one):
        say(f"| {what} | {' | '.join(figure(one.get(what)) for one in found)} |")


def figure(value: float | None) -> str:
    """Return a figure with as many digits as it deserves."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def writer(store: Store) -> Write:
    """Return how a store writes."""
    return lambda client, n: store.commit(Transaction({f"bench/{client:02}/{n % 100:03}": VALUE}))


def putter(calls: Calls) -> Write:
    """Return how etcd writes with nothing around it."""

    def put(client: int, n: int) -> Awaitable[object]:
        key = f"/plain/{client:02}/{n % 100:03}".encode()
        return calls.ask(TXN, pb.TxnRequest(success=[putting(key, VALUE)]))

    return put


async def writes(write: Write, clients: int) -> Rows:
    """Return how many writes a second clients have answered, and how long one takes."""
    count = WRITES // clients if clients > 1 else WRITES // 4
    taken: list[float] = []

    async def client(number: int) -> None:
        for n in range(count):
            begin = perf_counter()
            await write(number, n)
            taken.append(ms_since(begin))

    begin = perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    rate = len(taken) / (perf_counter() - begin)
    by = "1 client" if clients == 1 else f"{clients} clients"
    return {f"writes/s, {by}": rate, **spread(f"a write, {by}", taken)}


async def watch_delays(store: Store) -> Rows:
    """Return how long it takes from the beginning of a write until a watch shows it."""
    watch = store.watch("watched/", (await store.list("", limit=1)).revision)
    taken = []
    for _ in range(WATCHED):
        begin = perf_counter()
        writing = asyncio.create_task(store.commit(Transaction({"watched/a": VALUE})))
        await anext(watch)
        taken.append(ms_since(begin))
        await writing
    return spread("from a write's beginning until a watch shows it", taken)


def spread(what: str, taken: list[float]) -> Rows:
    """Return the median, and what all but one in a hundred stay below."""
    return {
        f"{what}, p50, ms": percentile(taken, 0.50),
        f"{what}, p99, ms": percentile(taken, 0.99),
    }


async def plans(store: Store) -> Rows:
    """Store a plan, change one workload after another, and load it."""
    state = start(synthetic.specs(WORKLOADS, REPLICAS), synthetic.inventory(NODES)).state
    begin = perf_counter()
    first = transaction(None, committed(state), (), 0)
    revision = await store.commit(first)
    instances = WORKLOADS * REPLICAS
    rows = {f"the first plan of {instances:,} instances stored, ms": ms_since(begin)}
    taken = []
    for at in range(1, CHANGES):
        key = synthetic.workload_key(at)
        specs = with_image(state.plan.specs, at, REPLICAS, NEW_IMAGE)
        after = advance(state, specs, [key]).state
        begin = perf_counter()
        wanted = transaction(committed(state), committed(after), [key], revision)
        revision = await store.commit(wanted)
        taken.append(ms_since(begin))
        state = after
    size = sum(map(len, wanted.puts.values()))
    what = f"a change of a workload of {REPLICAS} stored ({size:,} bytes), p50, ms"
    rows[what] = statistics.median(taken)
    begin = perf_counter()
    await load(store)
    rows[f"the plan of {instances:,} instances loaded, ms"] = ms_since(begin)
    return rows


def committed(state: PlanState) -> Committed:
    """Return a state's plan as if it had been published."""
    return Committed(state.plan, 1, SIGNED)


def ms_since(begin: float) -> float:
    """Return the milliseconds since then."""
    return (perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
