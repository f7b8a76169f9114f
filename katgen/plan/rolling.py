"""Replacing a workload step by step: what of a new revision is carried out in this plan.

Each plan is one step. What need not wait (a lost node, another number of instances) is as in any
plan; of the instances that merely have an earlier revision, as many are replaced as the strategy
allows for those that are ready now. The same input again changes nothing, so that the next step
waits until something becomes ready.

| | replaced |
|---|---|
| beside | its successor is made first, elsewhere if need be; it goes when that is ready |
| in place | it goes, and its successor is made, in one plan |

Instances on lost nodes wait for these, and a rollout goes on without them: they are missing, but
nobody waits for them. In place the same holds of what is missing for another reason that no step
of the rollout removes. What is not wanted any more goes at once; but an earlier one that is ready
stays as long as it stands in for a wanted one that is not.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from katgen import names
from katgen.model.specs import WorkloadObjects
from katgen.names import InstanceKey, NodeName, Ordinal, WorkloadKey
from katgen.planned import Placement, WorkloadPlan
from katgen.schedule.needs import DAEMON, JOB, Needs
from katgen.schedule.reconcile import (
    Order,
    Situation,
    Verdict,
    ordinal_order,
    placement_order,
    reconcile,
)

Beside = Mapping[Ordinal, Sequence[Placement]]


class Machines(msgspec.Struct, frozen=True):
    """What a rollout asks of nodes.

    `are_open` says whether a node takes new instances, `admit` whether its labels and taints let
    the workload run there, `are_lost` whether it has not answered for too long.
    """

    are_open: Callable[[NodeName], bool]
    admit: Callable[[NodeName], bool]
    are_lost: Callable[[NodeName], bool] = frozenset[NodeName]().__contains__


class Rollout(msgspec.Struct, frozen=True):
    """How a workload may be replaced, and where it stands. `ready` are its instances that are.

    `together` limits how many new ones may be on their way, not ready yet. `in_place`: no ordinal
    has two instances. `may_swap`: what is made beside its predecessor may take its place after all.
    """

    key: WorkloadKey
    ready: Collection[InstanceKey]
    surge: int
    unavailable: int
    together: int
    in_place: bool
    may_swap: bool
    nodes: Machines

    def is_ready(self, placement: Placement) -> bool:
        """Whether an instance is ready: none on a lost node is."""
        name = names.instance(self.key, placement.ordinal, placement.incarnation)
        return name in self.ready and not self.nodes.are_lost(placement.node)


def is_rolling(planned: WorkloadPlan) -> bool:
    """Whether an instance has another revision than its workload."""
    return any(p.revision != planned.revision for p in planned.placements)


def rolls(objects: WorkloadObjects) -> bool:
    """Whether a workload's strategy is to be replaced step by step."""
    spec = objects.workload.spec
    return spec.type != JOB and spec.update_strategy.type == "Rolling"


def rollout(
    objects: WorkloadObjects,
    needs: Needs,
    old: WorkloadPlan | None,
    ready: Collection[InstanceKey] | None,
    nodes: Machines,
) -> Rollout | None:
    """Return how a workload is replaced; None if all at once, and if there is nothing to replace.

    Without room for either, one instance at a time may be missing.
    """
    if ready is None or old is None or not rolls(objects):
        return None
    pace = objects.workload.spec.update_strategy.rolling
    surge, unavailable = pace.max_surge, pace.max_unavailable
    if not surge and not unavailable:
        unavailable = 1
    in_place = needs.stop_first or needs.kind == DAEMON or any(p.stop_first for p in old.placements)
    may_swap = needs.gpu_count > 0  # devices that do not fit twice are replaced in place as well
    together = max(1, unavailable) if in_place or may_swap else surge + unavailable
    return Rollout(needs.key, ready, surge, unavailable, together, in_place, may_swap, nodes)


def reconciled(
    old: WorkloadPlan | None,
    ordinals: Sequence[Ordinal],
    situation: Situation,
    rolling: Rollout | None,
) -> Verdict:
    """Return what becomes of a workload, of a rollout the part that may be done now."""
    if old is None:
        return reconcile(old, ordinals, situation)
    if rolling is None and not _has_doubles(old):
        return reconcile(old, ordinals, situation)
    front, beside = _in_front(old, situation.revision, rolling)
    verdict = reconcile(msgspec.structs.replace(old, placements=front), ordinals, situation)
    wanted = frozenset(ordinals)
    leaving = [
        p
        for ordinal, many in beside.items()
        for p in many
        if rolling is None or ordinal not in wanted or not situation.stays(p.node)
    ]
    if leaving:
        verdict = msgspec.structs.replace(verdict, remove=[*verdict.remove, *leaving])
    if rolling is None:
        return verdict
    staying = [p for many in beside.values() for p in many if p not in leaving]
    retried = frozenset(u.ordinal for u in old.unplaced)
    return _Step(_Task(rolling, situation, len(ordinals), retried), verdict, staying).verdict()


def _has_doubles(old: WorkloadPlan) -> bool:
    ordinals = {p.ordinal for p in old.placements}
    return len(ordinals) < len(old.placements)


def _in_front(
    old: WorkloadPlan, revision: str, rolling: Rollout | None
) -> tuple[tuple[Placement, ...], Beside]:
    """Return the instance of each ordinal that matters most, and the others.

    That is the one of the wanted revision, else one that is ready, the latest of those.
    """

    def merit(placement: Placement) -> tuple[bool, bool, int]:
        is_ready = rolling is not None and rolling.is_ready(placement)
        by_age = placement.incarnation if is_ready else -placement.incarnation
        return placement.revision == revision, is_ready, by_age

    front: dict[Ordinal, Placement] = {}
    beside: dict[Ordinal, list[Placement]] = {}
    for placement in old.placements:
        known = front.setdefault(placement.ordinal, placement)
        if known is not placement:
            better, other = sorted((known, placement), key=merit, reverse=True)
            front[placement.ordinal] = better
            beside.setdefault(placement.ordinal, []).append(other)
    return tuple(front.values()), beside


class _Task(msgspec.Struct, frozen=True):
    """What a step is about: `count` ordinals, of which those `retried` found no place before."""

    rolling: Rollout
    situation: Situation
    count: int
    retried: Collection[Ordinal]

    def must(self, previous: Placement) -> bool:
        """Whether an instance may no longer be where it is, so that it does not wait its turn."""
        looks_again = self.situation.reconsider or previous.ordinal in self.retried
        return looks_again and not self.rolling.nodes.admit(previous.node)

    def is_lost(self, running: Placement) -> bool:
        """Whether an instance stays on a lost node."""
        moves = running.revision != self.situation.revision and self.must(running)
        return self.rolling.nodes.are_lost(running.node) and not moves


class _Step:
    """One step of a rollout. Counts what there is while it decides, and what is left to spend."""

    def __init__(self, task: _Task, verdict: Verdict, beside: Sequence[Placement]) -> None:
        rolling, situation, count = task.rolling, task.situation, task.count
        self._task = task
        self._rolling = rolling
        self._situation = situation
        self._before = verdict
        self._beside = beside
        self._keep = list(verdict.keep)
        self._remove = list(verdict.remove)
        self._orders: list[Order] = []
        self._due: list[tuple[Order, Placement]] = []
        """Orders for nothing but another revision: they may wait."""
        for order in verdict.orders:
            previous = order.previous
            if previous is None or previous.revision == situation.revision:
                self._orders.append(order)
            else:
                self._due.append((order, previous))
        running = [*self._running(), *beside]
        living = [p for p in running if not task.is_lost(p)]
        staying = [p for p in living if rolling.is_ready(p) or p not in beside]
        self._lost = lost = len({p.ordinal for p in running} - {p.ordinal for p in staying})
        self._ready = sum(map(rolling.is_ready, living))
        moving = sum(o.previous is None for o in verdict.orders)
        self._total = len(living) + moving + len(verdict.fresh)
        self._doubles = 0
        """Ready ones whose successor is there as well, or about to be."""
        self._most = count - lost + rolling.surge
        absent = moving + len(verdict.fresh)
        self._bottom = self._left(lost + absent + self._stuck(), at_least=1)
        """As many stay ready of what is replaced in place, one after the other if need be."""
        self._least = self._bottom
        if not rolling.in_place:
            self._least = self._left(lost, at_least=0 if rolling.surge else 1)
        self._under_way = sum(
            p.revision == situation.revision and not rolling.is_ready(p) for p in living
        )

    def verdict(self) -> Verdict:
        """Return what may be done now."""
        self._clear_away()
        self._hold_back()
        for order, previous in self._in_turn():
            self._settle(order, previous, must=self._task.must(previous))
        self._orders.sort(key=lambda order: ordinal_order(order.ordinal))
        self._keep.sort(key=placement_order)
        before = self._before
        return Verdict(self._keep, self._remove, self._orders, before.fresh, before.homes)

    def _running(self) -> Iterable[Placement]:
        yield from self._before.keep
        yield from (o.previous for o in self._before.orders if o.previous is not None)

    def _stuck(self) -> int:
        """Count what is not ready, and cannot be replaced where it is."""
        task, are_ready = self._task, self._rolling.is_ready
        living = [(o, p) for o, p in self._due if not (task.is_lost(p) or task.must(p))]
        return sum(self._is_stuck(order, p) and not are_ready(p) for order, p in living)

    def _left(self, missing: int, *, at_least: int) -> int:
        """Return how many stay ready if some are `missing` whatever is done.

        They use up what may be missing first, except `at_least` so many, so that something goes on.
        """
        spare = max(self._rolling.unavailable - missing, at_least)
        return self._task.count - missing - spare

    def _clear_away(self) -> None:
        """Let go of instances that another one of their ordinal stands in for."""
        front = {p.ordinal: p for p in self._running()}
        for one in sorted(self._beside, key=placement_order):
            is_ready, other = self._rolling.is_ready(one), front.get(one.ordinal)
            stands_in = other is not None and self._rolling.is_ready(other)
            alone = self._rolling.in_place or self._rolling.may_swap
            spare = stands_in and (alone or self._can_miss_one())
            if is_ready and not spare:
                self._keep.append(one)
                self._doubles += other is not None and not self._task.is_lost(other)
                continue
            self._remove.append(one)
            self._total -= not self._task.is_lost(one)
            self._ready -= is_ready

    def _hold_back(self) -> None:
        """Keep as many that nobody wants any more as wanted ones are not ready.

        Those that stand in for lost ones take up no surge: nobody waits for these.
        """
        if self._situation.needs.kind == DAEMON:
            return
        lacking = max(0, self._task.count - self._ready)
        unwanted = filter(self._may_stand_in, self._before.remove)
        staying = sorted(unwanted, key=placement_order)[:lacking]
        for one in staying:
            self._remove.remove(one)
            self._keep.append(one)
        self._total += max(0, len(staying) - self._lost)

    def _may_stand_in(self, leaving: Placement) -> bool:
        may_stay = self._situation.stays(leaving.node) and self._rolling.nodes.admit(leaving.node)
        is_earlier = leaving.revision != self._situation.revision
        return is_earlier and may_stay and self._rolling.is_ready(leaving)

    def _can_miss_one(self) -> bool:
        return self._ready - 1 >= self._least

    def _in_turn(self) -> Sequence[tuple[Order, Placement]]:
        """Return what is due: first what must be, then what is not ready anyway, by ordinal."""

        def turn(due: tuple[Order, Placement]) -> tuple[bool, bool, tuple[tuple[int, str], str]]:
            order, previous = due
            must = self._task.must(previous)
            return not must, self._rolling.is_ready(previous), ordinal_order(order.ordinal)

        return sorted(self._due, key=turn)

    def _settle(self, order: Order, previous: Placement, *, must: bool) -> None:
        """Carry out an order, in place or beside what runs, or let it wait."""
        rolling, is_ready = self._rolling, self._rolling.is_ready(previous)
        if self._task.is_lost(previous):
            self._orders.append(msgspec.structs.replace(order, waits=True))
        elif must or self._is_stuck(order, previous):
            # The latter is told why it cannot be replaced, and holds up nobody.
            self._orders.append(order)
            self._under_way += must
            self._ready -= must and is_ready
        elif self._under_way >= rolling.together:
            self._keep.append(previous)
        elif not is_ready or self._can_miss_one():
            self._orders.append(order)
            self._under_way += 1
            self._ready -= is_ready
        elif self._has_room_beside():
            self._orders.append(msgspec.structs.replace(order, beside=True))
            self._under_way += 1
            self._total += 1
            self._doubles += 1
        else:
            self._keep.append(previous)

    def _has_room_beside(self) -> bool:
        """Whether a successor may be made beside; who may be swapped after all counts as gone."""
        rolling, sure = self._rolling, self._ready - self._doubles
        has_room = self._total < self._most and not rolling.in_place
        return has_room and (sure - 1 >= self._bottom or not rolling.may_swap)

    def _is_stuck(self, order: Order, previous: Placement) -> bool:
        """Whether an instance can be replaced on its node alone, which takes nothing new."""
        is_tied = bool(order.homes) or self._situation.needs.kind == DAEMON
        return is_tied and not self._rolling.nodes.are_open(previous.node)
