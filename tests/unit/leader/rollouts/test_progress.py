"""How late a rollout is: what progress is, when it stands still, and when it goes on."""

from dataclasses import replace

import msgspec

from katgen.leader.rollouts.progress import begun, committed, followed, next_moment, weighed
from katgen.leader.rollouts.stepping import PATIENCE_S, Look, Pace, Stall
from katgen.model.specs import Specs
from katgen.names import InstanceKey
from tests.unit.leader.rollouts.test_stepping import (
    FIRST,
    LATE,
    MIDDLE,
    NEW_NODE,
    NODES,
    OLD,
    PACE,
    WEB,
    instances,
    look,
    with_late,
    written,
)


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
    assert not followed({WEB: PACE}, plan, look(*OLD, now=129.0))[WEB].stall
    assert why(followed({WEB: PACE}, plan, look(*OLD, now=130.0))[WEB]) == (
        "rollout of shop/web stands still: 0 of 3 new instances ready; "
        f"shop/web/0-4 on {NEW_NODE} is not ready for 30 s (readiness: http :8080/ready)"
    )


def test_a_rollout_that_waits_for_a_node_says_so() -> None:
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    late = look(*OLD, "0-4", now=130.0, reports=with_late(1))
    pace = replace(PACE, ready=instances("0-4"))
    assert why(followed({WEB: pace}, plan, late)[WEB]) == (
        "rollout of shop/web stands still: 1 of 3 new instances ready; "
        f"node {LATE} has not applied plan 2 for 30 s"
    )


def test_readiness_sets_a_rollout_going_again() -> None:
    stalled = replace(PACE, stall=Stall("why"))
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
    assert next_moment({WEB: replace(PACE, stall=Stall("why"))}, written_for, 140.0) is None


def why(pace: Pace) -> str:
    return pace.stall.text if pace.stall else ""


# --- what sets it going again --------------------------------------------------------------------

AT = 900.0
GOING = replace(PACE, moved=AT, ready=instances("0-4"))


def stood(*ready: str, waits: bool = False) -> Pace:
    """Return the pace of a rollout that stands still; 0-4 has been ready once."""
    return replace(PACE, ready=instances("0-4"), stall=Stall("why", instances(*ready), waits))


def on(pace: Pace, seen: Look) -> Pace:
    return followed({WEB: pace}, MIDDLE, seen)[WEB]


def test_a_new_instance_that_is_ready_again_does() -> None:
    assert on(stood(), look(*OLD, "0-4", now=AT)) == GOING
    still = stood("0-4")
    assert on(still, look(*OLD, "0-4", now=AT)) == still
    assert on(still, look(*OLD, now=AT)) == still


def test_the_last_node_that_follows_does() -> None:
    assert on(stood("0-4", waits=True), look(*OLD, "0-4", now=AT)) == GOING
    late = stood("0-4", waits=True)
    assert on(late, look(*OLD, "0-4", now=AT, reports=with_late(1))) == late


def test_a_node_that_is_lost_or_comes_back_does() -> None:
    assert on(stood("0-4"), look(*OLD, "0-4", now=AT, missing=frozenset({LATE}))) == GOING


def test_the_end_of_a_hold_does_and_gives_a_full_deadline() -> None:
    seen = look(*OLD, "0-4", now=AT)
    held = followed({WEB: stood("0-4")}, MIDDLE, seen, {WEB})
    assert held[WEB] == replace(stood("0-4"), is_held=True)
    assert followed(held, MIDDLE, seen)[WEB] == GOING


def test_as_long_as_it_is_held_no_deadline_passes() -> None:
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    held = followed({WEB: PACE}, plan, look(*OLD, now=AT), {WEB})
    assert held == {WEB: replace(PACE, is_held=True)}
    assert next_moment(held, plan.specs, 131.0) is None
    assert followed(held, plan, look(*OLD, now=AT)) == {WEB: replace(PACE, moved=AT)}


def test_a_step_that_is_due_is_taken_however_late_it_is() -> None:
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    pace = replace(PACE, ready=instances("0-4"))
    assert followed({WEB: pace}, plan, look(*OLD, "0-4", now=AT)) == {WEB: pace}
    known = msgspec.structs.replace(plan.inventory, available={WEB: instances(*OLD, "0-4")})
    plan = msgspec.structs.replace(plan, inventory=known)
    assert why(followed({WEB: pace}, plan, look(*OLD, "0-4", now=AT))[WEB]) == (
        "rollout of shop/web stands still: 1 of 3 new instances ready; "
        "nothing has changed for 800 s"
    )


# --- what is said --------------------------------------------------------------------------------


def said(pace: Pace, seen: Look) -> str:
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    found = why(followed({WEB: pace}, plan, seen)[WEB])
    return found.removeprefix("rollout of shop/web stands still: 0 of 3 new instances ready; ")


def test_one_that_was_ready_is_so_no_more() -> None:
    assert said(replace(PACE, ready=instances("0-4")), look(*OLD, now=130.0)) == (
        f"shop/web/0-4 on {NEW_NODE} is not ready any more (readiness: http :8080/ready)"
    )


def test_one_whose_node_has_not_followed_is_not_to_blame() -> None:
    reports = {**look().reports, NEW_NODE: with_late(1)[LATE]}
    seen = look(*OLD, now=130.0, reports=reports)
    assert said(PACE, seen) == f"node {NEW_NODE} has not applied plan 2 for 30 s"
    gone = replace(seen, connected={*NODES} - {NEW_NODE})
    assert said(PACE, gone) == (
        f"node {NEW_NODE} is not connected and has not applied plan 2 for 30 s"
    )


def test_one_on_a_lost_node_is_known_to_be_there() -> None:
    endpoints = {**look(*OLD).endpoints, InstanceKey("shop/web/0-4"): "ready"}
    lost = look(now=130.0, endpoints=endpoints, lost={NEW_NODE}, missing=frozenset({NEW_NODE}))
    pace = replace(PACE, lost=frozenset({NEW_NODE}))
    plan = msgspec.structs.replace(MIDDLE, specs=with_deadline(30))
    known = {WEB: instances(*OLD) - on_node(NEW_NODE)}
    plan = msgspec.structs.replace(
        plan, inventory=msgspec.structs.replace(plan.inventory, available=known)
    )
    assert why(followed({WEB: pace}, plan, lost)[WEB]) == (
        "rollout of shop/web stands still: 0 of 3 new instances ready; "
        f"shop/web/0-4 is on {NEW_NODE}, which is not connected"
    )


def on_node(name: str) -> frozenset[InstanceKey]:
    placed = MIDDLE.workloads[WEB].placements
    return instances(*(f"{p.ordinal}-{p.incarnation}" for p in placed if p.node == name))


def test_what_the_planner_was_asked_with_is_remembered() -> None:
    lost = frozenset({LATE})
    assert weighed({WEB: PACE}, {WEB}, lost) == {WEB: replace(PACE, lost=lost)}
    assert weighed({WEB: PACE}, set(), lost) == {WEB: PACE}


def with_deadline(seconds: int) -> Specs:
    return written(
        "localhost/web:2",
        updateStrategy={"progressDeadlineSeconds": seconds},
        container={"readiness": {"http": {"path": "/ready", "port": 8080}}},
    )
