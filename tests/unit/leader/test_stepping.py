"""When a rollout may take its next step, what the planner hears of readiness, and how late it is.

Three instances of web run on a, b and c; a new revision has begun: 0-4 beside 0-1, 1-2 and 2-3.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from katgen.leader.stepping import (
    PATIENCE_S,
    Aim,
    Look,
    Pace,
    Step,
    begun,
    committed,
    followed,
    next_moment,
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


def test_a_node_without_a_session_is_not_waited_for() -> None:
    gone = look(*OLD, "0-4", reports=with_late(1), connected={*NODES} - {LATE})
    assert step(gone).due == {WEB}


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
    found = step(look(*OLD, "0-4"), pace=replace(PACE, stalled="why"))
    assert found == Step({WEB: instances(*OLD)})


def test_a_workload_that_is_held_back_takes_no_step() -> None:
    found = step(look(*OLD, "0-4"), aim=replace(AIM, held=frozenset({WEB})))
    assert found == Step({WEB: instances(*OLD)})


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


# --- progress ------------------------------------------------------------------------------------


def test_a_rollout_begins_with_its_first_step_and_not_with_a_first_deployment() -> None:
    assert committed({}, None, FIRST.plan, PACE) == {}
    assert committed({}, FIRST.plan, MIDDLE, PACE) == {WEB: PACE}


def test_another_plan_leaves_a_rollout_alone() -> None:
    other = msgspec.structs.replace(MIDDLE, generation=3)
    assert committed({WEB: PACE}, MIDDLE, other, replace(PACE, generation=3)) == {WEB: PACE}


def test_a_step_also_waits_for_the_nodes_that_the_one_before_may_not_have_reached() -> None:
    old, new = (
        replace(PACE, touched=frozenset(NODES[:1])),
        replace(PACE, touched=frozenset(NODES[1:2])),
    )
    found = committed({WEB: old}, FIRST.plan, MIDDLE, new)
    assert found[WEB].touched == frozenset(NODES[:2])


def test_a_leader_finds_the_rollouts_of_the_stored_plan() -> None:
    assert begun(MIDDLE, 50.0) == {WEB: Pace(2, 50.0, None, 50.0)}
    assert begun(FIRST.plan, 50.0) == {}


def test_each_new_instance_that_becomes_ready_is_progress() -> None:
    found = followed({WEB: PACE}, MIDDLE, look(*OLD, "0-4", now=120.0))
    assert found[WEB] == replace(PACE, moved=120.0, ready=instances("0-4"))
    again = followed(found, MIDDLE, look(*OLD, "0-4", now=130.0))
    assert again == found


def test_without_progress_a_rollout_stands_still_and_says_why() -> None:
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    assert not followed({WEB: PACE}, plan, look(*OLD, now=129.0))[WEB].stalled
    assert followed({WEB: PACE}, plan, look(*OLD, now=130.0))[WEB].stalled == (
        "rollout of shop/web stands still: 0 of 3 new instances ready; "
        f"shop/web/0-4 on {NEW_NODE} is not ready for 30 s (readiness: http :8080/ready)"
    )


def test_a_rollout_that_waits_for_a_node_says_so() -> None:
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    late = look(*OLD, "0-4", now=130.0, reports=with_late(1))
    pace = replace(PACE, ready=instances("0-4"))
    assert followed({WEB: pace}, plan, late)[WEB].stalled == (
        "rollout of shop/web stands still: 1 of 3 new instances ready; "
        f"node {LATE} has not applied plan 2 for 30 s"
    )


def test_readiness_sets_a_rollout_going_again() -> None:
    stalled = replace(PACE, stalled="why")
    found = followed({WEB: stalled}, MIDDLE, look("0-4", now=900.0))
    assert found[WEB] == replace(PACE, moved=900.0, ready=instances("0-4"))


def test_a_rollout_is_over_when_all_are_new_and_ready() -> None:
    planned = MIDDLE.workloads[WEB]
    new = [msgspec.structs.replace(p, revision=planned.revision) for p in planned.placements[:3]]
    done = msgspec.structs.replace(planned, placements=tuple(new))
    plan = msgspec.structs.replace(MIDDLE, workloads={**MIDDLE.workloads, WEB: done})
    every = [f"{p.ordinal}-{p.incarnation}" for p in new]
    assert followed({WEB: PACE}, plan, look(*every)) == {}
    assert followed({WEB: PACE}, plan, look(*every[1:])) != {}


def test_the_next_moment_is_the_end_of_patience_then_the_deadline() -> None:
    written_for = with_deadline(60)
    assert next_moment({WEB: PACE}, written_for, 100.0) == 100.0 + PATIENCE_S
    assert next_moment({WEB: PACE}, written_for, 140.0) == 160.0
    assert next_moment({WEB: replace(PACE, stalled="why")}, written_for, 140.0) is None


def with_deadline(seconds: int) -> Specs:
    return written(
        "localhost/web:2",
        updateStrategy={"progressDeadlineSeconds": seconds},
        container={"readiness": {"http": {"path": "/ready", "port": 8080}}},
    )
