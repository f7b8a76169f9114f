"""Spread, and nearness to or distance from other workloads."""

from typing import Any

from katgen.plan import make_plan
from tests.unit.schedule.world import inventory, node, places, reasons, requests, specs, workload

ZONES = (
    node("a1", {"zone": "a"}), node("a2", {"zone": "a"}), node("b1", {"zone": "b"}),
)  # fmt: skip


def company(app: str, topology: str = "zone", weight: int = 1) -> dict[str, Any]:
    return {"matchLabels": {"app": app}, "topologyKey": topology, "weight": weight}


def test_spread_is_a_hard_limit() -> None:
    spread = [{"topologyKey": "zone", "maxSkew": 1}]
    small = node("b1", {"zone": "b"}, cpu="1")
    written = specs(workload("web", 4, spread=spread, container=requests("1")))
    plan = make_plan(written, inventory(node("a1", {"zone": "a"}), small))
    assert places(plan) == {"0": "a1", "1": "b1", "2": "a1"}
    assert reasons(plan) == {
        "3": [
            "1x cpu: wants 1, 0 of 1 free",
            "1x spread over zone: a has 2, the emptiest 1, maxSkew is 1",
        ]
    }


def test_spread_counts_zones_that_have_none_yet() -> None:
    spread = [{"topologyKey": "zone", "maxSkew": 2}]
    full = node("c1", {"zone": "c"}, cordoned=True)
    plan = make_plan(specs(workload("web", 5, spread=spread)), inventory(*ZONES, full))
    assert sorted(places(plan).values()) == ["a1", "a2", "b1", "b1"]


def test_spread_counts_no_zone_that_the_workload_may_not_use() -> None:
    spread = [{"topologyKey": "zone", "maxSkew": 1}]
    tainted = node("c1", {"zone": "c"}, taints=("dedicated=db:NoSchedule",))
    plan = make_plan(specs(workload("web", 4, spread=spread)), inventory(*ZONES, tainted))
    assert sorted(places(plan).values()) == ["a1", "a2", "b1", "b1"]


def test_spread_refuses_a_node_without_the_label() -> None:
    written = specs(workload("web", 1, spread=[{"topologyKey": "zone"}]))
    plan = make_plan(written, inventory(node("n")))
    assert reasons(plan) == {"0": ["1x spread over zone: the node has no label zone"]}


def test_spread_over_nodes_needs_no_label() -> None:
    written = specs(workload("web", 4, spread=[{"topologyKey": "node", "maxSkew": 1}]))
    plan = make_plan(written, inventory(node("x"), node("y", cordoned=True)))
    assert places(plan) == {"0": "x"}


def test_near_goes_where_the_other_is() -> None:
    written = specs(
        workload("db", 1, labels={"app": "db"}, nodeSelector={"zone": "b"}),
        workload("web", 2, affinity={"workload": {"required": [company("db")]}}),
    )
    assert places(make_plan(written, inventory(*ZONES))) == {"0": "b1", "1": "b1"}


def test_who_must_be_near_others_is_placed_after_them() -> None:
    written = specs(
        workload("app", 1, affinity={"workload": {"required": [company("db")]}}),
        workload("db", 1, labels={"app": "db"}, nodeSelector={"zone": "b"}),
    )
    assert places(make_plan(written, inventory(*ZONES)), "shop/app") == {"0": "b1"}


def test_near_nobody_is_nowhere() -> None:
    written = specs(workload("web", 1, affinity={"workload": {"required": [company("db")]}}))
    plan = make_plan(written, inventory(*ZONES))
    assert reasons(plan) == {"0": ["3x must be near app=db (zone): none in a"]}


def test_the_first_of_those_that_must_be_near_each_other_may_go_anywhere() -> None:
    affinity = {"workload": {"required": [company("web")]}}
    written = specs(workload("web", 3, labels={"app": "web"}, affinity=affinity))
    assert places(make_plan(written, inventory(*ZONES))) == {"0": "a1", "1": "a2", "2": "a1"}


def test_apart_keeps_one_per_zone() -> None:
    affinity = {"antiWorkload": {"required": [company("web")]}}
    written = specs(workload("web", 3, labels={"app": "web"}, affinity=affinity))
    plan = make_plan(written, inventory(*ZONES))
    assert places(plan) == {"0": "a1", "1": "b1"}
    assert reasons(plan) == {"2": ["3x must be apart from app=web (zone): 1 in a"]}


def test_apart_binds_both_sides() -> None:
    anti = {"antiWorkload": {"required": [company("noisy")]}}
    written = specs(
        workload("db", 1, affinity=anti, priority=1),
        workload("loud", 2, labels={"app": "noisy"}),
    )
    plan = make_plan(written, inventory(*ZONES))
    assert (places(plan, "shop/db"), places(plan, "shop/loud")) == (
        {"0": "a1"}, {"0": "b1", "1": "b1"},
    )  # fmt: skip


def test_company_is_sought_in_the_same_namespace() -> None:
    anti = {"antiWorkload": {"required": [company("x", "node")]}}
    written = specs(
        workload("lab/other", 1, labels={"app": "x"}, priority=1), workload("web", 1, affinity=anti)
    )
    assert places(make_plan(written, inventory(node("a")))) == {"0": "a"}


def test_a_preference_for_company_gives_way_when_there_is_no_room() -> None:
    affinity = {"workload": {"preferred": [company("db", "node")]}}
    written = specs(
        workload("db", 1, labels={"app": "db"}, nodeSelector={"zone": "b"}, priority=1),
        workload("web", 3, affinity=affinity, container=requests("2")),
    )
    assert places(make_plan(written, inventory(*ZONES))) == {"0": "b1", "1": "b1", "2": "a1"}


def test_a_preference_for_distance_spreads_softly() -> None:
    affinity = {"antiWorkload": {"preferred": [company("web")]}}
    written = specs(workload("web", 4, labels={"app": "web"}, affinity=affinity))
    plan = make_plan(written, inventory(*ZONES))
    assert list(places(plan).values()) == ["a1", "b1", "a2", "b1"]


def test_heavier_company_wins() -> None:
    preferred = [company("db", "node", 1), company("cache", "node", 2)]
    written = specs(
        workload("db", 1, labels={"app": "db"}, nodeSelector={"zone": "b"}, priority=1),
        workload("cache", 1, labels={"app": "cache"}, nodeSelector={"zone": "a"}, priority=1),
        workload("web", 1, affinity={"workload": {"preferred": preferred}}),
    )
    plan = make_plan(written, inventory(*ZONES))
    assert places(plan) == places(plan, "shop/cache")
