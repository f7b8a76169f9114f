"""What the checks of one probe make of it, and when the next is due (spec §3.2). Pure.

A probe begins with each start of its unit: readiness not ready, liveness alive. A number of
successes or failures in a row, its thresholds, turns it.
"""

from dataclasses import dataclass
from typing import Final

from katgen.bundle import Probe

READINESS: Final = "readiness"
LIVENESS: Final = "liveness"


@dataclass(frozen=True, slots=True)
class State:
    """Ready, or alive: `is_good`. `is_sure` once a threshold has been reached, whichever.

    `streak` counts the last checks of one kind: successes upwards, failures downwards.
    """

    is_good: bool
    is_sure: bool = False
    streak: int = 0


def begin(probe: Probe) -> State:
    """Return the state at the start of the unit."""
    return State(is_good=probe.purpose == LIVENESS)


def take(probe: Probe, state: State, *, healthy: bool) -> State:
    """Return the state after a check."""
    streak = max(state.streak, 0) + 1 if healthy else min(state.streak, 0) - 1
    if streak >= probe.success_threshold:
        return State(is_good=True, is_sure=True, streak=streak)
    if -streak >= probe.failure_threshold:
        return State(is_good=False, is_sure=True, streak=streak)
    return State(state.is_good, state.is_sure, streak)


def has_failed(before: State, after: State) -> bool:
    """Whether a check was the one that made it sure that an instance is bad."""
    return after.is_sure and not after.is_good and not (before.is_sure and not before.is_good)


def first_wait_s(probe: Probe, running_s: float, share: float) -> float:
    """Return how long to wait for the first check of a unit that has run for so long.

    None is before `initialDelaySeconds`. After a start it comes at once, so that what is healthy is
    soon known to be. What has run for longer is looked at within a period: `share`, from 0 to 1, of
    it, so that after a start of the agent not all checks come together.
    """
    left = probe.initial_delay_seconds - running_s
    return max(0.0, left) if left > -probe.period_seconds else share * probe.period_seconds


def second_due(probe: Probe, due: float, now: float, share: float) -> float:
    """Return when the second check is due: after half a period to a whole one.

    Instances that have started together are apart from then on.
    """
    return max(now, due + probe.period_seconds * (1 + share) / 2)


def next_due(probe: Probe, due: float, now: float) -> float:
    """Return when the check after that which was due at `due` is due, at once if it took long."""
    return max(now, due + probe.period_seconds)
