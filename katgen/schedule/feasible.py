"""Why a node cannot take an instance: every reason, with its numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from katgen.planned import Refusal
from katgen.quantity import cpu_text, memory_text
from katgen.schedule import match
from katgen.schedule.nodes import NodeTable
from katgen.schedule.reconcile import Order
from katgen.schedule.turn import Turn
from katgen.schedule.vain import shape_of

NO_ADDRESS: Final = "no address left"


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason. Of nodes with the same `rule`, the one with the most `merit` speaks for all."""

    rule: str
    fact: str
    merit: int = 0

    def __str__(self) -> str:
        return f"{self.rule}: {self.fact}" if self.fact else self.rule


def objections(turn: Turn, i: int, *, needs_address: bool = True) -> Iterator[Objection]:
    """Yield everything that keeps one more instance off node `i`."""
    for rule, fact in match.objections(turn.needs.requirement, turn.table.nodes[i]):
        yield Objection(rule, fact)
    yield from _of_the_state(turn, i)
    yield from _of_resources(turn, i)
    yield from _of_devices(turn, i)
    if needs_address and turn.table.slots_free[i] <= 0:
        yield _no_address(turn.table, i)
    yield from _of_rules(turn, i)


def _of_the_state(turn: Turn, i: int) -> Iterator[Objection]:
    node = turn.table.nodes[i]
    if not node.ready or i in turn.table.lost:
        yield Objection("the node is not ready", "")
    if node.unschedulable:
        yield Objection("the node is cordoned", "")


def _of_resources(turn: Turn, i: int) -> Iterator[Objection]:
    table, needs = turn.table, turn.needs
    for name, want, free, whole, text in (
        ("cpu", needs.cpu, table.cpu_free[i], table.cpu_all[i], cpu_text),
        ("memory", needs.memory, table.memory_free[i], table.memory_all[i], memory_text),
    ):
        if free < want:
            has = f"{text(max(free, 0))} of {text(whole)} free"
            yield Objection(name, f"wants {text(want)}, {has}", free)


def _of_devices(turn: Turn, i: int) -> Iterator[Objection]:
    table, needs = turn.table, turn.needs
    if needs.gpu_count:
        free = table.gpu_free(i, needs.gpu_vendor)
        if free < needs.gpu_count:
            has = f"{free} of {table.gpu_total(i, needs.gpu_vendor)} free"
            yield Objection(f"{needs.gpu_vendor} GPUs", f"wants {needs.gpu_count}, {has}", free)
    for port, protocol in needs.ports:
        holders = table.ports.get((i, port, protocol))
        if holders:
            yield Objection(f"host port {port}/{protocol}", f"taken by {holders[0]}")


def _no_address(table: NodeTable, i: int) -> Objection:
    total, resting = table.slots_total[i], table.slots_resting[i]
    used = total - resting - table.slots_free[i]
    return Objection(NO_ADDRESS, f"{total} addresses: {used} in use, {resting} resting")


def _of_rules(turn: Turn, i: int) -> Iterator[Objection]:
    for rule in turn.rules:
        if rule.blocks(i):
            yield Objection(rule.name, rule.detail(i))


class _Gathered:
    """Counts objections by rule, and remembers the node that comes closest to each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.closest: dict[str, tuple[int, int]] = {}
        """Rule → merit (negated) and node: the least is closest."""

    def add(self, rule: str, merit: int, i: int) -> None:
        self.counts[rule] = self.counts.get(rule, 0) + 1
        if rule not in self.closest or (-merit, i) < self.closest[rule]:
            self.closest[rule] = (-merit, i)


def refusals(turn: Turn, order: Order) -> tuple[Refusal, ...]:
    """Return why no node takes the instance: each reason with the number of nodes that gave it.

    A node that labels or taints keep away gives these reasons alone.
    """
    against = turn.board.quotas.objections(turn.needs)
    quota = [Refusal(f"{rule}: {fact}", 0) for rule, fact in against]
    if order.homes:
        return (*quota, *_at_home(turn, order))
    table = turn.table
    if not table.names:
        return (*quota, Refusal("there are no nodes", 0))
    return (*quota, *_told_by_nodes(turn))


def _told_by_nodes(turn: Turn) -> tuple[Refusal, ...]:
    needs, vain = turn.needs, turn.board.pools.vain
    told = vain.told(shape_of(needs)) if turn.asks_only_for_room else None
    if told is None:
        gathered = _Gathered()
        _of_all_nodes(turn, gathered)
        ordered = sorted(gathered.counts.items(), key=lambda c: (-c[1], c[0]))
        told = tuple(_refusal(turn, gathered, rule, count) for rule, count in ordered)
        if turn.asks_only_for_room:
            vain.tell(shape_of(needs), told)
    return told


def _refusal(turn: Turn, gathered: _Gathered, rule: str, count: int) -> Refusal:
    i = gathered.closest[rule][1]
    reason = next(str(o) for o in objections(turn, i) if o.rule == rule)
    return Refusal(reason, count, turn.table.names[i])


def _of_all_nodes(turn: Turn, gathered: _Gathered) -> None:
    """Gather what each node objects, without wording it: there may be thousands."""
    table, needs = turn.table, turn.needs
    cpu_free, memory_free, slots_free = table.cpu_free, table.memory_free, table.slots_free
    for rule, count, i in turn.board.pools.turned_away(needs.requirement):
        gathered.counts[rule] = count
        gathered.closest[rule] = (0, i)
    for i in chain.from_iterable(group.nodes for group in turn.pool.division.groups):
        if cpu_free[i] < needs.cpu:
            gathered.add("cpu", cpu_free[i], i)
        if memory_free[i] < needs.memory:
            gathered.add("memory", memory_free[i], i)
        if slots_free[i] <= 0:
            gathered.add(NO_ADDRESS, 0, i)
        for objection in _particular_objections(turn, i):
            gathered.add(objection.rule, objection.merit, i)


def _particular_objections(turn: Turn, i: int) -> Iterable[Objection]:
    if turn.table.open[i] and turn.asks_only_for_room:
        return ()
    return _of_state_devices_and_rules(turn, i)


def _of_state_devices_and_rules(turn: Turn, i: int) -> Iterator[Objection]:
    yield from _of_the_state(turn, i)
    yield from _of_devices(turn, i)
    yield from _of_rules(turn, i)


def _at_home(turn: Turn, order: Order) -> Iterator[Refusal]:
    """Say why an instance cannot run where its data is."""
    if len(order.homes) > 1:
        yield Refusal(f"its data is on {len(order.homes)} nodes: {', '.join(order.homes)}", 0)
        return
    home = order.homes[0]
    i = turn.table.index.get(home)
    if i is None:
        yield Refusal(f"its data is on {home}, which is gone", 1, home)
        return
    for objection in objections(turn, i):
        yield Refusal(f"its data is on {home}; {objection}", 1, home)
