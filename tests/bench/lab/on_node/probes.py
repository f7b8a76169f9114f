"""Run on a node by its own Python, with the agent's code: checks by command. Prints JSON.

probes.py N            N checks by the agent, then N by Podman, one after the other: CPU seconds of
                       the whole host, of each kind
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from agent.health.checks import Checks
from agent.systemd import DBusSystemd
from katgen.bundle import InstanceEntry, Probe
from katgen.names import InstanceKey

A = InstanceEntry(InstanceKey("a"), "kat.a.service", "")
TRUE = Probe("readiness", "exec", command=("true",))


def used_s() -> float:
    """Return CPU time of all processes, and of those that they have waited for."""
    ticks = 0
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = one.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def by_agent(count: int) -> None:
    """Check as the agent does."""
    systemd = DBusSystemd()
    checks = Checks(systemd)
    for _ in range(count):
        if said := await checks.check(A, TRUE):
            raise RuntimeError(said)
    await systemd.close()


def by_podman(count: int) -> None:
    """Check as Podman does, from a unit of its own each time."""
    argv = ["systemd-run", "-q", "--wait", "--collect", "podman", "healthcheck", "run", "kat.b"]
    for _ in range(count):
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure both."""
    count = int(sys.argv[1])
    asyncio.run(by_agent(1))  # what is read once is read
    by_podman(1)
    began = used_s()
    asyncio.run(by_agent(count))
    between = used_s()
    by_podman(count)
    json.dump({"agent": between - began, "podman": used_s() - between}, sys.stdout)


main()
