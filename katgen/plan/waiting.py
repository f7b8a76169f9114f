"""Which of the workloads that wait for a place may find one after a change.

A place that was looked for in vain stays away until something gives room: an instance that left, a
quota, a rule about company. So a small change does not take up every waiting workload again.
"""

from collections.abc import Iterable

from katgen.index import Index
from katgen.names import WorkloadKey
from katgen.planned import WorkloadPlan
from katgen.schedule.needs import Needs
from katgen.schedule.nodes import OUTSIDE


class Freed:
    """What a draft has freed so far. `company` is set when a workload with such rules changed."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._seen = len(index.table.log)
        self.namespaces: set[str] = set()
        self.company = False

    def note(self, *versions: Needs) -> None:
        """Note that a workload changed, of which these are the versions before and after."""
        self.company = self.company or any(map(_has_company, versions))

    def nodes(self) -> frozenset[int]:
        """Return the nodes that freed something since the last call."""
        log = self._index.table.log
        freed = frozenset(log[self._seen :])
        self._seen = len(log)
        return freed

    def may_help(self, key: WorkloadKey, old: WorkloadPlan, nodes: Iterable[int]) -> bool:
        """Whether a waiting workload should be taken up again. Errs on the side of yes."""
        needs = self._index.catalog.needs[key]
        if self.company or needs.companies:
            return True
        quotas = self._index.quotas
        if needs.namespace in self.namespaces and quotas.is_limited(needs.namespace):
            return quotas.has_room(needs)
        own = {p.node for p in old.placements}
        names = self._index.table.names
        return any(names[i] in own or self._has_room(needs, i) for i in nodes)

    def _has_room(self, needs: Needs, i: int) -> bool:
        table = self._index.table
        return (
            table.open[i]
            and table.cpu_free[i] >= needs.cpu
            and table.memory_free[i] >= needs.memory
            and self._index.pools.division(needs.requirement).member[i] != OUTSIDE
        )


def _has_company(needs: Needs) -> bool:
    return bool(needs.companies)
