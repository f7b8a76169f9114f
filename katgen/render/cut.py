"""Cut a plan into the views that renderers take."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from katgen import names
from katgen.model.objects import Config
from katgen.model.volume import Volume
from katgen.names import NodeName, WorkloadKey, split_key
from katgen.planned import Earlier, Node, Plan, WorkloadPlan
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
    """Return a workload of the plan with its objects, and what earlier revisions are made of."""
    specs, planned = plan.specs, plan.workloads[key]
    made_of = Earlier(specs.workloads[key], specs.configs, specs.secrets)
    known = plan.earlier.get(key)
    if not known:
        return _made_of(plan, key, planned, made_of)
    earlier = {
        revision: _made_of(plan, key, _decided(plan, key, revision), known[revision])
        for revision in sorted(known)
    }
    return replace(_made_of(plan, key, planned, made_of), earlier=earlier)


def _decided(plan: Plan, key: WorkloadKey, revision: str) -> WorkloadPlan:
    """Return what an earlier revision was decided to have, its places aside."""
    planned, retired = plan.workloads[key], plan.retired.get(key)
    spec = plan.earlier[key][revision].objects.workload.spec
    uids = planned.uid_base or (retired.uid_base if retired else 0)
    if spec.isolation == "host-root":
        uids = 0
    return msgspec.structs.replace(planned, revision=revision, uid_base=uids, placements=())


def _made_of(
    plan: Plan, key: WorkloadKey, planned: WorkloadPlan, made_of: Earlier
) -> PlannedWorkload:
    name = split_key(key)[0]
    volumes = made_of.objects.workload.spec.volumes
    configs = {v.config.name: names.key(name, v.config.name) for v in volumes if v.config}
    secrets = {v.secret.name: names.key(name, v.secret.name) for v in volumes if v.secret}
    namespace, now = plan.specs.namespaces[name].spec, plan.specs.configs
    mounted = {at: made_of.configs[at] for at in configs.values()}
    return PlannedWorkload(
        key,
        made_of.objects,
        planned,
        namespace.isolated,
        {one: config.folder(at, mounted[at]) for one, at in configs.items()},
        {one: made_of.secrets[at] for one, at in secrets.items()},
        _host_roots(volumes, namespace.allowed_host_paths),
        own_configs={at: one for at, one in mounted.items() if _differs(now.get(at), one)},
    )


def _differs(now: Config | None, was: Config) -> bool:
    return now is not was and now != was


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
            made_of = workload.of_revision(placement.revision)
            placed[placement.node].append(PlacedInstance(made_of, placement))
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
