"""A host, to run commands on and put files on."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.archive import tar
from tests.lab.enclosure import SCRATCH, Enclosure
from tests.lab.process import RUN_S, Ran, finish

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class Node:
    """A host: its underlay address, its cgroups (v2's last).

    `nspawn` and `leader`, its PID 1 as the enclosure sees it, change with every boot; `leader` is 0
    while it is off. All else stays.
    """

    name: str
    address: str
    enclosure: Enclosure
    groups: tuple[Path, ...]
    leader: int = 0
    nspawn: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> str:
        """Where the enclosure keeps what belongs to this node; its root is in `root`."""
        return f"{SCRATCH}/{self.name}"

    @property
    def port(self) -> str:
        """The link of the enclosure's bridge that leads to this node."""
        return f"vb-{self.name}"

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` on this node, as root. RuntimeError if it is off."""
        if self.leader == 0:
            raise RuntimeError(f"node {self.name} is off")
        enter = ["nsenter", "-t", str(self.leader), "--all", "--root", "--wd", "--"]
        return self.enclosure.command([*enter, "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", *argv])

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = RUN_S,
    ) -> Ran:
        """Run a command and wait for it. RunError if it fails, unless `check` is off."""
        ran = finish(self.command(argv), stdin, timeout_s)
        return ran.checked([f"{self.name}:", *argv]) if check else ran

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write one file, with the directories above it."""
        self.put_tree({path: content}, mode)

    def put_tree(self, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """Write files by absolute path, in one go."""
        self.run(["tar", "-x", "-C", "/"], stdin=tar(files, mode))

    def journal(self, unit: str) -> str:
        """Return what a unit has logged, messages only."""
        return self.run(["journalctl", "-o", "cat", "--no-pager", "-u", unit]).stdout
