"""When a rollout may take its next step, and what the planner hears of readiness.

Three instances of web run on a, b and c; a new revision has begun: 0-4 beside 0-1, 1-2 and 2-3.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from katgen.leader.rollouts.stepping import (
    PATIENCE_S,
    Aim,
    Look,
    Pace,
    Stall,
    Step,
    next_step,
)
from katgen.model.specs import Specs
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan import advance, start
from katgen.planned import Placement, Plan, WorkloadPlan
from katgen.protocol import Report
from tests.unit.schedule.world import inventory, node, specs, workload

WEB, API = WorkloadKey("shop/web"), WorkloadKey("shop/api")
NODES = tuple(NodeName(n) for n in "abc")
OLD = ("0-1", "1-2", "2-3")


def instances(*identities: str) -> frozenset[InstanceKey]:
    return frozenset(InstanceKey(f"shop/web/{one}") for one in identities)


def written(image: str, **spec: Any) -> Specs:  # noqa: ANN401 -- a YAML document
    return specs(workload("web", 3, source={"image": image}, **spec), workload("api", 1))


FIRST = start(written("localhost/web:1"), inventory(*map(node, NODES))).state
MIDDLE = advance(FIRST, written("localhost/web:2"), [WEB], {WEB: instances(*OLD)}).state.plan
AIM = Aim(MIDDLE.specs, frozenset())
NEW_NODE = next(p.node for p in MIDDLE.workloads[WEB].placements if p.incarnation == 4)
LATE = next(n for n in NODES if n != NEW_NODE)
PACE = Pace(2, 100.0, None, 100.0)


def report(name: NodeName, generation: int = 2, sync: str = "in sync") -> Report:
    return Report(name, "boot", 1, generation, sync)


def look(*ready: str, now: float = 100.0, **given: Any) -> Look:  # noqa: ANN401 -- fields of Look
    """Return a moment when all nodes are there and follow."""
    every = {InstanceKey(f"shop/web/{one}"): "ready" for one in ready}
    seen = Look(every, {n: report(n) for n in NODES}, set(NODES), set(NODES), set(), now)
    return replace(seen, **given)


def step(seen: Look, *, aim: Aim = AIM, pace: Pace = PACE, plan: Plan = MIDDLE) -> Step:
    return next_step(plan, aim, {WEB: pace}, seen)


def with_late(generation: int = 1, sync: str = "in sync") -> Mapping[NodeName, Report]:
    """Return the reports of all nodes, one of which has not followed."""
    return {**{n: report(n) for n in NODES}, LATE: report(LATE, generation, sync)}


# --- the next step -------------------------------------------------------------------------------


def test_a_new_instance_that_is_ready_makes_the_next_step_due() -> None:
    assert step(look(*OLD, "0-4")) == Step({WEB: instances(*OLD, "0-4")}, frozenset({WEB}))


def test_as_long_as_nobody_else_is_ready_nothing_is_due() -> None:
    assert step(look(*OLD)) == Step({WEB: instances(*OLD)})


def test_a_step_waits_for_every_node_that_the_last_one_touched() -> None:
    late = look(*OLD, "0-4", reports=with_late(1))
    assert step(late) == Step({WEB: instances(*OLD)})
    assert step(late, pace=replace(PACE, touched=frozenset(NODES) - {LATE})).due == {WEB}


def test_a_node_that_is_still_applying_has_not_applied() -> None:
    assert not step(look(*OLD, "0-4", reports=with_late(2, "applying"))).due


def test_a_node_that_has_gone_on_to_a_later_plan_has_applied_this_one() -> None:
    assert step(look(*OLD, "0-4", reports=with_late(3, "applying"))).due


def test_a_node_without_a_session_is_waited_for_until_it_is_lost() -> None:
    gone = look(*OLD, "0-4", reports=with_late(1), connected={*NODES} - {LATE}, now=900.0)
    plan = msgspec.structs.replace(MIDDLE, workloads={WEB: without(MIDDLE, LATE)})
    assert not step(gone).due
    assert not step(gone, plan=plan).due
    assert step(replace(gone, lost={LATE}), plan=plan).due == {WEB}


def test_a_node_that_has_left_the_cluster_is_not_waited_for() -> None:
    nodes = {n: one for n, one in MIDDLE.inventory.nodes.items() if n != LATE}
    rest = msgspec.structs.replace(MIDDLE.inventory, nodes=nodes)
    plan = msgspec.structs.replace(MIDDLE, inventory=rest, workloads={WEB: without(MIDDLE, LATE)})
    late = look("0-1", "1-2", "2-3", "0-4", reports=with_late(1), connected={*NODES} - {LATE})
    pace = replace(PACE, touched=frozenset(NODES))
    assert step(late, plan=plan, pace=pace).due == {WEB}


def test_a_new_leader_waits_until_every_node_has_spoken() -> None:
    silent = look(*OLD, "0-4", spoken={*NODES} - {LATE})
    assert not step(silent).due
    assert step(silent, pace=replace(PACE, touched=frozenset(NODES))).due == {WEB}
    plan = msgspec.structs.replace(MIDDLE, workloads={WEB: without(MIDDLE, LATE)})
    assert not step(replace(silent, connected={*NODES} - {LATE}, now=900.0), plan=plan).due


def test_patience_with_a_node_that_does_not_follow_ends_unless_it_has_instances() -> None:
    plan = msgspec.structs.replace(MIDDLE, workloads={WEB: without(MIDDLE, LATE)})
    sick = look(*OLD, "0-4", reports=with_late(1, "degraded"))
    assert not step(sick, plan=plan).due
    later = replace(sick, now=100.0 + PATIENCE_S)
    assert step(later, plan=plan).due == {WEB}
    assert not step(later).due


def without(plan: Plan, name: str) -> WorkloadPlan:
    planned = plan.workloads[WEB]
    kept = tuple(p for p in planned.placements if p.node != name)
    return msgspec.structs.replace(planned, placements=kept)


def test_a_rollout_that_stands_still_takes_no_step() -> None:
    found = step(look(*OLD, "0-4"), pace=replace(PACE, stall=Stall("why")))
    assert found == Step({WEB: instances(*OLD)})


def test_a_workload_that_is_held_back_takes_no_step() -> None:
    found = step(look(*OLD, "0-4"), aim=replace(AIM, held=frozenset({WEB})))
    assert found == Step({WEB: instances(*OLD)})


def test_other_lost_nodes_make_a_step_due() -> None:
    lost = look(*OLD, missing=frozenset({LATE}))
    assert step(lost).due == {WEB}
    assert not step(lost, pace=replace(PACE, lost=frozenset({LATE}))).due
    assert not step(lost, pace=replace(PACE, stall=Stall("why"))).due


def test_of_workloads_that_do_not_roll_nothing_is_told() -> None:
    once = written("localhost/web:3", updateStrategy={"type": "Simultaneous"})
    assert next_step(FIRST.plan, Aim(once, frozenset({WEB})), {}, look(*OLD)) == Step()
    assert next_step(FIRST.plan, Aim(FIRST.plan.specs, ()), {}, look()) == Step()


# --- a change of objects -------------------------------------------------------------------------


def test_a_change_waits_for_nobody() -> None:
    changed = Aim(written("localhost/web:3"), frozenset({WEB}))
    found = next_step(FIRST.plan, changed, {}, look("0-1", "2-3"))
    assert found == Step({WEB: instances("0-1", "2-3")})


def test_a_change_in_mid_step_counts_on_nobody_who_is_not_known_everywhere_yet() -> None:
    changed = Aim(written("localhost/web:3"), frozenset({WEB}))
    late = look("0-1", "1-2", "0-4", reports=with_late(1))
    assert step(late, aim=changed).available == {WEB: instances("0-1", "1-2")}
    assert step(look("0-1", "0-4"), aim=changed).available == {WEB: instances("0-1", "0-4")}


# --- what is not known ---------------------------------------------------------------------------


def test_what_a_new_leader_has_not_heard_of_counts_as_at_the_last_step() -> None:
    assert step(look(spoken=set())).available == {WEB: instances(*OLD)}


def test_before_a_rollout_whoever_is_not_heard_of_counts_as_ready() -> None:
    changed = Aim(written("localhost/web:3"), frozenset({WEB}))
    found = next_step(FIRST.plan, changed, {}, look(spoken=set(), connected=set()))
    assert found.available == {WEB: instances(*OLD)}


def test_what_a_node_said_last_outlives_its_session() -> None:
    endpoints = {**look(*OLD).endpoints, InstanceKey("shop/web/1-2"): "notready"}
    gone = look(endpoints=endpoints, connected=set())
    assert step(gone).available == {WEB: instances("0-1", "2-3")}


def test_nothing_on_a_lost_node_is_ready() -> None:
    found = step(look(*OLD, connected={"a", "c"}, lost={"b"}))
    lost = instances(*(f"{p.ordinal}-{p.incarnation}" for p in placed_on("b")))
    assert lost
    assert found.available[WEB] == instances(*OLD) - lost


def placed_on(name: str) -> list[Placement]:
    return [p for p in MIDDLE.workloads[WEB].placements if p.node == name]
