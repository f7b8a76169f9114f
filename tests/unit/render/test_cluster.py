"""A whole plan rendered at once, and again after a change."""

import hashlib
from dataclasses import replace

import msgspec
import pytest

from katgen.bundle import Manifest
from katgen.merkle import is_included
from katgen.model.objects import Namespace, VirtualLoadBalancer
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import NodeName, WorkloadKey
from katgen.plan import PlanState, advance, start
from katgen.planned import Inventory
from katgen.render.change import rerender
from katgen.render.cluster import Rendered, manifest_digest, render
from tests.bench import synthetic

KEYS = "ABCDEFGH"


def _inventory(nodes: int) -> Inventory:
    """Return nodes with public keys, so that they are each other's peers."""
    made = synthetic.inventory(nodes).nodes
    with_keys = {
        name: msgspec.structs.replace(node, public_key=f"{'A' * 40}{KEYS[n]}{KEYS[n]}A=")
        for n, (name, node) in enumerate(made.items())
    }
    return Inventory(nodes=with_keys)


@pytest.fixture(scope="module")
def state() -> PlanState:
    return start(synthetic.specs(6, 4), _inventory(5)).state


@pytest.fixture(scope="module")
def before(state: PlanState) -> Rendered:
    return render(state.plan)


def _with(specs: Specs, key: WorkloadKey, objects: WorkloadObjects | None) -> Specs:
    workloads = {k: w for k, w in specs.workloads.items() if k != key}
    if objects is not None:
        workloads[key] = objects
    return replace(specs, workloads=dict(sorted(workloads.items())))


def _one_changed(state: PlanState) -> PlanState:
    key = synthetic.workload_key(2)
    specs = _with(state.plan.specs, key, synthetic.objects(2, 4, "registry.example/shop/web:2"))
    return advance(
        start(state.plan.specs, state.plan.inventory, state.plan).state, specs, [key]
    ).state


def _manifests(rendered: Rendered) -> list[Manifest]:
    return [files.manifest for files in rendered.nodes.values()]


def test_a_change_rendered_anew_equals_the_whole_rendered(
    state: PlanState, before: Rendered
) -> None:
    after = _one_changed(state).plan
    changed, whole = rerender(before, after), render(after)
    assert changed.root == whole.root
    assert changed.tree == whole.tree
    assert _manifests(changed) == _manifests(whole)


def test_a_changed_workload_costs_its_own_instances_only(
    state: PlanState, before: Rendered
) -> None:
    after = _one_changed(state).plan
    key = synthetic.workload_key(2)
    changed = rerender(before, after)
    theirs = {
        p.node for p in (*after.workloads[key].placements, *state.plan.workloads[key].placements)
    }
    assert changed.counters.units == 4
    assert changed.counters.nodes == len(theirs)
    assert changed.counters.shared_sets == 1
    different = {n for n, d in changed.root.manifests.items() if d != before.root.manifests[n]}
    assert different == theirs


def test_only_files_of_the_changed_workload_get_other_digests(
    state: PlanState, before: Rendered
) -> None:
    changed = rerender(before, _one_changed(state).plan)
    for node in changed.nodes:
        old = {a.path: a.digest for a in before.files(node)}
        new = {a.path: a.digest for a in changed.files(node)}
        different = {p for p in old.keys() | new.keys() if old.get(p) != new.get(p)}
        own = {p for p in different if "/kat.n2.w2." in p}
        assert different - own <= {
            "/etc/kat/kat.nft",
            "/etc/kat/services/n2.nft",
            "/var/lib/kat/dns/n2.kat.cluster.local.zone",
            "/var/lib/kat/services/n2.json",
        }


def test_a_deleted_workload_leaves_no_file(state: PlanState, before: Rendered) -> None:
    key = synthetic.workload_key(1)
    specs = _with(state.plan.specs, key, None)
    fresh = start(state.plan.specs, state.plan.inventory, state.plan).state
    after = advance(fresh, specs, [key]).state.plan
    changed = rerender(before, after)
    assert changed.root == render(after).root
    paths = {a.path for node in changed.nodes for a in changed.files(node)}
    assert not [p for p in paths if ".w1." in p]


def test_rendering_the_same_plan_changed_in_nothing_is_the_same(before: Rendered) -> None:
    again = rerender(before, before.plan)
    assert again.root == before.root
    assert (again.counters.units, again.counters.nodes, again.counters.shared_sets) == (0, 0, 0)


def test_a_new_namespace_changes_no_manifest(before: Rendered) -> None:
    plan = before.plan
    more = Namespace.model_validate({"kind": "Namespace", "metadata": {"name": "new"}})
    specs = replace(plan.specs, namespaces={**plan.specs.namespaces, "new": more})
    after = render(msgspec.structs.replace(plan, specs=specs))
    assert after.root.manifests == before.root.manifests
    assert "open/new" in after.sets_of(NodeName("node-00000"))


def test_a_node_has_the_files_of_all_peers_but_its_own(before: Rendered) -> None:
    folder = "/etc/systemd/network/50-kat0.netdev.d/"
    peers = {a.path for a in before.files(NodeName("node-00001")) if a.path.startswith(folder)}
    assert peers == {f"{folder}node-0000{n}.conf" for n in (0, 2, 3, 4)}


def test_contents_match_the_digests_and_paths_of_the_manifest(before: Rendered) -> None:
    for node in before.nodes:
        bundle = before.bundle(node)
        listed = {e.path: e.digest for e in bundle.manifest.entries}
        assert {a.path: a.digest for a in bundle.own} == listed
        assert all(a.digest == _sha256(a.content) for a in before.files(node))


def _sha256(content: bytes) -> str:

    return hashlib.sha256(content).hexdigest()


def test_a_node_proves_its_manifest_against_the_root(before: Rendered) -> None:
    node = NodeName("node-00003")
    position = sorted(before.root.manifests).index(node)
    leaf = f"node\0{node}\0{manifest_digest(before.nodes[node].manifest)}".encode()
    size = len(before.root.manifests) + len(before.root.shared_sets)
    assert is_included(leaf, position, size, before.tree.proof(position), before.tree.root)
    assert before.tree.root.hex() == before.root.digest


def test_a_proxy_on_any_node_knows_an_isolated_namespace_with_an_ingress(state: PlanState) -> None:
    plan = state.plan
    name, key = "n1", synthetic.workload_key(1)
    walled = Namespace.model_validate(
        {"kind": "Namespace", "metadata": {"name": name}, "spec": {"isolated": True}}
    )
    balancer = synthetic.balancer(1)
    balancer["spec"]["ingress"] = [{"host": "shop.example.org", "servicePort": 80}]
    entry = VirtualLoadBalancer.model_validate(balancer)
    one = plan.specs.workloads[key]
    specs = replace(
        plan.specs,
        namespaces={**plan.specs.namespaces, name: walled},
        workloads={**plan.specs.workloads, key: replace(one, load_balancer=entry)},
    )
    rendered = render(msgspec.structs.replace(plan, specs=specs))
    for node in rendered.nodes:
        assert {"ingress", "isolated/n1"} <= set(rendered.sets_of(node))
