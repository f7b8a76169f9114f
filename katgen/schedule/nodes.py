"""All nodes as columns: what each has, what is in use, and its place in the order of preference.

Columns instead of one object per node: the planner looks at a few numbers of many nodes. Nodes are
numbered in the order of their names, so that no result depends on the order of an input.
"""

from bisect import insort
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heapreplace
from typing import Final

from katgen.names import NodeName, WorkloadKey
from katgen.planned import Node, WorkloadPlan
from katgen.schedule.needs import GPU_RESOURCES, Needs

UNLIMITED: Final = 1 << 62
FULL: Final = 1000
"""Load is in thousandths of the scarcer of CPU and memory."""
INDEX_BITS: Final = 20
COUNT_BITS: Final = 20
INDEX_MASK: Final = (1 << INDEX_BITS) - 1
_COUNT_SHIFT: Final = INDEX_BITS
_LOAD_SHIFT: Final = INDEX_BITS + COUNT_BITS
_LOAD_MAX: Final = (1 << 20) - 1
_COUNT_MAX: Final = (1 << COUNT_BITS) - 1
NODE_TOPOLOGY: Final = "node"
OUTSIDE: Final = -1
"""No node."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Addresses for instances on one node."""

    total: int
    free: int
    resting: int


class NodeTable:
    """Columns indexed by node number.

    `key` orders nodes, best first: load, then number of instances, then name. With `bin_pack` the
    fullest is best.
    `log` names nodes that became better, or freed something: heaps made earlier look there.
    """

    def __init__(
        self,
        nodes: Mapping[NodeName, Node],
        slots: Mapping[NodeName, Slots],
        *,
        bin_pack: bool,
        lost: Collection[NodeName] = (),
    ) -> None:
        self.names = sorted(nodes)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.nodes = [nodes[name] for name in self.names]
        self.lost = frozenset(i for i, name in enumerate(self.names) if name in lost)
        self.can_replace = [n.ready and not n.unschedulable for n in self.nodes]
        """Whether the node takes what cannot be elsewhere: also a lost one, which is waited for."""
        self.open = [can and i not in self.lost for i, can in enumerate(self.can_replace)]
        self.cpu_all = [n.allocatable.get("cpu", UNLIMITED) for n in self.nodes]
        self.memory_all = [n.allocatable.get("memory", UNLIMITED) for n in self.nodes]
        self._cpu_scale = [_scale(amount) for amount in self.cpu_all]
        self._memory_scale = [_scale(amount) for amount in self.memory_all]
        self.cpu_free = list(self.cpu_all)
        self.memory_free = list(self.memory_all)
        self.slots_total = [slots[name].total for name in self.names]
        self.slots_free = [slots[name].free for name in self.names]
        self.slots_resting = [slots[name].resting for name in self.names]
        self.count = [0] * len(self.names)
        self.ports: dict[tuple[int, int, str], list[WorkloadKey]] = {}
        """Node, port and protocol → who has it, sorted: one, or two while one cannot move away."""
        self.gpus: dict[tuple[int, str], list[int]] = {}
        """Node and vendor → the devices in use, sorted."""
        self.log: list[int] = []
        self.releases = 0
        """How often an instance left."""
        self.changes = 0
        """How often one came or left."""
        self._bin_pack = bin_pack
        self._domains: dict[str, list[str | None]] = {}
        self._members: dict[str, dict[str, list[int]]] = {}
        self.key = [0] * len(self.names)
        self.rank_all()

    def gpu_total(self, i: int, vendor: str) -> int:
        """Return how many devices of a vendor the node has; they are numbered from 0."""
        allocatable = self.nodes[i].allocatable
        return sum(allocatable.get(name, 0) for name in GPU_RESOURCES[vendor])

    def gpu_free(self, i: int, vendor: str) -> int:
        """Return how many of them nobody uses."""
        return len(self.free_gpus(i, vendor))

    def free_gpus(self, i: int, vendor: str) -> tuple[int, ...]:
        """Return the devices that nobody uses, lowest first."""
        used = self.gpus.get((i, vendor), ())
        return tuple(n for n in range(self.gpu_total(i, vendor)) if n not in used)

    def domains(self, topology: str) -> list[str | None]:
        """Return every node's value of a topology key, None where it has none."""
        known = self._domains.get(topology)
        if known is None:
            if topology == NODE_TOPOLOGY:
                known = list(self.names)
            else:
                known = [n.labels.get(topology) for n in self.nodes]
            self._domains[topology] = known
        return known

    def nodes_in(self, topology: str, domain: str | None) -> Sequence[int]:
        """Return the nodes of one domain, none for None."""
        if domain is None:
            return ()
        if topology == NODE_TOPOLOGY:
            return (self.index[NodeName(domain)],)
        known = self._members.get(topology)
        if known is None:
            known = self._members[topology] = {}
            for i, value in enumerate(self.domains(topology)):
                if value is not None:
                    known.setdefault(value, []).append(i)
        return known.get(domain, ())

    def waiting_at(self, planned: WorkloadPlan) -> frozenset[int]:
        """Return the nodes of instances that have a successor without a place."""
        ordinals = {u.ordinal for u in planned.unplaced}
        nodes = (p.node for p in planned.placements if p.ordinal in ordinals)
        return frozenset(self.index[node] for node in nodes if node in self.index)

    def account(self, i: int, needs: Needs, gpus: tuple[int, ...] = ()) -> None:
        """Count one more instance on node `i`, whose rank is wrong until `rank_all`."""
        self.cpu_free[i] -= needs.cpu
        self.memory_free[i] -= needs.memory
        self.count[i] += 1
        for port, protocol in needs.ports:
            insort(self.ports.setdefault((i, port, protocol), []), needs.key)
        for number in gpus:
            insort(self.gpus.setdefault((i, needs.gpu_vendor), []), number)

    def rank_all(self) -> None:
        """Put every node's rank right."""
        for i in range(len(self.names)):
            self._rank(i)

    def occupy(self, i: int, needs: Needs, gpus: tuple[int, ...] = ()) -> None:
        """Put one more instance on node `i`."""
        self.account(i, needs, gpus)
        self.changes += 1
        before = self.key[i]
        self._rank(i)
        if self.key[i] < before:
            self.log.append(i)

    def fill(
        self, heap: list[int], needs: Needs, count: int, own: dict[int, int]
    ) -> tuple[list[int], list[int]]:
        """Put up to `count` plain instances on the best nodes of `heap` that are not in `own`.

        Plain: an instance that needs CPU, memory and an address, and no more. Returns the nodes
        chosen, which `own` counts then, and those passed over, which are off the heap. This is what
        `occupy` does for each of them, in one loop: a large plan spends its time here.
        """
        key, counts, slots_free = self.key, self.count, self.slots_free
        cpu, cpu_free, cpu_all = needs.cpu, self.cpu_free, self.cpu_all
        memory, memory_free, memory_all = needs.memory, self.memory_free, self.memory_all
        cpu_scale, memory_scale = self._cpu_scale, self._memory_scale
        chosen, passed = list[int](), list[int]()
        while heap and count:
            entry = heap[0]
            i = entry & INDEX_MASK
            now = key[i]
            if entry < now:
                heapreplace(heap, now)
                continue
            cpu_left, memory_left = cpu_free[i] - cpu, memory_free[i] - memory
            if entry > now or cpu_left < 0 or memory_left < 0 or slots_free[i] < 1 or i in own:
                heappop(heap)
                if entry == now:
                    passed.append(i)
                continue
            cpu_free[i], memory_free[i], slots_free[i] = cpu_left, memory_left, slots_free[i] - 1
            counts[i] += 1
            load = (cpu_all[i] - cpu_left) * cpu_scale[i]
            other = (memory_all[i] - memory_left) * memory_scale[i]
            if other > load:  # noqa: PLR1730 -- max() takes thrice as long
                load = other
            key[i] = now = int(load) << _LOAD_SHIFT | counts[i] << _COUNT_SHIFT | i
            heapreplace(heap, now)
            own[i] = 1
            chosen.append(i)
            count -= 1
        self.changes += len(chosen)
        return chosen, passed

    def swap(self, i: int) -> bool:
        """Give an instance on node `i` a successor that needs as much, and another address.

        Returns whether the node takes it: not if it is closed, has too much on it or no address.
        """
        fits = self.cpu_free[i] >= 0 and self.memory_free[i] >= 0 and self.slots_free[i] > 0
        if not (fits and self.can_replace[i]):
            return False
        self.slots_free[i] -= 1
        self.slots_resting[i] += 1
        self.changes += 1
        return True

    def vacate(self, i: int, needs: Needs, gpus: tuple[int, ...] = ()) -> None:
        """Take one instance off node `i`."""
        self.changes += 1
        self.releases += 1
        self.cpu_free[i] += needs.cpu
        self.memory_free[i] += needs.memory
        self.count[i] -= 1
        for port, protocol in needs.ports:
            self.ports[i, port, protocol].remove(needs.key)
        for number in gpus:
            self.gpus[i, needs.gpu_vendor].remove(number)
        self._rank(i)
        self.log.append(i)

    def load(self, i: int) -> int:
        """Return how much of the scarcer of CPU and memory is requested, in thousandths."""
        cpu = (self.cpu_all[i] - self.cpu_free[i]) * self._cpu_scale[i]
        memory = (self.memory_all[i] - self.memory_free[i]) * self._memory_scale[i]
        return int(max(cpu, memory))

    def _rank(self, i: int) -> None:
        load, count = self.load(i), self.count[i]
        if self._bin_pack:
            load, count = _LOAD_MAX - min(load, _LOAD_MAX), _COUNT_MAX - count
        self.key[i] = load << _LOAD_SHIFT | count << _COUNT_SHIFT | i


def _scale(amount: int) -> float:
    """Return what turns a used amount into load; products of IEEE doubles are alike everywhere."""
    return 0.0 if amount in {0, UNLIMITED} else FULL / amount


def refresh_top(heap: list[int], key: list[int]) -> int:
    """Put stale entries at the top right; return the best node, -1 if the heap is empty."""
    while heap:
        entry = heap[0]
        i = entry & INDEX_MASK
        now = key[i]
        if entry == now:
            return i
        if entry < now:
            heapreplace(heap, now)
        else:
            heappop(heap)
    return OUTSIDE
