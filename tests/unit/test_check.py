# ruff: noqa: E501 -- one broken plan on a line
"""Every invariant, broken by the smallest change to a good plan."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from katgen.check import INVARIANTS, check
from katgen.check.facts import facts_of
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.plan import make_plan
from katgen.planned import Placement, Plan, Refusal, Resting, Retired, Unplaced, WorkloadPlan
from tests.unit.schedule.world import (
    gpus,
    host_port,
    inventory,
    node,
    requests,
    specs,
    with_data,
    without,
    workload,
)
from tests.unit.test_check_rollouts import ROLLOUT_BREAKS

WEB, EDGE, AI, DB = (WorkloadKey(f"shop/{name}") for name in ("web", "edge", "ai", "db"))
AGENT = WorkloadKey("shop/agent")
ZONED = [{"topologyKey": "zone", "maxSkew": 1}]
ALONE = {"antiWorkload": {"required": [{"matchLabels": {"app": "edge"}}]}}
SPECS = specs(
    workload("web", 2, balanced=True, spread=ZONED, container=requests("1", "1Gi")),
    workload(
        "edge", 2, balanced=True, labels={"app": "edge"}, affinity=ALONE, container=host_port(80)
    ),
    workload("ai", 1, container=gpus(2)),
    workload("db", 1, **with_data()),
    workload("agent", type="DaemonService"),
    quota={"instances": 8},
)
MACHINES = inventory(
    node("a", {"zone": "a"}, gpus={"nvidia.com/gpu": 3}),
    node("b", {"zone": "b"}, gpus={"nvidia.com/gpu": 3}),
)
GOOD = make_plan(SPECS, MACHINES)
NEXT = make_plan(
    replace(
        SPECS,
        workloads={
            **SPECS.workloads,
            WEB: workload("web", 2, source={"image": "x:2"}, balanced=True),
        },
    ),
    MACHINES,
    GOOD,
)
KEY = f"{'A' * 43}="
set_to = msgspec.structs.replace


def changed(plan: Plan, key: WorkloadKey, **fields: Any) -> Plan:  # noqa: ANN401 -- any field
    """Return the plan with other decisions for one workload."""
    return set_to(plan, workloads={**plan.workloads, key: set_to(plan.workloads[key], **fields)})


def moved(plan: Plan, key: WorkloadKey, number: int = 0, **fields: Any) -> Plan:  # noqa: ANN401 -- any field
    """Return the plan with one placement changed."""
    placements = list(plan.workloads[key].placements)
    placements[number] = set_to(placements[number], **fields)
    return changed(plan, key, placements=tuple(placements))


def placement(plan: Plan, key: WorkloadKey, number: int = 0) -> Placement:
    return plan.workloads[key].placements[number]


def on_machine(plan: Plan, name: str, **fields: Any) -> Plan:  # noqa: ANN401 -- any field
    """Return the plan over an inventory in which one node differs."""
    nodes = dict(plan.inventory.nodes)
    nodes[NodeName(name)] = set_to(nodes[NodeName(name)], **fields)
    return set_to(plan, inventory=set_to(plan.inventory, nodes=nodes))


def respecified(plan: Plan, key: WorkloadKey, **spec: Any) -> Plan:  # noqa: ANN401 -- any field
    """Return the plan over specs in which one workload's spec differs."""
    objects = plan.specs.workloads[key]
    other = objects.workload.model_copy(
        update={"spec": objects.workload.spec.model_copy(update=spec)}
    )
    workloads = {**plan.specs.workloads, key: replace(objects, workload=other)}
    return set_to(plan, specs=replace(plan.specs, workloads=workloads))


def resting(plan: Plan, resource: str, about: str = "") -> Plan:
    entry = Resting(about or resource, "shop/old", 1)
    return set_to(plan, resting={**plan.resting, resource: entry})


def recast(plan: Plan, **spec: Any) -> Plan:  # noqa: ANN401 -- any field
    """Return the plan over other cluster settings."""
    cluster = plan.specs.cluster
    other = cluster.model_copy(update={"spec": cluster.spec.model_copy(update=spec)})
    return set_to(plan, specs=replace(plan.specs, cluster=other))


def forgotten(plan: Plan, key: WorkloadKey) -> Plan:
    """Return the plan without a trace of one workload."""
    left = {k: w for k, w in plan.workloads.items() if k != key}
    return set_to(plan, workloads=left, specs=without(plan.specs, key))


def with_replicas(plan: Plan, key: WorkloadKey, replicas: int) -> Plan:
    """Return the plan that follows when a workload is scaled."""
    return make_plan(respecified(plan, key, replicas=replicas).specs, plan.inventory, plan)


GUEST, FAN, LATE = (WorkloadKey(f"shop/{name}") for name in ("guest", "fan", "late"))
NEAR = {"workload": {"required": [{"matchLabels": {"app": "guest"}, "topologyKey": "zone"}]}}
APART = {"antiWorkload": {"required": [{"matchLabels": {"app": "guest"}, "topologyKey": "zone"}]}}
ALONE_THERE = make_plan(specs(workload("keeper", 1, affinity=APART)), MACHINES)
VISITED = make_plan(
    specs(
        workload("keeper", 1, affinity=APART),
        workload("guest", 1, labels={"app": "guest"}),
        workload("late", 1, affinity=NEAR),
    ),
    MACHINES,
    ALONE_THERE,
)
PACK = specs(workload("fan", 2, labels={"app": "guest"}, affinity=NEAR))
PACKED = make_plan(PACK, MACHINES)
LARGER_PACK = with_replicas(PACKED, FAN, 3)
ONE = make_plan(specs(workload("web", 1, spread=ZONED)), MACHINES)
TWO = with_replicas(ONE, WEB, 2)
SHRUNK = with_replicas(NEXT, DB, 0)
DELETED = make_plan(without(NEXT.specs, DB), MACHINES, NEXT)

UNCALLED = Unplaced(Ordinal("7"), (Refusal("full", 2),))

BREAKS: list[tuple[str, Callable[[], Plan], Plan | None, str]] = [
    ("subnets-fit", lambda: set_to(GOOD, subnets={**GOOD.subnets, NodeName("x"): "10.100.9.0/25"}), None,
     "subnets.x: 10.100.9.0/25 is not a /24, as nodeSubnetBits says"),
    ("subnets-fit", lambda: set_to(GOOD, subnets={**GOOD.subnets, NodeName("x"): "10.99.9.0/24"}), None,
     "subnets.x: 10.99.9.0/24 is not inside clusterCIDR 10.100.0.0/16"),
    ("subnets-fit", lambda: set_to(GOOD, subnets={NodeName("a"): GOOD.subnets[NodeName("a")]}), None,
     "subnets.b: the node has no subnet"),
    ("subnets-disjoint", lambda: set_to(GOOD, subnets={**GOOD.subnets, NodeName("x"): "10.100.1.0/24"}), None,
     "subnets.x: 10.100.1.0/24 overlaps 10.100.1.0/24 of node b"),
    ("public-keys-unique", lambda: on_machine(on_machine(GOOD, "a", public_key=KEY), "b", public_key=KEY), None,
     "nodes.b: its public key is also that of node a"),
    ("addresses-unique", lambda: moved(GOOD, WEB, address=placement(GOOD, AI).address), None,
     "workloads.shop/web.0-1: its address 10.100.1.11 is also that of workloads.shop/ai.0-1"),
    ("addresses-in-subnet", lambda: moved(GOOD, WEB, address="10.100.0.9"), None,
     "workloads.shop/web.0-1: its address 10.100.0.9 is not one of node a: 10.100.0.10 to 10.100.0.254"),
    ("addresses-in-subnet", lambda: moved(GOOD, WEB, address="10.100.0.255"), None,
     "workloads.shop/web.0-1: its address 10.100.0.255 is not one of node a: 10.100.0.10 to 10.100.0.254"),
    ("virtual-addresses-unique", lambda: changed(GOOD, WEB, virtual_address="10.101.0.1"), None,
     "workloads.shop/web: its virtual address 10.101.0.1 is also that of shop/edge"),
    ("virtual-addresses-fit", lambda: changed(GOOD, WEB, virtual_address=""), None,
     "workloads.shop/web: it has a VirtualLoadBalancer, but no virtual address"),
    ("virtual-addresses-fit", lambda: changed(GOOD, AI, virtual_address="10.101.0.9"), None,
     "workloads.shop/ai: it has no VirtualLoadBalancer, but a virtual address"),
    ("virtual-addresses-fit", lambda: changed(GOOD, WEB, virtual_address="10.101.0.0"), None,
     "workloads.shop/web: 10.101.0.0 is not an address of serviceCIDR 10.101.0.0/16"),
    ("uid-ranges-fit", lambda: changed(GOOD, WEB, uid_base=0), None,
     "workloads.shop/web: its uids from 0 are not a range between 704643072 and 1879048191"),
    ("uid-ranges-fit", lambda: changed(GOOD, WEB, uid_base=704643073), None,
     "workloads.shop/web: its uids from 704643073 are not a range between 704643072 and 1879048191"),
    ("uid-ranges-fit", lambda: respecified(GOOD, WEB, isolation="host-root"), None,
     "workloads.shop/web: it runs as host-root, but has uids from 704905216"),
    ("uid-ranges-unique", lambda: changed(GOOD, WEB, uid_base=GOOD.workloads[AI].uid_base), None,
     "workloads.shop/web: its uids from 704708608 are also those of shop/ai"),
    ("uid-ranges-unique", lambda: set_to(GOOD, retired={WorkloadKey("shop/old"): Retired(3, GOOD.workloads[AI].uid_base)}), None,
     "workloads.shop/old: its uids from 704708608 are also those of shop/ai"),
    ("resting-has-no-owner", lambda: resting(GOOD, "10.100.0.12"), None,
     "resting.10.100.0.12: it rests, and is in use by workloads.shop/edge.0-1"),
    ("resting-has-no-owner", lambda: resting(GOOD, "10.101.0.1"), None,
     "resting.10.101.0.1: it rests, and is in use by shop/edge"),
    ("resting-has-no-owner", lambda: resting(GOOD, "10.100.1.0/24"), None,
     "resting.10.100.1.0/24: it rests, and is in use by b"),
    ("resting-has-no-owner", lambda: resting(GOOD, "10.100.0.99", "10.100.0.98"), None,
     "resting.10.100.0.99: the entry is about 10.100.0.98"),
    ("ordinals-unique", lambda: moved(GOOD, WEB, 1, ordinal="0"), None,
     "workloads.shop/web: ordinal 0 is placed 2 times"),
    ("units-unique", lambda: moved(GOOD, WEB, 1, incarnation=1), None,
     "workloads.shop/web: incarnation 1 is used 2 times"),
    ("nodes-exist", lambda: moved(GOOD, WEB, node="z"), None,
     "workloads.shop/web.0-1: its node z does not exist"),
    ("wanted-is-there", lambda: changed(GOOD, WEB, placements=GOOD.workloads[WEB].placements[:1]), None,
     "workloads.shop/web: neither placed nor unplaced: ordinal 1"),
    ("wanted-is-there", lambda: changed(GOOD, AGENT, placements=GOOD.workloads[AGENT].placements[:1]), None,
     "workloads.shop/agent: neither placed nor unplaced: ordinal b"),
    ("wanted-is-there", lambda: changed(GOOD, WEB, unplaced=(UNCALLED,)), None,
     "workloads.shop/web: nobody wants ordinal 7"),
    ("wanted-is-there", lambda: respecified(GOOD, AGENT, node_selector={"zone": "b"}), None,
     "workloads.shop/agent: nobody wants ordinal a"),
    ("ordinals-well-formed", lambda: moved(GOOD, AGENT, ordinal="c"), None,
     "workloads.shop/agent.c-1: it is on node a"),
    ("ordinals-well-formed", lambda: moved(GOOD, WEB, 1, ordinal="01"), None,
     "workloads.shop/web.01-2: '01' is not the number of an instance"),
    ("unplaced-has-reason", lambda: changed(GOOD, WEB, unplaced=(Unplaced(Ordinal("1"), ()),)), None,
     "workloads.shop/web: ordinal 1 is unplaced for no reason"),
    ("new-ones-are-admitted", lambda: on_machine(GOOD, "a", unschedulable=True), None,
     "workloads.shop/web.0-1: it is new, and node a is cordoned"),
    ("new-ones-are-admitted", lambda: on_machine(GOOD, "a", ready=False), None,
     "workloads.shop/web.0-1: it is new, and node a is not ready"),
    ("new-ones-are-admitted", lambda: respecified(GOOD, WEB, node_selector={"zone": "b"}), None,
     "workloads.shop/web.0-1: labels or taints of node a do not allow it"),
    ("none-stays-evicted", lambda: on_machine(NEXT, "a", taints=node("a", taints=("x:NoExecute",)).taints), GOOD,
     "workloads.shop/db.0-1: a taint of node a evicts it"),
    ("nodes-hold", lambda: on_machine(GOOD, "a", allocatable={"cpu": 999, "nvidia.com/gpu": 3}), None,
     "workloads.shop/agent.a-1: node a has cpu 999m, and 1 are requested"),
    ("nodes-hold", lambda: on_machine(GOOD, "a", allocatable={"memory": 2**29, "nvidia.com/gpu": 3}), None,
     "workloads.shop/agent.a-1: node a has memory 512Mi, and 1Gi are requested"),
    ("host-ports-unique", lambda: moved(GOOD, EDGE, 1, node="a", address="10.100.0.77"), None,
     "workloads.shop/edge.1-2: host port 80/TCP is also that of workloads.shop/edge.0-1"),
    ("gpus-unique", lambda: changed(respecified(GOOD, WEB, container=GOOD.specs.workloads[AI].workload.spec.container), WEB,
     placements=tuple(set_to(p, gpus=(0, 1)) for p in GOOD.workloads[WEB].placements)), None,
     "workloads.shop/web.1-2: GPU 0 is also that of workloads.shop/ai.0-1"),
    ("gpus-exist", lambda: moved(GOOD, AI, gpus=(0, 3)), None,
     "workloads.shop/ai.0-1: node b has only 3 nvidia GPUs"),
    ("gpus-exist", lambda: moved(GOOD, AI, gpus=(0, 0)), None,
     "workloads.shop/ai.0-1: it wants 2 GPUs and has 1"),
    ("quotas-hold", lambda: set_to(GOOD, specs=specs(*GOOD.specs.workloads.values(), quota={"instances": 7})), None,
     "workloads.shop/agent.a-1: namespace shop may use instances 7, and uses 8"),
    ("spread-holds", lambda: moved(GOOD, WEB, 1, node="a", address="10.100.0.77"), None,
     "workloads.shop/web: maxSkew 1 over zone is broken: a 2, b 0"),
    ("distances-hold", lambda: moved(GOOD, EDGE, 1, node="a", address="10.100.0.77"), None,
     "workloads.shop/edge.0-1: it must be apart from workloads.shop/edge.1-2; both are in a"),
    ("spread-holds", lambda: moved(TWO, WEB, 1, node="a", address="10.100.0.77"), ONE,
     "workloads.shop/web: maxSkew 1 over zone is broken: a 2, b 0"),
    ("spread-holds", lambda: on_machine(TWO, "b", labels={}), ONE,
     "workloads.shop/web: maxSkew 1 over zone is broken: a 1, and a new one is in none"),
    ("distances-hold", lambda: moved(VISITED, GUEST, node="a", address="10.100.0.77"), ALONE_THERE,
     "workloads.shop/keeper.0-1: it must be apart from workloads.shop/guest.0-1; both are in a"),
    ("nearness-holds", lambda: moved(VISITED, LATE, node="a", address="10.100.0.77"), ALONE_THERE,
     "workloads.shop/late.0-1: it must be near app=guest, and is in a"),
    ("nearness-holds", lambda: on_machine(VISITED, "b", labels={}), ALONE_THERE,
     "workloads.shop/late.0-1: it must be near app=guest, and is in a node without label zone"),
    ("nearness-holds", lambda: moved(PACKED, FAN, 1, node="b", address="10.100.1.77"), None,
     "workloads.shop/fan.1-2: it must be near app=guest, and is in b"),
    ("nearness-holds", lambda: moved(LARGER_PACK, FAN, 2, node="b", address="10.100.1.77"), PACKED,
     "workloads.shop/fan.2-3: it must be near app=guest, and is in b"),
    ("exclusive-ones-say-so", lambda: moved(GOOD, DB, stop_first=False), None,
     "workloads.shop/db.0-1: it is exclusive, but not marked to be replaced stop-first"),
    ("follows-parent", lambda: set_to(NEXT, generation=1), GOOD,
     "generation: generation 1 with parent 1 does not follow 1"),
    ("follows-parent", lambda: set_to(NEXT, parent=0), GOOD,
     "generation: generation 2 with parent 0 does not follow 1"),
    ("incarnations-below-next", lambda: changed(GOOD, WEB, next_incarnation=2), None,
     "workloads.shop/web.1-2: its incarnation is not below the next, 2"),
    ("incarnations-fresh", lambda: moved(NEXT, WEB, incarnation=2), GOOD,
     "workloads.shop/web.0-2: its incarnation was used before; the next is 3"),
    ("incarnations-remembered", lambda: forgotten(NEXT, AI), GOOD,
     "workloads.shop/ai: its next incarnation was 2 and is lower now"),
    ("subnets-stay", lambda: set_to(NEXT, subnets={**NEXT.subnets, NodeName("a"): "10.100.7.0/24"}), GOOD,
     "subnets.a: it was 10.100.0.0/24 and is 10.100.7.0/24"),
    ("addresses-change-hands-slowly", lambda: moved(NEXT, WEB, 1, address=placement(GOOD, EDGE, 1).address), GOOD,
     "workloads.shop/web.1-4: its address 10.100.1.12 was shop/edge 1's a moment ago"),
    ("addresses-change-hands-slowly", lambda: moved(NEXT, WEB, address=placement(GOOD, WEB).address), GOOD,
     "workloads.shop/web.0-3: its address 10.100.0.13 was shop/web 0's a moment ago"),
    ("addresses-change-hands-slowly", lambda: moved(NEXT, WEB, address="10.100.0.66"), resting(GOOD, "10.100.0.66"),
     "workloads.shop/web.0-3: its address 10.100.0.66 has not rested"),
    ("released-addresses-rest", lambda: set_to(NEXT, resting={}), GOOD,
     "workloads.shop/web: 10.100.0.13 is released and does not rest"),
    ("released-addresses-rest", lambda: NEXT, resting(GOOD, "10.100.0.66"),
     "resting.10.100.0.66: it was resting, and has not rested"),
    ("exclusive-ones-keep-address", lambda: moved(NEXT, EDGE, incarnation=9, address="10.100.0.77"), GOOD,
     "workloads.shop/edge.0-9: it is exclusive; its address was 10.100.0.12"),
    ("data-stays", lambda: moved(NEXT, DB, node="b", address="10.100.1.77", incarnation=9), GOOD,
     "workloads.shop/db.0-9: its data is on node a, not b"),
    ("homes-are-remembered", lambda: changed(SHRUNK, DB, homes={}), NEXT,
     "workloads.shop/db: data of ordinal 0 is on node a, which is forgotten"),
    ("homes-are-remembered", lambda: changed(SHRUNK, DB, homes={}), SHRUNK,
     "workloads.shop/db: data of ordinal 0 is on node a, which is forgotten"),
    ("homes-are-remembered", lambda: set_to(DELETED, retired={DB: set_to(DELETED.retired[DB], homes={})}), NEXT,
     "workloads.shop/db: data of ordinal 0 is on node a, which is forgotten"),
    ("numbers-stay", lambda: changed(NEXT, WEB, virtual_address="10.101.0.77"), GOOD,
     "workloads.shop/web: its virtual address was 10.101.0.2"),
    ("numbers-stay", lambda: changed(NEXT, WEB, uid_base=705036288), GOOD,
     "workloads.shop/web: its uids began at 704905216"),
    ("numbers-stay", lambda: changed(NEXT, WEB, uid_base=0), GOOD,
     "workloads.shop/web: its uids from 704905216 are forgotten"),
    ("nothing-moves-without-cause", lambda: moved(NEXT, AI, node="b", address="10.100.1.77", incarnation=9), GOOD,
     "workloads.shop/ai: instance 0-1 changed without a cause"),
]  # fmt: skip


def test_good_plans_break_nothing() -> None:
    assert (check(GOOD), check(NEXT, GOOD), check(GOOD, GOOD)) == ((), (), ())
    pairs = (
        (VISITED, ALONE_THERE),
        (LARGER_PACK, PACKED),
        (TWO, ONE),
        (SHRUNK, NEXT),
        (DELETED, NEXT),
    )
    assert [check(plan, parent) for plan, parent in pairs] == [()] * len(pairs)


def test_whoever_is_first_of_its_kind_may_be_anywhere() -> None:
    parent = make_plan(specs(workload("guest", 1, labels={"app": "guest"})), MACHINES)
    plan = make_plan(PACK, MACHINES, parent)
    assert check(plan, parent) == ()


def test_a_daemon_that_runs_outlives_a_new_taint_of_its_node() -> None:
    tainted = on_machine(GOOD, "a", taints=node("a", taints=("x:NoSchedule",)).taints).inventory
    plan = make_plan(GOOD.specs, tainted, GOOD)
    assert plan.workloads[AGENT].placements == GOOD.workloads[AGENT].placements
    assert check(plan, GOOD) == ()


@pytest.mark.parametrize(("name", "broken", "parent", "told"), BREAKS, ids=[b[3] for b in BREAKS])
def test_an_invariant_sees_what_breaks_it(
    name: str, broken: Callable[[], Plan], parent: Plan | None, told: str
) -> None:
    problems = [str(p) for p in INVARIANTS[name](facts_of(broken(), parent))]
    assert told in problems
    assert told in [str(p) for p in check(broken(), parent)]


def test_each_invariant_has_a_test_that_breaks_it() -> None:
    assert {name for name, *_ in (*BREAKS, *ROLLOUT_BREAKS)} == set(INVARIANTS)


def test_a_plan_decides_on_the_workloads_of_its_specs() -> None:
    plan = set_to(GOOD, specs=without(GOOD.specs, WEB))
    assert [str(p) for p in check(plan)] == ["workloads.shop/web: it is in no spec"]
    left = {k: w for k, w in GOOD.workloads.items() if k != WEB}
    told = ["workloads.shop/web: it is in the specs, and not decided on"]
    assert [str(p) for p in check(set_to(GOOD, workloads=left))] == told


def test_numbers_of_proposals_that_were_given_up_are_left_out() -> None:
    assert check(set_to(NEXT, generation=7), GOOD) == ()


def test_a_plan_that_is_not_the_first_can_be_checked_alone() -> None:
    assert check(on_machine(NEXT, "a", unschedulable=True)) == ()


def test_an_older_revision_is_not_counted_with_requests_of_the_new() -> None:
    machines = inventory(node("a", cpu="1"))
    parent = make_plan(specs(workload("web", 1, container=requests("1"))), machines)
    plan = make_plan(specs(workload("web", 1, container=requests("9"))), machines, parent)
    assert isinstance(plan.workloads[WEB], WorkloadPlan)
    assert check(plan, parent) == ()
