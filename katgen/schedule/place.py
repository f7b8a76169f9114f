"""Decide where each instance of one workload goes."""

from collections.abc import Mapping, Sequence

import msgspec

from katgen.names import NodeName, Ordinal
from katgen.planned import Placement, Refusal, Unplaced
from katgen.schedule.feasible import refusals
from katgen.schedule.needs import DAEMON, Needs
from katgen.schedule.nodes import OUTSIDE
from katgen.schedule.reconcile import Order, Verdict
from katgen.schedule.turn import Turn


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A new place for an instance, and what it replaces, whose address it may take over."""

    ordinal: Ordinal
    node: int
    gpus: tuple[int, ...] = ()
    stop_first: bool = False
    predecessor: Placement | None = None
    keeps_address: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """New places, instances that stay as they are, and what has no place.

    `filled` are nodes for the first of the fresh ordinals, `choices` is everything else new.
    """

    filled: Sequence[int]
    choices: Sequence[Choice]
    stay: Sequence[Placement]
    unplaced: Sequence[Unplaced]


class Target(msgspec.Struct, frozen=True):
    """What a workload is becoming.

    `before` is how its running instances are accounted for, `earlier` how those are, by revision,
    that were of an earlier one already.
    """

    before: Needs
    revision: str
    earlier: Mapping[str, Needs] = {}

    def needs(self, running: Placement) -> Needs:
        """Return how a running instance is accounted for."""
        return self.earlier.get(running.revision, self.before)


def place(turn: Turn, verdict: Verdict, target: Target) -> Outcome:
    """Find a node for whatever needs one: first what exists, then what is new, in order."""
    placing = _Placing(turn, target)
    for order in verdict.orders:
        placing.settle(order)
    fresh = verdict.fresh
    quick = turn.is_plain and turn.needs.kind != DAEMON
    filled = turn.fill(len(fresh)) if quick else ()
    for ordinal in fresh[len(filled) :]:
        placing.settle(Order(ordinal))
    return Outcome(filled, placing.choices, placing.stay, placing.unplaced)


class _Placing:
    """Places the instances of one workload one by one."""

    def __init__(self, turn: Turn, target: Target) -> None:
        self.turn = turn
        self.target = target
        self.choices: list[Choice] = []
        self.stay: list[Placement] = []
        self.unplaced: list[Unplaced] = []
        self._refused: tuple[Refusal, ...] | None = None
        self._can_swap: dict[str, bool] = {}
        """By the revision of what is replaced."""

    def settle(self, order: Order) -> None:
        """Give an order a new place; else what runs stays."""
        turn, previous = self.turn, order.previous
        if previous is not None:
            if order.waits:
                self.unplaced.append(Unplaced(order.ordinal, (_waits_for(previous.node),)))
                self.stay.append(previous)
                return
            if (order.beside and self._add(order, previous)) or self._swap(previous):
                return
            turn.leave(turn.table.index[previous.node], self.target.needs(previous), previous.gpus)
            if _may_stay(turn, previous, self.target):
                self._keep(previous)
                return
        choice = _choice(turn, order)
        if choice is not None:
            turn.take(choice.node, choice.gpus, new_address=not choice.keeps_address)
            if previous is not None and not choice.keeps_address:
                turn.table.slots_resting[turn.table.index[previous.node]] += 1
            self.choices.append(choice)
            return
        self.unplaced.append(Unplaced(order.ordinal, self._refusals(order)))
        if previous is not None:
            self._keep(previous)

    def _add(self, order: Order, previous: Placement) -> bool:
        """Make a successor beside its predecessor; return False if it must be made in its place."""
        choice = _choice_beside(self.turn, order, previous)
        if choice is None and self.turn.needs.gpu_count:
            return False
        if choice is None:
            refused = self._refusals(Order(order.ordinal))
            self.unplaced.append(Unplaced(order.ordinal, refused))
        else:
            self.turn.take(choice.node, choice.gpus, new_address=True)
            self.choices.append(choice)
        self.stay.append(previous)
        return True

    def _swap(self, previous: Placement) -> bool:
        """Replace an instance in place, if only its address changes for the node."""
        turn, i = self.turn, self.turn.table.index[previous.node]
        if previous.revision == self.target.revision or not turn.admits(i):
            return False
        can_swap = self._can_swap.get(previous.revision)
        if can_swap is None:
            can_swap = _can_swap(turn, self.target.needs(previous))
            self._can_swap[previous.revision] = can_swap
        if not can_swap:
            return False
        swapped = turn.table.swap(i)
        if swapped:
            self.choices.append(Choice(previous.ordinal, i, predecessor=previous))
        return swapped

    def _keep(self, previous: Placement) -> None:
        i, needs = self.turn.table.index[previous.node], self.target.needs(previous)
        self.turn.take(i, previous.gpus, new_address=False, needs=needs)
        self.stay.append(previous)

    def _refusals(self, order: Order) -> tuple[Refusal, ...]:
        """Return why there is no place; told once for all instances that could go anywhere."""
        if _only_node(self.turn, order) is not None:
            return refusals(self.turn, order)
        if self._refused is None:
            self._refused = refusals(self.turn, order)
        return self._refused


def _waits_for(node: NodeName) -> Refusal:
    return Refusal(f"it waits for node {node}, which is not ready", 1, node)


def _can_swap(turn: Turn, before: Needs) -> bool:
    """Whether a successor on the same node asks for what its predecessor had, and no more.

    Then `_Placing.settle` would come to the same, in four times the time.
    """
    needs = turn.needs
    return (
        turn.asks_only_for_room
        and not needs.stop_first
        and (before.cpu, before.memory) == (needs.cpu, needs.memory)
        and not (before.ports or before.gpu_count)
        and not turn.board.quotas.is_limited(needs.namespace)
    )


def _may_stay(turn: Turn, previous: Placement, target: Target) -> bool:
    """Whether an instance of the right revision keeps every rule where it is; a cordon is none."""
    i = turn.table.index[previous.node]
    right = previous.revision == target.revision
    return right and turn.admits(i) and turn.fits(i, needs_address=False)


def _choice(turn: Turn, order: Order) -> Choice | None:
    if len(order.homes) > 1 or not turn.board.quotas.has_room(turn.needs):
        return None
    previous = order.previous
    there = OUTSIDE if previous is None else turn.table.index[previous.node]
    stop_first = turn.needs.stop_first or _lacks_second_gpus(turn, previous, there)
    only = _only_node(turn, order)
    if only is not None:
        i = turn.table.index.get(only, OUTSIDE)
        takes = i != OUTSIDE and _takes(turn, i, needs_address=not (stop_first and i == there))
    else:
        i = there
        takes = there != OUTSIDE and _takes(turn, i, needs_address=not stop_first)
    if not takes:
        i = turn.choose() if only is None else OUTSIDE
    if i == OUTSIDE:
        return None
    if i != there:
        stop_first = turn.needs.stop_first
    gpus = _gpus(turn, i, previous if i == there else None, stop_first=stop_first)
    return Choice(order.ordinal, i, gpus, stop_first, previous, stop_first and i == there)


def _choice_beside(turn: Turn, order: Order, previous: Placement) -> Choice | None:
    """Return a place for an instance whose predecessor goes later, the same node if possible.

    The predecessor still counts for every rule. To rank its node it does not: otherwise instances
    would gather on some nodes in the course of a rollout.
    """
    if not turn.board.quotas.has_room(turn.needs):
        return None
    i, there = turn.choose(), turn.table.index[previous.node]
    if i == OUTSIDE:
        return None
    if i != there and _takes(turn, there, needs_address=True):
        (worth, own, _), (least, fewest, _) = turn.rank(there), turn.rank(i)
        i = there if (worth, own - 1) <= (least, fewest) else i
    gpus = _gpus(turn, i, None, stop_first=False)
    return Choice(order.ordinal, i, gpus, turn.needs.stop_first)


def _only_node(turn: Turn, order: Order) -> NodeName | None:
    """Return the one node that is possible at all: that of the data, or a daemon's own."""
    if order.homes:
        return order.homes[0]
    return NodeName(order.ordinal) if turn.needs.kind == DAEMON else None


def _takes(turn: Turn, i: int, *, needs_address: bool) -> bool:
    turn.examined += 1
    can_replace = turn.table.can_replace[i]
    return can_replace and turn.admits(i) and turn.fits(i, needs_address=needs_address)


def _lacks_second_gpus(turn: Turn, previous: Placement | None, i: int) -> bool:
    """Whether predecessor and successor together want more devices than node `i` has free."""
    needs = turn.needs
    if previous is None or not needs.gpu_count:
        return False
    free = turn.table.free_gpus(i, needs.gpu_vendor)
    return len(set(free).difference(previous.gpus)) < needs.gpu_count


def _gpus(turn: Turn, i: int, previous: Placement | None, *, stop_first: bool) -> tuple[int, ...]:
    """Return devices for the instance: the predecessor's if that is gone by then, else others."""
    needs = turn.needs
    if not needs.gpu_count:
        return ()
    free = turn.table.free_gpus(i, needs.gpu_vendor)
    if previous is not None:
        kept = [n for n in free if n in previous.gpus]
        others = [n for n in free if n not in previous.gpus]
        free = tuple(kept + others if stop_first else others)
    return tuple(sorted(free[: needs.gpu_count]))
