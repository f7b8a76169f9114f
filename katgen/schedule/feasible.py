"""Why a node cannot take an instance: every reason, with its numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

from katgen.planned import Refusal
from katgen.quantity import cpu_text, memory_text
from katgen.schedule import match
from katgen.schedule.nodes import UNLIMITED, NodeTable
from katgen.schedule.reconcile import Order
from katgen.schedule.turn import Turn


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
    yield from _of_the_node(turn, i)
    yield from _of_resources(turn, i)
    if needs_address and turn.table.slots_free[i] <= 0:
        yield _no_address(turn.table, i)
    for rule in turn.rules:
        if rule.blocks(i):
            yield Objection(rule.name, rule.detail(i))


def _of_the_node(turn: Turn, i: int) -> Iterator[Objection]:
    node = turn.table.nodes[i]
    for rule, fact in match.objections(turn.needs.requirement, node):
        yield Objection(rule, fact)
    if not node.ready:
        yield Objection("the node is not ready", "")
    if node.unschedulable:
        yield Objection("the node is cordoned", "")


def _of_resources(turn: Turn, i: int) -> Iterator[Objection]:
    table, needs = turn.table, turn.needs
    for name, want, free, whole, text in (
        ("cpu", needs.cpu, table.cpu_free[i], table.cpu_all[i], cpu_text),
        ("memory", needs.memory, table.memory_free[i], table.memory_all[i], memory_text),
    ):
        if free < want and whole != UNLIMITED:
            has = f"{text(max(free, 0))} of {text(whole)} free"
            yield Objection(name, f"wants {text(want)}, {has}", free)
    if needs.gpu_count:
        free = table.gpu_free(i, needs.gpu_vendor)
        if free < needs.gpu_count:
            has = f"{free} of {table.gpu_total(i, needs.gpu_vendor)} free"
            yield Objection(f"{needs.gpu_vendor} GPUs", f"wants {needs.gpu_count}, {has}", free)
    for port, protocol in needs.ports:
        holder = table.ports.get((i, port, protocol))
        if holder is not None:
            yield Objection(f"host port {port}/{protocol}", f"taken by {holder}")


def _no_address(table: NodeTable, i: int) -> Objection:
    total, resting = table.slots_total[i], table.slots_resting[i]
    used = total - resting - table.slots_free[i]
    return Objection("no address left", f"{total} addresses: {used} in use, {resting} resting")


def refusals(turn: Turn, order: Order) -> tuple[Refusal, ...]:
    """Return why no node takes the instance: each reason with the number of nodes that gave it."""
    quota = [
        Refusal(f"{rule}: {fact}", 0) for rule, fact in turn.board.quotas.objections(turn.needs)
    ]
    if order.homes:
        return (*quota, *_at_home(turn, order))
    table = turn.table
    if not table.names:
        return (*quota, Refusal("there are no nodes", 0))
    gathered: dict[str, tuple[int, int, Objection]] = {}
    for i in range(len(table.names)):
        for objection in objections(turn, i):
            count, best, spokesman = gathered.get(objection.rule, (0, i, objection))
            if objection.merit > spokesman.merit:
                best, spokesman = i, objection
            gathered[objection.rule] = (count + 1, best, spokesman)
    ordered = sorted(gathered.items(), key=lambda g: (-g[1][0], g[0]))
    nodes = (Refusal(str(spokesman), count, table.names[i]) for _, (count, i, spokesman) in ordered)
    return (*quota, *nodes)


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
