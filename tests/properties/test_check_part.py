"""Looking at what differs from a sound parent finds what looking at everything does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from katgen.check import check, check_whole
from katgen.check.sound import Sound
from katgen.model.specs import Specs
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.plan import PlanState, advance, changed_workloads, start
from katgen.planned import Inventory, Plan, Resting, Retired, Unplaced
from tests.properties.test_rolling import available, parts, quick
from tests.properties.worlds import NAMES, nodes, objects
from tests.unit.schedule.world import specs

set_to = msgspec.structs.replace
often = settings(quick, max_examples=150)
Break = Callable[[Plan], Plan]


def keys(plan: Plan) -> list[WorkloadKey]:
    return [key for key, planned in plan.workloads.items() if planned.placements]


def pick(found: list[Any], number: int) -> Any:  # noqa: ANN401 -- one of what is given
    return found[number % len(found)]


def decided(plan: Plan, key: WorkloadKey, **fields: Any) -> Plan:  # noqa: ANN401 -- any field
    return set_to(plan, workloads={**plan.workloads, key: set_to(plan.workloads[key], **fields)})


def moved(plan: Plan, number: int, **fields: Any) -> Plan:  # noqa: ANN401 -- any field
    """Return the plan with one placement changed."""
    key = pick(keys(plan), number)
    placed = list(plan.workloads[key].placements)
    at = number // 7 % len(placed)
    placed[at] = set_to(placed[at], **fields)
    return decided(plan, key, placements=tuple(placed))


def placement_breaks(plan: Plan, number: int, other: int) -> dict[str, Break]:
    theirs = plan.workloads[pick(keys(plan), other)].placements[0]
    rests = pick(sorted(plan.resting) or ["10.100.0.9"], other)
    return {
        "address": lambda p: moved(p, number, address=theirs.address),
        "rested": lambda p: moved(p, number, address=rests if "/" not in rests else "10.1.1.1"),
        "node": lambda p: moved(p, number, node=pick(sorted(p.subnets), other)),
        "both": lambda p: moved(p, number, node=theirs.node, address=theirs.address),
        "nowhere": lambda p: moved(p, number, node=NodeName("nowhere")),
        "ordinal": lambda p: moved(p, number, ordinal=Ordinal(str(other % 9))),
        "incarnation": lambda p: moved(p, number, incarnation=other % 5),
        "revision": lambda p: moved(p, number, revision=theirs.revision),
        "gpus": lambda p: moved(p, number, gpus=(other % 3, 1)),
        "stop-first": lambda p: moved(p, number, stop_first=bool(other % 2)),
    }


def workload_breaks(plan: Plan, number: int, other: int) -> dict[str, Break]:
    key, theirs = pick(keys(plan), number), pick(keys(plan), other)
    mine, others = plan.workloads[key], plan.workloads[theirs]
    unplaced = Unplaced(Ordinal(str(other % 4)), ())
    alike = {**plan.specs.workloads, key: plan.specs.workloads[theirs]}
    return {
        "next": lambda p: decided(p, key, next_incarnation=other % 6),
        "uids": lambda p: decided(p, key, uid_base=others.uid_base),
        "virtual": lambda p: decided(p, key, virtual_address=others.virtual_address),
        "none": lambda p: decided(p, key, placements=()),
        "fewer": lambda p: decided(p, key, placements=mine.placements[1:]),
        "twice": lambda p: decided(p, key, placements=mine.placements * 2),
        "unplaced": lambda p: decided(p, key, unplaced=(unplaced,)),
        "homes": lambda p: decided(p, key, homes={}),
        "copied": lambda p: decided(p, key, placements=others.placements),
        "specs": lambda p: set_to(p, specs=replace(p.specs, workloads=alike)),
        "gone": lambda p: set_to(p, workloads={k: w for k, w in p.workloads.items() if k != key}),
    }


def other_breaks(plan: Plan, number: int, other: int) -> dict[str, Break]:
    key = pick(keys(plan), number)
    address, base = plan.workloads[key].placements[0].address, plan.workloads[key].uid_base
    at_rest = {address: Resting(address, "shop/old", 1)}
    old = WorkloadKey("shop/old")
    left = dict(list(plan.resting.items())[other % 3 :])
    subnets = dict(zip(plan.subnets, reversed(list(plan.subnets.values())), strict=True))
    return {
        "rests": lambda p: set_to(p, resting={**p.resting, **at_rest}),
        "rests no more": lambda p: set_to(p, resting=left),
        "misnamed": lambda p: set_to(p, resting={**p.resting, "10.100.0.99": at_rest[address]}),
        "retired": lambda p: set_to(p, retired={**p.retired, old: Retired(other % 4, base)}),
        "forgotten": lambda p: set_to(p, retired={}),
        "earlier": lambda p: set_to(p, earlier={}),
        "number": lambda p: set_to(p, generation=other % 3),
        "subnets": lambda p: set_to(p, subnets=subnets),
    }


def broken(plan: Plan, number: int, other: int) -> Plan:
    """Return the plan with something wrong, maybe; which of all is `number`'s affair."""
    if not keys(plan):
        return plan
    groups = (placement_breaks, placement_breaks, workload_breaks, other_breaks)
    breaks = pick(list(groups), number)(plan, number // 4, other)
    spoil: Break = pick(list(breaks.values()), number // 4 + other)
    return spoil(plan)


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[Specs, int]]:
    """Draw worlds of which each has one other workload than the one before, or one less."""
    quota = draw(st.sampled_from((None, {"instances": 14, "cpu": "12"})))
    written = specs(*[draw(objects(name)) for name in NAMES], quota=quota)
    found = [(written, draw(parts))]
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)):
        workloads = dict(written.workloads)
        if workloads.pop(WorkloadKey(f"shop/{name}"), None) is None or draw(st.booleans()):
            workloads[WorkloadKey(f"shop/{name}")] = draw(objects(name))
        written = replace(written, workloads=dict(sorted(workloads.items())))
        found.append((written, draw(parts)))
    return found


def following(state: PlanState, step: tuple[Specs, int]) -> PlanState:
    written, bits = step
    changed = changed_workloads(state.plan.specs, written)
    ready = available(state.plan, written, bits)
    told = {key: ready[key] for key in ready if key in changed or key in state.plan.earlier}
    return advance(state, written, changed, told).state


numbers = st.integers(0, 10_000)


@often
@given(chains(), nodes(), st.lists(st.tuples(numbers, numbers), min_size=12, max_size=12))
def test_the_same_problems_are_found(
    chain: list[tuple[Specs, int]], machines: Inventory, wrong: list[tuple[int, int]]
) -> None:
    state = start(chain[0][0], machines).state
    assert check(state.plan) == ()
    for step in chain[1:]:
        parent = state.plan
        state = following(state, step)
        if state.plan is parent:
            continue
        for number, other in wrong:
            spoilt = broken(state.plan, number, other)
            assert told(check(spoilt, parent)) == told(check_whole(spoilt, parent))
        assert check(state.plan, parent) == check_whole(state.plan, parent) == ()


def told(problems: Any) -> list[str]:  # noqa: ANN401 -- what a check returns
    return sorted(map(str, problems))


@quick
@given(chains(), nodes())
def test_only_what_changed_is_looked_at(
    chain: list[tuple[Specs, int]], machines: Inventory
) -> None:
    state, sound = start(chain[0][0], machines).state, Sound()
    for written, _ in chain[1:]:
        parent = state.plan
        state = advance(state, written, changed_workloads(parent.specs, written)).state
        if state.plan is parent:
            continue
        assert sound.differing(state.plan, parent) is None
        sound.add(set_to(parent, generation=99))
        changed = changed_workloads(parent.specs, written)
        others = {k for k, w in state.plan.workloads.items() if parent.workloads.get(k) is not w}
        differing = frozenset(sound.differing(state.plan, parent) or ())
        assert changed | others <= differing <= changed | others | state.plan.retired.keys()
        assert sound.differing(state.plan, set_to(parent, resting={"10.9.9.9": None})) is None
