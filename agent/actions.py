"""What to do next on a node of which it is not certain what is there. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from katgen.bundle import Activation, Entry
from katgen.diff import Action, Verb, diff

Entries = Mapping[str, Entry]
INSTANCE: Final = ".container"
RUN_UNITS: Final = "/run/systemd/system"
_BUILD: Final = "-build.service"


def may_be_there(base: Entries, to: Entries, target: Entries) -> dict[str, Entry]:
    """Return which files to assume after an apply from `base` to `to` was cut, before `target`.

    Where it may be one of two, the one that makes more work: what both ends have alike may still
    lack its reload, and what is new in both may not run yet.
    """
    found = {}
    for path, old in base.items():
        middle, new = to.get(path), target.get(path)
        if middle is None:
            if new is None:
                found[path] = old
        elif middle == old or path.endswith(INSTANCE) or old != new:
            found[path] = old
        else:
            found[path] = middle
    only_on_the_way = {p: e for p, e in to.items() if p not in base and p not in target}
    return {**found, **only_on_the_way}


def actions_for(base: Entries, target: Entries) -> tuple[Action, ...]:
    """Return the steps that change something."""
    return tuple(action for action in diff(base, target) if action.verb is not Verb.KEEP)


def in_place(base: Entries, target: Entries) -> tuple[Entry, ...]:
    """Return the files after an apply: those of the target, but an instance's is written once."""
    return tuple(
        base[path] if path.endswith(INSTANCE) and path in base else entry
        for path, entry in target.items()
    )


def new_instances(actions: Iterable[Action], target: Entries) -> tuple[str, ...]:
    """Return the units of instances that will be started."""
    own = {entry.unit for path, entry in target.items() if path.endswith(INSTANCE)}
    return tuple(a.unit for a in actions if a.verb is Verb.START and a.unit in own)


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps of one kind that come together."""

    verb: Verb
    actions: tuple[Action, ...]


def phases(actions: Iterable[Action]) -> Iterator[Phase]:
    """Yield the steps in their order, cut where one kind ends; starts and restarts are one kind."""
    for verb, group in groupby(actions, key=_kind):
        yield Phase(verb, tuple(group))


def _kind(action: Action) -> Verb:
    return Verb.START if action.verb is Verb.RESTART else action.verb


def in_turns(actions: Iterable[Action]) -> Iterator[tuple[Action, ...]]:
    """Yield the stops or starts that may happen at once, in the order of dependencies."""
    for _, group in groupby(actions, key=_turn):
        yield tuple(group)


def _turn(action: Action) -> str:
    unit = action.unit
    return "build" if unit.endswith(_BUILD) else unit.rpartition(".")[2]


def is_run(unit: str) -> bool:
    """Whether a unit's start ends only when its work does, or that of all it wants."""
    return unit.endswith((_BUILD, ".target"))


def expected_active(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the files whose units run as long as they are in place, but for finished runs."""
    starts = (Activation.START, Activation.STOP_FIRST, Activation.DAEMON_RELOAD)
    for entry in entries:
        if entry.unit and entry.activation in starts and not entry.unit.endswith(".slice"):
            yield entry
