"""Makes the check of a probe: by network itself, by command through PID 1 and Podman.

A command is run by `podman exec` in a transient unit: the agent may start no container tools of its
own, and PID 1 ends what takes too long, also if the agent has died meanwhile.

What PID 1 can end is `podman exec`, not what that has started: it is in the container's cgroup, and
Podman would keep a record of it for as long as the container lives. So the agent, while it lives,
comes first: it has the processes of a check that takes too long killed, and Podman ends in order.
They are known by a variable in their environment, which all that they start inherit.
"""

import asyncio
import itertools
import time
from contextlib import suppress
from typing import Final

from agent.health import network
from agent.health.turns import Turns
from agent.machine import kat_version
from agent.ports import Systemd, UnfitError
from katgen.bundle import InstanceEntry, Probe

COMMANDS: Final = 16
"""At once, but for slow ones: each is a Podman that starts."""
COMMANDS_SHARE: Final = 8
"""Of one namespace, slow ones and all."""
CONNECTIONS: Final = 256
CONNECTIONS_SHARE: Final = 64
"""So that what does not answer never takes the file descriptors of all else."""
SLOW_S: Final = 2.0
"""Longer than `podman exec` takes to start on a busy machine."""
SPARE_S: Final = 5
"""For the agent to end a command that takes too long, before PID 1 does."""
MARK: Final = "KAT_CHECK"
_AGAIN_S: Final = 1.0
_PODMAN: Final = "/usr/bin/podman"
_KILL: Final = f"""\
while found=$(grep -lsxz "{MARK}=$1" /proc/[0-9]*/environ); test -n "$found"; do
    for one in $found; do one=${{one#/proc/}}; kill -9 "${{one%/environ}}"; done
    sleep 0.1
done
"""
_CODES: Final = {
    125: " (of podman exec: an error of its own)",
    126: " (of podman exec: it cannot be run)",
    127: " (of podman exec: there is no such program)",
}
"""podman-exec(1). The program may have ended with these itself."""


class Checks:
    """The means of this node."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        self._commands = Turns(COMMANDS, COMMANDS_SHARE, SLOW_S)
        self._connections = Turns(CONNECTIONS, CONNECTIONS_SHARE, SLOW_S)
        self._agent = f"kat-probe/{kat_version()}"
        self._numbers = itertools.count(time.monotonic_ns())

    async def check(self, entry: InstanceEntry, probe: Probe) -> str:
        """Return '' if an instance is healthy, else why not. Raises UnfitError if nobody can say.

        It takes its turn first, then at most the probe's timeout.
        """
        namespace = entry.instance.partition("/")[0]
        if probe.kind == "exec":
            async with self._commands.turn(namespace):
                return await self._command(entry, probe)
        async with self._connections.turn(namespace):
            if probe.kind == "tcp":
                said = await network.tcp(entry.address, probe.port, probe.timeout_seconds)
                return said and f"connecting to {entry.address}:{probe.port}: {said}"
            where = (entry.address, probe.port)
            said = await network.http(where, probe.path, probe.timeout_seconds, self._agent)
            return said and f"GET http://{entry.address}:{probe.port}{probe.path}: {said}"

    async def _command(self, entry: InstanceEntry, probe: Probe) -> str:
        stem = entry.unit.removesuffix(".service")
        mark = f"{next(self._numbers):x}"
        # Not `kat.…`: whoever follows the units of KAT need not hear of each check.
        unit = f"check-{mark}.{stem}.service"
        argv = (_PODMAN, "exec", "--env", f"{MARK}={mark}", stem, *probe.command)
        limit_s = probe.timeout_seconds
        running = asyncio.create_task(
            self._systemd.run_program(unit, argv, limit_s + SPARE_S), name=unit
        )
        try:
            await asyncio.wait({running}, timeout=limit_s)
            if not running.done():
                await self._end(running, mark, stem)
                return f"{probe.command[0]} has not ended within {limit_s} s"
            code = running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return f"{probe.command[0]} {_words(code)}" if code else ""

    async def _end(self, running: asyncio.Task[int], mark: str, stem: str) -> None:
        """Kill what a command has started until it has ended, and what may be left then."""
        is_over = False
        while not is_over:
            is_over = running.done()
            unit = f"check-{mark}-{next(self._numbers):x}.{stem}.service"
            with suppress(UnfitError):
                await self._systemd.run_program(unit, ("/bin/sh", "-c", _KILL, "sh", mark), SPARE_S)
            await asyncio.wait({running}, timeout=_AGAIN_S)


def _words(code: int) -> str:
    if code < 0:
        return "could not be waited for: podman exec was killed"
    return f"has ended with {code}{_CODES.get(code, '')}"
