"""What holds of every rollout, whatever changes and whatever becomes ready meanwhile."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from katgen import names
from katgen.check import check
from katgen.model.specs import Specs
from katgen.model.workload import WorkloadSpec
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan import PlanState, advance, changed_workloads, make_plan, rolled_out, start
from katgen.plan.rolling import is_rolling, rolls
from katgen.planned import Inventory, Placement, Plan, WorkloadPlan
from katgen.render.change import rerender
from katgen.render.cluster import render
from katgen.wire import plan_from_json, plan_json
from tests.properties.test_plan import resources
from tests.properties.worlds import nodes, worlds
from tests.unit.schedule.world import (
    gpus,
    host_port,
    inventory,
    node,
    specs,
    with_data,
    workload,
)

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
WEB = WorkloadKey("shop/web")
Available = dict[WorkloadKey, frozenset[InstanceKey]]
Step = tuple[Specs, int]
"""What is written, and which part of the instances is ready: bit n of it for the nth."""


def identity(placement: Placement, key: WorkloadKey = WEB) -> InstanceKey:
    return names.instance(key, placement.ordinal, placement.incarnation)


def available(plan: Plan, written: Specs, bits: int) -> Available:
    """Return who is ready: a part of all instances, of the workloads that are replaced in steps."""
    keys = [k for k in plan.workloads if k in written.workloads and rolls(written.workloads[k])]
    return {
        key: frozenset(
            identity(p, key)
            for p in plan.workloads[key].placements
            if bits >> (p.incarnation % 16) & 1
        )
        for key in keys
    }


ALL = 0xFFFF
parts = st.one_of(st.integers(0, ALL), st.just(ALL))


@st.composite
def strategies(draw: st.DrawFn) -> dict[str, Any]:
    pace = {"maxSurge": draw(st.integers(0, 2)), "maxUnavailable": draw(st.integers(0, 2))}
    return {"type": "Rolling", "rolling": pace}


HAVING: tuple[dict[str, Any], ...] = (
    {}, {}, {"container": host_port(80)}, with_data(), {"container": gpus(1)},
)  # fmt: skip


def is_in_place(spec: WorkloadSpec) -> bool:
    """Whether nothing is beside its successor for certain."""
    container = spec.container
    alone = container.ports or container.volume_mounts or container.resources.gpu
    return bool(spec.type == "DaemonService" or alone)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Draw versions of one workload that may run anywhere: its image, number, pace, what it has."""
    steps = draw(st.lists(st.tuples(st.sampled_from("123"), parts), min_size=1, max_size=8))
    replicas, pace = draw(st.integers(1, 5)), draw(strategies())
    kind = draw(st.sampled_from(("Service", "Service", "DaemonService")))
    has = draw(st.sampled_from(HAVING))
    found: list[Step] = []
    for image, bits in steps:
        if draw(st.sampled_from((False, False, False, True))):
            replicas, pace = draw(st.integers(0, 5)), draw(strategies())
        container = {**has.get("container", {}), "args": [image]}
        spec = {**has, "type": kind, "container": container, "updateStrategy": pace}
        count = replicas if kind == "Service" else None
        found.append((specs(workload("web", count, **spec)), bits))
    return found


ROOM = inventory(*(node(f"n{i}", gpus={"nvidia.com/gpu": 2}) for i in range(6)))


def following(
    state: PlanState, step: Step, lost: frozenset[NodeName] | None = None
) -> tuple[PlanState, Available]:
    written, bits = step
    ready = available(state.plan, written, bits)
    changed = changed_workloads(state.plan.specs, written)
    if lost is not None and lost != state.plan.inventory.lost:
        changed |= {WEB}  # as the leader does: the planner looks again at what it is asked about
    return advance(state, written, changed, ready, lost).state, ready


def walked(history: Sequence[Step], machines: Inventory) -> list[Plan]:
    state = start(history[0][0], machines).state
    plans = [state.plan]
    for step in history[1:]:
        state, _ = following(state, step)
        plans.append(state.plan)
    return plans


@quick
@given(histories())
def test_no_step_breaks_an_invariant(history: list[Step]) -> None:
    plans = walked(history, ROOM)
    for parent, plan in pairwise(plans):
        assert check(plan, parent if plan is not parent else None) == ()


@quick
@given(st.lists(st.tuples(worlds(), parts), min_size=2, max_size=4), nodes())
def test_no_step_of_arbitrary_worlds_breaks_an_invariant(
    history: list[Step], machines: Inventory
) -> None:
    plans = walked([(replace(w, cluster=history[0][0].cluster), b) for w, b in history], machines)
    for parent, plan in pairwise(plans):
        assert check(plan, parent if plan is not parent else None) == ()


def ready_of(planned: WorkloadPlan, ready: Collection[InstanceKey]) -> int:
    return sum(identity(p) in ready for p in planned.placements)


@quick
@given(histories())
def test_as_many_stay_ready_as_the_strategy_says(history: list[Step]) -> None:
    state = start(history[0][0], ROOM).state
    for step in history[1:]:
        before = state.plan.workloads[WEB]
        state, available_now = following(state, step)
        spec = step[0].workloads[WEB].workload.spec
        old, new = count_of(step), state.plan.workloads[WEB]
        pace = spec.update_strategy.rolling
        below = pace.max_unavailable or (0 if pace.max_surge else 1)
        in_place = is_in_place(spec)
        below = max(1, below) if in_place else below
        ready = available_now[WEB]
        wanted = {p for p in before.placements if spec.type != "Service" or int(p.ordinal) < old}
        were = sum(identity(p) in ready for p in wanted)
        # Where nothing can be beside, instances that are new altogether hold up nobody.
        missing = old - len(wanted) if in_place else 0
        assert ready_of(new, ready) >= min(were, old - below - missing)
        if not in_place or spec.container.resources.gpu:
            fresh = old - len({p.ordinal for p in wanted})
            most = max(old + pace.max_surge, len(before.placements) + fresh)
            assert len(new.placements) <= most


def count_of(step: Step) -> int:
    spec = step[0].workloads[WEB].workload.spec
    return len(ROOM.nodes) if spec.type == "DaemonService" else spec.replicas or 0


@quick
@given(histories())
def test_the_same_step_again_changes_nothing(history: list[Step]) -> None:
    state = start(history[0][0], ROOM).state
    for step in history[1:]:
        state, ready = following(state, step)
        again = advance(state, step[0], [WEB], ready)
        assert again.state.plan.workloads == state.plan.workloads
        assert again.delta.workloads == ()


@quick
@given(histories())
def test_a_rollout_ends_once_everything_becomes_ready(history: list[Step]) -> None:
    state = start(history[0][0], ROOM).state
    for step in history[1:]:
        state, _ = following(state, step)
    written = history[-1][0]
    for _ in range(40):
        state, _ = following(state, (written, ALL))
    planned = state.plan.workloads[WEB]
    assert not is_rolling(planned)
    assert state.plan.earlier == {}
    assert len(planned.placements) == count_of(history[-1])


@quick
@given(histories(), st.lists(st.integers(0, ALL), max_size=12))
def test_the_order_of_becoming_ready_decides_nothing_about_the_end(
    history: list[Step], hesitation: list[int]
) -> None:
    def end(bits: list[int]) -> list[str]:
        state = start(history[0][0], ROOM).state
        for one in (*bits, *[ALL] * 40):
            state, _ = following(state, (history[-1][0], one))
        planned = state.plan.workloads[WEB]
        return [f"{p.ordinal} {p.revision}" for p in planned.placements]

    assert end(hesitation) == end([])


@quick
@given(st.lists(st.tuples(worlds(), parts), min_size=2, max_size=4), nodes())
def test_steps_agree_with_whole_plans_and_carry_their_index_on(
    history: list[Step], machines: Inventory
) -> None:
    cluster = history[0][0].cluster
    state = start(history[0][0], machines).state
    plan = state.plan
    for some, bits in history[1:]:
        written = replace(some, cluster=cluster)
        state, ready = following(state, (written, bits))
        machines = msgspec.structs.replace(machines, available=ready)
        plan = make_plan(written, machines, plan)
        assert state.plan == plan
        anew = start(written, msgspec.structs.replace(machines, rested=frozenset()), plan).state
        assert resources(state) == resources(anew)


@quick
@given(histories())
def test_each_step_renders_and_is_written_as_if_it_was_the_only_one(history: list[Step]) -> None:
    plans = walked(history, ROOM)
    rendered = render(plans[0])
    for plan in plans[1:]:
        rendered = rerender(rendered, plan)
        assert rendered.root == render(plan).root
        assert plan_from_json(plan_json(plan), "p") == plan


@quick
@given(histories())
def test_what_a_rollout_comes_to_is_where_it_ends(history: list[Step]) -> None:
    written = history[-1][0]
    state = start(history[0][0], ROOM).state
    ending = rolled_out(state, written, [WEB]).plan
    for _ in range(40):
        state, _ = following(state, (written, ALL))
    assert ending.workloads == state.plan.workloads
    assert (ending.generation, ending.parent) in {(2, 1), (1, 0)}
