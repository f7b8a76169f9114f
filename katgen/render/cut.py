"""Cut a plan into the views that renderers take."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from katgen import names
from katgen.model.volume import Volume
from katgen.names import NodeName, WorkloadKey, split_key
from katgen.planned import Node, Plan
from katgen.render import config
from katgen.render.view import (
    ClusterView,
    NamespaceView,
    NodesView,
    NodeView,
    PeerView,
    PlacedInstance,
    PlannedWorkload,
)

_UNDERLAY_MTU = 1500
_WIREGUARD_OVERHEAD = 80


def cluster_view(plan: Plan) -> ClusterView:
    """Return the cluster's settings, with the overlay's MTU resolved."""
    spec = plan.specs.cluster.spec
    overhead = _WIREGUARD_OVERHEAD if spec.overlay == "wireguard" else 0
    return ClusterView(spec, spec.mtu or _UNDERLAY_MTU - overhead, len(plan.inventory.nodes) > 1)


def planned_workload(plan: Plan, key: WorkloadKey) -> PlannedWorkload:
    """Return a workload of the plan with its objects."""
    name = split_key(key)[0]
    objects = plan.specs.workloads[key]
    volumes = objects.workload.spec.volumes
    configs = {v.config.name: names.key(name, v.config.name) for v in volumes if v.config}
    secrets = {v.secret.name: names.key(name, v.secret.name) for v in volumes if v.secret}
    namespace = plan.specs.namespaces[name].spec
    return PlannedWorkload(
        key,
        objects,
        plan.workloads[key],
        namespace.isolated,
        {one: config.folder(at, plan.specs.configs[at]) for one, at in configs.items()},
        {one: plan.specs.secrets[at] for one, at in secrets.items()},
        _host_roots(volumes, namespace.allowed_host_paths),
    )


def _host_roots(volumes: Iterable[Volume], allowed: Iterable[str]) -> dict[str, str]:
    """Return the outermost allowed path above each host mount: all below it is in reach."""
    roots: dict[str, str] = {}
    outermost_first = sorted(map(_folder, allowed), key=len)
    for volume in volumes:
        mount = volume.host_mount
        if mount is not None:
            path = _folder(mount.host_path)
            root = (one for one in outermost_first if path.startswith(one))
            roots[volume.name] = next(root, "/")
    return roots


def _folder(path: str) -> str:
    return "/" + "".join(f"{part}/" for part in path.split("/") if part)


def placed_by_node(workloads: Iterable[PlannedWorkload]) -> dict[NodeName, list[PlacedInstance]]:
    """Return each node's instances, in the order of the workloads and their placements."""
    placed: dict[NodeName, list[PlacedInstance]] = defaultdict(list)
    for workload in workloads:
        for placement in workload.plan.placements:
            placed[placement.node].append(PlacedInstance(workload, placement))
    return dict(placed)


def node_address(subnet: str) -> str:
    """Return the first address of a node's subnet, the node's own."""
    base, _, _ = subnet.partition("/")
    head, _, last = base.rpartition(".")
    return f"{head}.{int(last) + 1}"


def node_view(
    plan: Plan, cluster: ClusterView, name: NodeName, instances: Iterable[PlacedInstance]
) -> NodeView:
    """Return the view of one node."""
    subnet = plan.subnets[name]
    node = plan.inventory.nodes[name]
    return NodeView(cluster, node, subnet, node_address(subnet), tuple(instances))


def peer_views(plan: Plan, cluster: ClusterView, reader: Node) -> tuple[PeerView, ...]:
    """Return every node as nodes with this one's link and NAT see it, sorted by name."""
    return tuple(
        PeerView(
            cluster,
            node,
            plan.subnets[name],
            node_address(plan.subnets[name]),
            reader.interface,
            keepalive=reader.behind_nat,
        )
        for name, node in sorted(plan.inventory.nodes.items())
    )


def nodes_view(plan: Plan, cluster: ClusterView) -> NodesView:
    """Return all nodes' names and overlay addresses, sorted by name."""
    names = sorted(plan.inventory.nodes)
    return NodesView(cluster, tuple((n, node_address(plan.subnets[n])) for n in names))


def namespace_view(
    plan: Plan, cluster: ClusterView, name: str, workloads: Sequence[PlannedWorkload]
) -> NamespaceView:
    """Return one namespace with its workloads, which are sorted by key."""
    isolated = plan.specs.namespaces[name].spec.isolated
    return NamespaceView(cluster, name, isolated, tuple(workloads))
