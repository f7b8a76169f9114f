"""What holds of every plan, whatever the world."""

import random
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from katgen.check import check
from katgen.model.specs import Specs
from katgen.plan import PlanState, advance, changed_workloads, make_plan, start
from katgen.planned import Inventory, Plan
from tests.properties.worlds import nodes, worlds
from tests.unit.schedule.world import node, specs

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def shuffled(mapping: Any, seed: int) -> Any:  # noqa: ANN401 -- any mapping
    items = list(mapping.items())
    random.Random(seed).shuffle(items)  # noqa: S311 -- a shuffle
    return dict(items)


def reordered(written: Specs, seed: int) -> Specs:
    return replace(
        written,
        workloads=shuffled(written.workloads, seed),
        namespaces=shuffled(written.namespaces, seed),
    )


@quick
@given(worlds(), nodes())
def test_a_first_plan_breaks_no_invariant(written: Specs, machines: Inventory) -> None:
    assert check(make_plan(written, machines)) == ()


@quick
@given(worlds(), nodes(), worlds(), nodes())
def test_a_following_plan_breaks_no_invariant(
    before: Specs, old: Inventory, after: Specs, new: Inventory
) -> None:
    after = replace(after, cluster=before.cluster)
    parent = make_plan(before, old)
    assert check(make_plan(after, new, parent), parent) == ()


@quick
@given(worlds(), nodes(), st.integers())
def test_the_order_of_the_input_leaves_no_trace(
    written: Specs, machines: Inventory, seed: int
) -> None:
    mixed = msgspec.structs.replace(machines, nodes=shuffled(machines.nodes, seed))
    one, other = make_plan(written, machines), make_plan(reordered(written, seed), mixed)
    assert one == other
    assert list(one.workloads) == list(other.workloads)


@quick
@given(worlds(), nodes())
def test_the_same_input_gives_the_parent_itself(written: Specs, machines: Inventory) -> None:
    parent = make_plan(written, machines)
    assert make_plan(written, machines, parent) is parent


@quick
@given(worlds(), nodes())
def test_adding_a_node_moves_nothing(written: Specs, machines: Inventory) -> None:
    parent = make_plan(written, machines)
    new = node("n0", {"zone": "a", "disk": "ssd"})
    larger = {**machines.nodes, new.name: new}
    plan = make_plan(written, msgspec.structs.replace(machines, nodes=larger), parent)
    for key, before in parent.workloads.items():
        assert set(before.placements) <= set(plan.workloads[key].placements)


@quick
@given(worlds(), worlds(), worlds(), nodes())
def test_steps_agree_with_whole_plans(
    first: Specs, second: Specs, third: Specs, machines: Inventory
) -> None:
    plan = make_plan(first, machines)
    state = start(first, machines).state
    for written in (second, third):
        following = replace(written, cluster=first.cluster)
        plan = make_plan(following, machines, plan)
        state = advance(state, following, changed_workloads(state.plan.specs, following)).state
        assert state.plan == plan
        assert list(state.plan.workloads) == list(plan.workloads)


@quick
@given(worlds(), worlds(), worlds(), nodes())
def test_a_state_can_be_left_and_taken_up_again(
    first: Specs, second: Specs, third: Specs, machines: Inventory
) -> None:
    second, third = (replace(one, cluster=first.cluster) for one in (second, third))
    state = start(first, machines).state
    taken = advance(state, second, changed_workloads(first, second)).state.plan
    advance(state, third, changed_workloads(first, third))
    again = advance(state, second, changed_workloads(first, second)).state.plan
    assert again == taken


@quick
@given(worlds(), worlds(), nodes())
def test_an_index_that_was_carried_on_equals_one_made_anew(
    first: Specs, second: Specs, machines: Inventory
) -> None:
    second = replace(second, cluster=first.cluster)
    state = start(first, machines).state
    state = advance(state, second, changed_workloads(first, second)).state
    assert resources(state) == resources(start(second, machines, state.plan).state)


def resources(state: PlanState) -> Any:  # noqa: ANN401 -- whatever can be compared
    index, table = state.index, state.index.table
    return (
        (table.cpu_free, table.memory_free, table.slots_free, table.slots_resting, table.count),
        table.key,
        {where: holders for where, holders in table.ports.items() if holders},
        {where: devices for where, devices in table.gpus.items() if devices},
        [a.taken for a in index.addresses],
        (index.virtuals.used, index.uids.used, set(index.waiting.keys())),
        dict(index.catalog.needs),
    )


@quick
@given(st.lists(worlds(), min_size=1, max_size=4), st.lists(nodes(), min_size=4, max_size=4))
def test_no_number_is_ever_owned_twice(history: list[Specs], machines: list[Inventory]) -> None:
    plan: Plan | None = None
    seen: set[tuple[str, str, int]] = set()
    for written, there in zip(history, machines, strict=False):
        made = make_plan(replace(written, cluster=history[0].cluster), there, plan)
        old = {(k, p) for k, w in plan.workloads.items() for p in w.placements} if plan else set()
        for key, planned in made.workloads.items():
            new = [p for p in planned.placements if (key, p) not in old]
            units = {(key, str(p.ordinal), p.incarnation) for p in new}
            assert len(units) == len(new)
            assert units.isdisjoint(seen)
            seen |= units
        plan = made


@quick
@given(worlds(), worlds(), nodes())
def test_a_quota_that_binds_nobody_changes_nothing(
    first: Specs, second: Specs, machines: Inventory
) -> None:
    """Replacing in place has a short way, which is not taken where there is a quota."""
    second = replace(second, cluster=first.cluster)

    def planned(quota: dict[str, int] | None) -> Plan:
        parent = make_plan(with_quota(first, quota), machines)
        return make_plan(with_quota(second, quota), machines, parent)

    assert planned({"instances": 10_000}).workloads == planned(None).workloads


def with_quota(written: Specs, quota: dict[str, int] | None) -> Specs:
    return replace(written, namespaces=specs(quota=quota).namespaces)
