"""Which nodes may run an instance, and what is said where none may."""

import pytest

from katgen.plan import make_plan
from tests.unit.schedule.world import (
    gpus,
    host_port,
    inventory,
    node,
    places,
    reasons,
    requests,
    specs,
    workload,
)


def test_requests_must_fit_what_is_free() -> None:
    written = specs(workload("web", 3, container=requests("3", "1Gi")))
    plan = make_plan(written, inventory(node("a", cpu="4"), node("b", cpu="4")))
    assert places(plan) == {"0": "a", "1": "b"}
    assert reasons(plan) == {"2": ["2x cpu: wants 3, 1 of 4 free"]}


def test_the_node_that_comes_closest_speaks_for_all() -> None:
    written = specs(workload("web", 1, container=requests(memory="4Gi")))
    machines = inventory(node("a", memory="1Gi"), node("b", memory="3Gi"), node("c", memory="2Gi"))
    plan = make_plan(written, machines)
    refusal = plan.workloads[next(iter(plan.workloads))].unplaced[0].refusals[0]
    assert (refusal.count, refusal.node) == (3, "b")
    assert refusal.reason == "memory: wants 4Gi, 3Gi of 3Gi free"


def test_a_node_without_limits_holds_anything() -> None:
    written = specs(workload("web", 2, container=requests("100", "1Ti")))
    plan = make_plan(written, inventory(node("local", cpu=None, memory=None)))
    assert places(plan) == {"0": "local", "1": "local"}


def test_what_a_node_reports_as_zero_is_not_without_limit() -> None:
    written = specs(workload("web", 1, container=requests("1m")))
    plan = make_plan(written, inventory(node("a", cpu="0")))
    assert reasons(plan) == {"0": ["1x cpu: wants 1m, 0 of 0 free"]}


def test_a_selector_wants_every_label() -> None:
    written = specs(workload("web", 1, nodeSelector={"disk": "ssd", "zone": "a"}))
    machines = inventory(
        node("n1", {"disk": "hdd", "zone": "a"}), node("n2", {"disk": "ssd"}),
        node("n3", {"disk": "ssd", "zone": "a"}),
    )  # fmt: skip
    assert places(make_plan(written, machines)) == {"0": "n3"}


def test_a_selector_that_no_node_meets_is_told_with_what_the_node_has() -> None:
    written = specs(workload("web", 1, nodeSelector={"disk": "ssd"}))
    plan = make_plan(written, inventory(node("a", {"disk": "hdd"}), node("b", {"disk": "tape"})))
    assert reasons(plan) == {"0": ["2x nodeSelector disk=ssd: the node's disk is hdd"]}


EXPRESSIONS = [
    ({"key": "gen", "operator": "In", "values": ["3", "4"]}, {"b": "3", "c": "4"}),
    ({"key": "gen", "operator": "NotIn", "values": ["3"]}, {"a": None, "c": "4", "d": "x"}),
    ({"key": "gen", "operator": "Exists"}, {"b": "3", "c": "4", "d": "x"}),
    ({"key": "gen", "operator": "DoesNotExist"}, {"a": None}),
    ({"key": "gen", "operator": "Gt", "values": ["3"]}, {"c": "4"}),
    ({"key": "gen", "operator": "Lt", "values": ["4"]}, {"b": "3"}),
]


@pytest.mark.parametrize(("expression", "matching"), EXPRESSIONS)
def test_node_affinity_knows_six_operators(
    expression: dict[str, object], matching: dict[str, str | None]
) -> None:
    machines = inventory(
        node("a"), node("b", {"gen": "3"}), node("c", {"gen": "4"}), node("d", {"gen": "x"})
    )
    affinity = {"node": {"required": [{"match": [expression]}]}}
    plan = make_plan(specs(workload("web", type="DaemonService", affinity=affinity)), machines)
    assert set(places(plan).values()) == set(matching)


def test_any_required_term_will_do_and_all_of_a_term_must_hold() -> None:
    ssd = {"key": "disk", "operator": "In", "values": ["ssd"]}
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    fast = {"key": "fast", "operator": "Exists"}
    affinity = {"node": {"required": [{"match": [ssd, zone]}, {"match": [fast]}]}}
    machines = inventory(
        node("n1", {"disk": "ssd"}), node("n2", {"disk": "ssd", "zone": "a"}),
        node("n3", {"fast": "yes"}), node("n4"),
    )  # fmt: skip
    plan = make_plan(specs(workload("web", type="DaemonService", affinity=affinity)), machines)
    assert places(plan) == {"n2": "n2", "n3": "n3"}


def test_affinity_that_no_node_meets_is_told_as_it_was_written() -> None:
    match = [{"key": "gen", "operator": "Gt", "values": ["3"]}]
    written = specs(workload("web", 1, affinity={"node": {"required": [{"match": match}]}}))
    plan = make_plan(written, inventory(node("a", {"gen": "2"})))
    assert reasons(plan) == {"0": ["1x node affinity gen Gt 3: the node's gen is 2"]}


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_a_taint_keeps_away_who_does_not_tolerate_it(effect: str) -> None:
    machines = inventory(node("a", taints=(f"dedicated=db:{effect}",)))
    plan = make_plan(specs(workload("web", 1)), machines)
    assert reasons(plan) == {"0": [f"1x taint dedicated=db:{effect}: not tolerated"]}


TOLERATIONS = [
    ({"key": "dedicated", "value": "db"}, True),
    ({"key": "dedicated", "value": "web"}, False),
    ({"key": "dedicated", "operator": "Exists"}, True),
    ({"operator": "Exists"}, True),
    ({"key": "dedicated", "value": "db", "effect": "NoSchedule"}, True),
    ({"key": "dedicated", "value": "db", "effect": "NoExecute"}, False),
    ({"key": "other", "operator": "Exists"}, False),
]


@pytest.mark.parametrize(("toleration", "runs"), TOLERATIONS)
def test_a_toleration_covers_key_value_and_effect(
    toleration: dict[str, str],
    runs: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    machines = inventory(node("a", taints=("dedicated=db:NoSchedule",)))
    plan = make_plan(specs(workload("web", 1, tolerations=[toleration])), machines)
    assert (places(plan) == {"0": "a"}) is runs


def test_prefer_no_schedule_is_the_last_resort() -> None:
    machines = inventory(node("a", taints=("old=yes:PreferNoSchedule",)), node("b", cpu="1"))
    written = specs(workload("web", 3, container=requests("500m")))
    assert places(make_plan(written, machines)) == {"0": "b", "1": "b", "2": "a"}


def test_a_cordoned_and_an_unready_node_get_nothing_new() -> None:
    machines = inventory(node("a", cordoned=True), node("b", ready=False))
    plan = make_plan(specs(workload("web", 1)), machines)
    assert reasons(plan) == {"0": ["1x the node is cordoned", "1x the node is not ready"]}


def test_a_host_port_is_one_instances_per_node_and_protocol() -> None:
    udp = {"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]}
    written = specs(
        workload("edge", 1, container=host_port(80), priority=1),
        workload("dns", 1, container=udp),
        workload("web", 1, container=host_port(80)),
    )
    plan = make_plan(written, inventory(node("a")))
    assert places(plan, "shop/edge") == {"0": "a"}
    assert places(plan, "shop/dns") == {"0": "a"}
    assert reasons(plan) == {"0": ["1x host port 80/TCP: taken by shop/edge"]}


def test_devices_are_given_lowest_first_and_never_twice() -> None:
    written = specs(workload("ai", 2, container=gpus(2)), workload("web", 1, container=gpus(1)))
    plan = make_plan(written, inventory(node("a", gpus={"nvidia.com/gpu": 5})))
    devices = {k: [p.gpus for p in w.placements] for k, w in plan.workloads.items()}
    assert devices == {"shop/ai": [(0, 1), (2, 3)], "shop/web": [(4,)]}


def test_a_vendors_devices_are_no_others() -> None:
    written = specs(
        workload("ai", 1, container=gpus(1, "amd")), workload("web", 1, container=gpus(1, "intel"))
    )
    machines = inventory(
        node("a", gpus={"gpu.intel.com/i915": 1}), node("b", gpus={"nvidia.com/gpu": 4})
    )
    plan = make_plan(written, machines)
    assert places(plan) == {"0": "a"}
    assert reasons(plan, "shop/ai") == {"0": ["2x amd GPUs: wants 1, 0 of 0 free"]}


def test_too_few_devices_are_told() -> None:
    written = specs(workload("ai", 2, container=gpus(3)))
    plan = make_plan(written, inventory(node("a", gpus={"nvidia.com/gpu": 4})))
    assert reasons(plan, "shop/ai") == {"1": ["1x nvidia GPUs: wants 3, 1 of 4 free"]}


def test_a_node_out_of_addresses_says_how_many_are_in_use_and_rest() -> None:
    written = specs(workload("web", 23), settings={"nodeSubnetBits": 5})
    plan = make_plan(written, inventory(node("a")))
    assert len(places(plan)) == 21
    told = ["1x no address left: 21 addresses: 21 in use, 0 resting"]
    assert reasons(plan) == {"21": told, "22": told}


def test_without_nodes_everything_is_unplaced() -> None:
    plan = make_plan(specs(workload("web", 1)), inventory())
    assert reasons(plan) == {"0": ["0x there are no nodes"]}


QUOTAS = [
    ({"instances": 2}, "0x quota of namespace shop: instances: 2 of 2 in use"),
    ({"cpu": "1"}, "0x quota of namespace shop: cpu: wants 500m, 0 of 1 left"),
    ({"memory": "2500Mi"}, "0x quota of namespace shop: memory: wants 1Gi, 452Mi of 2500Mi left"),
]


@pytest.mark.parametrize(("quota", "told"), QUOTAS)
def test_a_namespace_keeps_its_quota(quota: dict[str, object], told: str) -> None:
    written = specs(workload("web", 3, container=requests("500m", "1Gi")), quota=quota)
    plan = make_plan(written, inventory(node("a")))
    assert len(places(plan)) == 2
    assert reasons(plan) == {"2": [told]}


def test_a_quota_is_each_namespaces_own() -> None:
    written = specs(workload("web", 1), workload("lab/web", 1), quota={"instances": 1})
    plan = make_plan(written, inventory(node("a")))
    assert (places(plan), places(plan, "lab/web")) == ({"0": "a"}, {"0": "a"})
