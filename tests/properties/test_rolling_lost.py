"""What holds of rollouts while nodes are lost, and come back."""

from collections.abc import Iterable, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from katgen.check import check
from katgen.names import NodeName, Ordinal
from katgen.plan import advance, make_plan, start
from katgen.planned import Inventory, Placement, Plan
from katgen.schedule.reconcile import numbered
from tests.properties.test_rolling import (
    ALL,
    ROOM,
    WEB,
    Step,
    available,
    count_of,
    following,
    histories,
    identity,
    is_in_place,
    quick,
)

set_to = msgspec.structs.replace
Lost = frozenset[NodeName]
NOBODY: Lost = frozenset()
losses = st.frozensets(st.sampled_from(sorted(ROOM.nodes)), max_size=3)


@quick
@given(histories(), st.lists(losses, min_size=8, max_size=8))
def test_no_step_breaks_an_invariant(history: list[Step], lost: Sequence[Lost]) -> None:
    state = start(history[0][0], ROOM).state
    for step, gone in zip(history[1:], lost, strict=False):
        parent = state.plan
        state, _ = following(state, step, gone)
        assert check(state.plan, parent if state.plan is not parent else None) == ()


@quick
@given(histories(), st.lists(losses, min_size=8, max_size=8))
def test_steps_agree_with_whole_plans(history: list[Step], lost: Sequence[Lost]) -> None:
    state = start(history[0][0], ROOM).state
    for step, gone in zip(history[1:], lost, strict=False):
        parent = state.plan
        state, ready = following(state, step, gone)
        machines = set_to(ROOM, available=ready, lost=gone)
        assert state.plan == make_plan(step[0], machines, parent)


@quick
@given(histories(), st.lists(losses, min_size=8, max_size=8))
def test_the_same_step_again_changes_nothing(history: list[Step], lost: Sequence[Lost]) -> None:
    state = start(history[0][0], ROOM).state
    for step, gone in zip(history[1:], lost, strict=False):
        state, ready = following(state, step, gone)
        again = advance(state, step[0], [WEB], ready, gone)
        assert (again.state.plan.workloads, again.delta.workloads) == (state.plan.workloads, ())


def gone(parent: Plan, plan: Plan) -> set[Ordinal]:
    """Return who is missing whatever is done: lost, stuck on a cordoned node, or not there yet."""
    before, after, machines = parent.workloads[WEB], plan.workloads[WEB], plan.inventory
    spec = plan.specs.workloads[WEB].workload.spec
    lost = {p.ordinal for p in before.placements if p.node in machines.lost}
    lost -= {p.ordinal for p in before.placements if p.node not in machines.lost}
    new = wanted(plan) - {p.ordinal for p in before.placements}
    if not is_in_place(spec):
        return lost
    is_tied = spec.type == "DaemonService" or spec.volumes
    stuck = {
        p.ordinal
        for p in after.placements
        if p.revision != after.revision and machines.nodes[p.node].unschedulable and is_tied
    }
    return lost | new | (stuck - ready_ordinals(before.placements, plan.inventory))


def wanted(plan: Plan) -> set[Ordinal]:
    spec, planned = plan.specs.workloads[WEB].workload.spec, plan.workloads[WEB]
    if spec.type == "Service":
        return set(numbered(spec.replicas or 0))
    return {p.ordinal for p in planned.placements} | {u.ordinal for u in planned.unplaced}


def ready_ordinals(placements: Iterable[Placement], now: Inventory) -> set[Ordinal]:
    ready = now.available[WEB]
    return {p.ordinal for p in placements if identity(p) in ready and p.node not in now.lost}


@quick
@given(
    histories(), st.lists(losses, min_size=8, max_size=8), st.lists(losses, min_size=8, max_size=8)
)
def test_no_step_takes_more_than_may_be_missing(
    history: list[Step], lost: Sequence[Lost], cordoned: Sequence[Lost]
) -> None:
    """Who is missing anyway uses that up; then one at a time goes on, without surge or in place."""
    plan = start(history[0][0], ROOM).state.plan
    for (written, bits), away, closed in zip(history[1:], lost, cordoned, strict=False):
        parent, spec = plan, written.workloads[WEB].workload.spec
        nodes = {n: set_to(one, unschedulable=n in closed) for n, one in ROOM.nodes.items()}
        ready = available(parent, written, bits)
        plan = make_plan(written, set_to(ROOM, nodes=nodes, lost=away, available=ready), parent)
        assert check(plan, parent if plan is not parent else None) == ()
        before = ready_ordinals(parent.workloads[WEB].placements, plan.inventory) & wanted(plan)
        left = ready_ordinals(plan.workloads[WEB].placements, plan.inventory) & wanted(plan)
        pace, missing = spec.update_strategy.rolling, len(gone(parent, plan))
        one = 0 if pace.max_surge and not is_in_place(spec) else 1
        most = max(pace.max_unavailable, missing + one)
        assert len(left) >= min(len(before), len(wanted(plan)) - most)


def ended(history: list[Step], lost: Lost) -> tuple[Plan, Plan]:
    """Return where a rollout ends without some nodes, and then with them."""
    state = start(history[0][0], ROOM).state
    for step in history[1:]:
        state, _ = following(state, step, lost)
    for _ in range(40):
        state, _ = following(state, (history[-1][0], ALL), lost)
    without = state.plan
    for _ in range(40):
        state, _ = following(state, (history[-1][0], ALL), NOBODY)
    return without, state.plan


@quick
@given(histories(), losses)
def test_a_rollout_ends_on_the_living_nodes_and_then_on_all(
    history: list[Step], lost: Lost
) -> None:
    without, plan = ended(history, lost)
    planned, count = without.workloads[WEB], count_of(history[-1])
    earlier = [p for p in planned.placements if p.revision != planned.revision]
    waiting = {p.ordinal for p in earlier if p.node in lost}
    without_place = {u.ordinal for u in planned.unplaced}
    has_ports = without.specs.workloads[WEB].workload.spec.container.ports
    if has_ports and count > len(ROOM.nodes) - len(lost):
        assert waiting <= without_place
    else:
        assert without_place == waiting
    stand_ins = {p.ordinal for p in earlier if p.node not in lost}
    there = {p.ordinal for p in planned.placements} | without_place
    assert len(there - stand_ins) == count
    assert len(stand_ins) <= len({p.ordinal for p in planned.placements if p.node in lost})
    assert {p.revision for p in plan.workloads[WEB].placements} <= {plan.workloads[WEB].revision}
    assert (plan.earlier, len(plan.workloads[WEB].placements)) == ({}, count)


@quick
@given(histories(), st.lists(losses, min_size=8, max_size=8))
def test_without_anything_to_be_missing_one_stays_ready(
    history: list[Step], lost: Sequence[Lost]
) -> None:
    """Neither a lost node nor fewer replicas in the middle of a rollout take the last one."""
    state = start(history[0][0], ROOM).state
    for step, gone in zip(history[1:], lost, strict=False):
        before, spec = state.plan.workloads[WEB], step[0].workloads[WEB].workload.spec
        state, ready = following(state, step, gone)
        after = state.plan.workloads[WEB]
        living = [p for p in before.placements if p.node not in gone and identity(p) in ready[WEB]]
        able = [
            p for p in living
            if p.revision != after.revision or int(p.ordinal) < (spec.replicas or 0)
        ] if not is_in_place(spec) else []  # fmt: skip
        pace = spec.update_strategy.rolling
        if able and spec.replicas and pace.max_surge and not pace.max_unavailable:
            assert set(after.placements).intersection(living)
