"""All workloads by their labels, and what each namespace uses of its quota."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from katgen.model.objects import Namespace, Quota
from katgen.names import WorkloadKey
from katgen.quantity import cpu_text, memory_text
from katgen.schedule.needs import Company, Needs
from katgen.schedule.topology import is_company

UNBOUNDED: Final = 1 << 62
_Label = tuple[str, str, str]
"""Namespace, key, value."""


class Catalog:
    """Finds workloads that a term means, and workloads whose terms mean another one."""

    def __init__(self) -> None:
        self.needs: dict[WorkloadKey, Needs] = {}
        self._labelled: dict[_Label, dict[WorkloadKey, None]] = {}
        self._repelling: dict[_Label, dict[WorkloadKey, None]] = {}

    def put(self, needs: Needs) -> None:
        """Enter a workload, or replace what was known of it."""
        self.remove(needs.key)
        self.needs[needs.key] = needs
        for key, value in needs.labels.items():
            self._labelled.setdefault((needs.namespace, key, value), {})[needs.key] = None
        for label in _repelled(needs):
            self._repelling.setdefault(label, {})[needs.key] = None

    def remove(self, key: WorkloadKey) -> None:
        """Forget a workload; one that is not known stays so."""
        needs = self.needs.pop(key, None)
        if needs is None:
            return
        for name, value in needs.labels.items():
            self._labelled[needs.namespace, name, value].pop(key, None)
        for label in _repelled(needs):
            self._repelling[label].pop(key, None)

    @property
    def has_repelling(self) -> bool:
        """Whether any workload keeps others away."""
        return bool(self._repelling)

    def meant_by(self, namespace: str, company: Company) -> Iterator[WorkloadKey]:
        """Yield the workloads of a namespace that a term means."""
        lists = [self._labelled.get((namespace, key, value), {}) for key, value in company.labels]
        for key in min(lists, key=len):
            if is_company(self.needs[key].labels, company):
                yield key

    def repelling(self, needs: Needs) -> Iterator[tuple[WorkloadKey, Company]]:
        """Yield required terms of other workloads that keep this one away, sorted by workload."""
        found = {
            key
            for label, value in needs.labels.items()
            for key in self._repelling.get((needs.namespace, label, value), {})
            if key != needs.key
        }
        for key in sorted(found):
            for company in self.needs[key].companies.apart:
                if is_company(needs.labels, company):
                    yield key, company


def _repelled(needs: Needs) -> list[_Label]:
    """Return one label of every required distance; whoever lacks it is not meant."""
    return [(needs.namespace, *company.labels[0]) for company in needs.companies.apart]


class Quotas:
    """What instances of each namespace request together, against the namespace's quota."""

    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self._limits: dict[str, Quota] = {}
        self._used: dict[str, list[int]] = {}
        self._written: Mapping[str, Namespace] | None = None
        self.set_limits(namespaces)

    def set_limits(self, namespaces: Mapping[str, Namespace]) -> None:
        """Take over the quotas that are written now."""
        if namespaces is self._written:
            return
        self._written = namespaces
        quotas = {name: n.spec.quota for name, n in namespaces.items()}
        self._limits = {n: q for n, q in quotas.items() if q.model_fields_set}

    def count(self, needs: Needs, by: int) -> None:
        """Count `by` instances more (or less, below zero)."""
        used = self._used.setdefault(needs.namespace, [0, 0, 0])
        used[0] += by * needs.cpu
        used[1] += by * needs.memory
        used[2] += by

    def is_limited(self, namespace: str) -> bool:
        """Whether the namespace has a quota."""
        return namespace in self._limits

    def headroom(self, needs: Needs) -> int:
        """Return how many more such instances the namespace may run."""
        quota = self._limits.get(needs.namespace)
        if quota is None:
            return UNBOUNDED
        used = self._used.get(needs.namespace, (0, 0, 0))
        limits = (quota.cpu, quota.memory, quota.instances)
        each = (needs.cpu, needs.memory, 1)
        left = (
            (limit - taken) // one
            for limit, taken, one in zip(limits, used, each, strict=True)
            if limit is not None and one
        )
        return max(0, min(left, default=UNBOUNDED))

    def has_room(self, needs: Needs) -> bool:
        """Whether the namespace may run one more instance."""
        return needs.namespace not in self._limits or self.headroom(needs) > 0

    def objections(self, needs: Needs) -> Iterable[tuple[str, str]]:
        """Yield which limit is in the way, and the numbers."""
        quota = self._limits.get(needs.namespace)
        if quota is None:
            return
        cpu, memory, instances = self._used.get(needs.namespace, (0, 0, 0))
        what = f"quota of namespace {needs.namespace}"
        if quota.cpu is not None and cpu + needs.cpu > quota.cpu:
            left = f"{cpu_text(max(0, quota.cpu - cpu))} of {cpu_text(quota.cpu)} left"
            yield what, f"cpu: wants {cpu_text(needs.cpu)}, {left}"
        if quota.memory is not None and memory + needs.memory > quota.memory:
            left = (
                f"{memory_text(max(0, quota.memory - memory))} of {memory_text(quota.memory)} left"
            )
            yield what, f"memory: wants {memory_text(needs.memory)}, {left}"
        if quota.instances is not None and instances >= quota.instances:
            yield what, f"instances: {instances} of {quota.instances} in use"
