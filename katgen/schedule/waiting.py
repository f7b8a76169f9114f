"""Workloads with instances that have no place, and which of them a change may help.

What was looked for in vain stays away until something gives room: an instance that left, a quota, a
rule about company. Workloads that look for the same thing are asked for together, so that a small
change in a full cluster stays small.
"""

from collections.abc import Collection, Iterable

from katgen.names import WorkloadKey
from katgen.schedule.catalog import Catalog, Quotas
from katgen.schedule.needs import Needs
from katgen.schedule.nodes import OUTSIDE, NodeTable
from katgen.schedule.pool import Pools
from katgen.schedule.vain import Shape, shape_of


class Waiting:
    """Whoever waits, by what is waited for."""

    def __init__(self) -> None:
        self._needs: dict[WorkloadKey, Needs] = {}
        self._alike: dict[Shape, dict[str, set[WorkloadKey]]] = {}
        """Shape → namespace → those that look for it there."""
        self._social: set[WorkloadKey] = set()
        """Those with rules about company: any change may help them."""
        self._at: dict[WorkloadKey, frozenset[int]] = {}
        """The nodes of instances that wait to be replaced: they make room for their successors."""

    def keys(self) -> Collection[WorkloadKey]:
        """Return all that wait."""
        return self._needs.keys()

    def put(self, needs: Needs, at: frozenset[int]) -> None:
        """Enter a workload; `at` are the nodes of its instances that wait to be replaced."""
        self.discard(needs.key)
        self._needs[needs.key] = needs
        alike = self._alike.setdefault(shape_of(needs), {})
        alike.setdefault(needs.namespace, set()).add(needs.key)
        if needs.companies:
            self._social.add(needs.key)
        if at:
            self._at[needs.key] = at

    def discard(self, key: WorkloadKey) -> None:
        """Take a workload out; one that does not wait stays out."""
        needs = self._needs.pop(key, None)
        if needs is not None:
            self._forget(needs)
            self._social.discard(key)
            self._at.pop(key, None)

    def helped_by(self, freed: "Freed", catalog: Catalog, quotas: Quotas) -> set[WorkloadKey]:
        """Return who should look again. Errs on the side of looking."""
        if freed.company:
            return set(self._needs)
        helped = set(self._social)
        nodes = freed.nodes()
        if not nodes and not freed.namespaces:
            return helped
        helped.update(key for key, at in self._at.items() if not at.isdisjoint(nodes))
        limited = set(filter(quotas.is_limited, freed.namespaces))
        for shape, alike in self._alike.items():
            if freed.has_room(shape, nodes):
                helped.update(*[keys for name, keys in alike.items() if name not in limited])
            for name in limited.intersection(alike):
                if quotas.has_room(catalog.needs[next(iter(alike[name]))]):
                    helped |= alike[name]
        return helped

    def _forget(self, needs: Needs) -> None:
        shape = shape_of(needs)
        alike = self._alike[shape]
        alike[needs.namespace].discard(needs.key)
        if not alike[needs.namespace]:
            del alike[needs.namespace]
        if not alike:
            del self._alike[shape]


class Freed:
    """What a draft has freed so far. `company` is set when a workload with such rules changed."""

    def __init__(self, table: NodeTable, pools: Pools) -> None:
        self._table = table
        self._pools = pools
        self._seen = len(table.log)
        self.namespaces: set[str] = set()
        self.company = False

    def note(self, *versions: Needs) -> None:
        """Note that a workload changed, of which these are the versions before and after."""
        self.company = self.company or any(needs.companies for needs in versions)

    def nodes(self) -> frozenset[int]:
        """Return the nodes that freed something since the last call."""
        log = self._table.log
        freed = frozenset(log[self._seen :])
        self._seen = len(log)
        return freed

    def has_room(self, shape: Shape, nodes: Iterable[int]) -> bool:
        """Whether any of the nodes has what is asked for."""
        requirement, cpu, memory = shape
        table, member = self._table, self._pools.division(requirement).member
        return any(
            table.cpu_free[i] >= cpu
            and table.memory_free[i] >= memory
            and member[i] != OUTSIDE
            and table.open[i]
            for i in nodes
        )
