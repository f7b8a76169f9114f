"""Sets of files that several nodes carry: rendered and digested once, whatever the number of nodes.

| set | files | on |
|---|---|---|
| `base` | cluster target and slice, users, the overlay's devices | every node |
| `peers`, `peers/…` | one WireGuard or route drop-in for each node | every node, without its own |
| `nodes` | the zone of node names | every node |
| `open/<ns>` | zone, services and candidates of a namespace | every node |
| `isolated/<ns>` | the same of an isolated namespace | nodes that run it; with ingress, all |
| `group/<ns>` | target and slice of a namespace | nodes that run its instances |
| `config/<ns>/<name>` | a Config's files | nodes that run a workload that mounts it |
| `config/<ns>/<name>/<content>` | what it was before | nodes with instances that still mount it |
| `build/<ns>/<name>` | a build unit | nodes that run the workload |
| `ingress` | the proxy's dynamic file | every node, if any ingress exists |

A manifest says `open/*` for all sets of that prefix, so that a new namespace changes no manifest.
"""

from collections.abc import Iterable, Mapping, Sequence

from katgen import names
from katgen.bundle import Artifact, SharedSet, shared_set
from katgen.model.objects import Config
from katgen.model.specs import WorkloadObjects
from katgen.names import WorkloadKey
from katgen.planned import Node, Plan
from katgen.render import (
    config,
    dns,
    grouping,
    networkd,
    nft,
    quadlet,
    services,
    tmpfiles,
    traefik,
    zone,
)
from katgen.render.cut import namespace_view, nodes_view, peer_views
from katgen.render.view import ClusterView, NamespaceView, PlannedWorkload

OPEN = "open/*"


def base_sets(plan: Plan, cluster: ClusterView) -> tuple[SharedSet, ...]:
    """Return the sets that depend on the cluster's settings and nodes, and on no workload."""
    base = (
        *grouping.cluster(),
        *dns.shared(),
        *networkd.shared(cluster),
        *nft.cluster(cluster),
        *tmpfiles.sysusers(),
    )
    readers = {peer_set(node, cluster): node for node in plan.inventory.nodes.values()}
    peers = {
        name: tuple(a for view in peer_views(plan, cluster, one) for a in networkd.peer(view))
        for name, one in sorted(readers.items())
    }
    return _sets({"base": base, "nodes": zone.nodes(nodes_view(plan, cluster)), **peers})


def peer_set(reader: Node, cluster: ClusterView) -> str:
    """Return the set with the peers' files as this node must read them.

    A route names the reader's own link; a tunnel out of a NAT is kept open by the reader.
    """
    if cluster.spec.overlay == "wireguard":
        return "peers/nat" if reader.behind_nat else "peers"
    return f"peers/{reader.interface}" if reader.interface else "peers"


def namespace_sets(
    plan: Plan, cluster: ClusterView, name: str, workloads: Sequence[PlannedWorkload]
) -> tuple[SharedSet, ...]:
    """Return the sets of one namespace."""
    view = namespace_view(plan, cluster, name, workloads)
    prefix = "isolated" if view.isolated else "open"
    sets = {
        f"{prefix}/{name}": (
            *zone.namespace(view),
            *nft.services(view),
            *services.services(view),
        ),
        f"group/{name}": grouping.namespace(plan.specs.namespaces[name]),
    }
    return _sets(sets)


def config_sets(plan: Plan, keys: Iterable[WorkloadKey]) -> tuple[SharedSet, ...]:
    """Return the sets of these Configs."""
    return _sets({f"config/{k}": config.files(k, plan.specs.configs[k]) for k in keys})


def earlier_config_sets(workloads: Iterable[PlannedWorkload]) -> tuple[SharedSet, ...]:
    """Return the sets of Configs that are others by now, and are still mounted as they were."""
    return _sets(
        {
            earlier_config(key, was): config.files(key, was)
            for workload in workloads
            for one in workload.earlier.values()
            for key, was in one.own_configs.items()
        }
    )


def earlier_config(key: WorkloadKey, was: Config) -> str:
    """Return the name of the set of a Config's earlier content."""
    return f"config/{key}/{config.folder(key, was).rpartition('/')[2]}"


def build_sets(cluster: ClusterView, workloads: Iterable[PlannedWorkload]) -> tuple[SharedSet, ...]:
    """Return the build units of these workloads; one without a build has none."""
    return _sets({f"build/{w.key}": quadlet.build(_built(w), cluster) for w in workloads})


def _built(workload: PlannedWorkload) -> PlannedWorkload:
    """Return what a workload's build unit builds: instances may still require an earlier one's.

    A build leaves an image alone that is there, so that the unit of another commit serves as well.
    """
    versions = (workload, *workload.earlier.values())
    with_git = (w for w in versions if w.objects.workload.spec.source.git is not None)
    return next(with_git, workload)


def ingress_sets(views: Sequence[NamespaceView]) -> tuple[SharedSet, ...]:
    """Return the proxy's dynamic configuration over all namespaces."""
    return _sets({"ingress": traefik.shared(views)})


def _sets(artifacts: Mapping[str, tuple[Artifact, ...]]) -> tuple[SharedSet, ...]:
    return tuple(shared_set(name, files) for name, files in artifacts.items() if files)


def mounted_configs(key: WorkloadKey, objects: WorkloadObjects) -> tuple[WorkloadKey, ...]:
    """Return the Configs that a workload mounts, sorted."""
    namespace, _ = names.split_key(key)
    volumes = objects.workload.spec.volumes
    return tuple(sorted({names.key(namespace, v.config.name) for v in volumes if v.config}))


def used_by(workload: PlannedWorkload) -> tuple[str, ...]:
    """Return the names of the sets that a node needs because of a workload."""
    namespace, _ = names.split_key(workload.key)
    used = [f"group/{namespace}"]
    if workload.isolated:
        used.append(f"isolated/{namespace}")
    other = workload.own_configs
    used += (
        earlier_config(key, other[key]) if key in other else f"config/{key}"
        for key in mounted_configs(workload.key, workload.objects)
    )
    if workload.objects.workload.spec.source.git is not None:
        used.append(f"build/{workload.key}")
    return tuple(used)
