"""What must happen on a node so that its files become those of another bundle.

`katcall plan` shows these actions and the agent carries them out, so that the two cannot disagree.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from katgen.bundle import Activation, Entry


class Verb(StrEnum):
    """One kind of step, in the order in which steps are taken."""

    WRITE = "write"  # of a stop-first successor: once its predecessor's file is gone
    KEEP = "keep"  # the file differs, but belongs to an instance: a new id takes the change up
    RELOAD = "reload"
    STOP = "stop"  # and wait until the unit's job is done and its container gone
    DELETE = "delete"  # a file that a reload takes up goes before the reload
    DAEMON_RELOAD = "daemon-reload"
    RESTART = "restart"
    START = "start"


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. `path` or `unit` is '' where the step has none; `because` is for people."""

    verb: Verb
    path: str = ""
    unit: str = ""
    because: str = ""


class Change(msgspec.Struct, frozen=True):
    """A file before and after. Both stand under one path, or are two instances of one ordinal."""

    old: Entry | None
    new: Entry | None

    @property
    def is_kept(self) -> bool:
        """Whether the node keeps the old file: an instance's file is written once for its id."""
        return (
            self.old is not None
            and self.new is not None
            and self.old.path == self.new.path
            and self.new.path.endswith(_INSTANCE)
        )

    @property
    def is_edit(self) -> bool:
        """Whether a file changes in its place."""
        return bool(self.old and self.new and self.old.path == self.new.path) and not self.is_kept

    @property
    def path(self) -> str:
        """The path to show: the new one, or that of a file which goes."""
        one = self.new or self.old
        return one.path if one else ""


Files = Mapping[str, Entry]
"""A node's files by path."""

_RELOADS: Final = {
    # In the order of taking effect: users before the directories that they own, links before rules.
    Activation.SYSUSERS: "systemd-sysusers.service",
    Activation.TMPFILES: "systemd-tmpfiles-setup.service",
    Activation.SYSCTL: "systemd-sysctl.service",
    Activation.NETWORKD: "systemd-networkd.service",
    Activation.PEER: "",
    Activation.NFT: "kat-nft.service",
    Activation.DNS: "kat-dns.service",
    Activation.PROXY: "",
}
_STARTS: Final = frozenset({Activation.START, Activation.STOP_FIRST})
_INSTANCE: Final = ".container"
"""Only an instance's own unit file ends so."""
_BUILD: Final = "-build.service"
_RANKS: Final = {
    "slice": 0, "mount": 1, "automount": 2, "socket": 2, "target": 3, "service": 5, "timer": 6,
}  # fmt: skip
"""Start what others need first; stop in the opposite order."""
_NOT_WANTED: Final = "not wanted here any more"


def changes(installed: Files, target: Files) -> tuple[Change, ...]:
    """Return every file that differs, old and new instance of one ordinal paired, by path."""
    edits = [
        Change(old, new)
        for path, new in target.items()
        if (old := installed.get(path)) is not None and old != new
    ]
    gone = [entry for path, entry in installed.items() if path not in target]
    fresh = [entry for path, entry in target.items() if path not in installed]
    return tuple(sorted((*edits, *_paired(gone, fresh)), key=lambda change: change.path))


def _paired(gone: Iterable[Entry], fresh: Iterable[Entry]) -> Iterator[Change]:
    """Pair by pair key, in the order of paths; what has no partner stands alone."""
    waiting: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(gone, key=_by_path, reverse=True):
        waiting[entry.pair_key].append(entry)
    alone = waiting.pop("", [])
    for entry in sorted(fresh, key=_by_path):
        partners = waiting.get(entry.pair_key)
        yield Change(partners.pop() if partners else None, entry)
    for entry in (*alone, *(e for partners in waiting.values() for e in partners)):
        yield Change(entry, None)


def _by_path(entry: Entry) -> str:
    return entry.path


def diff(installed: Files, target: Files) -> tuple[Action, ...]:
    """Return the steps from one set of files to the other, in the order of spec §7.

    Files of an instance that exist are kept even if they differ (`Verb.KEEP`); everything else
    ends as in `target`. Equal sets give no action.
    """
    found = changes(installed, target)
    writes = tuple(_writes(found))
    return (
        *(action for action, waits in writes if not waits),
        *(action for action, kind in _deletes(found) if kind in _RELOADS),
        *_reloads(found),
        *_stops(found, target),
        *(action for action, kind in _deletes(found) if kind not in _RELOADS),
        *(action for action, waits in writes if waits),
        *_daemon_reload(found),
        *_starts(found, installed),
    )


def _writes(found: Iterable[Change]) -> Iterator[tuple[Action, bool]]:
    """Yield each file to write, and whether its predecessor's must be gone first.

    Were both there at a boot, PID 1 would start both, on one address and one volume.
    """
    for change in found:
        new = change.new
        if new is None:
            continue
        if change.is_kept:
            because = "pending re-render: an instance's file is written once"
            yield Action(Verb.KEEP, new.path, new.unit, because), False
        else:
            because = "changed" if change.is_edit else "new"
            waits = change.old is not None and new.activation is Activation.STOP_FIRST
            yield Action(Verb.WRITE, new.path, because=because), waits and not change.is_edit


def _reloads(found: Iterable[Change]) -> Iterator[Action]:
    paths: dict[Activation, list[str]] = defaultdict(list)
    for change in found:
        if not change.is_kept:
            for entry in filter(None, (change.old, change.new)):
                paths[entry.activation].append(entry.path)
    for activation, unit in _RELOADS.items():
        touched = sorted(set(paths[activation]))
        if touched:
            folder = touched[0].rpartition("/")[0]
            yield Action(Verb.RELOAD, "" if unit else folder, unit, _first_of(touched))


def _first_of(paths: list[str]) -> str:
    name = paths[0].rpartition("/")[2]
    return f"{name} and {len(paths) - 1} more" if len(paths) > 1 else name


def _stops(found: Iterable[Change], target: Files) -> Iterator[Action]:
    wanted = {entry.unit for entry in target.values()}
    leaving: dict[str, str] = {}
    for old, new in ((change.old, change.new) for change in found):
        if old and _is_stopped(old) and old.unit not in wanted:
            replaced = new and new.unit and new.path != old.path
            leaving[old.unit] = f"{new.unit} replaces it" if new and replaced else _NOT_WANTED
    for unit in sorted(leaving, key=_start_order, reverse=True):
        yield Action(Verb.STOP, unit=unit, because=leaving[unit])


def _deletes(found: Iterable[Change]) -> Iterator[tuple[Action, Activation]]:
    """Yield each file that goes and how that takes effect: what is reloaded must be gone first."""
    for change in sorted(found, key=lambda c: c.old.path if c.old else ""):
        old, new = change.old, change.new
        if old and (new is None or new.path != old.path):
            yield Action(Verb.DELETE, old.path, because=_NOT_WANTED), old.activation


def _daemon_reload(found: Iterable[Change]) -> Iterator[Action]:
    """Yield a reload if systemd has loaded what changed; a unit it has never seen needs none."""
    paths = sorted(
        change.path
        for change in found
        if not change.is_kept
        and any(
            entry.activation is Activation.DAEMON_RELOAD
            or (change.is_edit and entry.activation in _STARTS)
            for entry in (change.old, change.new)
            if entry
        )
    )
    if paths:
        yield Action(Verb.DAEMON_RELOAD, because=_first_of(paths))


def _starts(found: Iterable[Change], installed: Files) -> Iterator[Action]:
    running = {entry.unit for entry in installed.values()}
    steps = {}
    for change in found:
        new = change.new
        if new is None or change.is_kept or not _is_started(new):
            continue
        if new.unit not in running:
            steps[new.unit] = Action(Verb.START, unit=new.unit, because=_cause(change))
        elif not new.unit.endswith(".target"):  # a restart would take its members along
            steps[new.unit] = Action(Verb.RESTART, unit=new.unit, because="its file changed")
    yield from (steps[unit] for unit in sorted(steps, key=_start_order))


def _is_started(entry: Entry) -> bool:
    """Whether KAT starts the unit; a slice comes with its members, a scheduled run by its timer."""
    started = entry.activation in _STARTS or entry.activation is Activation.DAEMON_RELOAD
    return started and bool(entry.unit) and not entry.unit.endswith(".slice")


def _is_stopped(entry: Entry) -> bool:
    """Whether the unit must be stopped before its file goes, lest its container is orphaned."""
    loaded = entry.activation in _STARTS or entry.activation is Activation.DAEMON_RELOAD
    return bool(entry.unit) and (loaded or entry.path.endswith(_INSTANCE))


def _cause(change: Change) -> str:
    old, new = change.old, change.new
    if old is None or new is None or not old.unit:
        return "new"
    waits = ", once it is stopped and gone" if new.activation is Activation.STOP_FIRST else ""
    return f"replaces {old.unit}{waits}"


def _start_order(unit: str) -> tuple[int, str]:
    before_instances = 4
    if unit.endswith(_BUILD):
        return (before_instances, unit)
    return (_RANKS.get(unit.rpartition(".")[2], before_instances), unit)
