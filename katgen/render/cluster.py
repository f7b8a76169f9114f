"""A plan → every node's manifest and the root over them; after a change, only what changed.

Contents are rendered, digested and dropped: at 100,000 instances they would be the largest thing
in memory. Rendering is pure, so `Rendered.bundle` makes one node's contents again, the same bytes,
when somebody wants to see or fetch them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import msgspec

from katgen.bundle import FORMAT, Artifact, Bundle, Manifest, Root, SharedSet, entry
from katgen.merkle import MerkleTree, merkle_tree
from katgen.names import InstanceKey, NodeName, WorkloadKey, split_key
from katgen.planned import Plan, sort_ordinal
from katgen.render import networkd, own, shared
from katgen.render.cut import (
    cluster_view,
    namespace_view,
    node_view,
    placed_by_node,
    planned_workload,
)
from katgen.render.view import ClusterView, PlacedInstance, PlannedWorkload

_ENCODER = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class Counters:
    """How much work the last rendering was; an O(changed) claim is proved with these."""

    units: int = 0
    nodes: int = 0
    shared_sets: int = 0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A plan's files, digested, with whatever makes the next rendering cheap."""

    plan: Plan
    cluster: ClusterView
    workloads: Mapping[WorkloadKey, PlannedWorkload]
    templates: Mapping[WorkloadKey, own.WorkloadTemplate]
    placed: Mapping[NodeName, tuple[PlacedInstance, ...]]
    excludes: Mapping[NodeName, tuple[str, ...]]
    nodes: Mapping[NodeName, own.NodeFiles]
    shared: Mapping[str, SharedSet]
    root: Root
    tree: MerkleTree
    counters: Counters

    def bundle(self, name: NodeName) -> Bundle:
        """Return all of one node's files, contents rendered anew."""
        instances = self.placed.get(name, ())
        view = node_view(self.plan, self.cluster, name, instances)
        units = (own.instance_artifacts(i, self.templates[i.of.key]) for i in instances)
        files = chain(own.node_artifacts(view), chain.from_iterable(units))
        manifest = self.nodes[name].manifest
        return Bundle(name, tuple(sorted(files, key=_path)), self.sets_of(name), manifest)

    def sets_of(self, name: NodeName) -> tuple[str, ...]:
        """Return the names of the shared sets that a node carries, wildcards resolved, sorted."""
        wanted = self.nodes[name].manifest.shared_sets
        prefixes = tuple(w[:-1] for w in wanted if w.endswith("/*"))
        return tuple(
            sorted(s for s in self.shared if s in wanted or (prefixes and s.startswith(prefixes)))
        )

    def files(self, name: NodeName) -> Iterator[Artifact]:
        """Yield every file of a node, own and shared, without what it excludes, sorted by path."""
        bundle = self.bundle(name)
        common = chain.from_iterable(self.shared[s].artifacts for s in bundle.shared)
        left_out = frozenset(bundle.manifest.excludes)
        kept = (a for a in chain(bundle.own, common) if a.path not in left_out)
        yield from sorted(kept, key=_path)


def render(plan: Plan) -> Rendered:
    """Return all files of a plan, digested."""
    cluster = cluster_view(plan)
    workloads = {key: planned_workload(plan, key) for key in sorted(plan.workloads)}
    templates = {k: own.workload_template(w, cluster) for k, w in workloads.items()}
    by_node = placed_by_node(workloads.values())
    placed = {n: tuple(by_node.get(n, ())) for n in sorted(plan.inventory.nodes)}
    common = {s.name: s for s in _all_sets(plan, cluster, workloads)}
    excludes = _own_peer_files(plan, cluster, common)
    draft = _Draft(plan, cluster, templates, placed, excludes, "ingress" in common)
    nodes = {name: draft.node(name, {}) for name in placed}
    root, tree = _root(nodes, common)
    units = sum(len(files.instances) for files in nodes.values())
    return Rendered(
        plan, cluster, workloads, templates, placed, excludes, nodes, common, root, tree,
        Counters(units, len(nodes), len(common)),
    )  # fmt: skip


def rerender(before: Rendered, plan: Plan, changed: Iterable[WorkloadKey]) -> Rendered:
    """Return the files of `plan`, which differs from the plan rendered before in `changed` alone.

    Where more than workloads changed (nodes, namespaces, settings), everything is rendered again.
    """
    if not _only_workloads_differ(before.plan, plan):
        return render(plan)
    keys = tuple(sorted(changed))
    workloads = dict(before.workloads)
    templates = dict(before.templates)
    for key in keys:
        _replace(plan, before.cluster, key, workloads, templates)
    placed, dirty = _replaced_placements(before, workloads, keys)
    common = _changed_sets(before, plan, workloads, keys)
    if ("ingress" in common) != ("ingress" in before.shared):
        return render(plan)
    draft = _Draft(plan, before.cluster, templates, placed, before.excludes, "ingress" in common)
    kept = {name: _kept_instances(before, name, frozenset(keys)) for name in dirty}
    nodes = {**before.nodes, **{name: draft.node(name, kept[name]) for name in dirty}}
    root, tree = _changed_root(before, nodes, common, dirty)
    counters = Counters(
        units=sum(len(placed[n]) - len(kept[n]) for n in dirty),
        nodes=len(dirty),
        shared_sets=sum(before.shared.get(n) is not s for n, s in common.items()),
    )
    return Rendered(
        plan, before.cluster, workloads, templates, placed, before.excludes, nodes, common, root,
        tree, counters,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Draft:
    """What rendering one node needs to know of the others: nothing but these."""

    plan: Plan
    cluster: ClusterView
    templates: Mapping[WorkloadKey, own.WorkloadTemplate]
    placed: Mapping[NodeName, tuple[PlacedInstance, ...]]
    excludes: Mapping[NodeName, tuple[str, ...]]
    has_ingress: bool

    def node(self, name: NodeName, kept: Mapping[InstanceKey, own.InstanceFiles]) -> own.NodeFiles:
        """Render one node; `kept` are instances whose files are known already."""
        placed = self.placed[name]
        view = node_view(self.plan, self.cluster, name, placed)
        rendered = (self._instance(instance, kept) for instance in placed)
        instances = {files.instance.instance: files for files in rendered}
        files = tuple(map(entry, own.node_artifacts(view)))
        uses = (self._uses(name, placed), self.excludes[name])
        return own.NodeFiles(instances, files, own.manifest(name, files, instances, uses))

    def _instance(
        self, instance: PlacedInstance, kept: Mapping[InstanceKey, own.InstanceFiles]
    ) -> own.InstanceFiles:
        known = kept.get(own.instance_key(instance)) if kept else None
        return known or own.instance_files(instance, self.templates[instance.of.key])

    def _uses(self, name: NodeName, placed: tuple[PlacedInstance, ...]) -> tuple[str, ...]:
        peers = shared.peer_set(self.plan.inventory.nodes[name], self.cluster)
        always = ["base", "nodes", shared.OPEN, peers]
        if self.has_ingress:
            always.append("ingress")
        used = {one for i in placed for one in self.templates[i.of.key].uses}
        return (*always, *sorted(used))


def _own_peer_files(
    plan: Plan, cluster: ClusterView, common: Mapping[str, SharedSet]
) -> dict[NodeName, tuple[str, ...]]:
    """Return for each node its own file among its peers' files, if there is one."""
    paths = {n: {a.path for a in s.artifacts} for n, s in common.items() if n.startswith("peers")}
    excludes: dict[NodeName, tuple[str, ...]] = {}
    for name, node in plan.inventory.nodes.items():
        own_path = networkd.peer_path(cluster, name)
        among = paths.get(shared.peer_set(node, cluster), set())
        excludes[name] = (own_path,) if own_path in among else ()
    return excludes


def _path(artifact: Artifact) -> str:
    return artifact.path


def _namespace(key: WorkloadKey) -> str:
    return split_key(key)[0]


def _by_namespace(
    plan: Plan, workloads: Mapping[WorkloadKey, PlannedWorkload]
) -> dict[str, list[PlannedWorkload]]:
    grouped: dict[str, list[PlannedWorkload]] = {name: [] for name in sorted(plan.specs.namespaces)}
    for key in sorted(workloads):
        grouped[_namespace(key)].append(workloads[key])
    return grouped


def _all_sets(
    plan: Plan, cluster: ClusterView, workloads: Mapping[WorkloadKey, PlannedWorkload]
) -> Iterator[SharedSet]:
    grouped = _by_namespace(plan, workloads)
    yield from shared.base_sets(plan, cluster)
    for name, inside in grouped.items():
        yield from shared.namespace_sets(plan, cluster, name, inside)
    yield from shared.config_sets(plan, sorted(plan.specs.configs))
    yield from shared.build_sets(cluster, workloads.values())
    yield from _ingress(plan, cluster, grouped)


def _ingress(
    plan: Plan, cluster: ClusterView, grouped: Mapping[str, list[PlannedWorkload]]
) -> tuple[SharedSet, ...]:
    with_ingress = {n: list(filter(_has_ingress, inside)) for n, inside in grouped.items()}
    views = [
        namespace_view(plan, cluster, name, inside)
        for name, inside in with_ingress.items()
        if inside
    ]
    return shared.ingress_sets(views) if views else ()


def _has_ingress(workload: PlannedWorkload) -> bool:
    balancer = workload.objects.load_balancer
    return balancer is not None and bool(balancer.spec.ingress)


def _only_workloads_differ(before: Plan, after: Plan) -> bool:
    same_specs = before.specs.cluster is after.specs.cluster or (
        before.specs.cluster == after.specs.cluster
    )
    return (
        same_specs
        and before.specs.namespaces == after.specs.namespaces
        and before.inventory.nodes is after.inventory.nodes
        and before.subnets == after.subnets
    )


def _replace(
    plan: Plan,
    cluster: ClusterView,
    key: WorkloadKey,
    workloads: dict[WorkloadKey, PlannedWorkload],
    templates: dict[WorkloadKey, own.WorkloadTemplate],
) -> None:
    """Put one workload's new decisions in place; a deleted one leaves both mappings."""
    if key in plan.workloads:
        workloads[key] = planned_workload(plan, key)
        templates[key] = own.workload_template(workloads[key], cluster)
    else:
        workloads.pop(key, None)
        templates.pop(key, None)


def _nodes_of(workload: PlannedWorkload | None) -> frozenset[NodeName]:
    return frozenset(p.node for p in workload.plan.placements) if workload else frozenset()


def _replaced_placements(
    before: Rendered,
    workloads: Mapping[WorkloadKey, PlannedWorkload],
    keys: tuple[WorkloadKey, ...],
) -> tuple[dict[NodeName, tuple[PlacedInstance, ...]], tuple[NodeName, ...]]:
    """Return each node's instances, and the nodes on which a changed workload ran or will run."""
    touched = {n for k in keys for n in _nodes_of(before.workloads.get(k))}
    new = placed_by_node(workloads[k] for k in keys if k in workloads)
    touched.update(new)
    gone = frozenset(keys)
    placed = dict(before.placed)
    dirty = tuple(sorted(touched & placed.keys()))
    for name in dirty:
        stay = [i for i in placed[name] if i.of.key not in gone]
        placed[name] = tuple(sorted((*stay, *new.get(name, ())), key=_instance_order))
    return placed, dirty


def _instance_order(instance: PlacedInstance) -> tuple[WorkloadKey, tuple[int, str]]:
    return instance.of.key, sort_ordinal(instance.placement.ordinal)


def _kept_instances(
    before: Rendered, name: NodeName, changed: frozenset[WorkloadKey]
) -> dict[InstanceKey, own.InstanceFiles]:
    """Return what need not be rendered again: every instance of a workload that did not change."""
    stay = {own.instance_key(i) for i in before.placed[name] if i.of.key not in changed}
    return {key: files for key, files in before.nodes[name].instances.items() if key in stay}


def _changed_sets(
    before: Rendered,
    plan: Plan,
    workloads: Mapping[WorkloadKey, PlannedWorkload],
    keys: tuple[WorkloadKey, ...],
) -> dict[str, SharedSet]:
    """Return all sets; anew only those that a changed workload is part of."""
    namespaces = frozenset(map(_namespace, keys))
    inside = {k: w for k, w in workloads.items() if _namespace(k) in namespaces}
    grouped = {n: [inside[k] for k in sorted(inside) if _namespace(k) == n] for n in namespaces}
    common = dict(before.shared)
    new: list[SharedSet] = []
    for name in sorted(namespaces):
        new += shared.namespace_sets(plan, before.cluster, name, grouped[name])
    touched = {c for k in keys if k in workloads for c in _configs(workloads[k])}
    new += shared.config_sets(plan, sorted(touched))
    new += shared.build_sets(before.cluster, [workloads[k] for k in keys if k in workloads])
    if any(_has_ingress(w) for k in keys for w in _versions(before, workloads, k)):
        common.pop("ingress", None)
        new += _ingress(plan, before.cluster, _by_namespace(plan, workloads))
    for one in new:
        if one.name not in common or common[one.name].digest != one.digest:
            common[one.name] = one
    return common


def _configs(workload: PlannedWorkload) -> tuple[WorkloadKey, ...]:
    return shared.mounted_configs(workload.key, workload.objects)


def _versions(
    before: Rendered, workloads: Mapping[WorkloadKey, PlannedWorkload], key: WorkloadKey
) -> tuple[PlannedWorkload, ...]:
    return tuple(w for w in (before.workloads.get(key), workloads.get(key)) if w is not None)


def manifest_digest(manifest: Manifest) -> str:
    """Return SHA-256 of a manifest's canonical JSON, hex."""
    return hashlib.sha256(_ENCODER.encode(manifest)).hexdigest()


def _leaf(kind: str, name: str, digest: str) -> bytes:
    return f"{kind}\0{name}\0{digest}".encode()


def _leaves(manifests: Mapping[NodeName, str], sets: Mapping[str, str]) -> list[bytes]:
    """Return the tree's leaves: every manifest by node, then every shared set by name."""
    return [
        *(_leaf("node", name, manifests[name]) for name in sorted(manifests)),
        *(_leaf("set", name, sets[name]) for name in sorted(sets)),
    ]


def _root(
    nodes: Mapping[NodeName, own.NodeFiles], sets: Mapping[str, SharedSet]
) -> tuple[Root, MerkleTree]:
    manifests = {name: manifest_digest(files.manifest) for name, files in nodes.items()}
    digests = {name: one.digest for name, one in sets.items()}
    tree = merkle_tree(_leaves(manifests, digests))
    return Root(FORMAT, tree.root.hex(), manifests, digests), tree


def _changed_root(
    before: Rendered,
    nodes: Mapping[NodeName, own.NodeFiles],
    sets: Mapping[str, SharedSet],
    dirty: tuple[NodeName, ...],
) -> tuple[Root, MerkleTree]:
    """Return the root after a change: one path of the tree for each changed leaf."""
    old = before.root
    if sets.keys() != old.shared_sets.keys():
        return _root(nodes, sets)
    manifests = {**old.manifests, **{n: manifest_digest(nodes[n].manifest) for n in dirty}}
    digests = {name: one.digest for name, one in sets.items()}
    first_set = len(manifests)
    node_at = {n: i for i, n in enumerate(sorted(manifests))}
    set_at = {n: first_set + i for i, n in enumerate(sorted(digests))}
    leaves = {node_at[n]: _leaf("node", n, manifests[n]) for n in dirty}
    changed = (n for n, digest in digests.items() if digest != old.shared_sets[n])
    leaves |= {set_at[n]: _leaf("set", n, digests[n]) for n in changed}
    tree = before.tree.replaced(leaves)
    return Root(FORMAT, tree.root.hex(), manifests, digests), tree
