"""Makes the check of a probe: by network itself, by command through PID 1 and Podman.

A command is run by `podman exec` in a transient unit: the agent may start no container tools of its
own, and PID 1 ends what takes too long, also if the agent has died meanwhile.
"""

import asyncio
import itertools
import time
from typing import Final

from agent import probes_network
from agent.machine import kat_version
from agent.ports import Systemd
from katgen.bundle import InstanceEntry, Probe

COMMANDS: Final = 16
"""At once: each is a Podman that starts."""
CONNECTIONS: Final = 256
"""At once, so that what does not answer never takes the file descriptors of all else."""
_PODMAN: Final = "/usr/bin/podman"


class Checks:
    """The means of this node."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        self._commands = asyncio.Semaphore(COMMANDS)
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._agent = f"kat-probe/{kat_version()}"
        self._numbers = itertools.count(time.monotonic_ns())

    async def check(self, entry: InstanceEntry, probe: Probe) -> str:
        """Return '' if an instance is healthy, else why not. Raises UnfitError if nobody can say.

        It takes its turn first, then at most the probe's timeout.
        """
        if probe.kind == "exec":
            async with self._commands:
                return await self._command(entry, probe)
        async with self._connections:
            if probe.kind == "tcp":
                said = await probes_network.tcp(entry.address, probe.port, probe.timeout_seconds)
                return said and f"connecting to {entry.address}:{probe.port}: {said}"
            where = (entry.address, probe.port)
            said = await probes_network.http(where, probe.path, probe.timeout_seconds, self._agent)
            return said and f"GET http://{entry.address}:{probe.port}{probe.path}: {said}"

    async def _command(self, entry: InstanceEntry, probe: Probe) -> str:
        stem = entry.unit.removesuffix(".service")
        # Not `kat.…`: whoever follows the units of KAT need not hear of each check.
        unit = f"check-{next(self._numbers):x}.{stem}.service"
        argv = (_PODMAN, "exec", stem, *probe.command)
        if await self._systemd.run_program(unit, argv, probe.timeout_seconds):
            return ""
        return f"{probe.command[0]} has not ended with 0 within {probe.timeout_seconds} s"
