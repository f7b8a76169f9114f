"""The invariants of rollouts, broken by the smallest change to a good step."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from katgen import names
from katgen.check import INVARIANTS, check
from katgen.check.facts import facts_of
from katgen.model.specs import Specs
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan import advance, start
from katgen.planned import Placement, Plan
from tests.unit.schedule.world import (
    host_port,
    ids,
    inventory,
    node,
    requests,
    specs,
    with_data,
    workload,
)

WEB = WorkloadKey("shop/web")
set_to = msgspec.structs.replace


def web(tag: str, cpu: str = "1", **spec: Any) -> Specs:  # noqa: ANN401 -- a YAML document
    container = {**requests(cpu), **spec.pop("container", {})}
    source = {"image": f"localhost/app:{tag}"}
    return specs(workload("web", 3, source=source, container=container, **spec))


def stepped(before: Specs, after: Specs, steps: int = 1) -> tuple[Plan, Plan]:
    """Return a plan and the step after it; all were ready before each."""
    state = start(before, inventory(*map(node, "abcd"))).state
    parent = state.plan
    for _ in range(steps):
        parent = state.plan
        state = advance(state, after, [WEB], {WEB: everyone(parent)}).state
    return parent, state.plan


def everyone(plan: Plan) -> frozenset[InstanceKey]:
    placed = plan.workloads[WEB].placements
    return frozenset(names.instance(WEB, p.ordinal, p.incarnation) for p in placed)


PARENT, FIRST = stepped(web("1"), web("2"))
OLD, NEW = PARENT.workloads[WEB].revision, FIRST.workloads[WEB].revision
PORT_PARENT, PORT = stepped(web("1", container=host_port(80)), web("2", container=host_port(80)))


def with_placements(plan: Plan, *placements: Placement) -> Plan:
    planned = plan.workloads[WEB]
    following = max(p.incarnation for p in placements) + 1
    changed = set_to(planned, placements=placements, next_incarnation=following)
    return set_to(plan, workloads={**plan.workloads, WEB: changed})


def replaced(plan: Plan, parent: Plan, count: int) -> Plan:
    """Return the plan in which the first `count` of the parent's instances are new ones."""
    fresh = plan.workloads[WEB].revision
    placed = [
        set_to(p, revision=fresh, incarnation=n, address=f"{p.address}9") if n < 20 + count else p
        for n, p in enumerate(parent.workloads[WEB].placements, 20)
    ]
    return with_placements(plan, *placed)


def one_more(plan: Plan) -> Plan:
    placed = plan.workloads[WEB].placements
    more = set_to(placed[-1], revision=NEW, incarnation=9, address="10.100.3.99")
    return with_placements(plan, *placed, more)


def beside(plan: Plan) -> Plan:
    """Return the plan in which the first instance's predecessor is still there."""
    placed = PORT_PARENT.workloads[WEB].placements[0], *plan.workloads[WEB].placements
    return with_placements(plan, *placed)


def fewer() -> tuple[Plan, Plan]:
    """Return a rollout in which 0 is not ready, and the step that makes one of three."""
    placed = PORT.workloads[WEB].placements
    ready = frozenset(names.instance(WEB, p.ordinal, p.incarnation) for p in placed[1:])
    state = start(PORT.specs, PORT.inventory, PORT).state
    fewer = specs(workload("web", 1, source={"image": "localhost/app:2"},
                           container={**requests("1"), **host_port(80)}))  # fmt: skip
    return state.plan, advance(state, fewer, [WEB], {WEB: ready}).state.plan


FEW_PARENT, FEW = fewer()


def losing(plan: Plan, *nodes: str) -> Plan:
    lost = frozenset(map(NodeName, nodes))
    return set_to(plan, inventory=set_to(plan.inventory, lost=lost))


ROLLOUT_BREAKS: list[tuple[str, Callable[[], Plan], Plan, str]] = [
    (
        "earlier-is-kept",
        lambda: set_to(FIRST, earlier={}),
        PARENT,
        f"workloads.shop/web: what revision {OLD} is made of is forgotten",
    ),
    (
        "earlier-is-kept",
        lambda: set_to(
            FIRST, earlier={WEB: {**FIRST.earlier[WEB], "0" * 10: FIRST.earlier[WEB][OLD]}}
        ),
        PARENT,
        "workloads.shop/web: revision 0000000000 is kept, and nowhere placed",
    ),
    (
        "earlier-is-kept",
        lambda: set_to(
            FIRST,
            earlier={
                WEB: {OLD: set_to(FIRST.earlier[WEB][OLD], objects=FIRST.specs.workloads[WEB])}
            },
        ),
        PARENT,
        f"workloads.shop/web: revision {OLD} is made of something else",
    ),
    (
        "exclusive-ones-are-alone",
        lambda: beside(PORT),
        PORT_PARENT,
        "workloads.shop/web.0-4: ordinal 0 of shop/web has another one",
    ),
    (
        "rollouts-keep-below",
        lambda: one_more(FIRST),
        PARENT,
        "workloads.shop/web: 5 instances are placed; there may be 4 in this rollout",
    ),
    (
        "rollouts-leave-enough",
        lambda: replaced(FIRST, PARENT, 1),
        PARENT,
        "workloads.shop/web: 1 ready instances are replaced at once; 0 may be",
    ),
    (
        "rollouts-leave-enough",
        lambda: replaced(PORT, PORT_PARENT, 2),
        PORT_PARENT,
        "workloads.shop/web: 2 ready instances are replaced at once; 1 may be",
    ),
]


ROLLOUT_BREAKS += [
    (
        "rollouts-hold-back",
        lambda: with_placements(FEW, FEW.workloads[WEB].placements[0]),
        FEW_PARENT,
        "workloads.shop/web: 2 ready instances go, and 1 wanted are not ready",
    ),
    (
        "lost-nodes-are-waited-for",
        lambda: losing(FIRST, "a"),
        PARENT,
        "workloads.shop/web.0-4: it is new, and node a is lost",
    ),
    (
        "lost-nodes-are-waited-for",
        lambda: losing(PORT, "a"),
        PORT_PARENT,
        "workloads.shop/web.0-4: it is new, and node a is lost",
    ),
]


@pytest.mark.parametrize(
    ("name", "broken", "parent", "told"), ROLLOUT_BREAKS, ids=[b[3] for b in ROLLOUT_BREAKS]
)
def test_an_invariant_sees_what_breaks_it(
    name: str, broken: Callable[[], Plan], parent: Plan, told: str
) -> None:
    assert told in [str(p) for p in INVARIANTS[name](facts_of(broken(), parent))]
    assert told in [str(p) for p in check(broken(), parent)]


def test_what_stands_in_for_one_that_is_not_ready_breaks_nothing() -> None:
    shown = [f"{p.ordinal}-{p.incarnation}" for p in FEW.workloads[WEB].placements]
    assert (shown, check(FEW, FEW_PARENT)) == (["0-4", "1-2"], ())


def test_nobody_wants_what_stands_in_but_in_a_rollout() -> None:
    told = check(set_to(FEW, inventory=set_to(FEW.inventory, available={})), FEW_PARENT)
    assert "workloads.shop/web: nobody wants ordinal 1" in [str(p) for p in told]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("container", [{}, host_port(80)], ids=["beside", "in place"])
def test_good_steps_break_nothing(steps: int, container: dict[str, Any]) -> None:
    parent, plan = stepped(web("1", container=container), web("2", container=container), steps)
    assert check(plan, parent) == ()


def test_requests_of_both_revisions_count() -> None:
    _, plan = stepped(web("1", "2"), web("2", "2"))
    on_a = [p for p in plan.workloads[WEB].placements if p.node == "a"]
    assert [p.revision for p in on_a] == [OLD_LARGE, plan.workloads[WEB].revision]
    crowded = set_to(
        plan.inventory, nodes={**plan.inventory.nodes, on_a[0].node: node("a", cpu="3")}
    )
    told = [str(p) for p in check(set_to(plan, inventory=crowded), PARENT_LARGE)]
    assert "workloads.shop/web.0-4: node a has cpu 3, and 4 are requested" in told


PARENT_LARGE = stepped(web("1", "2"), web("2", "2"))[0]
OLD_LARGE = PARENT_LARGE.workloads[WEB].revision


@pytest.mark.parametrize("alone", [{"container": host_port(80)}, with_data()], ids=["port", "data"])
@pytest.mark.parametrize("nodes", ["abc", "abcd"], ids=["both on one node", "on two"])
def test_what_turns_exclusive_in_the_middle_of_a_rollout_takes_the_place_of_either(
    nodes: str, alone: dict[str, Any]
) -> None:
    state = start(web("1"), inventory(*map(node, nodes))).state
    for written in (web("2"), web("3", **alone)):
        parent = state.plan
        state = advance(state, written, [WEB], {WEB: everyone(parent)}).state
    assert [p.ordinal for p in parent.workloads[WEB].placements] == ["0", "0", "1", "2"]
    assert (ids(state.plan), check(state.plan, parent)) == (["0-5", "1-2", "2-3"], ())
