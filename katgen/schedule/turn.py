"""One workload's turn: finding the best node for each of its instances while it is being placed."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from katgen.names import WorkloadKey
from katgen.schedule.catalog import Catalog, Quotas
from katgen.schedule.needs import Company, Needs
from katgen.schedule.nodes import INDEX_MASK, NODE_TOPOLOGY, OUTSIDE, NodeTable, refresh_top
from katgen.schedule.pool import Pools, drop_top
from katgen.schedule.topology import Apart, Lean, Near, Rule, Spread, count_domains, is_company
from katgen.schedule.vain import shape_of

_OWN_SHIFT: Final = 64
Rank = tuple[int, int, int]
"""Preference (negated), own instances there, key of the node: the least is the best."""


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that placing looks at. `where` gives the nodes of a workload's instances now."""

    table: NodeTable
    pools: Pools
    catalog: Catalog
    quotas: Quotas
    where: Callable[[WorkloadKey], Iterable[int]]
    bin_pack: bool


def rules_of(board: Board, needs: Needs) -> list[Rule]:
    """Return the rules that bind a workload: its own, and distances that others demand."""
    rules: list[Rule] = [_spread(board, needs, key, skew) for key, skew in needs.spread]
    if not needs.companies and not board.catalog.has_repelling:
        return rules
    rules += [Near(c, c.topology, *_counted(board, needs, c)) for c in needs.companies.near]
    rules += [Apart(c, c.topology, *_counted(board, needs, c)) for c in needs.companies.apart]
    for whose, company in board.catalog.repelling(needs):
        domains = board.table.domains(company.topology)
        counts = count_domains(domains, board.where(whose))
        rules.append(
            Apart(company, company.topology, domains, counts, counts_itself=False, whose=whose)
        )
    return rules


def leans_of(board: Board, needs: Needs) -> list[Lean]:
    """Return a workload's preferences about other workloads."""
    companies = needs.companies
    signed = [(c, c.weight) for c in companies.rather_near]
    signed += [(c, -c.weight) for c in companies.rather_apart]
    return [Lean(c.topology, weight, *_counted(board, needs, c)) for c, weight in signed]


def _counted(
    board: Board, needs: Needs, company: Company
) -> tuple[list[str | None], "Counter[str]", bool]:
    domains = board.table.domains(company.topology)
    meant = board.catalog.meant_by(needs.namespace, company)
    counts = count_domains(domains, (i for key in meant for i in board.where(key)))
    return domains, counts, is_company(needs.labels, company)


def _spread(board: Board, needs: Needs, topology: str, skew: int) -> Spread:
    domains = board.table.domains(topology)
    counts = Counter(board.pools.open_to(needs.requirement, topology))
    for domain, n in count_domains(domains, board.where(needs.key)).items():
        if domain in counts:
            counts[domain] += n
    return Spread(topology, skew, domains, counts)


class Turn:
    """Finds and takes nodes for one workload. `finish` must be called at the end."""

    __slots__ = (
        "_apart", "_aside", "_best_of", "_fleeting_rules", "_group_leans", "_group_rules",
        "_lasting_rules", "_near_rules", "_node_leans", "_own_heaps", "_particular",
        "_spreads_itself", "asks_only_for_room", "board", "examined", "is_plain", "leans", "needs",
        "own", "pool", "rules", "table", "topologies",
    )  # fmt: skip

    def __init__(self, board: Board, needs: Needs) -> None:
        self.board = board
        self.needs = needs
        self.table = board.table
        self.rules = rules_of(board, needs)
        self.leans = leans_of(board, needs) if needs.companies else []
        self.own: dict[int, int] = {}
        """How many instances of the workload each node has."""
        for i in board.where(needs.key):
            self.own[i] = self.own.get(i, 0) + 1
        self.topologies = self._coarse_topologies() if self.rules or self.leans else ()
        self.pool = board.pools.pool(needs.requirement, self.topologies)
        coarse = self.topologies
        self._group_rules = [r for r in self.rules if r.topology in coarse]
        fine = [r for r in self.rules if r.topology not in coarse]
        self._near_rules = [r for r in fine if isinstance(r, Near)]
        self._lasting_rules = [r for r in fine if _is_lasting(r)]
        """Rules of single nodes that bar a node until something leaves that very node."""
        self._fleeting_rules = [r for r in fine if not _is_lasting(r)]
        """Rules of single nodes that may bar a node now and admit it later in the turn."""
        self._group_leans = [lean for lean in self.leans if lean.topology in coarse]
        self._node_leans = [lean for lean in self.leans if lean.topology not in coarse]
        self._spreads_itself = not board.bin_pack
        self._particular = bool(needs.ports or needs.gpu_count)
        self.asks_only_for_room = not (self._particular or self.rules)
        """Whether CPU, memory and an address are all that counts on an admitted node."""
        self.is_plain = (
            self.asks_only_for_room
            and self._spreads_itself
            and len(self.pool.heaps) == 1
            and not self.leans
        )
        """Whether `fill` works: any node with room will do."""
        self._apart: set[int] = set(self.own) | self._leaned_on() if self._node_leans else set()
        """Nodes that are ranked one by one and not by a heap: some preference is theirs alone."""
        self._aside: list[int] = []
        self._own_heaps: dict[int, list[int]] = {}
        self._best_of: dict[int, int] = {}
        self.examined = 0

    def _coarse_topologies(self) -> tuple[str, ...]:
        bound = {rule.topology for rule in self.rules} | {lean.topology for lean in self.leans}
        return tuple(sorted(filter(self.board.pools.is_coarse, bound)))

    # -- what may run where

    def fits(self, i: int, *, needs_address: bool = True) -> bool:
        """Whether node `i` can hold one more instance, labels, taints and cordon aside."""
        table, needs = self.table, self.needs
        return (
            table.cpu_free[i] >= needs.cpu
            and table.memory_free[i] >= needs.memory
            and (not needs_address or table.slots_free[i] > 0)
            and not self._conflicts(i)
            and not any(r.blocks(i) for r in self.rules)
        )

    def admits(self, i: int) -> bool:
        """Whether labels and taints of node `i` let the workload run there."""
        return self.pool.division.member[i] != OUTSIDE

    def _conflicts(self, i: int) -> bool:
        """Whether a host port is taken or devices are too few on node `i`."""
        table, needs = self.table, self.needs
        if needs.gpu_count and table.gpu_free(i, needs.gpu_vendor) < needs.gpu_count:
            return True
        return any(table.ports.get((i, port, protocol)) for port, protocol in needs.ports)

    # -- taking and leaving

    def take(
        self, i: int, gpus: tuple[int, ...], *, new_address: bool, needs: Needs | None = None
    ) -> None:
        """Put an instance on node `i`; of an earlier revision, with the `needs` of that."""
        needs = needs or self.needs
        self.table.occupy(i, needs, gpus)
        if new_address:
            self.table.slots_free[i] -= 1
        self.board.quotas.count(needs, 1)
        self.own[i] = self.own.get(i, 0) + 1
        self._note(i, 1)
        self._requeue(i)

    def leave(self, i: int, needs: Needs, gpus: tuple[int, ...]) -> None:
        """Take an instance, which was accounted for as `needs`, off node `i`."""
        self.table.vacate(i, needs, gpus)
        self.board.quotas.count(needs, -1)
        self.own[i] -= 1
        if not self.own[i]:
            del self.own[i]
        self._note(i, -1)
        self._requeue_own(i)

    def _note(self, i: int, by: int) -> None:
        self._best_of.pop(self.pool.division.member[i], None)
        for rule in self.rules:
            rule.note(i, by)
        for lean in self.leans:
            lean.note(i, by)
        if self._node_leans:
            self._apart.add(i)
            for lean in self._node_leans:
                self._apart.update(self.table.nodes_in(lean.topology, lean.domains[i]))

    def _requeue(self, i: int) -> None:
        group = self.pool.division.member[i]
        if group == OUTSIDE:
            return
        heap = self.pool.heaps[group]
        if heap and heap[0] & INDEX_MASK == i:
            drop_top(heap)
            self._aside.append(i)
        if not self._spreads_itself:
            self._give_back()
        self._requeue_own(i)

    def _requeue_own(self, i: int) -> None:
        heap = self._own_heaps.get(self.pool.division.member[i])
        if heap is not None and i in self.own and self.table.open[i]:
            heappush(heap, self.own[i] << _OWN_SHIFT | self.table.key[i])

    def _give_back(self) -> None:
        self.pool.put_back(self.table, self._aside)
        self._aside = []

    def finish(self) -> None:
        """Return to the heaps what was taken off them."""
        self._give_back()

    # -- choosing

    def fill(self, count: int) -> list[int]:
        """Put up to `count` instances on as many nodes that have none yet; return these nodes.

        The same as `choose` and `take` for each, if `is_plain`, and much faster.
        """
        count = min(count, self.board.quotas.headroom(self.needs))
        if self.board.pools.vain.is_hopeless(shape_of(self.needs)):
            return []
        self.pool.catch_up(self.table)
        heap = self.pool.heaps[0]
        chosen, passed = self.table.fill(heap, self.needs, count, self.own)
        self.examined += len(chosen) + len(passed)
        self._aside += passed
        self.board.quotas.count(self.needs, len(chosen))
        return chosen

    def choose(self) -> int:
        """Return the best open node that fits, -1 if none does."""
        shape, vain = shape_of(self.needs), self.board.pools.vain
        if self.asks_only_for_room and vain.is_hopeless(shape):
            return OUTSIDE
        found = self._best()
        if found == OUTSIDE and self.asks_only_for_room:
            vain.give_up(shape)
        return found

    def _best(self) -> int:
        confines = self._confines()
        if confines is not None:
            return self._best_among(confines, OUTSIDE, (0, 0, 0))
        self.pool.catch_up(self.table)
        groups = self.pool.division.groups
        if len(groups) == 1 and not self.rules and not self.leans:
            return self._best_in(0)
        best, best_rank = OUTSIDE, (0, 0, 0)
        for number, group in enumerate(groups):
            sample = group.nodes[0]
            if not group.can_hold(self.needs) or any(
                rule.blocks(sample) for rule in self._group_rules
            ):
                continue
            worth = group.preference + sum(lean.worth(sample) for lean in self._group_leans)
            if best != OUTSIDE and -worth > best_rank[0]:
                continue
            i = self._best_in(number)
            if i != OUTSIDE and (best == OUTSIDE or self._rank(i, worth) < best_rank):
                best, best_rank = i, self._rank(i, worth)
        return self._best_among(self._apart, best, best_rank)

    def _confines(self) -> set[int] | None:
        """Return the nodes next to what the workload must be near, None if it may go anywhere."""
        for rule in self._near_rules:
            domains = [domain for domain, count in rule.counts.items() if count > 0]
            if domains or not rule.counts_itself:
                return {i for d in domains for i in self.table.nodes_in(rule.topology, d)}
        return None

    def rank(self, i: int) -> Rank:
        """Return how good node `i` is: the least is best."""
        group = self.pool.division.groups[self.pool.division.member[i]]
        return self._rank(i, group.preference + sum(lean.worth(i) for lean in self.leans))

    def _rank(self, i: int, worth: int) -> Rank:
        own = self.own.get(i, 0) if self._spreads_itself else 0
        return -worth, own, self.table.key[i]

    def _best_among(self, nodes: Iterable[int], best: int, best_rank: Rank) -> int:
        """Return the best of some nodes and of `best`, one by one."""
        for i in nodes:
            if not self.admits(i) or not self.table.open[i]:
                continue
            self.examined += 1
            rank = self.rank(i)
            if (best == OUTSIDE or rank < best_rank) and self.fits(i):
                best, best_rank = i, rank
        return best

    def _best_in(self, group: int) -> int:
        """Return the best node of a group; it is that until something comes or leaves there."""
        known = self._best_of.get(group)
        if known is None:
            known = self._look_in(group)
            if not (self._fleeting_rules or self._node_leans):
                self._best_of[group] = known
        return known

    def _look_in(self, group: int) -> int:
        found = self._best_new(self.pool.heaps[group])
        if found == OUTSIDE and self._spreads_itself and not self._node_leans:
            found = self._best_own(group)
        return found

    def _best_new(self, heap: list[int]) -> int:
        """Return the best node of a heap, without those that run an instance already."""
        table, needs = self.table, self.needs
        cpu_free, memory_free, slots_free = table.cpu_free, table.memory_free, table.slots_free
        skipped = self._apart if self._node_leans else self.own if self._spreads_itself else ()
        held: list[int] = []
        found = OUTSIDE
        while (i := refresh_top(heap, table.key)) != OUTSIDE:
            self.examined += 1
            fits = (
                i not in skipped
                and cpu_free[i] >= needs.cpu
                and memory_free[i] >= needs.memory
                and slots_free[i] > 0
                and not (self._particular and self._conflicts(i))
                and not _breaks(self._lasting_rules, i)
            )
            if fits and not _breaks(self._fleeting_rules, i):
                found = i
                break
            drop_top(heap)
            (held if fits else self._aside).append(i)
        for i in held:
            heappush(heap, table.key[i])
        return found

    def _best_own(self, group: int) -> int:
        """Return the best node of those with the fewest instances of this workload."""
        table, member = self.table, self.pool.division.member
        heap = self._own_heaps.get(group)
        if heap is None:
            nodes = (i for i in self.own if member[i] == group and table.open[i])
            heap = [self.own[i] << _OWN_SHIFT | table.key[i] for i in nodes]
            heapify(heap)
            self._own_heaps[group] = heap
        held: list[int] = []
        found = OUTSIDE
        while heap:
            self.examined += 1
            entry = heap[0]
            i = entry & INDEX_MASK
            if entry == self.own.get(i, 0) << _OWN_SHIFT | table.key[i]:
                if self.fits(i):
                    found = i
                    break
                held.append(entry)
            heappop(heap)
        for entry in held:
            heappush(heap, entry)
        return found

    def _leaned_on(self) -> set[int]:
        """Return the nodes that a preference of single nodes is about."""
        return {
            i
            for lean in self._node_leans
            for domain, count in lean.counts.items()
            if count
            for i in self.table.nodes_in(lean.topology, domain)
        }


def _breaks(rules: list[Rule], i: int) -> bool:
    return bool(rules) and any(rule.blocks(i) for rule in rules)


def _is_lasting(rule: Rule) -> bool:
    return isinstance(rule, Apart) and (rule.topology == NODE_TOPOLOGY or not rule.counts_itself)
