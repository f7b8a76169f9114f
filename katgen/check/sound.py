"""Plans that broke nothing, and what differs from them: the rest need not be looked at again."""

from collections.abc import Collection, Mapping
from typing import Final

from katgen.names import WorkloadKey
from katgen.planned import Inventory, Plan

KEPT: Final = 4
"""Plans: the committed one, its candidates, and what somebody merely asks about."""
_OF_A_MOMENT: Final = frozenset({"available", "lost"})
"""What an inventory says of rollouts alone."""


class Sound:
    """The last few plans that broke nothing."""

    def __init__(self) -> None:
        self._plans: list[Plan] = []

    def add(self, plan: Plan) -> None:
        """Take a plan in; one that was not asked for lately goes."""
        self._plans = [*(one for one in self._plans if one is not plan), plan][-KEPT:]

    def differing(self, plan: Plan, parent: Plan | None) -> Collection[WorkloadKey] | None:
        """Return the workloads in which a plan differs from a sound parent.

        None if the parent is not known to be sound, or if more than workloads differs: then
        everything must be looked at. A parent may be another object than what was taken in, and
        have another number; it is what it decides that counts.
        """
        if parent is None or parent is plan or not _has_same_ground(plan, parent):
            return None
        known = next((one for one in reversed(self._plans) if _decides_alike(one, parent)), None)
        if known is None:
            return None
        self.add(known)
        return _differing(plan, parent) | _unequal(plan, known)


def _has_same_ground(plan: Plan, parent: Plan) -> bool:
    """Whether at most workloads, what rests, and what rollouts look at differ."""
    one, other = plan.specs, parent.specs
    return (
        _are_alike(plan.inventory, parent.inventory)
        and plan.subnets == parent.subnets
        and one.cluster == other.cluster
        and one.namespaces == other.namespaces
    )


def _decides_alike(one: Plan, other: Plan) -> bool:
    if one is other:
        return True
    parts = ("workloads", "resting", "retired", "earlier")
    same = all(getattr(one, part) == getattr(other, part) for part in parts)
    return same and _has_same_ground(one, other) and one.specs.workloads == other.specs.workloads


def _are_alike(one: Inventory, other: Inventory) -> bool:
    names = (name for name in Inventory.__struct_fields__ if name not in _OF_A_MOMENT)
    return one is other or all(getattr(one, name) == getattr(other, name) for name in names)


def _differing(plan: Plan, parent: Plan) -> set[WorkloadKey]:
    """Return the workloads of which anything is not the very same object."""
    return (
        _others(plan.workloads, parent.workloads)
        | _others(plan.specs.workloads, parent.specs.workloads)
        | _others(plan.earlier, parent.earlier)
        | _others(plan.retired, parent.retired)
        | _unequal(plan, parent)
    )


def _others(
    one: Mapping[WorkloadKey, object], other: Mapping[WorkloadKey, object]
) -> set[WorkloadKey]:
    if one is other:
        return set()
    found = {key for key, value in one.items() if other.get(key) is not value}
    return found | (other.keys() - one.keys())


def _unequal(one: Plan, other: Plan) -> set[WorkloadKey]:
    """Return the workloads of which something else is ready."""
    now, before = one.inventory.available, other.inventory.available
    return {key for key in now.keys() | before.keys() if now.get(key) != before.get(key)}
