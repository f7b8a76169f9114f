"""A mount, network and PID namespace that end together.

The first process of the PID namespace reads a pipe whose other end only the test process holds.
When that end closes, for whatever reason, the reader ends, the kernel kills everything else in the
namespace, and mounts and links go with the last process. So nothing is left to clean up.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.environment import rootfs_path
from tests.lab.archive import tar
from tests.lab.process import Ran, finish

SCRATCH = "/media"  # nobody clones into it: what is below is hidden inside
"""A tmpfs in the enclosure for uppers and container storage: Podman's overlay driver accepts it."""

# The root file system may itself be below SCRATCH: the working directory still is after the mount.
SETUP = f"""
set -eu
cd "$1"
mount -t tmpfs -o mode=0755,size=75% lab {SCRATCH}
mkdir {SCRATCH}/base
mount --no-canonicalize --bind . {SCRATCH}/base
ip link set lo up
echo ready
exec cat
"""
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc")
STOP_S = 30


@dataclass(frozen=True, slots=True)
class Enclosure:
    """`pid` is that of its first process, as the test process sees it.

    `children` are long-running commands inside; they end with it.
    """

    pid: int
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` inside."""
        # --root: in a chroot the namespace's own root is not what the tests see.
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--net", "--pid", "--root", "--wd"]
        return [*enter, "--", *argv]

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> Ran:
        """Run a command inside. RunError with its text if it fails."""
        return finish(self.command(argv), stdin).checked(argv)

    def start(self, argv: Sequence[str], log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start a command that may run as long as the enclosure does; its output goes to `log`."""
        child = subprocess.Popen(
            self.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def outside(self, path: str) -> Path:
        """Return where the test process finds a path of the enclosure."""
        return Path(f"/proc/{self.pid}/root{path}")

    def unpack(self, root: str, files: Mapping[str, bytes]) -> None:
        """Write files by absolute path below the root of a node or a cell."""
        if files:
            self.run(["chroot", root, "tar", "-x", "-C", "/"], tar(files))

    def mount_root(self, name: str) -> str:
        """Mount an overlay of the root file system and return where; its base is never written.

        Beside it, `containers` is an empty directory that is no overlay.
        """
        base = f"{SCRATCH}/{name}"
        options = f"lowerdir={SCRATCH}/base,upperdir={base}/upper,workdir={base}/work"
        self.run(["mkdir", "-p", *(f"{base}/{d}" for d in ("upper", "work", "root", "containers"))])
        # Where overlayfs is missing, mount says so.
        self.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{base}/root"])
        return f"{base}/root"


@contextmanager
def enclosure() -> Iterator[Enclosure]:
    """Make one, and end it with the block."""
    # A session of its own: Ctrl-C goes to the test, which then ends the enclosure in order.
    keeper = subprocess.Popen(
        [*UNSHARE, "sh", "-c", SETUP, "lab", str(rootfs_path())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    inside: Enclosure | None = None
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        said = keeper.stdout.readline()
        if said != b"ready\n":
            text = (said + keeper.stdout.read()).decode(errors="replace").strip()
            raise RuntimeError(f"cannot make namespaces for a lab: {text}")
        inside = Enclosure(_only_child(keeper.pid))
        yield inside
    finally:
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait(timeout=STOP_S)
        for child in inside.children if inside else ():
            child.wait(timeout=STOP_S)


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"))
