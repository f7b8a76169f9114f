"""What one workload asks of nodes, as plain data: read from its objects once, compared often."""

from collections.abc import Mapping
from typing import Final

import msgspec

from katgen.model.container import Container
from katgen.model.placing import NodeTerm, Toleration, WorkloadTerm
from katgen.model.specs import WorkloadObjects
from katgen.model.volume import Volume
from katgen.model.workload import WorkloadSpec
from katgen.names import WorkloadKey

SERVICE: Final = "Service"
JOB: Final = "Job"
DAEMON: Final = "DaemonService"
GPU_RESOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "nvidia": ("nvidia.com/gpu",),
    "amd": ("amd.com/gpu",),
    "intel": ("gpu.intel.com/i915", "gpu.intel.com/xe"),
}
"""Names that the vendors' device plugins use, so that inventories made for Kubernetes fit."""

Expression = tuple[str, str, tuple[str, ...]]
"""Label key, operator, values."""


class Term(msgspec.Struct, frozen=True):
    """Expressions that must all hold, and what it is worth if they do."""

    match: tuple[Expression, ...]
    weight: int


class Tolerance(msgspec.Struct, frozen=True):
    """A toleration; `key` None tolerates every taint, `effect` None every effect."""

    key: str | None
    exists: bool
    value: str
    effect: str | None


class Requirement(msgspec.Struct, frozen=True):
    """What labels and taints decide: where a workload may ever run, and where it prefers to.

    Any of `required` must hold. Many workloads share one requirement.
    """

    selector: tuple[tuple[str, str], ...] = ()
    required: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()
    tolerations: tuple[Tolerance, ...] = ()


class Company(msgspec.Struct, frozen=True):
    """Other workloads, by label, that an instance wants near or far within a topology."""

    labels: tuple[tuple[str, str], ...]
    topology: str
    weight: int


class Companies(msgspec.Struct, frozen=True):
    """All terms about other workloads."""

    near: tuple[Company, ...] = ()
    apart: tuple[Company, ...] = ()
    rather_near: tuple[Company, ...] = ()
    rather_apart: tuple[Company, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.near or self.apart or self.rather_near or self.rather_apart)


class Storage(msgspec.Struct, frozen=True):
    """A writable volume whose data ties instances to a node."""

    volume: str
    shared: bool


class Needs(msgspec.Struct, frozen=True):
    """What every instance of one workload needs. `cpu` counts thousandths, `memory` bytes.

    `stop_first`: two of an ordinal's instances must never run at once, whatever the node has free.
    """

    key: WorkloadKey
    namespace: str
    labels: Mapping[str, str]
    kind: str
    priority: int = 0
    cpu: int = 0
    memory: int = 0
    gpu_vendor: str = ""
    gpu_count: int = 0
    ports: tuple[tuple[int, str], ...] = ()
    storage: tuple[Storage, ...] = ()
    stop_first: bool = False
    requirement: Requirement = Requirement()
    spread: tuple[tuple[str, int], ...] = ()
    companies: Companies = Companies()

    def constrains_like(self, other: "Needs") -> bool:
        """Whether both allow the same nodes, whatever they consume there."""
        return (
            self.requirement == other.requirement
            and self.spread == other.spread
            and self.companies == other.companies
        )


def needs_of(key: WorkloadKey, objects: WorkloadObjects) -> Needs:
    """Return what a workload's instances need."""
    workload = objects.workload
    spec = workload.spec
    container = spec.container
    requests = container.resources.requests
    gpu = container.resources.gpu
    ports = tuple([(p.host_port, p.protocol) for p in container.ports if p.host_port is not None])
    storage = _storage(spec.volumes, container) if spec.volumes else ()
    return Needs(
        key=key,
        namespace=workload.metadata.namespace,
        labels=workload.metadata.labels,
        kind=spec.type,
        priority=spec.priority,
        cpu=requests.cpu or 0,
        memory=requests.memory or 0,
        gpu_vendor=gpu.vendor if gpu else "",
        gpu_count=gpu.count if gpu else 0,
        ports=ports,
        storage=storage,
        stop_first=bool(storage or ports or spec.singleton),
        requirement=_requirement(spec),
        spread=tuple([(s.topology_key, s.max_skew) for s in spec.spread]),
        companies=_companies(spec),
    )


def _storage(volumes: tuple[Volume, ...], container: Container) -> tuple[Storage, ...]:
    written = {m.name for m in container.volume_mounts if not m.read_only}
    return tuple(
        Storage(v.name, v.simple_cluster_storage.shared)
        for v in volumes
        if v.simple_cluster_storage is not None and v.name in written
    )


def _requirement(spec: WorkloadSpec) -> Requirement:
    node = spec.affinity.node
    return Requirement(
        tuple(sorted(spec.node_selector.items())),
        tuple([_term(t) for t in node.required]),
        tuple([_term(t) for t in node.preferred]),
        tuple([_tolerance(t) for t in spec.tolerations]),
    )


def _term(term: NodeTerm) -> Term:
    return Term(tuple([(e.key, e.operator, e.values) for e in term.match]), term.weight)


def _tolerance(toleration: Toleration) -> Tolerance:
    exists = toleration.operator == "Exists"
    return Tolerance(toleration.key, exists, toleration.value, toleration.effect)


_NO_COMPANIES: Final = Companies()


def _companies(spec: WorkloadSpec) -> Companies:
    near, apart = spec.affinity.workload, spec.affinity.anti_workload
    if not (near.required or near.preferred or apart.required or apart.preferred):
        return _NO_COMPANIES
    return Companies(
        _terms(near.required),
        _terms(apart.required),
        _terms(near.preferred),
        _terms(apart.preferred),
    )


def _terms(terms: tuple[WorkloadTerm, ...]) -> tuple[Company, ...]:
    return tuple(
        Company(tuple(sorted(t.match_labels.items())), t.topology_key, t.weight) for t in terms
    )
