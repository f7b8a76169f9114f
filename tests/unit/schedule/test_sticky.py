"""What moves when something changes, and what does not."""

import msgspec

from katgen.plan import make_plan
from katgen.planned import Inventory, Plan
from tests.unit.schedule.world import (
    addresses,
    gpus,
    host_port,
    ids,
    inventory,
    node,
    places,
    reasons,
    requests,
    specs,
    with_data,
    workload,
)

TWO = inventory(node("a"), node("b"))
NEW = {"image": "localhost/app:2"}


def rested(machines: Inventory, plan: Plan) -> Inventory:
    return msgspec.structs.replace(machines, rested=frozenset(plan.resting))


def test_a_new_revision_stays_on_its_node_under_a_new_id_and_address() -> None:
    parent = make_plan(specs(workload("web", 2)), TWO)
    plan = make_plan(specs(workload("web", 2, source=NEW)), TWO, parent)
    assert (ids(parent), ids(plan)) == (["0-1", "1-2"], ["0-3", "1-4"])
    assert places(plan) == places(parent) == {"0": "a", "1": "b"}
    assert addresses(parent) == {"0": "10.100.0.10", "1": "10.100.1.10"}
    assert addresses(plan) == {"0": "10.100.0.11", "1": "10.100.1.11"}


def test_an_exclusive_instance_keeps_its_address_and_is_replaced_stop_first() -> None:
    parent = make_plan(specs(workload("web", 1, container=host_port(80))), TWO)
    plan = make_plan(specs(workload("web", 1, container=host_port(80), source=NEW)), TWO, parent)
    assert addresses(plan) == addresses(parent)
    assert [p.stop_first for p in plan.workloads[next(iter(plan.workloads))].placements] == [True]


def test_devices_that_suffice_for_two_make_nobody_exclusive() -> None:
    machines = inventory(node("a", gpus={"nvidia.com/gpu": 2}))
    parent = make_plan(specs(workload("web", 1, container=gpus(1))), machines)
    plan = make_plan(specs(workload("web", 1, container=gpus(1), source=NEW)), machines, parent)
    placement = plan.workloads[next(iter(plan.workloads))].placements[0]
    assert (placement.gpus, placement.stop_first) == ((1,), False)
    assert placement.address == "10.100.0.11"


def test_devices_that_do_not_suffice_for_two_are_handed_over() -> None:
    machines = inventory(node("a", gpus={"nvidia.com/gpu": 3}))
    parent = make_plan(specs(workload("web", 1, container=gpus(2))), machines)
    plan = make_plan(specs(workload("web", 1, container=gpus(2), source=NEW)), machines, parent)
    placement = plan.workloads[next(iter(plan.workloads))].placements[0]
    assert (placement.gpus, placement.stop_first) == ((0, 1), True)
    assert placement.address == "10.100.0.10"


def test_a_larger_successor_moves_where_there_is_room() -> None:
    machines = inventory(node("a", cpu="1"), node("b", cordoned=True))
    parent = make_plan(specs(workload("web", 1, container=requests("1"))), machines)
    machines = inventory(node("a", cpu="1"), node("b"))
    plan = make_plan(specs(workload("web", 1, container=requests("2"))), machines, parent)
    assert (places(parent), places(plan)) == ({"0": "a"}, {"0": "b"})


def test_what_runs_goes_on_until_its_successor_has_a_place() -> None:
    machines = inventory(node("a", cpu="1"))
    parent = make_plan(specs(workload("web", 1, container=requests("1"))), machines)
    plan = make_plan(specs(workload("web", 1, container=requests("2"))), machines, parent)
    assert ids(plan) == ["0-1"]
    assert reasons(plan) == {"0": ["1x cpu: wants 2, 1 of 1 free"]}
    larger = make_plan(
        specs(workload("web", 1, container=requests("2"))), inventory(node("a", cpu="2")), plan
    )
    assert (ids(larger), reasons(larger)) == (["0-2"], {})


def test_what_goes_on_is_counted_with_what_it_requested_itself() -> None:
    one = inventory(node("a", cpu="4"))
    parent = make_plan(specs(workload("web", 1, container=requests("1"))), one)
    large = workload("web", 1, container=requests("8"), source=NEW)
    both = specs(large, workload("other", 1, container=requests("3")))
    plan = make_plan(both, one, make_plan(specs(large), one, parent))
    assert (ids(plan), places(plan, "shop/other")) == (["0-1"], {"0": "a"})


def test_scaling_down_removes_the_highest_ordinals() -> None:
    parent = make_plan(specs(workload("web", 4)), TWO)
    plan = make_plan(specs(workload("web", 2)), TWO, parent)
    assert ids(plan) == ["0-1", "1-2"]


def test_scaling_up_moves_nothing_and_uses_no_id_again() -> None:
    parent = make_plan(specs(workload("web", 3)), TWO)
    smaller = make_plan(specs(workload("web", 1)), TWO, parent)
    plan = make_plan(specs(workload("web", 3)), TWO, smaller)
    assert ids(plan) == ["0-1", "1-4", "2-5"]


def test_a_selector_that_changes_moves_who_does_not_match() -> None:
    machines = inventory(node("a", {"disk": "hdd"}), node("b", {"disk": "ssd"}))
    parent = make_plan(specs(workload("web", 2)), machines)
    plan = make_plan(specs(workload("web", 2, nodeSelector={"disk": "ssd"})), machines, parent)
    assert places(plan) == {"0": "b", "1": "b"}
    assert ids(plan) == ["0-3", "1-2"]


def test_a_label_that_changes_moves_nobody() -> None:
    written = specs(workload("web", 1, nodeSelector={"disk": "ssd"}))
    parent = make_plan(written, inventory(node("a", {"disk": "ssd"}), node("b", {"disk": "ssd"})))
    changed = inventory(node("a", {"disk": "hdd"}), node("b", {"disk": "ssd"}))
    assert ids(make_plan(written, changed, parent)) == ["0-1"]


def test_a_spread_that_is_new_moves_only_what_breaks_it() -> None:
    machines = inventory(node("a1", {"zone": "a"}), node("a2", {"zone": "a"}))
    parent = make_plan(specs(workload("web", 2)), machines)
    larger = inventory(*machines.nodes.values(), node("b1", {"zone": "b"}))
    written = specs(workload("web", 2, spread=[{"topologyKey": "zone", "maxSkew": 1}]))
    plan = make_plan(written, larger, parent)
    assert (ids(plan), places(plan)) == (["0-3", "1-2"], {"0": "b1", "1": "a2"})


def test_cordon_and_silence_evict_nobody() -> None:
    written = specs(workload("web", 2))
    parent = make_plan(written, TWO)
    plan = make_plan(written, inventory(node("a", cordoned=True), node("b", ready=False)), parent)
    assert ids(plan) == ids(parent)


def test_no_schedule_evicts_nobody_and_no_execute_everybody() -> None:
    written = specs(workload("web", 1))
    parent = make_plan(written, TWO)
    tainted = inventory(node("a", taints=("down=now:NoSchedule",)), node("b"))
    assert ids(make_plan(written, tainted, parent)) == ["0-1"]
    tainted = inventory(node("a", taints=("down=now:NoExecute",)), node("b"))
    assert places(make_plan(written, tainted, parent)) == {"0": "b"}


def test_a_toleration_outlasts_no_execute() -> None:
    written = specs(workload("web", 1, tolerations=[{"key": "down", "operator": "Exists"}]))
    parent = make_plan(written, TWO)
    tainted = inventory(node("a", taints=("down=now:NoExecute",)), node("b"))
    assert ids(make_plan(written, tainted, parent)) == ["0-1"]


def test_what_a_node_had_moves_when_the_node_is_gone() -> None:
    written = specs(workload("web", 2))
    parent = make_plan(written, TWO)
    plan = make_plan(written, inventory(node("b")), parent)
    assert places(plan) == {"0": "b", "1": "b"}
    assert ids(plan) == ["0-3", "1-2"]


def test_a_shrunken_node_keeps_what_it_has() -> None:
    written = specs(workload("web", 2, container=requests("1")))
    parent = make_plan(written, inventory(node("a", cpu="2")))
    plan = make_plan(written, inventory(node("a", cpu="1"), node("b")), parent)
    assert ids(plan) == ids(parent)


def test_what_waits_is_placed_as_soon_as_there_is_room() -> None:
    one = workload("one", 1, container=requests("4"), priority=1)
    web = workload("web", 1, container=requests("4"))
    parent = make_plan(specs(one, web), inventory(node("a")))
    plan = make_plan(specs(web), inventory(node("a")), parent)
    assert (places(parent), places(plan)) == ({}, {"0": "a"})


def test_a_lower_quota_evicts_nobody_and_stops_what_is_new() -> None:
    parent = make_plan(specs(workload("web", 2), quota={"instances": 2}), TWO)
    plan = make_plan(specs(workload("web", 3), quota={"instances": 1}), TWO, parent)
    assert ids(plan) == ["0-1", "1-2"]
    told = "0x quota of namespace shop: instances: 2 of 1 in use"
    assert reasons(plan) == {"2": [told]}


def test_data_keeps_an_instance_on_its_node_whatever_changes() -> None:
    parent = make_plan(specs(workload("web", 1, **with_data())), TWO)
    changed = workload("web", 1, source=NEW, **with_data())
    plan = make_plan(specs(changed), inventory(node("a", cordoned=True), node("b")), parent)
    assert ids(plan) == ["0-1"]
    assert reasons(plan) == {"0": ["1x its data is on a; the node is cordoned"]}


def test_data_on_a_node_that_is_gone_waits_for_it() -> None:
    written = specs(workload("web", 2, **with_data()))
    parent = make_plan(written, TWO)
    alone = make_plan(written, inventory(node("b")), parent)
    assert places(alone) == {"1": "b"}
    assert reasons(alone) == {"0": ["1x its data is on a, which is gone"]}
    still = make_plan(written, inventory(node("b"), node("c")), alone)
    assert reasons(still) == reasons(alone)
    back = make_plan(written, TWO, still)
    assert (places(back), reasons(back)) == ({"0": "a", "1": "b"}, {})


def test_data_that_the_inventory_finds_elsewhere_is_followed() -> None:
    written = specs(workload("web", 1, **with_data()))
    parent = make_plan(written, TWO)
    found = msgspec.structs.replace(
        inventory(node("b"), node("c")), volumes={"shop/web/data/0": "c"}
    )
    assert places(make_plan(written, found, parent)) == {"0": "c"}


def test_data_on_two_nodes_is_a_riddle() -> None:
    parts = with_data()
    parts["volumes"].append({"name": "log", "simpleClusterStorage": {}})
    parts["container"]["volumeMounts"].append({"name": "log", "mountPath": "/log"})
    volumes = {"shop/web/data/0": "a", "shop/web/log/0": "b"}
    plan = make_plan(
        specs(workload("web", 1, **parts)), msgspec.structs.replace(TWO, volumes=volumes)
    )
    assert reasons(plan) == {"0": ["0x its data is on 2 nodes: a, b"]}


def test_data_waits_through_scaling_and_deletion() -> None:
    three = inventory(node("a"), node("b"), node("c"))
    full = make_plan(specs(workload("web", 3, **with_data())), three)
    less = make_plan(specs(workload("web", 1, **with_data())), three, full)
    gone = make_plan(specs(), three, less)
    big = workload("big", 1, container=requests("1"), nodeSelector={}, priority=1)
    back = make_plan(specs(workload("web", 3, **with_data()), big), three, gone)
    assert places(back) == {"0": "a", "1": "b", "2": "c"}
    assert ids(back) == ["0-4", "1-5", "2-6"]


def test_a_volume_that_is_only_read_ties_nobody() -> None:
    parts = with_data()
    parts["container"]["volumeMounts"][0]["readOnly"] = True
    written = specs(workload("web", 1, **parts))
    parent = make_plan(written, TWO)
    assert places(make_plan(written, inventory(node("b")), parent)) == {"0": "b"}


def test_an_address_rests_until_the_inventory_says_so() -> None:
    machines = inventory(node("a"))
    written = [specs(workload("web", 1, source={"image": f"localhost/app:{n}"})) for n in range(4)]
    first = make_plan(written[0], machines)
    second = make_plan(written[1], machines, first)
    third = make_plan(written[2], machines, second)
    assert [addresses(p)["0"] for p in (first, second, third)] == [
        "10.100.0.10", "10.100.0.11", "10.100.0.12",
    ]  # fmt: skip
    assert list(third.resting) == ["10.100.0.10", "10.100.0.11"]
    fourth = make_plan(written[3], rested(machines, second), third)
    assert addresses(fourth) == {"0": "10.100.0.10"}
    assert list(fourth.resting) == ["10.100.0.11", "10.100.0.12"]


def test_without_an_address_for_its_successor_an_instance_stays() -> None:
    machines = inventory(node("a"))
    small = {"nodeSubnetBits": 5}
    parent = make_plan(specs(workload("web", 20), settings=small), machines)
    plan = make_plan(specs(workload("web", 20, source=NEW), settings=small), machines, parent)
    assert ids(plan)[:3] == ["0-21", "1-2", "2-3"]
    told = ["1x no address left: 21 addresses: 20 in use, 1 resting"]
    assert reasons(plan)["1"] == told
