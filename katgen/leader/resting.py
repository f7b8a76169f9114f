"""When numbers that lost their owner may be used again (spec §4)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen.ipam import Layout, used_virtuals
from katgen.leader.clock import Clock
from katgen.names import NodeName
from katgen.planned import Plan
from katgen.protocol import Report
from katgen.schedule.feasible import NO_ADDRESS

REST_S: Final = 600.0
LOT: Final = 32
"""Numbers are taken back in lots, since it costs a look at the whole cluster; at once if they are
all that is left."""


@dataclass(eq=False, slots=True)
class Rests:
    """Knows when plans were committed; those from before it began count from its beginning."""

    clock: Clock
    _times: dict[int, float] = field(default_factory=dict)
    _looked: float = 0.0

    def look(self) -> None:
        """Take note that whatever has rested by now is about to be taken back."""
        self._looked = self.clock.monotonic()

    def committed(self, generation: int) -> None:
        """Take note of a commit."""
        self._times[generation] = self.clock.monotonic()

    def over(self, plan: Plan, reports: Mapping[NodeName, Report]) -> frozenset[str]:
        """Return what has rested 10 minutes and is given up by every node, if it is worth it."""
        if not plan.resting:
            return frozenset()
        done = self._done(plan, reports)
        rested = frozenset(
            name for name, one in plan.resting.items() if one.released_generation <= done
        )
        is_wanted = rested and (_lacks_addresses(plan) or _has_no_other(plan, rested))
        return rested if len(rested) >= LOT or is_wanted else frozenset()

    def next_moment(self, plan: Plan) -> float | None:
        """Return when more has rested than at the last look; None if nothing rests any more."""
        first = min((one.released_generation for one in plan.resting.values()), default=None)
        if first is None:
            return None
        ends = (at + REST_S for number, at in self._times.items() if number >= first)
        return min((at for at in ends if at > self._looked), default=None)

    def _done(self, plan: Plan, reports: Mapping[NodeName, Report]) -> int:
        """Return the generation up to which numbers have rested."""
        acknowledged = [reports[n].generation if n in reports else 0 for n in plan.inventory.nodes]
        now = self.clock.monotonic()
        old = [number for number, at in self._times.items() if at + REST_S <= now]
        for number in sorted(old)[:-1]:
            del self._times[number]
        return min([max(old, default=0), *acknowledged])


def is_short(plan: Plan, *, in_trouble: bool) -> bool:
    """Whether somebody may be waiting for what rests; `in_trouble`: something has been refused."""
    return bool(plan.resting) and (in_trouble or _lacks_addresses(plan))


def _lacks_addresses(plan: Plan) -> bool:
    """Whether an instance finds no place for want of what rests."""
    return any(
        NO_ADDRESS in refusal.reason
        for planned in plan.workloads.values()
        for one in planned.unplaced
        for refusal in one.refusals
    )


def _has_no_other(plan: Plan, rested: Collection[str]) -> bool:
    """Whether the next node or virtual address can only have what has rested.

    Who wanted one was refused, and is in no plan.
    """
    layout = Layout(plan.specs.cluster.spec)
    if any("/" in one for one in rested) and len(plan.subnets) >= layout.subnets:
        return True
    virtuals = (one for one in rested if "/" not in one and layout.virtual_number(one) is not None)
    return any(virtuals) and len(used_virtuals(plan, layout, plan.resting)) >= layout.virtuals
