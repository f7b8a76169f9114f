"""Which of the feasible nodes is taken."""

from katgen.plan import make_plan
from tests.unit.schedule.world import inventory, node, places, requests, specs, workload

PACKED = {"scheduling": "BinPack"}


def test_most_empty_takes_the_node_with_the_least_load() -> None:
    big = workload("big", 1, container=requests("3"), priority=1)
    plan = make_plan(specs(big, workload("web", 1)), inventory(node("a"), node("b")))
    assert (places(plan, "shop/big"), places(plan)) == ({"0": "a"}, {"0": "b"})


def test_load_is_that_of_the_scarcer_resource() -> None:
    cpu = workload("cpu", 1, container=requests("1"), nodeSelector={"n": "a"}, priority=1)
    memory = workload("memory", 1, container=requests(memory="4Gi"), nodeSelector={"n": "b"})
    machines = inventory(node("a", {"n": "a"}), node("b", {"n": "b"}))
    plan = make_plan(specs(cpu, memory, workload("web", 1)), machines)
    assert places(plan) == {"0": "a"}


def test_without_requests_the_node_with_the_fewest_instances_is_taken() -> None:
    machines = inventory(node("a"), node("b"), node("c"))
    plan = make_plan(specs(workload("any", 2), workload("web", 2)), machines)
    assert places(plan, "shop/any") == {"0": "a", "1": "b"}
    assert places(plan) == {"0": "c", "1": "a"}


def test_a_workload_takes_each_node_once_before_any_twice() -> None:
    big = workload("big", 2, container=requests("3"), priority=1, nodeSelector={"n": "y"})
    labelled = [node(name, {"n": "y"}) for name in ("a", "b")]
    plan = make_plan(specs(big, workload("web", 4)), inventory(*labelled, node("c")))
    assert sorted(places(plan).values()) == ["a", "b", "c", "c"]


def test_bin_pack_takes_the_fullest_node_that_fits() -> None:
    written = specs(workload("web", 5, container=requests("1")), settings=PACKED)
    machines = inventory(node("a", cpu="2"), node("b", cpu="4"))
    assert list(places(make_plan(written, machines)).values()) == ["a", "a", "b", "b", "b"]


def test_bin_pack_goes_on_filling_the_node_that_it_began() -> None:
    written = specs(
        workload("any", 1, nodeSelector={"n": "b"}, container=requests("1")),
        workload("web", 2, container=requests("1")),
        settings=PACKED,
    )
    plan = make_plan(written, inventory(node("a"), node("b", {"n": "b"})))
    assert places(plan) == {"0": "b", "1": "b"}


def test_a_preferred_label_outweighs_emptiness_until_the_node_is_full() -> None:
    match = [{"key": "disk", "operator": "In", "values": ["ssd"]}]
    affinity = {"node": {"preferred": [{"match": match, "weight": 1}]}}
    written = specs(workload("web", 3, affinity=affinity, container=requests("2")))
    machines = inventory(node("a"), node("b", {"disk": "ssd"}))
    assert places(make_plan(written, machines)) == {"0": "b", "1": "b", "2": "a"}


def test_weights_add_up() -> None:
    def prefers(key: str, weight: int) -> dict[str, object]:
        return {"match": [{"key": key, "operator": "Exists"}], "weight": weight}

    preferred = [prefers("x", 2), prefers("y", 2), prefers("z", 3)]
    written = specs(workload("web", 1, affinity={"node": {"preferred": preferred}}))
    machines = inventory(node("a", {"z": "1"}), node("b", {"x": "1", "y": "1"}))
    assert places(make_plan(written, machines)) == {"0": "b"}


def test_high_priority_is_placed_first() -> None:
    written = specs(
        workload("low", 1, container=requests("4")),
        workload("top", 1, container=requests("4"), priority=10),
    )
    plan = make_plan(written, inventory(node("a", cpu="4")))
    assert (places(plan, "shop/low"), places(plan, "shop/top")) == ({}, {"0": "a"})


def test_equal_nodes_are_taken_by_name() -> None:
    machines = inventory(node("n10"), node("n2"), node("n1"))
    assert places(make_plan(specs(workload("web", 2)), machines)) == {"0": "n1", "1": "n10"}
