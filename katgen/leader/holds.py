"""Workloads that keep their accepted revision, or stay away, because the new one will not do.

Pure data and rules: whoever has the time and the versions asks here whether a hold is over.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from katgen.names import WorkloadKey

FIRST_RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 300.0


class Reason(StrEnum):
    """Why; also the reason of the event."""

    IMAGE_PULL_FAILED = "ImagePullFailed"
    REFUSED = "Refused"  # by a node's own tool
    UNPLACED = "Unplaced"  # the old revision runs, and no node can take the new one
    UNSUPPORTED = "Unsupported"
    NO_NODE = "NoNode"  # none is connected that could say what its image is
    WAITS = "Waits"  # for another one that is held; of no hold, found anew in each pass
    PULLING = "Pulling"  # of no hold: shown as one as long as an image is on its way


_RETRIED: Final = frozenset({Reason.IMAGE_PULL_FAILED, Reason.UNPLACED})
"""Time may mend these. What a tool refused it refuses again."""
_OF_NODES: Final = frozenset({Reason.UNPLACED, Reason.NO_NODE})
"""Over when nodes, or what they have, are others."""


@dataclass(frozen=True, slots=True)
class Hold:
    """`version` is that of the workload's objects when they were found wanting, at `since`.

    `retry_at` is on the leader's monotonic clock; None: not before something changes.
    """

    workload: WorkloadKey
    reason: Reason
    message: str
    version: int
    tries: int = 1
    retry_at: float | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What was found: the makings of a hold."""

    reason: Reason
    message: str


def held(
    before: Hold | None, workload: WorkloadKey, fault: Fault, *, version: int, now: float
) -> Hold:
    """Return the hold that follows from a fault; the same fault again waits longer."""
    again = before is not None and (before.reason, before.version) == (fault.reason, version)
    tries = before.tries + 1 if before is not None and again else 1
    retry_at = now + backoff_s(tries) if fault.reason in _RETRIED else None
    return Hold(workload, fault.reason, fault.message, version, tries, retry_at)


def backoff_s(tries: int) -> float:
    """Return how long to wait after so many failures: 10 s, doubled, at most 5 minutes."""
    doubled: float = FIRST_RETRY_S * 2.0 ** min(tries - 1, 10)
    return min(doubled, LAST_RETRY_S)


def in_force(
    holds: Mapping[WorkloadKey, Hold], versions: Mapping[WorkloadKey, int], now: float
) -> frozenset[WorkloadKey]:
    """Return the workloads that are still held: same objects, and the time has not come.

    Not those that wait for another one: it may be held no longer.
    """
    return frozenset(
        key
        for key, hold in holds.items()
        if versions.get(key) == hold.version
        and (hold.retry_at is None or now < hold.retry_at)
        and hold.reason is not Reason.WAITS
    )


def still_waiting(
    holds: Mapping[WorkloadKey, Hold], versions: Mapping[WorkloadKey, int]
) -> dict[WorkloadKey, Hold]:
    """Return what is known of those that wait for another one, as far as they are the same."""
    return {
        key: hold
        for key, hold in holds.items()
        if hold.reason is Reason.WAITS and versions.get(key) == hold.version
    }


def after_nodes_changed(holds: Collection[Hold]) -> dict[WorkloadKey, Hold]:
    """Return the holds that outlive a change of nodes."""
    return {hold.workload: hold for hold in holds if hold.reason not in _OF_NODES}


def next_retry(holds: Collection[Hold], busy: Collection[WorkloadKey]) -> float | None:
    """Return the moment of the next try; whoever is being tried now (`busy`) has none."""
    times = [hold.retry_at for hold in holds if hold.workload not in busy]
    return min((one for one in times if one is not None), default=None)
