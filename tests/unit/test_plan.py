"""Plans as a whole: generations, numbers that outlive, refusals, steps."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from katgen.errors import RefusedError
from katgen.names import NodeName, WorkloadKey
from katgen.plan import advance, changed_workloads, make_plan, start
from katgen.planned import Plan, Resting, Retired
from tests.unit.schedule.world import (
    ids,
    inventory,
    node,
    places,
    specs,
    with_data,
    without,
    workload,
)

WEB, APP = WorkloadKey("shop/web"), WorkloadKey("shop/app")
ONE = inventory(node("a"))
NEW = {"image": "localhost/app:2"}


def test_the_first_plan_has_generation_one_and_each_change_the_next() -> None:
    first = make_plan(specs(workload("web")), ONE)
    second = make_plan(specs(workload("web", 2)), ONE, first)
    assert [(p.generation, p.parent) for p in (first, second)] == [(1, 0), (2, 1)]


def test_the_same_input_gives_the_same_plan() -> None:
    first = make_plan(specs(workload("web")), ONE)
    assert make_plan(specs(workload("web")), inventory(node("a")), first) is first


def test_what_did_not_change_is_shared_with_the_parent() -> None:
    first = make_plan(specs(workload("web"), workload("app")), ONE)
    second = make_plan(specs(workload("web", 2), workload("app")), ONE, first)
    assert second.workloads[APP] is first.workloads[APP]


def test_a_node_keeps_its_subnet_and_a_new_one_gets_the_lowest_free() -> None:
    written = specs()
    first = make_plan(written, inventory(node("b"), node("c")))
    second = make_plan(written, inventory(node("a"), node("b"), node("c")), first)
    assert first.subnets == {"b": "10.100.0.0/24", "c": "10.100.1.0/24"}
    assert second.subnets == {"a": "10.100.2.0/24", "b": "10.100.0.0/24", "c": "10.100.1.0/24"}


def test_the_subnet_of_a_node_that_is_gone_rests() -> None:
    first = make_plan(specs(workload("web")), inventory(node("a"), node("b")))
    second = make_plan(specs(workload("web")), inventory(node("b"), node("c")), first)
    assert second.subnets == {"a": "10.100.0.0/24", "b": "10.100.1.0/24", "c": "10.100.2.0/24"}
    assert second.resting == {
        "10.100.0.0/24": Resting("10.100.0.0/24", "node/a", 2),
        "10.100.0.10": Resting("10.100.0.10", "shop/web/0-1", 2),
    }
    done = inventory(node("b"), node("c"), node("d"), rested=frozenset({"10.100.0.0/24"}))
    third = make_plan(specs(workload("web")), done, second)
    assert (third.subnets[NodeName("d")], third.resting) == ("10.100.0.0/24", {})


def test_a_node_that_returns_has_its_subnet_back() -> None:
    both = inventory(node("a"), node("b"))
    first = make_plan(specs(), both)
    back = make_plan(specs(), both, make_plan(specs(), inventory(node("b")), first))
    assert (back.subnets, back.resting) == (first.subnets, {})


def test_a_virtual_address_stays_until_its_balancer_goes_and_rests_then() -> None:
    first = make_plan(specs(workload("app", balanced=True), workload("web", balanced=True)), ONE)
    assert [w.virtual_address for w in first.workloads.values()] == ["10.101.0.1", "10.101.0.2"]
    second = make_plan(specs(workload("app"), workload("web", balanced=True)), ONE, first)
    assert [w.virtual_address for w in second.workloads.values()] == ["", "10.101.0.2"]
    third = make_plan(specs(workload("app", balanced=True)), ONE, second)
    assert third.workloads[APP].virtual_address == "10.101.0.3"
    assert [r for r in third.resting if r.startswith("10.101")] == ["10.101.0.1", "10.101.0.2"]


def test_a_deleted_workload_comes_back_with_its_uids_and_new_incarnations() -> None:
    first = make_plan(specs(workload("app"), workload("web", 2)), ONE)
    gone = make_plan(specs(workload("app")), ONE, first)
    assert gone.retired == {WEB: Retired(3, 704708608)}
    other = make_plan(specs(workload("app"), workload("zoo")), ONE, gone)
    assert other.workloads[WorkloadKey("shop/zoo")].uid_base == 704774144
    back = make_plan(specs(workload("app"), workload("web")), ONE, other)
    assert (ids(back), back.workloads[WEB].uid_base) == (["0-3"], 704708608)
    assert WEB not in back.retired


def test_a_workload_that_becomes_host_root_keeps_its_uids_for_later() -> None:
    first = make_plan(specs(workload("web")), ONE)
    root = make_plan(specs(workload("web", isolation="host-root")), ONE, first)
    assert (root.workloads[WEB].uid_base, root.retired[WEB].uid_base) == (0, 704643072)
    back = make_plan(specs(workload("web")), ONE, root)
    assert (back.workloads[WEB].uid_base, dict(back.retired)) == (704643072, {})


def refused(*args: Any) -> list[str]:  # noqa: ANN401 -- what make_plan takes
    with pytest.raises(RefusedError) as caught:
        make_plan(*args)
    return [str(p) for p in caught.value.problems]


def test_more_nodes_than_subnets_are_refused() -> None:
    machines = inventory(*[node(f"n{n}") for n in range(5)])
    written = specs(settings={"clusterCIDR": "10.100.0.0/22"})
    assert refused(written, machines) == [
        (
            "ClusterConfiguration: clusterCIDR has 4 node subnets of /24 (245 instances each); 5 "
            "nodes do not fit: 4 in use or resting; widen clusterCIDR, remove nodes, or wait until "
            "the subnets of removed nodes have rested"
        )
    ]


def test_more_balancers_than_virtual_addresses_are_refused() -> None:
    small = {"serviceCIDR": "10.101.0.0/31"}
    first = make_plan(specs(workload("app", balanced=True), settings=small), ONE)
    written = specs(workload("web", balanced=True), workload("zoo", balanced=True), settings=small)
    told = "no virtual address is left: serviceCIDR has 1, 0 in use, 1 resting; widen serviceCIDR"
    assert refused(written, ONE, first) == [f"shop/web: {told}", f"shop/zoo: {told}"]


def test_networks_may_grow_and_not_move() -> None:
    first = make_plan(specs(workload("web", balanced=True)), ONE)

    def settings(**given: Any) -> list[str]:  # noqa: ANN401 -- a YAML document
        return refused(specs(workload("web", balanced=True), settings=given), ONE, first)

    wider = specs(workload("web", balanced=True), settings={"clusterCIDR": "10.100.0.0/15"})
    assert make_plan(wider, ONE, first).workloads == first.workloads
    assert settings(nodeSubnetBits=9) == [
        (
            "ClusterConfiguration: the subnet 10.100.0.0/24 of node a would no longer be one of "
            "clusterCIDR's; clusterCIDR may grow around what is in use; nodeSubnetBits cannot "
            "change"
        )
    ]
    assert settings(serviceCIDR="10.102.0.0/16") == [
        (
            "ClusterConfiguration: the virtual address 10.101.0.1 of shop/web would be outside "
            "serviceCIDR; serviceCIDR may grow around what is in use"
        )
    ]


def test_a_step_names_what_it_changed() -> None:
    machines = inventory(node("a"), node("b"), node("c"))
    state = start(specs(workload("app", 3), workload("web", 1)), machines).state
    delta = advance(state, specs(workload("app", 3), workload("web", 1, source=NEW)), [WEB]).delta
    assert (delta.workloads, delta.nodes) == ((WEB,), ("a",))
    assert (delta.reconciled, delta.placed) == (1, 1)


def test_a_step_without_a_change_is_none() -> None:
    state = start(specs(workload("web", 1)), ONE).state
    step = advance(state, specs(workload("web", 1)), [])
    assert (step.state, step.delta.workloads) == (state, ())


def test_a_refused_step_leaves_the_state_usable() -> None:
    small = {"serviceCIDR": "10.101.0.0/31"}
    state = start(specs(workload("app", balanced=True), settings=small), ONE).state
    both = specs(workload("app", balanced=True), workload("web", balanced=True), settings=small)
    with pytest.raises(RefusedError):
        advance(state, both, [WEB])
    fine = specs(workload("app", balanced=True), workload("web"), settings=small)
    assert places(advance(state, fine, [WEB]).state.plan) == {"0": "a"}


def test_changed_workloads_include_those_whose_config_or_secret_changed() -> None:
    conf = workload("web", volumes=[{"name": "conf", "config": {"name": "web-conf"}}])
    cert = workload("app", volumes=[{"name": "cert", "secret": {"name": "tls"}}])
    other = workload("other", 1)
    before = specs(conf, cert, other, configs={"web-conf": {"a": "1"}})
    assert changed_workloads(before, before) == frozenset()
    assert changed_workloads(before, replace(before, configs={})) == {WEB}
    with_tls = replace(before, secrets={WorkloadKey("shop/tls"): ("crt",)})
    assert changed_workloads(before, with_tls) == {APP}
    assert changed_workloads(before, without(before, "shop/other")) == {"shop/other"}


def test_workloads_are_sorted_whatever_came_when() -> None:
    first = make_plan(specs(workload("web"), workload("app")), ONE)
    second = make_plan(specs(workload("bar"), workload("web"), workload("app")), ONE, first)
    assert list(second.workloads) == ["shop/app", "shop/bar", "shop/web"]


def test_data_of_a_deleted_workload_is_remembered() -> None:
    machines = inventory(node("a"), node("b"))
    first = make_plan(specs(workload("web", 2, **with_data())), machines)
    gone: Plan = make_plan(specs(), machines, first)
    assert (gone.retired[WEB].next_incarnation, gone.retired[WEB].uid_base) == (3, 704643072)
    assert msgspec.to_builtins(gone.retired[WEB])["homes"] == {"0": "a", "1": "b"}
