"""A plan → every node's manifest and the root over them. `change` does the same after a change.

Contents are rendered, digested and dropped: at 100,000 instances they would be the largest thing
in memory. Rendering is pure, so `Rendered.bundle` makes one node's contents again, the same bytes,
when somebody wants to see or fetch them.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import msgspec

from katgen.bundle import FORMAT, Artifact, Bundle, Entry, Manifest, Root, SharedSet, entry
from katgen.merkle import MerkleTree, merkle_tree
from katgen.names import InstanceKey, NodeName, WorkloadKey, split_key
from katgen.planned import Plan
from katgen.render import networkd, own, shared
from katgen.render.cut import (
    cluster_view,
    namespace_view,
    node_view,
    placed_by_node,
    planned_workload,
)
from katgen.render.view import ClusterView, NodeView, PlacedInstance, PlannedWorkload

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
    for_proxies: tuple[str, ...]
    nodes: Mapping[NodeName, own.NodeFiles]
    shared: Mapping[str, SharedSet]
    root: Root
    tree: MerkleTree
    counters: Counters

    def bundle(self, name: NodeName) -> Bundle:
        """Return all of one node's files, contents rendered anew."""
        instances = self.placed.get(name, ())
        view = node_view(self.plan, self.cluster, name, instances)
        units = (own.instance_artifacts(i, own.template_of(i, self.templates)) for i in instances)
        node = (own.fixed_artifacts(view), own.moving_artifacts(view))
        files = chain.from_iterable(chain(node, units))
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

    def contents(self, name: NodeName, digests: Collection[str]) -> dict[str, bytes]:
        """Return those of a node's files that have one of these digests, by digest.

        Only these are rendered anew: an instance's units, what depends on the node's address, or
        what depends on all that runs there.
        """
        common = (one for s in self.sets_of(name) for one in self.shared[s].artifacts)
        left_out = frozenset(self.nodes[name].manifest.excludes)
        kept = (one for one in common if one.path not in left_out)
        files = chain(kept, self._own(name, frozenset(digests)))
        return {one.digest: one.content for one in files if one.digest in digests}

    def _own(self, name: NodeName, digests: frozenset[str]) -> Iterator[Artifact]:
        """Yield files that exist for a node alone, those with one of these digests among them."""
        of, placed, templates = self.nodes[name], self.placed.get(name, ()), self.templates
        left = digests.intersection(one.digest for one in of.manifest.entries)
        for instance, known in zip(placed, of.instances.values(), strict=True):
            if _has_any(known.entries, left):
                yield from own.instance_artifacts(instance, own.template_of(instance, templates))
                left = left.difference(one.digest for one in known.entries)
        if left:
            view = node_view(self.plan, self.cluster, name, placed)
            if _has_any(of.fixed, left):
                yield from own.fixed_artifacts(view)
            if left.difference(one.digest for one in of.fixed):
                yield from own.moving_artifacts(view)


def _has_any(entries: Iterable[Entry], digests: Collection[str]) -> bool:
    return any(one.digest in digests for one in entries)


def render(plan: Plan) -> Rendered:
    """Return all files of a plan, digested."""
    cluster = cluster_view(plan)
    workloads = {key: planned_workload(plan, key) for key in sorted(plan.workloads)}
    templates = {k: own.workload_template(w, cluster) for k, w in workloads.items()}
    by_node = placed_by_node(workloads.values())
    placed = {n: tuple(by_node.get(n, ())) for n in sorted(plan.inventory.nodes)}
    common = {s.name: s for s in _all_sets(plan, cluster, workloads)}
    excludes = _own_peer_files(plan, cluster, common)
    proxies = for_proxies(workloads.values())
    draft = Draft(plan, cluster, templates, placed, excludes, proxies)
    nodes = {name: draft.node(name) for name in placed}
    root, tree = root_over(nodes, common)
    units = sum(len(files.instances) for files in nodes.values())
    return Rendered(
        plan, cluster, workloads, templates, placed, excludes, proxies, nodes, common, root, tree,
        Counters(units, len(nodes), len(common)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """What rendering one node needs to know of the others: nothing but these."""

    plan: Plan
    cluster: ClusterView
    templates: Mapping[WorkloadKey, own.WorkloadTemplate]
    placed: Mapping[NodeName, tuple[PlacedInstance, ...]]
    excludes: Mapping[NodeName, tuple[str, ...]]
    for_proxies: tuple[str, ...]

    def node(self, name: NodeName) -> own.NodeFiles:
        """Render one node."""
        placed, templates = self.placed[name], self.templates
        view = node_view(self.plan, self.cluster, name, placed)
        rendered = (own.instance_files(one, own.template_of(one, templates)) for one in placed)
        instances = {files.instance.instance: files for files in rendered}
        fixed = tuple(map(entry, own.fixed_artifacts(view)))
        return self._finished(view, instances, fixed)

    def node_after(self, before: own.NodeFiles, name: NodeName) -> own.NodeFiles:
        """Render a node again of which some instances are other ones than before."""
        placed, templates, known = self.placed[name], self.templates, before.instances
        view = node_view(self.plan, self.cluster, name, placed)
        instances = {}
        for one in placed:
            key = own.instance_key(one)
            files, template = known.get(key), own.template_of(one, templates)
            # An instance's files never change under its key, but its workload's probes may.
            if files is None or files.of is not template:
                files = own.instance_files(one, template)
            instances[key] = files
        return self._finished(view, instances, before.fixed)

    def _finished(
        self,
        view: NodeView,
        instances: Mapping[InstanceKey, own.InstanceFiles],
        fixed: tuple[Entry, ...],
    ) -> own.NodeFiles:
        name = view.node.name
        lines = (*fixed, *map(entry, own.moving_artifacts(view)))
        uses = (self._uses(name), self.excludes[name])
        return own.NodeFiles(instances, fixed, own.manifest(name, lines, instances, uses))

    def _uses(self, name: NodeName) -> tuple[str, ...]:
        peers = shared.peer_set(self.plan.inventory.nodes[name], self.cluster)
        placed, templates = self.placed[name], self.templates
        used = {one for i in placed for one in own.template_of(i, templates).uses}
        return ("base", "nodes", shared.OPEN, peers, *sorted(used.union(self.for_proxies)))


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


def namespace_of(key: WorkloadKey) -> str:
    """Return the namespace of a workload."""
    return split_key(key)[0]


def by_namespace(
    plan: Plan, workloads: Mapping[WorkloadKey, PlannedWorkload]
) -> dict[str, list[PlannedWorkload]]:
    """Return every namespace's workloads, sorted by key."""
    grouped: dict[str, list[PlannedWorkload]] = {name: [] for name in sorted(plan.specs.namespaces)}
    for key in sorted(workloads):
        grouped[namespace_of(key)].append(workloads[key])
    return grouped


def _all_sets(
    plan: Plan, cluster: ClusterView, workloads: Mapping[WorkloadKey, PlannedWorkload]
) -> Iterator[SharedSet]:
    grouped = by_namespace(plan, workloads)
    yield from shared.base_sets(plan, cluster)
    for name, inside in grouped.items():
        yield from shared.namespace_sets(plan, cluster, name, inside)
    yield from shared.config_sets(plan, sorted(plan.specs.configs))
    yield from shared.earlier_config_sets(workloads.values())
    yield from shared.build_sets(cluster, workloads.values())
    yield from ingress_sets(plan, cluster, grouped)


def ingress_sets(
    plan: Plan, cluster: ClusterView, grouped: Mapping[str, list[PlannedWorkload]]
) -> tuple[SharedSet, ...]:
    """Return the set with the proxy's file, if anything has an ingress."""
    with_ingress = {n: list(filter(has_ingress, inside)) for n, inside in grouped.items()}
    views = [
        namespace_view(plan, cluster, name, inside)
        for name, inside in with_ingress.items()
        if inside
    ]
    return shared.ingress_sets(views) if views else ()


def has_ingress(workload: PlannedWorkload) -> bool:
    """Return whether a workload is reachable from outside through a proxy."""
    balancer = workload.objects.load_balancer
    return balancer is not None and bool(balancer.spec.ingress)


def manifest_digest(manifest: Manifest) -> str:
    """Return SHA-256 of a manifest's canonical JSON, hex."""
    return hashlib.sha256(_ENCODER.encode(manifest)).hexdigest()


def for_proxies(workloads: Iterable[PlannedWorkload]) -> tuple[str, ...]:
    """Return the sets that every node carries because a proxy may run there, sorted.

    A proxy reaches an isolated namespace too, if that has an ingress; the wall is elsewhere.
    """
    with_ingress = [w for w in workloads if has_ingress(w)]
    if not with_ingress:
        return ()
    isolated = {f"isolated/{namespace_of(w.key)}" for w in with_ingress if w.isolated}
    return ("ingress", *sorted(isolated))


def leaf(kind: str, name: str, digest: str) -> bytes:
    """Return one leaf of the root's tree: `node` or `set`, its name, its digest."""
    return f"{kind}\0{name}\0{digest}".encode()


def _leaves(manifests: Mapping[NodeName, str], sets: Mapping[str, str]) -> list[bytes]:
    """Return the tree's leaves: every manifest by node, then every shared set by name."""
    return [
        *(leaf("node", name, manifests[name]) for name in sorted(manifests)),
        *(leaf("set", name, sets[name]) for name in sorted(sets)),
    ]


def root_over(
    nodes: Mapping[NodeName, own.NodeFiles], sets: Mapping[str, SharedSet]
) -> tuple[Root, MerkleTree]:
    """Return the root over manifests and sets, and its tree; manifests in the order of names."""
    manifests = {name: manifest_digest(nodes[name].manifest) for name in sorted(nodes)}
    digests = {name: one.digest for name, one in sets.items()}
    tree = merkle_tree(_leaves(manifests, digests))
    return Root(FORMAT, tree.root.hex(), manifests, digests), tree
