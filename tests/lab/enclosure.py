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

# A tree may itself be below SCRATCH: what is open is there to mount also after the tmpfs covers it.
SETUP = f"""
set -eu
n=3
for tree; do
    eval "exec $n<\\"\\$tree\\""
    n=$((n + 1))
done
mount -t tmpfs -o mode=0755,size=75% lab {SCRATCH}
while [ $n -gt 3 ]; do
    n=$((n - 1))
    mkdir {SCRATCH}/tree-$((n - 3))
    mount --no-canonicalize --bind /proc/self/fd/$n {SCRATCH}/tree-$((n - 3))
    eval "exec $n<&-"
done
# nspawn keeps files by the names of machines, and another lab's nodes have the same names.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 nspawn /run/systemd/nspawn
ip link set lo up
echo ready
exec cat
"""
# What is written goes to a directory, or to a file system of its own if it has a size. Without
# trees below it, that is all there is. Where overlayfs is missing, mount says so.
MOUNT = """
mkdir -p "$1" "$2"
if [ "$3" ]; then mount -t tmpfs -o mode=0755,size="$3" disk "$2"; fi
if [ "$4" ]; then
    mkdir "$2/upper" "$2/work"
    mount -t overlay overlay -o "lowerdir=$4,upperdir=$2/upper,workdir=$2/work" "$1"
else
    mount --bind "$2" "$1"
fi
"""
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc")
STOP_S = 30


@dataclass(frozen=True, slots=True)
class Enclosure:
    """`pid` is that of its first process, as the test process sees it.

    `trees` is how many directories of the test process lie below a node's root; `children` are
    long-running commands inside, which end with it.
    """

    pid: int
    trees: int = 1
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

    def mount_root(self, name: str, size: str = "") -> str:
        """Mount an overlay of the enclosure's trees and return where; they are never written.

        `size` limits what can be written to it, in the words of tmpfs(5).
        """
        base = f"{SCRATCH}/{name}"
        lower = [f"{SCRATCH}/tree-{number}" for number in range(self.trees)]
        self._mount(f"{base}/root", f"{base}/disk", size, lower)
        return f"{base}/root"

    def mount_disk(self, name: str, path: str, size: str) -> None:
        """Mount a file system of a limited size in a root, with what the trees have there."""
        base = f"{SCRATCH}/{name}"
        trees = [f"{SCRATCH}/tree-{number}{path}" for number in range(self.trees)]
        full = [tree for tree in trees if any(_entries(self.outside(tree)))]
        self._mount(f"{base}/root{path}", f"{base}/disk{path.replace('/', '-')}", size, full)

    def _mount(self, where: str, disk: str, size: str, lower: Sequence[str]) -> None:
        self.run(["sh", "-ec", MOUNT, "sh", where, disk, size, ":".join(lower)])


@contextmanager
def enclosure(*layers: Path) -> Iterator[Enclosure]:
    """Make one, and end it with the block. Layers lie over the root file system, topmost first."""
    trees = [*map(str, layers), str(rootfs_path())]
    # A session of its own: Ctrl-C goes to the test, which then ends the enclosure in order.
    keeper = subprocess.Popen(
        [*UNSHARE, "sh", "-c", SETUP, "lab", *trees],
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
        inside = Enclosure(_only_child(keeper.pid), len(trees))
        yield inside
    finally:
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait(timeout=STOP_S)
        for child in inside.children if inside else ():
            child.wait(timeout=STOP_S)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii"))
