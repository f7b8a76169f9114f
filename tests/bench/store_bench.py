"""The embedded store on this machine's disk: durable writes, and a plan's change.

Run alone (`python -m tests.bench.store_bench`): it prints JSON. `fsync, ms` is the floor: what the
disk takes for a write of as many bytes with nothing around it.
"""

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import msgspec

from katgen.leader.planstore import Committed, load, transaction
from katgen.leader.store import Transaction
from katgen.leader.store.sqlite import SqliteStore
from katgen.plan import PlanState, advance, start
from katgen.protocol import SignedRecord
from tests.bench import synthetic
from tests.bench.plan_bench import NEW_IMAGE, with_image
from tests.environment import CACHE

WRITES = 2_000
WAYS = 64
VALUE = bytes(1024)
NODES, WORKLOADS, REPLICAS = 500, 500, 20
CHANGES = 20
SIGNED = SignedRecord("{}", "", "")


def main() -> None:
    """Measure, and print one JSON object."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        figures = {"fsync, ms": fsync_ms(Path(folder))}
        figures |= asyncio.run(measure(Path(folder)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))


def fsync_ms(folder: Path) -> float:
    """Return the median time of an append with fsync."""
    taken = []
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(200):
            begin = perf_counter()
            file.write(VALUE * 4)
            os.fdatasync(file.fileno())
            taken.append((perf_counter() - begin) * 1000)
    return statistics.median(taken)


async def measure(folder: Path) -> dict[str, float]:
    """Return the figures."""
    figures = {}
    for ways in (1, WAYS):
        async with opened(folder / f"{ways}.db") as store:
            begin = perf_counter()
            await asyncio.gather(*(write(store, ways, way) for way in range(ways)))
            figures[f"durable puts/s, {ways} at once"] = (
                WRITES // ways * ways / (perf_counter() - begin)
            )
    async with opened(folder / "plan.db") as store:
        figures |= await plans(store)
    return figures


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """Return a store for as long as it is needed."""
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


async def write(store: SqliteStore, ways: int, way: int) -> None:
    """Put one value after another."""
    for n in range(WRITES // ways):
        await store.commit(Transaction({f"bench/{way:02}/{n % 100:03}": VALUE}))


async def plans(store: SqliteStore) -> dict[str, float]:
    """Store a plan, change one workload after another, and load it."""
    state = start(synthetic.specs(WORKLOADS, REPLICAS), synthetic.inventory(NODES)).state
    begin = perf_counter()
    first = transaction(None, committed(state), (), 0)
    revision = await store.commit(first)
    instances = WORKLOADS * REPLICAS
    figures = {f"first plan of {instances:,} instances stored, ms": ms_since(begin)}
    taken = []
    for number in range(1, CHANGES):
        key = synthetic.workload_key(number)
        specs = with_image(state.plan.specs, number, REPLICAS, NEW_IMAGE)
        after = advance(state, specs, [key]).state
        begin = perf_counter()
        wanted = transaction(committed(state), committed(after), [key], revision)
        revision = await store.commit(wanted)
        taken.append(ms_since(begin))
        state = after
    figures["a workload of 20 changed: stored, median ms"] = statistics.median(taken)
    figures["a workload of 20 changed: last, bytes"] = sum(map(len, wanted.puts.values()))
    begin = perf_counter()
    await load(store)
    figures[f"plan of {instances:,} instances loaded, ms"] = ms_since(begin)
    return figures


def committed(state: PlanState) -> Committed:
    """Return a state's plan as if it had been published."""
    return Committed(state.plan, 1, SIGNED)


def ms_since(begin: float) -> float:
    """Return the milliseconds since then."""
    return (perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
