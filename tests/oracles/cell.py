"""A throw-away copy of the root file system in which a tool looks at files."""

import itertools
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.environment import REPOSITORY
from tests.lab.enclosure import Enclosure
from tests.lab.process import Ran, finish, wait_ready

# machine-id: networkd complains without one.
MOUNTS = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs run "$1/run"
mount -t tmpfs tmp "$1/tmp"
echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
"""
UNMOUNTS = 'umount -R -l "$1"; rm -rf --one-file-system "${1%/root}"'
STATIC_UNITS = ("*.service", "*.socket", "*.target", "*.slice", "*.timer")
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Cell:
    """`root` is where the copy is mounted in its enclosure."""

    enclosure: Enclosure
    root: str

    def within(self, argv: Sequence[str]) -> list[str]:
        """Return the command of the enclosure that runs `argv` here, in a network of its own."""
        # nsenter forks, so killing it would leave the tool behind without the death signal.
        own = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "chroot", self.root]
        return [*own, "env", "LANG=C.UTF-8", *argv]

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> Ran:
        """Run a tool to its end, whatever its exit code."""
        return finish(self.enclosure.command(self.within(argv)), stdin)

    def run_until_ready(self, argv: Sequence[str], timeout_s: float) -> str:
        """Start a daemon, end it once it says READY=1; return its output. TimeoutError if never."""
        log = self.enclosure.outside(f"{self.root}/run/daemon.log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("wb") as output:
            ready = self.enclosure.outside(f"{self.root}/run/notify")
            notify.bind(str(ready))
            ready.chmod(0o666)  # daemons give up root first
            command = self.within(["env", "NOTIFY_SOCKET=/run/notify", *argv])
            child = self.enclosure.start(command, output)
            try:
                wait_ready(notify, child, timeout_s)
            finally:
                child.kill()
                child.wait()
        return log.read_text(errors="replace")


@contextmanager
def cell(enclosure: Enclosure, files: Mapping[str, bytes]) -> Iterator[Cell]:
    """Make a cell with `files` in it; whatever happens in it, it is gone after the block."""
    root = enclosure.mount_root(f"cell-{next(_serial)}")
    try:
        enclosure.run(["sh", "-c", MOUNTS, "cell", root])
        enclosure.unpack(root, files)
        yield Cell(enclosure, root)
    finally:
        enclosure.run(["sh", "-c", UNMOUNTS, "cell", root])


def static_units() -> dict[str, bytes]:
    """Return KAT's own units as a package installs them: rendered ones refer to them.

    KAT's programs are not in the root file system; another one stands in for each.
    """
    folder = REPOSITORY / "units"
    found = sorted(path for pattern in STATIC_UNITS for path in folder.glob(pattern))
    return {f"/usr/lib/systemd/system/{path.name}": _installed(path) for path in found}


def _installed(path: Path) -> bytes:
    return re.sub(rb"@bindir@/kat-\w+", b"/usr/bin/true", path.read_bytes())
