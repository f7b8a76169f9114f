"""A cgroup per node.

nspawn makes `payload` and `supervisor` below the group that it starts in, so two nodes need two.
Groups are the one thing of a lab that outlives its processes: those of labs whose test process is
gone are swept at the next start.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "kat-lab-"


def hierarchies() -> list[Path]:
    """Return where systemd keeps its groups: v2's tree, or v1's named one and v2's beside it."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [tree for tree in (ROOT / "systemd", ROOT / "unified") if tree.is_dir()]


@contextmanager
def lab_groups(tag: str) -> Iterator[list[Path]]:
    """Make the groups of one lab and remove them, with all below, at the end."""
    sweep()
    groups = [tree / f"{PREFIX}{os.getpid()}-{tag}" for tree in hierarchies()]
    try:
        for group in groups:
            group.mkdir()
        yield groups
    finally:
        for group in groups:
            _remove(group)


def sweep() -> None:
    """Remove what labs left whose test process is gone."""
    for tree in hierarchies():
        for group in tree.glob(f"{PREFIX}*"):
            pid = group.name.removeprefix(PREFIX).partition("-")[0]
            if not Path(f"/proc/{pid}").exists():
                _remove(group)


def _remove(group: Path) -> None:
    """Remove a group and those below; one that is still in use stays for the next sweep."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return
