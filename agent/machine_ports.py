"""This machine, by its real adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.clock import SystemClock
from agent.files import DiskFiles
from agent.journal import Journalctl
from agent.machine import LinuxMachine
from agent.network import KernelNetwork
from agent.podman import PodmanService
from agent.ports import NodePorts
from agent.systemd import DBusSystemd
from agent.tools import Subprocesses


@asynccontextmanager
async def opened() -> AsyncIterator[NodePorts]:
    """Yield the machine; connections are made when they are needed, and closed at the end."""
    tools, systemd = Subprocesses(), DBusSystemd()
    podman = PodmanService(systemd)
    try:
        yield NodePorts(
            files=DiskFiles(),
            systemd=systemd,
            podman=podman,
            network=KernelNetwork(tools),
            journal=Journalctl(),
            tools=tools,
            machine=LinuxMachine(tools, systemd),
            clock=SystemClock(),
        )
    finally:
        await podman.close()
        await systemd.close()
