"""Take a node's disk away: full, or read-only."""

from tests.lab.node import Node

LARGEST_BYTES = 2**30
FILL = """
at=$(stat -c %m "$1")
size=$(df --output=size -B1 "$1" | tail -1)
test "$size" -le "$2" || { echo "$at is too large to be filled: hosts(disks=...)" >&2; exit 1; }
cat /dev/zero >"$at/.lab-fill" 2>/dev/null || true
df --output=avail "$1" | tail -1 | grep -qx ' *0'
"""


def fill_disk(node: Node, path: str) -> None:
    """Leave no free byte in the file system that holds a path, until `release`.

    RunError if that is a large one: `hosts(disks=…)` makes small ones.
    """
    node.run(["sh", "-c", FILL, "sh", path, str(LARGEST_BYTES)])


def release(node: Node, path: str) -> None:
    """Give back what `fill_disk` took."""
    node.run(["sh", "-c", 'rm "$(stat -c %m "$1")/.lab-fill"', "sh", path])


def read_only(node: Node, path: str) -> None:
    """Refuse writes to the file system at a path, which `hosts(disks=…)` has made or is `/`.

    It holds for every unit, whatever mounts it has of its own, until `writable`. RunError if a
    file there is open for writing.
    """
    _remount(node, path, "ro")


def writable(node: Node, path: str) -> None:
    """End `read_only`."""
    _remount(node, path, "rw")


def _remount(node: Node, path: str, how: str) -> None:
    """Change the file system itself, not a mount of it."""
    node.enclosure.run(["mount", "-o", f"remount,{how}", f"{node.home}/root{path}".rstrip("/")])
