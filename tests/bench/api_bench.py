"""Requests a second of the API, and how soon 500 watchers hear of a write; and the floor of both.

`python -m tests.bench.api_bench` prints Markdown. The floor is a bare aiohttp server with the same
TLS, paths, bodies and clients, in the same run. Needs root.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import aiohttp
import msgspec

from tests.bench.api_floor import serve
from tests.bench.leader_process import Running, client, config, free_port, leader, percentile

OBJECTS = 10_000
CLIENTS = 32
WRITES = 100
PERIOD_S = 0.1
SPACE = "/v1alpha1/n/bench/configs"
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kind of request: how many a second, how long each took, and the server's CPU."""

    per_s: float
    taken: list[float]
    cpu_ms: float


Who = Mapping[str, str]
"""Headers."""
Ask = Callable[[aiohttp.ClientSession, int, Who], Awaitable[None]]


async def read(session: aiohttp.ClientSession, number: int, who: Who) -> None:
    """Get one object."""
    await _asked(session.get(f"{SPACE}/c{number % OBJECTS}", headers=who))


async def page(session: aiohttp.ClientSession, _: int, who: Who) -> None:
    """Get a hundred."""
    await _asked(session.get(SPACE, params={"limit": "100"}, headers=who))


async def write(session: aiohttp.ClientSession, number: int, who: Who) -> None:
    """Replace one."""
    name, url = f"c{number % OBJECTS}", f"{SPACE}/c{number % OBJECTS}"
    await _asked(session.put(url, json=config("bench", name, number), headers=who))


async def _asked(asked: "aiohttp.client._RequestContextManager") -> None:
    async with asked as answer:
        text = await answer.text()
        if answer.status != 200:
            raise RuntimeError(text)


async def requests(running: Running, ask: Ask, seconds: float, clients: int) -> Figures:
    """Ask for some seconds, so many at a time."""
    taken: list[float] = []
    async with client(running, clients) as session:
        await asyncio.gather(*(read(session, n, running.headers(n)) for n in range(clients)))
        cpu, begun = running.cpu_s(), time.perf_counter()

        async def one(first: int) -> None:
            number = first
            while time.perf_counter() < begun + seconds:
                at = time.perf_counter()
                await ask(session, number, running.headers(first))
                taken.append(time.perf_counter() - at)
                number += clients

        await asyncio.gather(*map(one, range(clients)))
        lasted = time.perf_counter() - begun
        return Figures(len(taken) / lasted, taken, (running.cpu_s() - cpu) * 1000 / len(taken))


async def fill(running: Running) -> None:
    """Make what is there before it begins."""
    async with client(running, 1) as session:
        for first in range(0, OBJECTS, 1000):
            items = [config("bench", f"c{n}", 1) for n in range(first, first + 1000)]
            await _asked(session.post("/v1alpha1/apply", json={"kind": "List", "items": items}))


# -- watches


def watch(running: Running, count: int, pipe: Connection) -> None:
    """Watch so often; say when all have begun, and at the end how late each line of each was."""
    asyncio.run(_watch(running, count, pipe))


async def _watch(running: Running, count: int, pipe: Connection) -> None:
    late: list[list[float]] = []
    left = asyncio.Semaphore(0)

    async def one(session: aiohttp.ClientSession) -> None:
        query = {"watch": "1", "labelSelector": "tier", "fieldSelector": "metadata.name=told"}
        async with session.get(SPACE, params=query) as answer:
            own: list[float] = []
            async for text in answer.content:
                line = msgspec.json.decode(text)
                if line["type"] == "BOOKMARK" and not own:
                    left.release()
                elif line["type"] == "MODIFIED":
                    own.append(time.time() - float(line["object"]["data"]["written"]))
                    if len(own) == WRITES:
                        late.append(own)
                        return

    async with client(running, count) as session:
        tasks = [asyncio.create_task(one(session)) for _ in range(count)]
        for _ in range(count):
            await left.acquire()
        pipe.send("ready")
        await asyncio.gather(*tasks)
    pipe.send(late)


async def fan_out(running: Running, watchers: int) -> tuple[list[float], list[float]]:
    """Return how late each line was, and how late the last watcher of each write."""
    ours, theirs = multiprocessing.Pipe()
    async with client(running, 1) as session:
        await _asked(session.put(f"{SPACE}/told", json=config("bench", "told", 0)))
        process = _SPAWN.Process(target=watch, args=(running, watchers, theirs))
        process.start()
        await asyncio.to_thread(ours.recv)
        for number in range(1, WRITES + 1):
            await _asked(session.put(f"{SPACE}/told", json=config("bench", "told", number)))
            await asyncio.sleep(PERIOD_S)
        late: list[list[float]] = await asyncio.to_thread(ours.recv)
    process.join()
    return [each for own in late for each in own], [*map(max, zip(*late, strict=True))]


# -- the page


@asynccontextmanager
async def _floor(running: Running) -> AsyncIterator[Running]:
    port = free_port()
    ours, theirs = multiprocessing.Pipe()
    process = _SPAWN.Process(target=serve, args=(running.folder, port, theirs))
    process.start()
    try:
        await asyncio.to_thread(ours.recv)
        yield replace(running, pid=process.pid or 0, url=f"https://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.join()


async def rows(running: Running, seconds: float, watchers: int) -> AsyncIterator[str]:
    """Yield the lines of the tables."""
    yield "| what | requests/s | p50 ms | p99 ms | server's CPU, ms each |"
    yield "|---|---:|---:|---:|---:|"
    await fill(running)
    async with _floor(running) as floor:
        for what, ask, clients in (
            (f"an object read, {CLIENTS} at a time", read, CLIENTS),
            (f"a page of 100 objects, {CLIENTS} at a time", page, CLIENTS),
            (f"an object replaced, {CLIENTS} at a time", write, CLIENTS),
            ("an object replaced, one at a time", write, 1),
        ):
            for who, of in (("KAT", running), ("floor", floor)):
                yield _row(f"{what}: {who}", await requests(of, ask, seconds, clients))
        yield ""
        yield f"| from a write to {watchers} watchers | p50 ms | p99 ms | the last of all, p50 ms |"
        yield "|---|---:|---:|---:|"
        for who, of in (("KAT", running), ("floor", floor)):
            every, last = await fan_out(of, watchers)
            shown = (percentile(every, 0.5), percentile(every, 0.99), percentile(last, 0.5))
            yield f"| {who} | {' | '.join(f'{one * 1000:.1f}' for one in shown)} |"


def _row(what: str, found: Figures) -> str:
    p50, p99 = (percentile(found.taken, share) * 1000 for share in (0.5, 0.99))
    return f"| {what} | {found.per_s:,.0f} | {p50:.1f} | {p99:.1f} | {found.cpu_ms:.2f} |"


@contextmanager
def _loads() -> Iterator[None]:
    before = os.getloadavg()[0]
    yield
    say(f"\nload of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} after")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def _main(running: Running, options: argparse.Namespace) -> None:
    async for line in rows(running, options.seconds, options.watchers):
        say(line)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--watchers", type=int, default=500)
    options = parser.parse_args()
    with leader() as running, _loads():
        asyncio.run(_main(running, options))


if __name__ == "__main__":
    main()
