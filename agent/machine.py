"""Facts about this machine."""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from agent.ports import Systemd, Tools, UnfitError
from agent.tools import PATH
from katgen.protocol import Facts, Usage, Versions

TOOL_S: Final = 10
_VERSION: Final = re.compile(r"\d+(?:\.\d+)+|\d+")
_PROGRAMS: Final[Mapping[str, str]] = {
    "systemd": "systemctl",
    "podman": "podman",
    "netavark": "netavark",
    "nft": "nft",
}
_PATH: Final = f"{PATH}:/usr/lib/podman:/usr/libexec/podman"
"""Podman's own programs are where only it looks."""


class LinuxMachine:
    """The kernel's files below `root`, and what programs say about themselves."""

    def __init__(self, tools: Tools, systemd: Systemd, root: Path = Path("/")) -> None:
        self._tools, self._systemd, self._root = tools, systemd, root
        self._known: dict[tuple[str, int, int], str] = {}

    async def facts(self) -> Facts:
        """Measure capacity; a program that is missing has version ''.

        A program is asked again only when its file is another.
        """
        names = tuple(_PROGRAMS)
        versions = await asyncio.gather(*map(self._version, names))
        return Facts(
            cpu_millis=1000 * len(os.sched_getaffinity(0)),
            memory_bytes=self._memory_bytes(),
            versions=Versions(
                kat=kat_version(),
                kernel=os.uname().release,
                **dict(zip(names, versions, strict=True)),
            ),
        )

    async def usage(self, units: Sequence[str]) -> Sequence[Usage]:
        """Read each unit's cgroup, which systemd names; Podman's own below it counts with it."""
        groups = await self._systemd.control_groups(units)
        found = (self._usage(unit, group) for unit, group in groups.items() if group)
        return tuple(usage for usage in found if usage is not None)

    def boot_id(self) -> str:
        """Return the kernel's boot id."""
        return (self._text("proc/sys/kernel/random/boot_id") or "").strip()

    def _usage(self, unit: str, group: str) -> Usage | None:
        """Return None if the group has gone. Without a controller its figure is 0.

        `cpu.stat` is there without one too, cgroups(7).
        """
        folder = f"sys/fs/cgroup/{group.strip('/')}"
        stat = self._text(f"{folder}/cpu.stat")
        if stat is None:
            return None
        cpu = re.search(r"^usage_usec (\d+)$", stat, re.MULTILINE)
        memory = (self._text(f"{folder}/memory.current") or "").strip()
        return Usage(unit, int(cpu.group(1)) * 1000 if cpu else 0, int(memory or 0))

    def _memory_bytes(self) -> int:
        total = re.search(r"^MemTotal:\s+(\d+) kB", self._text("proc/meminfo") or "", re.MULTILINE)
        return int(total.group(1)) * 1024 if total else 0

    async def _version(self, name: str) -> str:
        try:
            file = _file_of(_PROGRAMS[name])
            if file is None:
                return ""
            if file not in self._known:
                ran = await self._tools.run((file[0], "--version"), timeout_s=TOOL_S, env={})
                found = _VERSION.search(ran.stdout)
                self._known[file] = found.group() if found else ""
        except (OSError, UnfitError):
            return ""
        return self._known[file]

    def _text(self, path: str) -> str | None:
        """Read a file of the kernel."""
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None


def _file_of(program: str) -> tuple[str, int, int] | None:
    """Return where a program is, and by what another file in its place is told. Raises OSError."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        return None
    there = Path(found).stat()
    return found, there.st_mtime_ns, there.st_size


def kat_version() -> str:
    """Return our own version, '' if this runs from a tree that is not installed."""
    try:
        return metadata.version("kat")
    except metadata.PackageNotFoundError:
        return ""
