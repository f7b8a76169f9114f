"""Cuts of a small plan, made by hand, for tests of the network's renderers."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from katgen.bundle import Artifact
from katgen.model.cluster import ClusterSpec
from katgen.model.objects import VirtualLoadBalancer
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import NodeName, Ordinal, WorkloadKey, split_key
from katgen.planned import Node, Placement, WorkloadPlan
from katgen.render.view import (
    ClusterView,
    NamespaceView,
    NodeView,
    PeerView,
    PlacedInstance,
    PlannedWorkload,
)

SUBNETS = {"a": "10.100.1.0/24", "b": "10.100.2.0/24", "c": "10.100.3.0/24"}
Placed = Mapping[str, tuple[str, str]]
"""Ordinal → (node, address)."""


def cluster(*, multi_node: bool = True, mtu: int = 1420, **spec: Any) -> ClusterView:  # noqa: ANN401 -- a YAML document
    """Return settings; `spec` are fields of ClusterConfiguration by their file names."""
    given = {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16", **spec}
    return ClusterView(ClusterSpec.model_validate(given), mtu, multi_node)


def workload(
    name: str,
    placed: Placed,
    *,
    container: Mapping[str, Any] | None = None,
    volumes: Iterable[Mapping[str, Any]] = (),
    uid_base: int = 200000,
) -> PlannedWorkload:
    """Return a Service `<ns>/<name>` on the nodes that `placed` says, without a virtual address."""
    namespace, own = split_key(WorkloadKey(name))
    spec = {
        "type": "Service",
        "source": {"image": "localhost/bb:1"},
        "container": container or {},
        "volumes": list(volumes),
    }
    metadata = {"name": own, "namespace": namespace}
    document = {"kind": "Workload", "metadata": metadata, "spec": spec}
    placements = tuple(
        Placement(Ordinal(ordinal), 1, "r1", NodeName(node), address)
        for ordinal, (node, address) in placed.items()
    )
    plan = WorkloadPlan("r1", 2, uid_base=uid_base, placements=placements)
    objects = WorkloadObjects(Workload.model_validate(document))
    return PlannedWorkload(WorkloadKey(name), objects, plan, isolated=False)


def balanced(of: PlannedWorkload, virtual: str, spec: Mapping[str, Any]) -> PlannedWorkload:
    """Return the workload with a VirtualLoadBalancer and its virtual address."""
    namespace, own = split_key(of.key)
    metadata = {"name": own, "namespace": namespace}
    document = {"kind": "VirtualLoadBalancer", "metadata": metadata, "spec": dict(spec)}
    balancer = VirtualLoadBalancer.model_validate(document)
    plan = WorkloadPlan(
        of.plan.revision,
        of.plan.next_incarnation,
        uid_base=of.plan.uid_base,
        virtual_address=virtual,
        placements=of.plan.placements,
    )
    return replace(of, objects=replace(of.objects, load_balancer=balancer), plan=plan)


def namespace_view(
    of: ClusterView, name: str, workloads: Iterable[PlannedWorkload], *, isolated: bool = False
) -> NamespaceView:
    """Return a namespace with those of the workloads that are its own."""
    mine = tuple(replace(w, isolated=isolated) for w in workloads if split_key(w.key)[0] == name)
    return NamespaceView(of, name, isolated, mine)


def node_view(of: ClusterView, name: str, workloads: Iterable[PlannedWorkload] = ()) -> NodeView:
    """Return a node with what runs there."""
    placed = [PlacedInstance(w, p) for w in workloads for p in w.plan.placements if p.node == name]
    subnet = SUBNETS[name]
    address = subnet.replace(".0/24", ".1")
    return NodeView(of, Node(NodeName(name)), subnet, address, tuple(placed))


def peer_view(of: ClusterView, node: Node, **rest: Any) -> PeerView:  # noqa: ANN401 -- PeerView's own fields
    """Return a node as others see it; its name is one of SUBNETS."""
    subnet = SUBNETS[node.name]
    return PeerView(of, node, subnet, subnet.replace(".0/24", ".1"), **rest)


def texts(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Return the files' contents by path."""
    return {a.path: a.content.decode() for a in artifacts}
