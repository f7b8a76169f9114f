"""How many are missing after one step if some are already: what is planned, and what is checked.

Five instances on five nodes, `maxUnavailable: 2`. Some are on lost nodes, or not ready on cordoned
ones, where nothing can take their place.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from katgen import names
from katgen.check import INVARIANTS, check
from katgen.check.facts import facts_of
from katgen.model.specs import Specs
from katgen.names import InstanceKey, WorkloadKey
from katgen.plan import advance, start
from katgen.planned import Inventory, Placement, Plan
from tests.unit.schedule.world import (
    gpus,
    host_port,
    inventory,
    node,
    specs,
    with_data,
    workload,
)

set_to = msgspec.structs.replace
WEB = WorkloadKey("shop/web")
NODES: Final = "abcde"
KINDS: Final[dict[str, dict[str, Any]]] = {
    "beside": {},
    "daemons": {"type": "DaemonService"},
    "host port": {"container": host_port(80)},
    "data": with_data(),
    "device": {"container": gpus(1)},
}
MISSING: Final[Sequence[tuple[str, int, list[int]]]] = [
    # what, maxSurge, missing with: none before, 1 lost, 2 lost, 1 and 2 unready on cordoned nodes
    ("beside", 0, [2, 2, 3, 2, 2]),
    ("beside", 1, [2, 2, 2, 2, 2]),
    ("daemons", 0, [2, 2, 3, 2, 3]),
    ("daemons", 1, [2, 2, 3, 2, 3]),
    ("host port", 0, [2, 2, 3, 2, 2]),
    ("host port", 1, [2, 2, 3, 2, 2]),
    ("data", 0, [2, 2, 3, 2, 3]),
    ("data", 1, [2, 2, 3, 2, 3]),
    ("device", 0, [2, 2, 3, 2, 2]),
    ("device", 3, [2, 2, 3, 2, 2]),
]
BEFORE: Final = [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)]
CELLS: Final = [
    (kind, surge, *before, missing)
    for kind, surge, row in MISSING
    for before, missing in zip(BEFORE, row, strict=True)
]


def machines(cordoned: Sequence[str] = ()) -> Inventory:
    return inventory(
        *(node(name, cordoned=name in cordoned, gpus={"nvidia.com/gpu": 1}) for name in NODES)
    )


def web(kind: str, surge: int, tag: str, unavailable: int = 2, count: int = 5) -> Specs:
    pace = {"maxSurge": surge, "maxUnavailable": unavailable}
    source = {"image": f"localhost/app:{tag}"}
    number = None if kind == "daemons" else count
    strategy = {"rolling": pace}
    return specs(workload("web", number, source=source, updateStrategy=strategy, **KINDS[kind]))


def identity(placement: Placement) -> InstanceKey:
    return names.instance(WEB, placement.ordinal, placement.incarnation)


def stepped(
    kind: str, surge: int, lost: int, stuck: int
) -> tuple[Plan, Plan, frozenset[InstanceKey]]:
    """Return a plan, the first step of a rollout, and who was ready at it."""
    made = start(web(kind, surge, "1"), machines()).state.plan
    placed = made.workloads[WEB].placements
    nodes = [p.node for p in placed]
    state = start(made.specs, machines(nodes[:stuck]), made).state
    ready = frozenset(map(identity, placed[lost + stuck :]))
    after = web(kind, surge, "2")
    plan = advance(state, after, [WEB], {WEB: ready}, frozenset(nodes[:lost])).state.plan
    return state.plan, plan, ready


@pytest.mark.parametrize(("kind", "surge", "lost", "stuck", "missing"), CELLS)
def test_what_is_missing_already_counts(
    kind: str, surge: int, lost: int, stuck: int, missing: int
) -> None:
    parent, plan, ready = stepped(kind, surge, lost, stuck)
    left = ready.intersection(map(identity, plan.workloads[WEB].placements))
    assert (5 - len(left), check(plan, parent)) == (missing, ())


def one_more_replaced(plan: Plan, ready: frozenset[InstanceKey]) -> Plan:
    """Return a step that takes one more of those that are ready, the last."""
    planned = plan.workloads[WEB]
    number = planned.next_incarnation
    taken = next(p for p in reversed(planned.placements) if identity(p) in ready)
    new = set_to(taken, revision=planned.revision, incarnation=number, address="10.100.9.9")
    placed = tuple(new if p is taken else p for p in planned.placements)
    changed = set_to(planned, placements=placed, next_incarnation=number + 1)
    return set_to(plan, workloads={**plan.workloads, WEB: changed})


@pytest.mark.parametrize(("kind", "surge", "lost", "stuck", "missing"), CELLS)
def test_one_more_is_seen(kind: str, surge: int, lost: int, stuck: int, missing: int) -> None:
    parent, plan, ready = stepped(kind, surge, lost, stuck)
    broken = one_more_replaced(plan, ready)
    left = ready.intersection(map(identity, plan.workloads[WEB].placements))
    allowed = len(ready) - len(left)
    told = [str(p) for p in INVARIANTS["rollouts-leave-enough"](facts_of(broken, parent))]
    what = f"{allowed + 1} ready instances are replaced at once; {allowed} may be"
    assert (told, 5 - len(left)) == ([f"workloads.shop/web: {what}"], missing)


@pytest.mark.parametrize("kind", ["daemons", "host port", "data", "device"])
def test_in_place_one_at_a_time_goes_on_whoever_is_lost(kind: str) -> None:
    state = start(web(kind, 1, "1"), machines()).state
    lost = frozenset(p.node for p in state.plan.workloads[WEB].placements[:3])
    replaced = []
    for _ in range(4):
        parent, placed = state.plan, state.plan.workloads[WEB].placements
        ready = frozenset(identity(p) for p in placed if p.node not in lost)
        state = advance(state, web(kind, 1, "2"), [WEB], {WEB: ready}, lost).state
        after = state.plan.workloads[WEB]
        replaced.append(sum(p.revision == after.revision for p in after.placements))
        assert check(state.plan, parent if state.plan is not parent else None) == ()
    assert replaced == [1, 2, 2, 2]


def test_what_finds_no_place_uses_up_the_pace_and_stops_nobody() -> None:
    made = start(web("host port", 1, "1", count=6), machines()).state
    ready = frozenset(map(identity, made.plan.workloads[WEB].placements))
    plan = advance(made, web("host port", 1, "2", count=6), [WEB], {WEB: ready}).state.plan
    left = ready.intersection(map(identity, plan.workloads[WEB].placements))
    assert (len(left), check(plan, made.plan)) == (4, ())


def test_an_instance_whose_node_no_longer_admits_it_is_one_of_those_that_are_ready() -> None:
    """It stays until its turn comes, and the first one's turn is now."""
    tied = specs(
        workload("web", 5, source={"image": "localhost/app:1"}, nodeSelector={"disk": "ssd"})
    )
    after = specs(
        workload("web", 5, source={"image": "localhost/app:2"}, nodeSelector={"disk": "ssd"},
                 updateStrategy={"rolling": {"maxSurge": 0, "maxUnavailable": 1}})
    )  # fmt: skip
    labelled = [node(n, {"disk": "ssd"}) for n in "abcd"]
    made = start(tied, inventory(*labelled, node("e", {"disk": "ssd"}))).state.plan
    parent = start(tied, inventory(*labelled, node("e")), made).state
    ready = frozenset(map(identity, parent.plan.workloads[WEB].placements))
    plan = advance(parent, after, [WEB], {WEB: ready}).state.plan
    left = ready.intersection(map(identity, plan.workloads[WEB].placements))
    assert (len(left), check(plan, parent.plan)) == (4, ())
