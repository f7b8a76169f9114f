"""After a change of some workloads: render their instances and the nodes that run them.

Everything else is taken over as it is, digests and all, so that a change costs what it changes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from katgen.bundle import FORMAT, Root, SharedSet
from katgen.merkle import MerkleTree
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.planned import Placement, Plan
from katgen.render import own, shared
from katgen.render.cluster import (
    Counters,
    Draft,
    Rendered,
    by_namespace,
    for_proxies,
    has_ingress,
    ingress_sets,
    leaf,
    manifest_digest,
    namespace_of,
    render,
    root_over,
)
from katgen.render.cut import placed_by_node, planned_workload
from katgen.render.quadlet import UnitTemplate
from katgen.render.view import ClusterView, PlacedInstance, PlannedWorkload

_SLOTS: Final = tuple("0123456")
"""Something of an instance's own for each place that a unit has for it."""


def rerender(before: Rendered, plan: Plan) -> Rendered:
    """Return the files of `plan`: what `render` returns, at the cost of what is different.

    What is the same object in both plans is the same and not looked into. Where more than
    workloads and Configs changed (nodes, namespaces, settings), everything is rendered again.
    """
    if not _only_workloads_differ(before.plan, plan):
        return render(plan)
    keys = _changed_workloads(before.plan, plan)
    workloads = dict(before.workloads)
    templates = dict(before.templates)
    for key in keys:
        _replace(plan, before.cluster, key, workloads, templates)
    placed, dirty = _replaced_placements(before, workloads, templates, keys)
    common = _changed_sets(before, plan, workloads, keys)
    proxies = before.for_proxies
    if any(map(has_ingress, (w for k in keys for w in _versions(before, workloads, k)))):
        proxies = for_proxies(workloads.values())
    if proxies != before.for_proxies:
        return render(plan)
    draft = Draft(plan, before.cluster, templates, placed, before.excludes, proxies)
    redone = {name: draft.node_after(_known(before, draft, name), name) for name in dirty}
    nodes = {**before.nodes, **redone}
    root, tree = _changed_root(before, nodes, common, dirty)
    counters = Counters(
        units=sum(_rendered(before.nodes[name], files) for name, files in redone.items()),
        nodes=len(dirty),
        shared_sets=sum(before.shared.get(n) is not s for n, s in common.items()),
    )
    return Rendered(
        plan, before.cluster, workloads, templates, placed, before.excludes, proxies, nodes,
        common, root, tree, counters,
    )  # fmt: skip


def _changed_workloads(before: Plan, after: Plan) -> tuple[WorkloadKey, ...]:
    """Return the workloads that were decided on again, or whose objects are others, sorted."""
    changed = _differing(before.workloads, after.workloads)
    changed |= _differing(before.specs.workloads, after.specs.workloads)
    if after.earlier and _differing(before.specs.configs, after.specs.configs):
        # What an earlier revision mounts is kept for it as soon as the Config is another one.
        changed |= after.earlier.keys()
    return tuple(sorted(changed))


def _differing(
    before: Mapping[WorkloadKey, object], after: Mapping[WorkloadKey, object]
) -> set[WorkloadKey]:
    """Return the keys of what is not the same object in both."""
    known = before.get
    return {k for k, one in after.items() if known(k) is not one} | (before.keys() - after.keys())


def _only_workloads_differ(before: Plan, after: Plan) -> bool:
    same_specs = before.specs.cluster is after.specs.cluster or (
        before.specs.cluster == after.specs.cluster
    )
    return (
        same_specs
        and before.specs.namespaces == after.specs.namespaces
        and before.inventory.nodes is after.inventory.nodes
        and (before.subnets is after.subnets or before.subnets == after.subnets)
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


def _replaced_placements(
    before: Rendered,
    workloads: Mapping[WorkloadKey, PlannedWorkload],
    templates: Mapping[WorkloadKey, own.WorkloadTemplate],
    keys: tuple[WorkloadKey, ...],
) -> tuple[dict[NodeName, tuple[PlacedInstance, ...]], tuple[NodeName, ...]]:
    """Return each node's instances, and the nodes on which a changed workload has other ones."""
    touched = {n for k in keys for n in _nodes_where_other(before, workloads, templates, k)}
    new = placed_by_node(workloads[k] for k in keys if k in workloads)
    gone = frozenset(keys)
    placed = dict(before.placed)
    dirty = tuple(sorted(touched & placed.keys()))
    for name in dirty:
        instances = [i for i in placed[name] if i.of.key not in gone]
        for one in new.get(name, ()):
            # Behind what is there already: one workload's instances come in their order.
            instances.insert(bisect_right(instances, one.of.key, key=_key), one)
        placed[name] = tuple(instances)
    return placed, dirty


def _nodes_where_other(
    before: Rendered,
    workloads: Mapping[WorkloadKey, PlannedWorkload],
    templates: Mapping[WorkloadKey, own.WorkloadTemplate],
    key: WorkloadKey,
) -> Iterator[NodeName]:
    """Yield the nodes on which instances come or go, or are made of something else.

    In the middle of a rollout these are few, however many instances there are.
    """
    was, now = (_by_node(some.get(key)) for some in (before.workloads, workloads))
    same: set[str] = set()
    if key in before.templates and key in templates:
        old, new = before.templates[key], templates[key]
        revisions = {p.revision for placed in now.values() for p in placed}
        same = {r for r in revisions if _are_alike(old.of_revision(r), new.of_revision(r))}
    for node in was.keys() | now.keys():
        placed = now.get(node, [])
        if was.get(node, []) != placed or any(p.revision not in same for p in placed):
            yield node


def _by_node(workload: PlannedWorkload | None) -> dict[NodeName, list[Placement]]:
    found: dict[NodeName, list[Placement]] = {}
    for placement in workload.plan.placements if workload else ():
        found.setdefault(placement.node, []).append(placement)
    return found


def _are_alike(one: own.WorkloadTemplate, other: own.WorkloadTemplate) -> bool:
    """Whether instances of both have the same files, and the same part in those of their node."""
    return one is other or (
        replace(one, unit=other.unit, earlier={}) == replace(other, earlier={})
        and _parts(one.unit) == _parts(other.unit)
    )


def _parts(unit: UnitTemplate) -> tuple[object, ...]:
    """Return all that an instance's files are made of, and what its node's files have of it."""
    of = unit.workload
    text = (unit.head, unit.tail.pattern, unit.tail.pick(_SLOTS))
    return (
        *text, unit.activations, unit.node_bits,
        of.objects, of.isolated, of.plan.uid_base, of.secret_keys, of.host_roots,
    )  # fmt: skip


def _known(before: Rendered, draft: Draft, name: NodeName) -> own.NodeFiles:
    """Return a node's files from before, with instances that would be rendered alike as new."""
    known = before.nodes[name]
    kept: dict[InstanceKey, own.InstanceFiles] = {}
    alike: dict[tuple[int, int], bool] = {}
    for one in draft.placed[name]:
        files = known.instances.get(own.instance_key(one))
        template = own.template_of(one, draft.templates)
        if files is None or files.of is template:
            continue
        pair = id(files.of), id(template)
        if pair not in alike:
            alike[pair] = _are_alike(files.of, template)
        if alike[pair]:
            kept[own.instance_key(one)] = msgspec.structs.replace(files, of=template)
    return replace(known, instances={**known.instances, **kept}) if kept else known


def _rendered(before: own.NodeFiles, now: own.NodeFiles) -> int:
    """Return how many instances of a node were rendered; of the others the entries are the same."""
    known = before.instances
    return sum(
        key not in known or known[key].entries is not files.entries
        for key, files in now.instances.items()
    )


def _key(instance: PlacedInstance) -> WorkloadKey:
    return instance.of.key


def _changed_sets(
    before: Rendered,
    plan: Plan,
    workloads: Mapping[WorkloadKey, PlannedWorkload],
    keys: tuple[WorkloadKey, ...],
) -> dict[str, SharedSet]:
    """Return all sets; anew only those that a changed workload is part of."""
    namespaces = frozenset(map(namespace_of, keys))
    grouped: dict[str, list[PlannedWorkload]] = {name: [] for name in namespaces}
    prefixes = tuple(f"{name}/" for name in namespaces)
    for key in sorted(k for k in workloads if k.startswith(prefixes)):
        grouped[namespace_of(key)].append(workloads[key])
    old, now = before.plan.specs.configs, plan.specs.configs
    configs = [k for k in sorted(now) if old.get(k) is not now[k]]
    gone = {f"config/{k}" for k in old.keys() - now.keys()} | {f"build/{k}" for k in keys}
    were_rolling = [before.workloads[k] for k in before.plan.earlier if k in before.workloads]
    gone.update(one.name for one in shared.earlier_config_sets(were_rolling))
    common = {name: one for name, one in before.shared.items() if name not in gone}
    new: list[SharedSet] = []
    for name in sorted(namespaces):
        new += shared.namespace_sets(plan, before.cluster, name, grouped[name])
    new += shared.config_sets(plan, configs)
    new += shared.earlier_config_sets(workloads[k] for k in plan.earlier if k in workloads)
    new += shared.build_sets(before.cluster, [workloads[k] for k in keys if k in workloads])
    if any(has_ingress(w) for k in keys for w in _versions(before, workloads, k)):
        common.pop("ingress", None)
        new += ingress_sets(plan, before.cluster, by_namespace(plan, workloads))
    for one in new:
        known = before.shared.get(one.name)
        common[one.name] = known if known is not None and known.digest == one.digest else one
    return common


def _versions(
    before: Rendered, workloads: Mapping[WorkloadKey, PlannedWorkload], key: WorkloadKey
) -> tuple[PlannedWorkload, ...]:
    return tuple(w for w in (before.workloads.get(key), workloads.get(key)) if w is not None)


def _changed_root(
    before: Rendered,
    nodes: Mapping[NodeName, own.NodeFiles],
    sets: Mapping[str, SharedSet],
    dirty: tuple[NodeName, ...],
) -> tuple[Root, MerkleTree]:
    """Return the root after a change: one path of the tree for each changed leaf."""
    old = before.root
    if sets.keys() != old.shared_sets.keys():
        return root_over(nodes, sets)
    manifests = {**old.manifests, **{n: manifest_digest(nodes[n].manifest) for n in dirty}}
    digests = {name: one.digest for name, one in sets.items()}
    first_set = len(manifests)
    # Manifests are kept in the order of their leaves, and so looked up by halving.
    names, sets_in_order = list(manifests), sorted(digests)
    leaves = {bisect_left(names, n): leaf("node", n, manifests[n]) for n in dirty}
    changed = (n for n, digest in digests.items() if digest != old.shared_sets[n])
    leaves |= {
        first_set + bisect_left(sets_in_order, n): leaf("set", n, digests[n]) for n in changed
    }
    tree = before.tree.replaced(leaves)
    return Root(FORMAT, tree.root.hex(), manifests, digests), tree
