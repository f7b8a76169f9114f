"""What people say of nodes and what their agents report → the planner's inventory. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from katgen.inventory import inventory as described
from katgen.model.node import Node as Document
from katgen.model.specs import Specs
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.planned import Inventory, Node, Placement, Plan
from katgen.protocol import Facts, Report, UnitReport

Finished = Mapping[WorkloadKey, frozenset[int]]
NOTHING = Inventory({})


def inventory(
    documents: Iterable[Document],
    facts: Mapping[NodeName, Facts],
    before: Inventory,
    finished: Finished,
    lost: frozenset[NodeName] = frozenset(),
) -> Inventory:
    """Return the inventory. A node that never reported is left out: nothing is known of it.

    One that is not connected stays as the last plan has it, also if it is `lost`. `before` is
    returned if all is equal.
    """
    nodes: dict[NodeName, Node] = {}
    for document in sorted(documents, key=lambda one: one.metadata.name):
        name = NodeName(document.metadata.name)
        node = _node(document, facts.get(name), before.nodes.get(name))
        if node is not None:
            old = before.nodes.get(name)
            nodes[name] = old if old is not None and old == node else node
    kept = before.nodes if dict(before.nodes) == nodes else nodes
    made = msgspec.structs.replace(
        before, nodes=kept, finished=finished, rested=frozenset(), lost=lost & kept.keys()
    )
    return before if made == before else made


def _node(document: Document, facts: Facts | None, before: Node | None) -> Node | None:
    spec = described([document]).nodes[NodeName(document.metadata.name)]
    if facts is not None:
        return msgspec.structs.replace(
            spec,
            ready=True,
            allocatable={
                "cpu": facts.cpu_millis,
                "memory": facts.memory_bytes,
                **dict(sorted(facts.custom.items())),
            },
            interface=facts.interface,
            public_key=facts.public_key,
            podman_version=facts.versions.podman,
            systemd_version=facts.versions.systemd,
        )
    if before is None:
        return None
    return msgspec.structs.replace(
        spec,
        ready=True,
        allocatable=before.allocatable,
        interface=before.interface,
        public_key=before.public_key,
        podman_version=before.podman_version,
        systemd_version=before.systemd_version,
    )


def taken_key(
    node: NodeName, facts: Facts, others: Mapping[NodeName, Facts], before: Inventory
) -> str:
    """Return why a node cannot have its public key: another one has it. '' if none has."""
    known = {name: one.public_key for name, one in before.nodes.items()}
    known |= {name: one.public_key for name, one in others.items()}
    owner = next((n for n, key in known.items() if n != node and key == facts.public_key), None)
    if owner is None or not facts.public_key:
        return ""
    return f"its public key is that of node {owner}"


def is_over(unit: UnitReport) -> bool:
    """Whether a unit ran to its end, without a failure.

    One that has never run is inactive with the result `success` too, but since no time. An agent
    that finds the mark of a run whose unit systemd has forgotten says `exited`.
    """
    if unit.sub_state == "exited":
        return True
    ended = unit.active_state == "inactive" and unit.since > 0
    return ended and unit.result == "success" and unit.exit_code == 0


def finished(known: Finished, plan: Plan, report: Report) -> Finished:
    """Return the runs of Jobs that are complete, with those that a node just reported.

    Only units of instances that the plan has now count, so that a Job of an earlier life does not.
    `known` itself is returned if nothing is new.
    """
    new: dict[WorkloadKey, frozenset[int]] = {}
    for unit in report.units:
        if not unit.instance or not is_over(unit):
            continue
        run = _run_of(plan, report.node, unit.instance)
        if run is not None and run[1] not in known.get(run[0], frozenset()):
            new[run[0]] = new.get(run[0], known.get(run[0], frozenset())) | {run[1]}
    return {**known, **new} if new else known


def _run_of(plan: Plan, node: NodeName, instance: InstanceKey) -> tuple[WorkloadKey, int] | None:
    """Return the Job and the number of the run that an instance is; None if it is no such thing."""
    key, placement = placement_of(plan, instance)
    objects = plan.specs.workloads.get(key) if key else None
    if key is None or placement is None or objects is None or placement.node != node:
        return None
    spec = objects.workload.spec
    if spec.type != "Job" or objects.job is None or objects.job.spec.schedule is not None:
        return None
    return key, int(placement.ordinal)


def placement_of(
    plan: Plan, instance: InstanceKey
) -> tuple[WorkloadKey, Placement] | tuple[None, None]:
    """Return the workload and the placement of an instance of the plan."""
    key, _, identity = instance.rpartition("/")
    planned = plan.workloads.get(WorkloadKey(key))
    for placement in planned.placements if planned else ():
        if f"{placement.ordinal}-{placement.incarnation}" == identity:
            return WorkloadKey(key), placement
    return None, None


def still_finished(known: Finished, specs: Specs) -> Finished:
    """Return the runs of Jobs that still exist: one that is made anew runs again."""
    gone = [key for key in known if key not in specs.workloads]
    return {k: runs for k, runs in known.items() if k not in gone} if gone else known
