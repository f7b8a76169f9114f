"""Candidate nodes in order of preference, without looking at every node for every instance.

Nodes that are alike to a workload in labels, taints, topology and size form a group; each group is
a heap of `NodeTable.key`. The heaps are lazy: an entry that no longer equals its node's key is put
right when it comes to the top, and nodes that became better since (the table's log) are entered
again. So the top is always the exact best, and one heap serves all workloads of one requirement.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from katgen.planned import Node
from katgen.schedule import match
from katgen.schedule.needs import GPU_RESOURCES, Needs, Requirement
from katgen.schedule.nodes import NODE_TOPOLOGY, OUTSIDE, NodeTable
from katgen.schedule.vain import Vain

COARSE: Final = 64
"""Topologies with more values than this do not divide nodes into groups."""
_PLAIN: Final = frozenset({"cpu", "memory"})


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of similar size, with equal preference and equal values of the coarse topology keys.

    `cpu`, `memory` and `gpus` are what the largest of them has.
    """

    preference: int
    nodes: tuple[int, ...]
    cpu: int
    memory: int
    gpus: Mapping[str, int]

    def can_hold(self, needs: Needs) -> bool:
        """Whether an instance fits the largest of these nodes while that is empty."""
        return (
            self.cpu >= needs.cpu
            and self.memory >= needs.memory
            and (not needs.gpu_count or self.gpus.get(needs.gpu_vendor, 0) >= needs.gpu_count)
        )


@dataclass(frozen=True, slots=True)
class Division:
    """All nodes that a requirement admits, also closed ones. `member` maps node → group."""

    groups: tuple[Group, ...]
    member: "array[int]"


@dataclass(slots=True)
class Pool:
    """One heap per group, of its open nodes. `seen` is how much of the table's log they know."""

    division: Division
    heaps: list[list[int]]
    seen: int

    def catch_up(self, table: NodeTable) -> None:
        """Enter again what became better since the last look."""
        log = table.log
        if self.seen == len(log):
            return
        member, heaps = self.division.member, self.heaps
        for i in set(log[self.seen :]):
            group = member[i]
            if group != OUTSIDE and table.open[i]:
                heappush(heaps[group], table.key[i])
        self.seen = len(log)

    def put_back(self, table: NodeTable, nodes: Iterable[int]) -> None:
        """Enter nodes that were taken off the heaps."""
        member, heaps, key = self.division.member, self.heaps, table.key
        for i in nodes:
            group = member[i]
            if group != OUTSIDE:
                heappush(heaps[group], key[i])


def drop_top(heap: list[int]) -> None:
    """Take the best node off the heap; equal entries are the same node twice."""
    entry = heappop(heap)
    while heap and heap[0] == entry:
        heappop(heap)


class Pools:
    """Divisions and pools, made when first asked for."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self.vain = Vain(table)
        self._labels = _label_index(table.nodes)
        self._sizes = _sizes(table)
        self._tainted = [i for i, n in enumerate(table.nodes) if n.taints]
        self._divisions: dict[tuple[Requirement, tuple[str, ...]], Division] = {}
        self._open_to: dict[tuple[Requirement, str], Mapping[str, int]] = {}
        self._turned_away: dict[Requirement, Sequence[tuple[str, int, int]]] = {}
        self._pools: dict[tuple[Requirement, tuple[str, ...]], Pool] = {}

    def is_coarse(self, topology: str) -> bool:
        """Whether a topology key has few enough values to divide nodes into groups."""
        return topology != NODE_TOPOLOGY and len(self._labels.get(topology, ())) <= COARSE

    def division(self, requirement: Requirement, topologies: tuple[str, ...] = ()) -> Division:
        """Return the admitted nodes, divided by preference and the given topology keys."""
        known = self._divisions.get((requirement, topologies))
        if known is None:
            known = self._divide(requirement, topologies)
            self._divisions[requirement, topologies] = known
        return known

    def open_to(self, requirement: Requirement, topology: str) -> Mapping[str, int]:
        """Return the domains of a topology that have admitted nodes, each with 0 instances."""
        known = self._open_to.get((requirement, topology))
        if known is None:
            domains, groups = self._table.domains(topology), self.division(requirement).groups
            values = (domains[i] for group in groups for i in group.nodes)
            known = {domain: 0 for domain in values if domain is not None}
            self._open_to[requirement, topology] = known
        return known

    def turned_away(self, requirement: Requirement) -> Sequence[tuple[str, int, int]]:
        """Return what in labels and taints is in the way: rule, number of nodes, one of them."""
        known = self._turned_away.get(requirement)
        if known is None:
            nodes, member = self._table.nodes, self.division(requirement).member
            counts: dict[str, tuple[int, int]] = {}
            for i, node in enumerate(nodes):
                for rule, _ in match.objections(requirement, node) if member[i] == OUTSIDE else ():
                    count, first = counts.get(rule, (0, i))
                    counts[rule] = (count + 1, first)
            known = [(rule, count, first) for rule, (count, first) in counts.items()]
            self._turned_away[requirement] = known
        return known

    def pool(self, requirement: Requirement, topologies: tuple[str, ...]) -> Pool:
        """Return the heaps for a requirement, up to date."""
        known = self._pools.get((requirement, topologies))
        if known is None:
            division = self.division(requirement, topologies)
            heaps = [self._heap(group) for group in division.groups]
            known = Pool(division, heaps, len(self._table.log))
            self._pools[requirement, topologies] = known
        known.catch_up(self._table)
        return known

    def trim(self) -> None:
        """Forget the heaps once the log they would have to follow is long."""
        if len(self._table.log) > 8 * len(self._table.names) + 10_000:
            self._pools.clear()
            self._table.log.clear()

    def _heap(self, group: Group) -> list[int]:
        is_open, key = self._table.open, self._table.key
        heap = [key[i] for i in group.nodes if is_open[i]]
        heapify(heap)
        return heap

    def _divide(self, requirement: Requirement, topologies: tuple[str, ...]) -> Division:
        table = self._table
        columns = [table.domains(key) for key in topologies]
        graded = bool(requirement.preferred or self._tainted)
        groups: dict[tuple[int, tuple[object, ...]], list[int]] = {}
        for i in self._admitted(requirement):
            preference = match.preference(requirement, table.nodes[i]) if graded else 0
            alike = (preference, (self._sizes[i], *[column[i] for column in columns]))
            groups.setdefault(alike, []).append(i)
        member = array("i", [OUTSIDE]) * len(table.names)
        ordered = sorted(groups.items(), key=lambda g: (-g[0][0], g[1][0]))
        for number, (_, nodes) in enumerate(ordered):
            for i in nodes:
                member[i] = number
        return Division(tuple([self._group(k[0], nodes) for k, nodes in ordered]), member)

    def _group(self, preference: int, nodes: Sequence[int]) -> Group:
        table = self._table
        vendors = {v for i in nodes for v in self._sizes[i].gpus}
        return Group(
            preference,
            tuple(nodes),
            max(table.cpu_all[i] for i in nodes),
            max(table.memory_all[i] for i in nodes),
            {v: max(table.gpu_total(i, v) for i in nodes) for v in sorted(vendors)},
        )

    def _admitted(self, requirement: Requirement) -> Iterable[int]:
        table = self._table
        found: Iterable[int] = range(len(table.names))
        if requirement.selector:
            lists = [self._labels.get(k, {}).get(v, []) for k, v in requirement.selector]
            lists.sort(key=len)
            found = lists[0]
            for other in lists[1:]:
                found = sorted(set(found).intersection(other))
        if requirement.required:
            return [i for i in found if match.admits(requirement, table.nodes[i])]
        refused = {i for i in self._tainted if not match.admits(requirement, table.nodes[i])}
        return [i for i in found if i not in refused] if refused else found


@dataclass(frozen=True, slots=True)
class _Size:
    """Powers of two of what a node has, and whose GPUs."""

    cpu: int
    memory: int
    gpus: tuple[str, ...]


def _sizes(table: NodeTable) -> list[_Size]:
    """Return every node's size; equal ones are one object."""
    known: dict[_Size, _Size] = {}
    sizes = []
    for i, node in enumerate(table.nodes):
        has = node.allocatable
        gpus = (
            tuple(v for v in GPU_RESOURCES if table.gpu_total(i, v)) if has.keys() - _PLAIN else ()
        )
        size = _Size(table.cpu_all[i].bit_length(), table.memory_all[i].bit_length(), gpus)
        sizes.append(known.setdefault(size, size))
    return sizes


def _label_index(nodes: list[Node]) -> dict[str, dict[str, list[int]]]:
    index: dict[str, dict[str, list[int]]] = {}
    for i, node in enumerate(nodes):
        for key, value in node.labels.items():
            index.setdefault(key, {}).setdefault(value, []).append(i)
    return index
