"""A cgroup per node.

nspawn makes `payload` and `supervisor` below the group that it starts in, so two nodes need two.
Groups are the one thing of a lab that outlives its processes: those of labs whose test process is
gone are swept at the next start.
"""

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVENT_S = 10
ROOT = Path("/sys/fs/cgroup")
PREFIX = "kat-lab-"


def hierarchies() -> list[Path]:
    """Return where systemd keeps its groups: v2's tree, or v1's named one and v2's beside it."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [tree for tree in (ROOT / "systemd", ROOT / "unified") if tree.is_dir()]


def has_controller(name: str) -> bool:
    """Tell whether v2's tree has a controller, so that nodes have it too."""
    return name in (hierarchies()[-1] / "cgroup.controllers").read_text("ascii").split()


def kill(group: Path) -> None:
    """Kill every process of a v2 group and of those below, at once, also frozen ones.

    The groups must go before new processes come: they would be killed too.
    """
    (group / "cgroup.kill").write_text("1")
    _wait(group, "populated 0\n")
    remove(group)


def freeze(group: Path, *, frozen: bool) -> None:
    """Stop every process of a v2 group and of those below, or let them go on; wait until it is so.

    TimeoutError if a process does not stop.
    """
    (group / "cgroup.freeze").write_text(str(int(frozen)))
    _wait(group, f"frozen {int(frozen)}\n")


def _wait(group: Path, event: str) -> None:
    """Wait for a line of a v2 group's events."""
    with (group / "cgroup.events").open() as events:
        changes = select.poll()
        changes.register(events, select.POLLPRI)
        deadline = time.monotonic() + EVENT_S
        while event not in events.read():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{group} is not {event}")
            changes.poll(EVENT_S * 1000)
            events.seek(0)


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
            remove(group)


def sweep() -> None:
    """Remove what labs left whose test process is gone."""
    for tree in hierarchies():
        for group in tree.glob(f"{PREFIX}*"):
            pid = group.name.removeprefix(PREFIX).partition("-")[0]
            if not _lives(pid):
                remove(group)


def _lives(pid: str) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def remove(group: Path) -> None:
    """Remove a group and those below; one that is still in use stays for the next sweep."""
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return
