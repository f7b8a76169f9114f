# ruff: noqa: D401 -- an invariant is a statement, not an order
"""Invariants of placements: references resolve, and nothing is where it may not run."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from katgen.check.facts import (
    Facts,
    Instance,
    Invariant,
    admits,
    at_workload,
    daemon_nodes,
    evicts,
    is_exclusive,
    wanted_ordinals,
)
from katgen.errors import Problem
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Node
from katgen.quantity import cpu_text, memory_text

_GPUS: Mapping[str, tuple[str, ...]] = {
    "nvidia": ("nvidia.com/gpu",),
    "amd": ("amd.com/gpu",),
    "intel": ("gpu.intel.com/i915", "gpu.intel.com/xe"),
}


def nodes_exist(facts: Facts) -> Iterator[Problem]:
    """Every instance is on a node of the inventory."""
    for instance in facts.instances:
        node = instance.placement.node
        if node not in facts.plan.inventory.nodes:
            yield Problem(instance.at, f"its node {node} does not exist")


def wanted_is_there(facts: Facts) -> Iterator[Problem]:
    """Every ordinal that a workload wants is placed or unplaced, and no other is."""
    for key, planned in facts.workloads():
        there = {p.ordinal for p in planned.placements} | {u.ordinal for u in planned.unplaced}
        spec = facts.plan.specs.workloads[key].workload.spec
        if spec.type == "DaemonService":
            wanted = frozenset(map(str, daemon_nodes(facts.plan, spec)))
            extra = frozenset(there - wanted - _old_ordinals(facts, key))
        else:
            wanted = wanted_ordinals(facts.plan, key)
            extra = frozenset(there - wanted - _stand_ins(facts, key))
        if wanted - there:
            missing = ", ".join(sorted(wanted - there)[:5])
            yield Problem(at_workload(key), f"neither placed nor unplaced: ordinal {missing}")
        if extra:
            more = ", ".join(sorted(extra)[:5])
            yield Problem(at_workload(key), f"nobody wants ordinal {more}")


def _old_ordinals(facts: Facts, key: WorkloadKey) -> frozenset[str]:
    """Return the ordinals that run on: a daemon outlives its node's new NoSchedule taint."""
    return frozenset(str(i.placement.ordinal) for i in facts.of(key) if not i.is_new)


def _stand_ins(facts: Facts, key: WorkloadKey) -> frozenset[str]:
    """Return the ordinals that a rollout keeps, unwanted, until wanted ones are ready."""
    if key not in facts.plan.inventory.available or facts.spec(key).type != "Service":
        return frozenset()
    current = facts.plan.workloads[key].revision
    return frozenset(
        str(i.placement.ordinal)
        for i in facts.of(key)
        if i.placement.revision != current and not i.is_new
    )


def ordinals_well_formed(facts: Facts) -> Iterator[Problem]:
    """A DaemonService's ordinal is its node's name; other ordinals are numbers without padding."""
    for instance in facts.instances:
        ordinal = instance.placement.ordinal
        if instance.spec.type == "DaemonService":
            if str(ordinal) != instance.placement.node:
                yield Problem(instance.at, f"it is on node {instance.placement.node}")
        elif not (ordinal.isascii() and ordinal.isdigit() and str(int(ordinal)) == ordinal):
            yield Problem(instance.at, f"{ordinal!r} is not the number of an instance")


def nothing_unplaced_without_reason(facts: Facts) -> Iterator[Problem]:
    """Whatever has no place says why."""
    for key, planned in facts.workloads():
        for unplaced in planned.unplaced:
            if not unplaced.refusals:
                what = f"ordinal {unplaced.ordinal} is unplaced for no reason"
                yield Problem(at_workload(key), what)


def new_ones_are_admitted(facts: Facts) -> Iterator[Problem]:
    """A new instance is on a node that takes new ones, and whose labels and taints allow it."""
    for instance in facts.instances:
        node = facts.plan.inventory.nodes.get(instance.placement.node)
        if not instance.is_new or node is None:
            continue
        if node.unschedulable or not node.ready:
            state = "cordoned" if node.unschedulable else "not ready"
            yield Problem(instance.at, f"it is new, and node {node.name} is {state}")
        if not admits(instance.spec, node):
            yield Problem(instance.at, f"labels or taints of node {node.name} do not allow it")


def none_stays_evicted(facts: Facts) -> Iterator[Problem]:
    """No instance is on a node with a NoExecute taint that it does not tolerate."""
    for instance in facts.instances:
        node = facts.plan.inventory.nodes.get(instance.placement.node)
        if node is not None and evicts(facts.spec(instance.key), node):
            yield Problem(instance.at, f"a taint of node {node.name} evicts it")


def nodes_hold(facts: Facts) -> Iterator[Problem]:
    """No node that got something new has more requested of it than it has."""
    cpu: Counter[NodeName] = Counter()
    memory: Counter[NodeName] = Counter()
    busy = {i.placement.node for i in facts.instances if i.is_new}
    for instance in facts.counted():
        requests = instance.spec.container.resources.requests
        cpu[instance.placement.node] += requests.cpu or 0
        memory[instance.placement.node] += requests.memory or 0
    for name in sorted(busy & facts.plan.inventory.nodes.keys()):
        node = facts.plan.inventory.nodes[name]
        for resource, used, text in (("cpu", cpu, cpu_text), ("memory", memory, memory_text)):
            if used[name] > node.allocatable.get(resource, used[name]):
                has = text(node.allocatable[resource])
                what = f"node {name} has {resource} {has}, and {text(used[name])} are requested"
                yield Problem(_first_on(facts, name).at, what)


def _first_on(facts: Facts, node: NodeName) -> Instance:
    return next(i for i in facts.instances if i.is_new and i.placement.node == node)


def host_ports_unique(facts: Facts) -> Iterator[Problem]:
    """A host port of a node has one instance."""
    owners: dict[tuple[NodeName, int, str], Instance] = {}
    for instance in facts.counted():
        for port in instance.spec.container.ports:
            if port.host_port is None:
                continue
            place = (instance.placement.node, port.host_port, port.protocol)
            other = owners.setdefault(place, instance)
            if other is not instance:
                what = f"host port {port.host_port}/{port.protocol} is also that of {other.at}"
                yield Problem(instance.at, what)


def gpus_unique(facts: Facts) -> Iterator[Problem]:
    """A device has one instance."""
    owners: dict[tuple[NodeName, str, int], Instance] = {}
    for instance in facts.counted():
        gpu = instance.spec.container.resources.gpu
        for device in instance.placement.gpus:
            place = (instance.placement.node, gpu.vendor if gpu else "", device)
            other = owners.setdefault(place, instance)
            if other is not instance:
                yield Problem(instance.at, f"GPU {device} is also that of {other.at}")


def gpus_exist(facts: Facts) -> Iterator[Problem]:
    """An instance has as many devices as it wants; a new one has such as its node has."""
    for instance in facts.counted():
        gpu = instance.spec.container.resources.gpu
        devices, wanted = instance.placement.gpus, gpu.count if gpu else 0
        if len(set(devices)) != wanted:
            yield Problem(instance.at, f"it wants {wanted} GPUs and has {len(set(devices))}")
        node = facts.plan.inventory.nodes.get(instance.placement.node)
        if gpu is None or node is None or not instance.is_new:
            continue
        total = _gpu_count(node, gpu.vendor)
        if any(not 0 <= device < total for device in devices):
            yield Problem(instance.at, f"node {node.name} has only {total} {gpu.vendor} GPUs")


def _gpu_count(node: Node, vendor: str) -> int:
    return sum(node.allocatable.get(name, 0) for name in _GPUS[vendor])


def quotas_hold(facts: Facts) -> Iterator[Problem]:
    """A namespace in which something is new keeps its quota."""
    used: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    grown: dict[str, Instance] = {}
    for instance in facts.counted():
        namespace = instance.key.partition("/")[0]
        requests = instance.spec.container.resources.requests
        amounts = (requests.cpu or 0, requests.memory or 0, 1)
        sums = used[namespace]
        for which, amount in enumerate(amounts):
            sums[which] += amount
        if instance.is_new:
            grown.setdefault(namespace, instance)
    for namespace, instance in grown.items():
        written = facts.plan.specs.namespaces.get(namespace)
        if written is None:
            continue
        quota = written.spec.quota
        limits = (quota.cpu, quota.memory, quota.instances)
        for name, limit, sum_ in zip(
            ("cpu", "memory", "instances"), limits, used[namespace], strict=True
        ):
            if limit is not None and sum_ > limit:
                what = f"namespace {namespace} may use {name} {limit}, and uses {sum_}"
                yield Problem(instance.at, what)


def exclusive_ones_say_so(facts: Facts) -> Iterator[Problem]:
    """A new instance that can never run beside its successor is marked stop-first."""
    for instance in facts.instances:
        marked = instance.placement.stop_first or not instance.is_new
        if not marked and is_exclusive(instance.spec):
            yield Problem(instance.at, "it is exclusive, but not marked to be replaced stop-first")


INVARIANTS: Mapping[str, Invariant] = {
    "nodes-exist": nodes_exist,
    "wanted-is-there": wanted_is_there,
    "ordinals-well-formed": ordinals_well_formed,
    "unplaced-has-reason": nothing_unplaced_without_reason,
    "new-ones-are-admitted": new_ones_are_admitted,
    "none-stays-evicted": none_stays_evicted,
    "nodes-hold": nodes_hold,
    "host-ports-unique": host_ports_unique,
    "gpus-unique": gpus_unique,
    "gpus-exist": gpus_exist,
    "quotas-hold": quotas_hold,
    "exclusive-ones-say-so": exclusive_ones_say_so,
}
