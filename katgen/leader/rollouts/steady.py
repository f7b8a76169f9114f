"""Whether what runs goes on running: when nodes last said something new of each instance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from katgen.leader.answers import Instance
from katgen.names import InstanceKey, NodeName
from katgen.protocol import Report, UnitReport

STEADY_S: Final = 1.0
"""How long an instance must run before a change is done: what ends at once has ended by then.

Longer would catch more, and make everybody wait who applies what is right.
"""
CRASHES: Final = 3
"""So many ends in a row are a failure; fewer may be a start before what it depends on is there."""


@dataclass(frozen=True, slots=True)
class Run:
    """What an instance does since `at`, on the leader's monotonic clock.

    `lines` are what it last left behind when it failed.
    """

    doing: tuple[str, float, int]
    at: float
    lines: tuple[str, ...] = ()


Runs = Mapping[NodeName, Mapping[InstanceKey, Run]]


def runs(before: Mapping[InstanceKey, Run], report: Report, now: float) -> dict[InstanceKey, Run]:
    """Return what a node's instances do, after its report."""
    units = (unit for unit in report.units if unit.instance)
    return {unit.instance: _run(before.get(unit.instance), unit, now) for unit in units}


def _run(before: Run | None, unit: UnitReport, now: float) -> Run:
    doing = (unit.active_state, unit.since, unit.restarts)
    lines = unit.lines or (before.lines if before else ())
    if before is not None and before.doing == doing:
        return Run(doing, before.at, lines)
    return Run(doing, now, lines)


def unsteady_s(found: Iterable[Instance], known: Runs, now: float) -> float:
    """Return for how much longer running instances must run before they count, 0 if they do."""
    times = (known.get(one.node, {}).get(one.key) for one in found if one.state == "running")
    return max((STEADY_S - (now - run.at) for run in times if run is not None), default=0.0)


def is_crashing(restarts: int) -> bool:
    """Whether something that was started again so often has failed."""
    return restarts >= CRASHES
