"""A plan and its parent, looked at as a checker needs to: instances one by one, old or new."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from katgen.errors import Problem, Source
from katgen.model.placing import Expression, Toleration
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import WorkloadSpec
from katgen.names import NodeName, WorkloadKey, instance_id
from katgen.planned import Node, Placement, Plan, Taint, WorkloadPlan


class Instance(NamedTuple):
    """A placement and what it is a placement of: its own revision's spec, as far as that is known.

    `is_new`: the parent does not have it.
    """

    key: WorkloadKey
    spec: WorkloadSpec
    placement: Placement
    is_new: bool

    @property
    def at(self) -> Source:
        """Where in the plan it stands."""
        shown = instance_id(self.placement.ordinal, self.placement.incarnation)
        return Source(path=f"workloads.{self.key}.{shown}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What every invariant is given. Without a parent, only a first plan's placements are new.

    `judged` are the workloads, of the plan or the parent, that are to be looked at: all, or what
    differs from a parent that breaks nothing. `instances` are theirs, and those of others that
    share a node, an address or a quota with them.
    """

    plan: Plan
    parent: Plan | None
    judged: Collection[WorkloadKey]
    instances: tuple[Instance, ...]
    _made: dict[WorkloadKey, tuple[Instance, ...]] = field(default_factory=dict, repr=False)

    def workloads(self) -> Iterator[tuple[WorkloadKey, WorkloadPlan]]:
        """Yield the plan's workloads that are judged."""
        planned, judged = self.plan.workloads, self.judged
        if len(judged) >= len(planned):
            return ((k, w) for k, w in planned.items() if k in judged)
        return ((k, planned[k]) for k in sorted(judged) if k in planned)

    def of(self, key: WorkloadKey) -> Sequence[Instance]:
        """Return all instances of a workload, judged or not."""
        if key not in self._made:
            self._made[key] = _instances(self.plan, self.parent, key)
        return self._made[key]

    def spec(self, key: WorkloadKey) -> WorkloadSpec:
        """Return what a workload shall be: what says where its instances may be, of any age."""
        return self.plan.specs.workloads[key].workload.spec

    def before(self, key: WorkloadKey) -> Sequence[Placement]:
        """Return the parent's placements of a workload."""
        old = self.parent.workloads.get(key) if self.parent else None
        return old.placements if old else ()

    def predecessors(self, instance: Instance) -> Sequence[Placement]:
        """Return the parent's instances of an ordinal: two in the middle of a rollout."""
        ordinal = instance.placement.ordinal
        return [p for p in self.before(instance.key) if p.ordinal == ordinal]

    def counted(self) -> Iterator[Instance]:
        """Yield the instances whose requests are known."""
        return (i for i in self.instances if self.is_known(i.key, i.placement.revision))

    def is_known(self, key: WorkloadKey, revision: str) -> bool:
        """Whether the plan says what instances of a revision are made of."""
        current = self.plan.workloads[key].revision
        return revision == current or revision in self.plan.earlier.get(key, {})


Invariant = Callable[[Facts], Iterator[Problem]]


def facts_of(
    plan: Plan, parent: Plan | None, differing: Collection[WorkloadKey] | None = None
) -> Facts:
    """Return the facts of a plan whose workloads all have specs.

    With `differing`, only those workloads are other than in the parent, and that breaks nothing.
    """
    if parent is plan:
        parent = None
    if differing is None or parent is None:
        every = {*plan.workloads, *plan.retired, *plan.earlier}
        if parent is not None:
            every |= {*parent.workloads, *parent.retired}
        made = {key: _instances(plan, parent, key) for key in plan.workloads}
        return Facts(plan, parent, every, tuple(i for mine in made.values() for i in mine), made)
    return Facts(plan, parent, differing, tuple(_concerned(plan, parent, differing)))


def _instances(plan: Plan, parent: Plan | None, key: WorkloadKey) -> tuple[Instance, ...]:
    objects, planned = plan.specs.workloads.get(key), plan.workloads[key]
    if objects is None:
        return ()
    before = parent.workloads.get(key) if parent else None
    if before is planned:
        return tuple([_instance(plan, key, p) for p in planned.placements])
    old = frozenset(before.placements) if before else frozenset()
    is_first = parent is None and plan.parent == 0
    return tuple(
        _instance(plan, key, p, is_new=is_first or (parent is not None and p not in old))
        for p in planned.placements
    )


def _instance(
    plan: Plan, key: WorkloadKey, placement: Placement, *, is_new: bool = False
) -> Instance:
    objects = plan.specs.workloads[key]
    if placement.revision != plan.workloads[key].revision:
        known = plan.earlier.get(key, {}).get(placement.revision)
        objects = known.objects if known else objects
    return Instance(key, objects.workload.spec, placement, is_new)


def _concerned(plan: Plan, parent: Plan, differing: Collection[WorkloadKey]) -> Iterator[Instance]:
    """Yield the instances of what differs, and of others that share something with these."""
    nodes, addresses = _shared(plan, parent, differing)
    limited = {
        name for name in {key.partition("/")[0] for key in differing} if _is_limited(plan, name)
    }
    for key, planned in plan.workloads.items():
        if key in differing or (limited and key.partition("/")[0] in limited):
            yield from _instances(plan, parent, key)
            continue
        for placement in planned.placements:
            if placement.node in nodes or placement.address in addresses:
                yield _instance(plan, key, placement)


def _shared(
    plan: Plan, parent: Plan, differing: Collection[WorkloadKey]
) -> tuple[set[NodeName], set[str]]:
    """Return the nodes of what differs, and each address that it has or had or that rests now."""
    now = [plan.workloads[key] for key in differing if key in plan.workloads]
    before = [parent.workloads[key] for key in differing if key in parent.workloads]
    nodes = {p.node for planned in now for p in planned.placements}
    addresses = {p.address for planned in (*now, *before) for p in planned.placements}
    addresses |= {planned.virtual_address for planned in (*now, *before)}
    resting = plan.resting.keys() ^ parent.resting.keys()
    changed = {one for one in plan.resting if plan.resting[one] is not parent.resting.get(one)}
    return nodes, addresses | resting | changed


def _is_limited(plan: Plan, namespace: str) -> bool:
    written = plan.specs.namespaces.get(namespace)
    quota = written.spec.quota if written else None
    return quota is not None and (quota.cpu, quota.memory, quota.instances) != (None, None, None)


def at_workload(key: WorkloadKey) -> Source:
    """Return where a workload stands in a plan."""
    return Source(path=f"workloads.{key}")


def admits(spec: WorkloadSpec, node: Node) -> bool:
    """Whether labels and taints of a node let a workload run there."""
    labels = node.labels
    selected = all(labels.get(k) == v for k, v in spec.node_selector.items())
    required = spec.affinity.node.required
    wanted = not required or any(all(_holds(e, labels) for e in t.match) for t in required)
    free = all(t.effect == "PreferNoSchedule" or tolerated(spec, t) for t in node.taints)
    return selected and wanted and free


def evicts(spec: WorkloadSpec, node: Node) -> bool:
    """Whether a taint of the node drives running instances of the workload away."""
    return any(t.effect == "NoExecute" and not tolerated(spec, t) for t in node.taints)


def tolerated(spec: WorkloadSpec, taint: Taint) -> bool:
    """Whether the workload tolerates a taint."""
    return any(_covers(toleration, taint) for toleration in spec.tolerations)


def _covers(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in {None, taint.effect}:
        return False
    if toleration.key is None:
        return True
    same = toleration.operator == "Exists" or toleration.value == taint.value
    return toleration.key == taint.key and same


def _holds(expression: Expression, labels: Mapping[str, str]) -> bool:
    label = labels.get(expression.key)
    match expression.operator:
        case "In":
            return label in expression.values
        case "NotIn":
            return label not in expression.values
        case "Exists":
            return label is not None
        case "DoesNotExist":
            return label is None
        case _:
            return _compares(expression, label)


def _compares(expression: Expression, label: str | None) -> bool:
    digits = (label or "").removeprefix("-")
    if label is None or not (digits.isascii() and digits.isdigit()):
        return False
    number, bound = int(label), int(expression.values[0])
    return number > bound if expression.operator == "Gt" else number < bound


def writes_data(spec: WorkloadSpec) -> bool:
    """Whether instances keep data in a directory of their node."""
    written = {m.name for m in spec.container.volume_mounts if not m.read_only}
    return any(v.simple_cluster_storage and v.name in written for v in spec.volumes)


def is_exclusive(spec: WorkloadSpec) -> bool:
    """Whether an instance can never run beside its successor (spec §4), GPUs aside."""
    ports = any(p.host_port is not None for p in spec.container.ports)
    return spec.singleton or ports or writes_data(spec)


def wanted_count(objects: WorkloadObjects) -> int:
    """Return how many numbered ordinals a Service, or a Job that never finished a run, has."""
    spec = objects.workload.spec
    if spec.type == "Service":
        return 1 if spec.replicas is None else spec.replicas
    if objects.job is None:
        return 1
    job = objects.job.spec
    return job.parallelism if job.schedule is not None else min(job.parallelism, job.completions)


def wanted_ordinals(plan: Plan, key: WorkloadKey) -> frozenset[str]:
    """Return the ordinals that a Service or Job shall have."""
    objects = plan.specs.workloads[key]
    done = plan.inventory.finished.get(key, frozenset())
    job = objects.job
    if objects.workload.spec.type != "Job" or job is None or job.spec.schedule is not None:
        return frozenset(map(str, range(wanted_count(objects))))
    open_runs = [str(n) for n in range(job.spec.completions) if n not in done]
    return frozenset(open_runs[: job.spec.parallelism])


def daemon_nodes(plan: Plan, spec: WorkloadSpec) -> frozenset[NodeName]:
    """Return the nodes that a DaemonService belongs on."""
    return frozenset(n.name for n in plan.inventory.nodes.values() if admits(spec, n))
