"""`make soak`: a real leader under load for some minutes. Exits with 1 if it does not keep up.

10,000 objects, 500 watchers (some slow, some that die and come again), 200 requests a second. No
watcher may miss an event or be told one twice, and the leader's memory may not grow.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import aiohttp

from tests.bench.leader_process import Running, client, config, leader, percentile
from tests.bench.soak_watchers import watch

SPACES = 20
WORKLOADS = 200
SLOW, DYING, EVERYWHERE = 25, 40, 5
AT_ONCE = 64
"""Requests; more of them wait their turn, which counts as waiting for the answer."""
WARM_UP = 0.5
"""Of the time: memory grows until the ring is full of what was, after some 16,384 writes."""
GROWTH_MIB_MAX = 24.0
QUIET_S = 6.0
MIX = (("get", 0.62), ("list", 0.08), ("put", 0.26), ("make", 0.02), ("delete", 0.02))


@dataclass
class Load:
    """Asks and writes; `counts` are the writes of each object that the leader has confirmed."""

    session: aiohttp.ClientSession
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    busy: set[tuple[str, str]] = field(default_factory=set)
    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    made: int = 0
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def fill(self, objects: int) -> None:
        """Make what is there before it begins."""
        names = [(f"s{n % SPACES}", f"c{n}") for n in range(objects - WORKLOADS)]
        workloads = [_workload(number) for number in range(WORKLOADS)]
        for first in range(0, len(names), 1000):
            await self.apply([config(*name, 1) for name in names[first : first + 1000]])
        await self.apply(workloads)
        self.counts = dict.fromkeys(names, 1)

    async def apply(self, items: list[dict[str, object]]) -> None:
        body = {"kind": "List", "items": items}
        async with self.session.post("/v1alpha1/apply", json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())

    async def run(self, seconds: float, per_s: float) -> None:
        """Ask so often, whatever the answers take: what has to wait counts as waiting."""
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * per_s)):
                due = begun + number / per_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                (what,) = random.choices([m[0] for m in MIX], [m[1] for m in MIX])  # noqa: S311 -- no secret
                group.create_task(self.one(what, due))

    async def one(self, what: str, due: float) -> None:
        async with self.room:  # so that what waits keeps nothing from what runs
            await self.carried_out(what)
        self.taken[what].append(time.perf_counter() - due)

    async def carried_out(self, what: str) -> None:
        free = random.choice(list(self.counts)) if what != "make" else self.new()  # noqa: S311 -- the same
        is_mine = free not in self.busy
        what = what if is_mine else "get"
        self.busy.add(free)
        try:
            await getattr(self, what)(*free)
        except (aiohttp.ClientError, TimeoutError) as err:
            self.failures.append(f"{what}: {err!r}")
        finally:
            if is_mine:
                self.busy.discard(free)

    def new(self) -> tuple[str, str]:
        self.made += 1
        return f"s{self.made % SPACES}", f"n{self.made}"

    async def get(self, namespace: str, name: str) -> None:
        await self.ask("GET", f"/v1alpha1/n/{namespace}/configs/{name}", may_be_gone=True)

    async def list(self, namespace: str, _: str) -> None:
        await self.ask("GET", f"/v1alpha1/n/{namespace}/configs?limit=100")

    async def put(self, namespace: str, name: str) -> None:
        count = self.counts[namespace, name] + 1
        body = config(namespace, name, count)
        if await self.ask("PUT", f"/v1alpha1/n/{namespace}/configs/{name}", json=body):
            self.counts[namespace, name] = count

    async def make(self, namespace: str, name: str) -> None:
        body = config(namespace, name, 1)
        if await self.ask("PUT", f"/v1alpha1/n/{namespace}/configs/{name}", json=body):
            self.counts[namespace, name] = 1

    async def delete(self, namespace: str, name: str) -> None:
        count = self.counts.pop((namespace, name))
        if not await self.ask("DELETE", f"/v1alpha1/n/{namespace}/configs/{name}"):
            self.counts[namespace, name] = count

    async def ask(
        self, method: str, path: str, *, may_be_gone: bool = False, json: object = None
    ) -> bool:
        async with self.session.request(method, path, json=json) as answer:
            text = await answer.text()
            is_fine = answer.status == 200 or (may_be_gone and answer.status == 404)
            if not is_fine:
                self.failures.append(f"{method} {path}: {answer.status} {text[:200]}")
            return is_fine


def _workload(number: int) -> dict[str, object]:
    metadata = {"name": f"w{number}", "namespace": f"s{number % SPACES}"}
    spec = {"type": "Service", "source": {"image": "localhost/web:1"}}
    return {
        "apiVersion": "kat/v1alpha1", "kind": "Workload", "metadata": metadata, "spec": spec,
    }  # fmt: skip


@dataclass
class Run:
    """Everything that was found."""

    load: Load
    memory: list[tuple[float, float]]
    busy: list[float]
    watchers: tuple[dict[str, int], list[str], list[float], dict[tuple[str, int], dict[str, int]]]
    cpu_share: float


async def soak(running: Running, options: argparse.Namespace) -> Run:
    """Fill, watch, load, and look."""
    seconds = options.minutes * 60
    async with client(running, AT_ONCE) as session:
        load = Load(session)
        begun = time.monotonic()
        await load.fill(options.objects)
        say(f"filled in {time.monotonic() - begun:.0f} s")
        ours, theirs = multiprocessing.Pipe()
        watchers = multiprocessing.get_context("spawn").Process(
            target=watch, args=(running, [*_watchers(options.watchers)], theirs)
        )
        watchers.start()
        await asyncio.sleep(min(20.0, 2 + options.watchers / 25))
        memory: list[tuple[float, float]] = []
        busy: list[float] = []
        looking = asyncio.create_task(_look(running, memory, busy))
        cpu = running.cpu_s()
        await load.run(seconds, options.rate)
        cpu_share = (running.cpu_s() - cpu) / seconds
        looking.cancel()
        await asyncio.sleep(QUIET_S)
        return Run(load, memory, busy, await _findings(ours, watchers), cpu_share)


async def _findings(
    ours: Connection, watchers: "multiprocessing.process.BaseProcess"
) -> tuple[dict[str, int], list[str], list[float], dict[tuple[str, int], dict[str, int]]]:
    ours.send("stop")
    found: tuple[
        dict[str, int], list[str], list[float], dict[tuple[str, int], dict[str, int]]
    ] = await asyncio.to_thread(ours.recv)
    await asyncio.to_thread(watchers.join, 30)
    return found


def _watchers(count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        if number < EVERYWHERE:
            yield "", "steady"
        elif number < EVERYWHERE + SLOW:
            yield "", "slow"
        else:
            manner = "dying" if number < EVERYWHERE + SLOW + DYING else "steady"
            yield f"s{number % SPACES}", manner


async def _look(running: Running, memory: list[tuple[float, float]], busy: list[float]) -> None:
    begun = time.monotonic()
    while True:
        busy.append(os.getloadavg()[0])
        memory.append((time.monotonic() - begun, running.rss_mib()))
        await asyncio.sleep(1)


def growth_mib(memory: list[tuple[float, float]]) -> float:
    """Return by how much memory grows after the warm-up, by least squares over the samples."""
    points = memory[int(len(memory) * WARM_UP) :]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    square = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0
    return slope * (points[-1][0] - points[0][0])


def violations(run: Run) -> Iterator[str]:
    """Yield what may not be."""
    _, faults, _, steady = run.watchers
    yield from (f"an event is missing, or came twice: {one}" for one in faults)
    for (space, number), counts in steady.items():
        wanted = {
            f"{namespace}/{name}": count
            for (namespace, name), count in run.load.counts.items()
            if space in {"", namespace}
        }
        if counts != wanted:
            wrong = [n for n in {*counts, *wanted} if counts.get(n) != wanted.get(n)]
            shown = ", ".join(f"{n} {counts.get(n)}≠{wanted.get(n)}" for n in sorted(wrong)[:3])
            yield f"watcher {number} of {space or 'all'} ended with {len(wrong)} wrong: {shown}"
    yield from (f"a request failed: {one}" for one in run.load.failures[:10])
    grown = growth_mib(run.memory)
    if grown > GROWTH_MIB_MAX:
        yield f"memory grew by {grown:.0f} MiB"


def table(run: Run) -> Iterator[str]:
    """Yield the figures as Markdown."""
    counts, _, latencies, _ = run.watchers
    yield "| what | count | p50 ms | p99 ms | max ms |"
    yield "|---|---:|---:|---:|---:|"
    rows = {**run.load.taken, "event to watcher": latencies}
    for what, taken in rows.items():
        figures = (percentile(taken, 0.5), percentile(taken, 0.99), max(taken, default=0.0))
        shown = " | ".join(f"{one * 1000:.1f}" for one in figures)
        yield f"| {what} | {len(taken):,} | {shown} |"
    yield ""
    memory = [mib for _, mib in run.memory]
    yield (
        f"memory: {memory[0]:.0f} MiB at first, {memory[-1]:.0f} at last, "
        f"{growth_mib(run.memory):+.1f} after the warm-up; {run.cpu_share * 100:.0f} % of a core"
    )
    yield f"memory by minute, MiB: {', '.join(f'{one:.0f}' for one in memory[::60])}"
    yield (
        f"load of the machine: {sum(run.busy) / len(run.busy):.1f} on average, "
        f"{min(run.busy):.1f} to {max(run.busy):.1f}"
    )
    faults = sum(1 for _ in violations(run))
    yield f"missed, doubled, failed, or grown: {faults}"
    yield ", ".join(f"{what}: {count:,}" for what, count in sorted(counts.items()))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--rate", type=float, default=200)
    options = parser.parse_args()
    with leader() as running:
        run = asyncio.run(soak(running, options))
    say("\n".join(table(run)))
    found = [*violations(run)]
    for one in found:
        say(f"VIOLATION: {one}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
