"""What holds of rollouts while nodes are lost, and come back."""

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from katgen.check import check
from katgen.names import NodeName
from katgen.plan import advance, make_plan, start
from katgen.planned import Plan
from tests.properties.test_rolling import (
    ALL,
    ROOM,
    WEB,
    Step,
    count_of,
    following,
    histories,
    identity,
    quick,
)

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
        machines = msgspec.structs.replace(ROOM, available=ready, lost=gone)
        assert state.plan == make_plan(step[0], machines, parent)


@quick
@given(histories(), st.lists(losses, min_size=8, max_size=8))
def test_the_same_step_again_changes_nothing(history: list[Step], lost: Sequence[Lost]) -> None:
    state = start(history[0][0], ROOM).state
    for step, gone in zip(history[1:], lost, strict=False):
        state, ready = following(state, step, gone)
        again = advance(state, step[0], [WEB], ready, gone)
        assert (again.state.plan.workloads, again.delta.workloads) == (state.plan.workloads, ())


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
    assert {u.ordinal for u in planned.unplaced} == waiting
    stand_ins = {p.ordinal for p in earlier if p.node not in lost}
    there = {p.ordinal for p in planned.placements}
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
        ] if spec.type == "Service" and not spec.container.ports else []  # fmt: skip
        pace = spec.update_strategy.rolling
        if able and spec.replicas and pace.max_surge and not pace.max_unavailable:
            assert set(after.placements).intersection(living)
