"""What somebody changed behind KAT's back: files that differ, units that were stopped by hand."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from agent import state
from agent.actions import expected_active
from agent.ports import Files, Stat, UnfitError, UnitState
from agent.state import Applied
from katgen.bundle import Entry
from katgen.protocol import Drift

OWN_FOLDERS: Final = ("/etc/containers/systemd/kat", "/etc/kat/services")
"""Folders in which every file should be KAT's; a foreign one is named, and left alone."""
DIFF_BYTES: Final = 16 << 10
_CUT: Final = "\n... (the rest is not shown)\n"
_READABLE_BY_ALL: Final = 0o004


def file_drift(files: Files, applied: Applied) -> tuple[Drift, ...]:
    """Return how the files of a node differ from what was written, by path. Asks only the disk."""
    found = [drift for entry in applied.entries for drift in _of_file(files, entry)]
    known = {entry.path for entry in applied.entries}
    found += [
        Drift("foreign", path)
        for folder in OWN_FOLDERS
        for path in files.list(folder)
        if path not in known
    ]
    return tuple(sorted(found, key=lambda drift: drift.path))


def _of_file(files: Files, entry: Entry) -> Iterator[Drift]:
    there = files.stat(entry.path)
    if there is None:
        yield Drift("missing", entry.path)
        return
    if there.digest != entry.digest:
        yield Drift("edited", entry.path, diff=_diff(files, entry))
    if (there.mode, there.owner) != (entry.mode, entry.owner):
        yield Drift("mode", entry.path, diff=_modes(entry, there))


def _modes(entry: Entry, there: Stat) -> str:
    return (
        f"-{entry.mode:04o} {entry.owner} {entry.path}\n"
        f"+{there.mode:04o} {there.owner} {entry.path}\n"
    )


def _diff(files: Files, entry: Entry) -> str:
    """Return a unified diff from what KAT wrote to what is there, bounded."""
    if not entry.mode & _READABLE_BY_ALL:
        return "(not shown: not every user may read this file)\n"
    try:
        written = state.content(files, entry.digest)
        there = files.read(entry.path) or b""
    except UnfitError as err:
        return f"({err})\n"
    lines = difflib.unified_diff(
        written.decode(errors="replace").splitlines(keepends=True),
        there.decode(errors="replace").splitlines(keepends=True),
        entry.path,
        f"{entry.path} (on this node)",
    )
    return _bounded(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _bounded(lines: Iterable[str]) -> str:
    kept: list[str] = []
    room = DIFF_BYTES - len(_CUT)
    for line in lines:
        room -= len(line.encode())
        if room < 0:
            return "".join(kept) + _CUT
        kept.append(line)
    return "".join(kept)


def unit_drift(
    applied: Applied, states: Mapping[str, UnitState], over: frozenset[str]
) -> tuple[Drift, ...]:
    """Return the units that somebody stopped. `over` are those whose work is done.

    A failed one was not stopped, it failed.
    """
    return tuple(
        Drift("stopped", entry.path, entry.unit)
        for entry in sorted(expected_active(applied.entries), key=lambda entry: entry.unit)
        if entry.unit not in over
        and not entry.unit.endswith("-build.service")
        and (known := states.get(entry.unit)) is not None
        and known.active_state == "inactive"
    )


def written_again(found: Iterable[Drift]) -> frozenset[str]:
    """Return the paths to write again so that the node is as it was; foreign files are not ours."""
    return frozenset(drift.path for drift in found if drift.kind in _MENDED)


_MENDED: Final = frozenset({"edited", "missing", "mode", "stopped"})
