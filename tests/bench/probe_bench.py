"""`python -m tests.bench.probe_bench`: what 100 probes of each kind cost.

By network: the agent's own code in this process, which asks a server in another; memory is
what is more than without probes. By command: a few checks on a lab host, one after the other; all
CPU time of the host meanwhile (the agent, the bus, PID 1, Podman, the journal) is multiplied by as
many as would be made.
"""

import asyncio
import gc
import json
import multiprocessing
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

from agent.clock import SystemClock
from agent.health.instances import Health
from agent.ports import UnitState
from katgen.bundle import InstanceEntry, Probe
from katgen.names import InstanceKey
from tests.fakes.node import FakeNode
from tests.lab import host
from tests.lab.images import import_busybox

PROBES = 100
MEASURED_S = 20
CHECKS = 40
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
INSIDE = Path(__file__).parent / "lab/on_node/probes.py"


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu`: share of one core. `memory_kib`: more than without probes, None if not the agent's."""

    cpu: float
    memory_kib: int | None = None


def main() -> None:
    """Measure, and print a table; with the name of a kind only that one, as JSON."""
    if len(sys.argv) > 1:
        json.dump(measured(sys.argv[1]), sys.stdout)
        return
    costs: dict[str, Cost] = {}
    for kind in ("http", "tcp"):
        alone = [sys.executable, "-m", "tests.bench.probe_bench", kind]
        ran = subprocess.run(alone, check=True, capture_output=True)
        costs[f"100 probes, {kind}, every second"] = Cost(*json.loads(ran.stdout))
    costs |= by_command()
    sys.stdout.write("| what | CPU, of one core | memory |\n|---|---:|---:|\n")
    for what, cost in costs.items():
        memory = "" if cost.memory_kib is None else f"{cost.memory_kib} KiB"
        sys.stdout.write(f"| {what} | {cost.cpu:.1%} | {memory} |\n")


def measured(kind: str) -> tuple[float, int | None]:
    """Return what the agent's part costs of one kind by network."""
    mine, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        cost = asyncio.run(checking(kind, mine.recv()))
    finally:
        server.terminate()
        server.join()
    return cost.cpu, cost.memory_kib


def serve(told: Connection) -> None:
    """Answer every request on a port, which is told, until terminated."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def checking(kind: str, port: int) -> Cost:
    """Return the cost of a health that checks one port as 100 instances."""
    node = replace(FakeNode().ports, clock=SystemClock())
    health = Health(node, lambda _instance, _is_ready: None)
    probe = Probe("readiness", kind, port, "/", period_seconds=1)
    keys = [InstanceKey(f"bench/web/{number}-1") for number in range(PROBES)]
    entries = {one: InstanceEntry(one, f"{one}.service", "127.0.0.1", (probe,)) for one in keys}
    gc.collect()
    before = memory_kib()
    health.follow(entries)
    for one in keys:
        health.unit(UnitState(f"{one}.service", "loaded", "active", "running"))
    task = asyncio.create_task(health.run())
    await asyncio.sleep(2)
    began, used = perf_counter(), cpu_s()
    await asyncio.sleep(MEASURED_S)
    cost = Cost((cpu_s() - used) / (perf_counter() - began), memory_kib() - before)
    ready = len(health.ready())
    task.cancel()
    if ready != PROBES:
        raise RuntimeError(f"only {ready} of {PROBES} were found to be healthy")
    return cost


def by_command() -> Mapping[str, Cost]:
    """Return what checks by command cost a lab host, for as many as 100 in every second."""
    with host(kat=True) as node:
        image = import_busybox(node)
        run = ["podman", "run", "-d", "--network", "none", "--health-interval", "disable"]
        for name in ("a", "b"):
            health = ["--health-cmd", "CMD true", "--name", f"kat.{name}"]
            node.run([*run, *health, image, "sleep", "999"])
        script = ["python3", "-c", INSIDE.read_text(), str(CHECKS)]
        ran = node.run(["env", "PYTHONPATH=/usr/lib/kat", *script], timeout_s=120)
    seconds = json.loads(ran.stdout)
    words = {"agent": "readiness by command", "podman": "liveness by command, Podman's own"}
    return {
        f"100 probes, {words[who]}, every 10 s": Cost(spent / CHECKS * PROBES / 10)
        for who, spent in seconds.items()
    }


def memory_kib() -> int:
    """Return this process' private memory."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(one.split()[1]) for one in lines if one.startswith(("Private_", "Swap:")))


def cpu_s() -> float:
    """Return this process' CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
