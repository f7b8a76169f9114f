"""One step of a rollout: who is kept, replaced in place, joined by a successor, or removed.

Instances are written as ordinal, revision and `!` if ready: `0a!`. Of the outcome, `0a>b` is
replaced in place, `0a+b` gets a successor beside it, `0a?` waits for its node, `-0a` goes, `+0` is
new; the wanted revision is `b`. Ordinal 0 runs on node n0, and so on.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from katgen import names
from katgen.model.specs import WorkloadObjects
from katgen.names import InstanceKey, NodeName, Ordinal, WorkloadKey
from katgen.plan import advance, rolled_out, start
from katgen.plan.rolling import Machines, reconciled, rollout
from katgen.planned import Placement, Plan, WorkloadPlan
from katgen.schedule.needs import needs_of
from katgen.schedule.reconcile import Order, Situation, Verdict, numbered, placement_order
from tests.unit.schedule.world import (
    gpus,
    host_port,
    ids,
    inventory,
    node,
    places,
    requests,
    specs,
    with_data,
    workload,
)

set_to = msgspec.structs.replace
WEB = WorkloadKey("shop/web")
WRITTEN = re.compile(r"(\d)([a-c])(!?)")


def instances(text: str) -> tuple[list[Placement], frozenset[InstanceKey]]:
    """Return placements, incarnations in the order of the revisions, and who is ready."""
    found = [WRITTEN.fullmatch(word) for word in text.split()]
    words = sorted((m.groups() for m in found if m), key=lambda w: (w[1], w[0]))
    assert len(words) == len(text.split())
    placed = [
        Placement(Ordinal(o), number, revision, NodeName(f"n{o}"), f"10.100.0.{number}")
        for number, (o, revision, _) in enumerate(words, 1)
    ]
    ready = frozenset(
        names.instance(WEB, p.ordinal, p.incarnation)
        for p, word in zip(placed, words, strict=True)
        if word[2]
    )
    return sorted(placed, key=placement_order), ready


def web(surge: int, unavailable: int, **spec: Any) -> WorkloadObjects:  # noqa: ANN401 -- a YAML document
    pace = {"maxSurge": surge, "maxUnavailable": unavailable}
    return workload("web", updateStrategy={"rolling": pace}, **spec)


def step(text: str, objects: WorkloadObjects, count: int, **nodes: Sequence[str]) -> str:
    """Return the outcome of one step.

    Of the nodes some are `gone`, `lost` or `closed`; on `barred` ones the workload may not run any
    more.
    """
    placed, ready = instances(text)
    return step_of(placed, ready, objects, count, **nodes)


def step_of(
    placed: Sequence[Placement],
    ready: frozenset[InstanceKey],
    objects: WorkloadObjects,
    count: int,
    **nodes: Sequence[str],
) -> str:
    gone, lost, barred = (nodes.get(state, ()) for state in ("gone", "lost", "barred"))
    closed = {*lost, *nodes.get("closed", ())}
    old = WorkloadPlan("a", 9, placements=tuple(placed))
    needs = needs_of(WEB, objects)
    machines = Machines(lambda n: n not in closed, lambda n: n not in barred, lost.__contains__)
    there = Situation(needs, "b", lambda n: n not in gone, bool(barred), lambda _: ())
    rolling = rollout(objects, needs, old, ready, machines)
    return told(reconciled(old, numbered(count), there, rolling))


def told(verdict: Verdict) -> str:
    words = [(p.ordinal, f"{p.ordinal}{p.revision}") for p in verdict.keep]
    words += [(o.ordinal, order(o)) for o in verdict.orders]
    words += [(p.ordinal, f"-{p.ordinal}{p.revision}") for p in verdict.remove]
    words += [(ordinal, f"+{ordinal}") for ordinal in verdict.fresh]
    return " ".join(word for _, word in sorted(words))


def order(one: Order) -> str:
    old = f"{one.ordinal}{one.previous.revision}" if one.previous else f"?{one.ordinal}"
    if one.waits:
        return f"{old}?"
    return f"{old}{'+' if one.beside else '>'}b"


BESIDE: Sequence[tuple[str, int, int, str, str]] = [
    # what, maxSurge, maxUnavailable, before, outcome
    ("the first goes first", 1, 0, "0a! 1a! 2a!", "0a+b 1a 2a"),
    ("the successor is waited for", 1, 0, "0a! 0b 1a! 2a!", "0a 0b 1a 2a"),
    ("it is ready: the next", 1, 0, "0a! 0b! 1a! 2a!", "-0a 0b 1a+b 2a"),
    ("the last goes", 1, 0, "0b! 1b! 2a! 2b!", "0b 1b -2a 2b"),
    ("nothing is left to do", 1, 0, "0b! 1b! 2b!", "0b 1b 2b"),
    ("two at once", 2, 0, "0a! 1a! 2a!", "0a+b 1a+b 2a"),
    ("more than there are", 9, 0, "0a! 1a! 2a!", "0a+b 1a+b 2a+b"),
    ("one may be missing", 0, 1, "0a! 1a! 2a!", "0a>b 1a 2a"),
    ("one is missing", 0, 1, "0b 1a! 2a!", "0b 1a 2a"),
    ("neither nor means one", 0, 0, "0a! 1a! 2a!", "0a>b 1a 2a"),
    ("both", 1, 1, "0a! 1a! 2a!", "0a>b 1a+b 2a"),
    ("all may be missing", 0, 9, "0a! 1a! 2a!", "0a>b 1a>b 2a>b"),
    ("one that is not ready costs nothing", 1, 0, "0a! 1a 2a!", "0a 1a>b 2a"),
    ("nor does the only one", 1, 0, "0a 1a! 2a!", "0a>b 1a 2a"),
    ("none was ready: no more at once than the pace", 1, 0, "0a 1a 2a", "0a>b 1a 2a"),
    ("a new one that fails is waited for", 1, 0, "0a! 0b! 1a! 1b 2a!", "-0a 0b 1a 1b 2a"),
    ("a new one fails later: the rest stays", 1, 0, "0b 1a! 1b! 2a!", "0b 1a 1b 2a"),
    ("a third revision: the unready of the second goes", 1, 0, "0a! 0c 1a! 2a!", "-0c 0a+b 1a 2a"),
    ("a third: of two that are ready one goes", 1, 0, "0a! 0c! 1a! 2a!", "-0a 0c+b 1a 2a"),
    ("back: what is there of the old is taken", 1, 0, "0b! 0c 1b! 2b!", "-0c 0b 1b 2b"),
    ("back in the middle", 1, 0, "0c! 1b! 1c 2b!", "0c+b -1c 1b 2b"),
]


@pytest.mark.parametrize(
    ("surge", "unavailable", "before", "outcome"),
    [row[1:] for row in BESIDE],
    ids=[row[0] for row in BESIDE],
)
def test_a_step(surge: int, unavailable: int, before: str, outcome: str) -> None:
    assert step(before, web(surge, unavailable), 3) == outcome


IN_PLACE: Sequence[tuple[str, int, str, str]] = [
    # what, maxUnavailable, before, outcome
    ("one at a time, whatever maxSurge", 0, "0a! 1a! 2a!", "0a>b 1a 2a"),
    ("the next waits", 0, "0b 1a! 2a!", "0b 1a 2a"),
    ("the next comes", 0, "0b! 1a! 2a!", "0b 1a>b 2a"),
    ("two at a time", 2, "0a! 1a! 2a!", "0a>b 1a>b 2a"),
    ("the unready first", 0, "0a! 1a 2a!", "0a 1a>b 2a"),
    ("and no more of them at once", 0, "0a 1a 2a", "0a>b 1a 2a"),
]


@pytest.mark.parametrize("spec", [{"container": host_port(80)}, with_data()], ids=["port", "data"])
@pytest.mark.parametrize(
    ("unavailable", "before", "outcome"),
    [row[1:] for row in IN_PLACE],
    ids=[row[0] for row in IN_PLACE],
)
def test_a_step_of_exclusive_ones(
    unavailable: int, before: str, outcome: str, spec: dict[str, Any]
) -> None:
    assert step(before, web(3, unavailable, **spec), 3) == outcome


def test_instances_with_devices_come_one_by_one() -> None:
    assert step("0a! 1a! 2a!", web(3, 0, container=gpus(1)), 3) == "0a+b 1a 2a"


def test_what_is_not_wanted_any_more_goes_at_once_of_both_revisions() -> None:
    assert step("0a! 1a! 2a! 2b", web(1, 0), 1) == "0a+b -1a -2a -2b"


HELD_BACK: Sequence[tuple[str, int, str, str]] = [
    # what, how many are wanted, before, outcome
    ("it stands in for the only one", 1, "0b 1a! 2a!", "0b 1a -2a"),
    ("until that is ready", 1, "0b! 1a!", "0b -1a"),
    ("as many as lack", 2, "0b 1a 2a! 3a! 4a!", "0b 1a 2a 3a -4a"),
    ("one that is not ready helps nobody", 1, "0b 1a 2a!", "0b -1a 2a"),
    ("nor one of the new revision, which no later step takes away", 1, "0b 1b! 2a!", "0b -1b 2a"),
    ("the only one was not ready before", 1, "0a 1a! 2a!", "0a>b 1a -2a"),
    ("all that are wanted are ready", 2, "0b! 1a! 2a!", "0b 1a>b -2a"),
    ("nothing is wanted", 0, "0b 1a! 2a!", "-0b -1a -2a"),
]


@pytest.mark.parametrize(
    ("count", "before", "outcome"),
    [row[1:] for row in HELD_BACK],
    ids=[row[0] for row in HELD_BACK],
)
def test_fewer_in_the_middle_of_a_rollout(count: int, before: str, outcome: str) -> None:
    assert step(before, web(0, 1, container=host_port(80)), count) == outcome


def test_what_is_held_back_takes_up_surge() -> None:
    assert step("0b 1a! 2a! 3a!", web(1, 1), 3) == "0b 1a 2a 3a"


def test_what_stands_in_for_a_lost_one_takes_up_none() -> None:
    assert step("0b! 1a! 2a 3a!", web(1, 0), 3, lost=["n2"]) == "0b 1a+b 2a? 3a"
    assert step("0b 1a! 2a 3a! 4a!", web(1, 0), 3, lost=["n2"]) == "0b 1a 2a? 3a 4a"


def test_what_may_not_stay_where_it_is_is_not_held_back() -> None:
    assert step("0b 1a! 2a!", web(0, 1), 1, barred=["n1"], gone=["n2"]) == "0b>b -1a -2a"


def test_daemons_stand_in_for_nobody() -> None:
    assert step("0b 1a! 2a!", web(0, 1, type="DaemonService"), 1) == "0b -1a -2a"


LOST: Sequence[tuple[str, int, int, str, str]] = [
    # what, maxSurge, maxUnavailable, before, outcome; n1 is lost
    ("the living ones go first", 1, 0, "0a! 1a 2a!", "0a+b 1a? 2a"),
    ("and one after the other", 1, 0, "0a! 0b! 1a 2a!", "-0a 0b 1a? 2a+b"),
    ("to the last", 1, 0, "0b! 1a 2a! 2b!", "0b 1a? -2a 2b"),
    ("then those on lost nodes wait", 1, 0, "0b! 1a 2b!", "0b 1a? 2b"),
    ("who is lost is not ready, whatever is said", 1, 0, "0a! 0b! 1a! 2a!", "-0a 0b 1a? 2a+b"),
    ("a new one on a lost node holds up nobody", 1, 0, "0a! 1b 2a!", "0a+b 1b 2a"),
    ("no more ready ones go than may be missing in all", 1, 1, "0a! 1a 2a!", "0a+b 1a? 2a"),
    ("except one, without surge", 0, 1, "0a! 1a 2a!", "0a>b 1a? 2a"),
    ("two may be missing", 0, 2, "0a! 1a 2a!", "0a>b 1a? 2a"),
]


@pytest.mark.parametrize(
    ("surge", "unavailable", "before", "outcome"),
    [row[1:] for row in LOST],
    ids=[row[0] for row in LOST],
)
def test_a_step_with_a_lost_node(surge: int, unavailable: int, before: str, outcome: str) -> None:
    assert step(before, web(surge, unavailable), 3, lost=["n1"]) == outcome


def test_exclusive_ones_on_lost_nodes_wait_as_well() -> None:
    objects = web(1, 0, container=host_port(80))
    assert step("0a! 1a 2a!", objects, 3, lost=["n1"]) == "0a>b 1a? 2a"


def test_daemons_of_lost_nodes_wait_as_well() -> None:
    objects = web(1, 0, type="DaemonService")
    assert step("0b! 1a 2a!", objects, 3, lost=["n1"]) == "0b 1a? 2a>b"


LOST_IN_PLACE: Sequence[tuple[str, int, str, str]] = [
    # what, maxUnavailable, before, outcome; n1 is lost
    ("who is lost is one of two", 2, "0a! 1a 2a! 3a!", "0a>b 1a? 2a 3a"),
    ("whatever its revision", 2, "0a! 1b 2a! 3a!", "0a>b 1b 2a 3a"),
    ("of three two are left", 3, "0a! 1a 2a! 3a!", "0a>b 1a? 2a>b 3a"),
    ("one at a time goes on", 1, "0a! 1a 2a! 3a!", "0a>b 1a? 2a 3a"),
    ("the next waits for it", 2, "0b 1a 2a! 3a!", "0b 1a? 2a 3a"),
    ("who is not ready comes first, and counts", 3, "0a! 1a 2a 3a!", "0a>b 1a? 2a>b 3a"),
]


@pytest.mark.parametrize(
    "spec",
    [{"container": host_port(80)}, with_data(), {"type": "DaemonService"}],
    ids=["port", "data", "daemons"],
)
@pytest.mark.parametrize(
    ("unavailable", "before", "outcome"),
    [row[1:] for row in LOST_IN_PLACE],
    ids=[row[0] for row in LOST_IN_PLACE],
)
def test_a_step_in_place_with_a_lost_node(
    unavailable: int, before: str, outcome: str, spec: dict[str, Any]
) -> None:
    assert step(before, web(1, unavailable, **spec), 4, lost=["n1"]) == outcome


def test_what_is_new_altogether_uses_up_the_pace_in_place() -> None:
    objects = web(0, 2, container=host_port(80))
    assert step("0a! 1a! 2a!", objects, 4) == "0a>b 1a 2a +3"


def test_a_successor_with_devices_on_its_way_may_yet_be_one_that_is_missing() -> None:
    lost = ["n0", "n1"]
    assert step("0a 1a 2a! 3a!", web(2, 2, container=gpus(1)), 4, lost=lost) == "0a? 1a? 2a+b 3a"
    begun = "0a 1a 2a! 2b 3a!"
    assert step(begun, web(2, 2, container=gpus(1)), 4, lost=lost) == "0a? 1a? 2a 2b 3a"


def test_of_two_with_devices_that_are_ready_one_goes() -> None:
    """Its successor may have to take the place of the other one: then it must be alone."""
    objects = web(2, 0, container=gpus(1))
    assert step("0a! 0c! 1a 2a! 3a!", objects, 4, lost=["n1"]) == "-0a 0c+b 1a? 2a 3a"
    assert step("0a! 0c! 1a 2a! 3a!", objects, 5, lost=["n1"]) == "-0a 0c+b 1a? 2a 3a +4"


def test_one_that_goes_since_it_is_not_ready_stands_for_no_lost_one() -> None:
    placed, ready = instances("0a! 0c! 1a! 2a 2b")
    placed = [set_to(p, node=NodeName("n9")) if p.revision == "b" else p for p in placed]
    assert step_of(placed, ready, web(2, 0), 3, lost=["n9"]) == "-0a 0c+b 1a+b -2a 2b"


def test_a_successor_with_devices_that_is_lost_holds_up_nobody() -> None:
    placed, ready = instances("0a! 0b 1a! 2a!")
    placed = [set_to(p, node=NodeName("n9")) if p.revision == "b" else p for p in placed]
    objects = web(1, 0, container=gpus(1))
    assert step_of(placed, ready, objects, 3, lost=["n9"]) == "0a 0b 1a+b 2a"


def test_a_predecessor_stays_until_its_successor_is_ready_if_others_were_swapped() -> None:
    """Devices of one node fit twice and those of another do not."""
    objects = web(1, 2, container=gpus(1))
    placed, ready = instances("0a! 0b 1b! 2a!")
    placed = [set_to(p, stop_first=p.ordinal == "1") for p in placed]
    assert step_of(placed, ready, objects, 3) == "0a 0b 1b 2a>b"


def test_what_may_not_stay_on_a_lost_node_moves() -> None:
    assert step("0a! 1a 2a!", web(1, 0), 3, barred=["n1"], lost=["n1"]) == "0a 1a>b 2a"


def test_more_instances_are_new_at_once() -> None:
    assert step("0a! 1a!", web(1, 0), 4) == "0a+b 1a +2 +3"


def test_what_ran_on_a_lost_node_is_new_at_once() -> None:
    assert step("0a! 1a! 2a!", web(1, 0), 3, gone=["n1"]) == "0a+b +1 -1a 2a"


def test_what_may_not_stay_where_it_is_does_not_wait_its_turn() -> None:
    assert step("0a! 1a! 2a!", web(1, 0), 3, barred=["n1", "n2"]) == "0a 1a>b 2a>b"


def test_a_tied_instance_on_a_closed_node_holds_up_nobody() -> None:
    objects = web(1, 0, type="DaemonService")
    assert step("0a 1a! 2a!", objects, 3, closed=["n0"]) == "0a>b 1a>b 2a"


@pytest.mark.parametrize(
    ("unavailable", "outcome"),
    [(2, "0a>b 1a>b 2a 3a"), (3, "0a>b 1a>b 2a>b 3a")],
    ids=["one of two is left", "two of three are left"],
)
def test_a_tied_instance_on_a_closed_node_that_is_not_ready_uses_up_the_pace(
    unavailable: int, outcome: str
) -> None:
    assert step("0a 1a! 2a! 3a!", web(1, unavailable, type="DaemonService"), 4, closed=["n0"]) == (
        outcome
    )


@pytest.mark.parametrize(
    "objects",
    [
        workload("web", 3, updateStrategy={"type": "Simultaneous"}),
        workload("web", job={"completions": 3}),
    ],
    ids=["Simultaneous", "Job"],
)
def test_others_are_replaced_all_at_once(objects: WorkloadObjects) -> None:
    assert step("0a! 1a! 2a!", objects, 3) == "0a>b 1a>b 2a>b"


def test_a_rollout_that_is_given_up_for_all_at_once_leaves_one_of_each() -> None:
    objects = workload("web", 3, updateStrategy={"type": "Simultaneous"})
    assert step("0a! 0b 1a! 1c! 2a!", objects, 3) == "-0a 0b -1c 1a>b 2a>b"


# -- whole plans


def image(tag: str, replicas: int = 3, **spec: Any) -> WorkloadObjects:  # noqa: ANN401 -- a YAML document
    return workload("web", replicas, source={"image": f"localhost/app:{tag}"}, **spec)


def all_ready(plan: Plan) -> dict[WorkloadKey, frozenset[InstanceKey]]:
    placed = plan.workloads[WEB].placements
    return {WEB: frozenset(names.instance(WEB, p.ordinal, p.incarnation) for p in placed)}


def walk(before: WorkloadObjects, after: WorkloadObjects, *nodes: str, steps: int) -> list[Plan]:
    """Return the plans of a rollout in which everything becomes ready at once."""
    state = start(specs(before), inventory(*map(node, nodes))).state
    plans = []
    for _ in range(steps):
        state = advance(state, specs(after), [WEB], all_ready(state.plan)).state
        plans.append(state.plan)
    return plans


def test_a_rollout_goes_ordinal_by_ordinal() -> None:
    plans = walk(image("1"), image("2"), "a", "b", "c", steps=5)
    assert [ids(plan) for plan in plans] == [
        ["0-1", "0-4", "1-2", "2-3"],
        ["0-4", "1-2", "1-5", "2-3"],
        ["0-4", "1-5", "2-3", "2-6"],
        ["0-4", "1-5", "2-6"],
        ["0-4", "1-5", "2-6"],
    ]


def test_instances_are_as_even_over_nodes_after_a_rollout_as_before() -> None:
    plan = walk(image("1", 4), image("2", 4), "a", "b", steps=6)[-1]
    assert places(plan) == {"0": "a", "1": "b", "2": "a", "3": "b"}


def walk_without_b(steps: int, **spec: Any) -> list[Plan]:  # noqa: ANN401 -- a YAML document
    """Return the plans of a rollout on a, b and c, of which b is lost before it begins."""
    before, after = (image(tag, **spec) for tag in "12")
    state = start(specs(before), inventory(*map(node, "abc"))).state
    lost, plans = frozenset({NodeName("b")}), []
    for _ in range(steps):
        ready = {WEB: all_ready(state.plan)[WEB] - {InstanceKey("shop/web/1-2")}}
        state = advance(state, specs(after), [WEB], ready, lost).state
        plans.append(state.plan)
    return plans


def test_a_rollout_goes_on_without_a_lost_node() -> None:
    plans = walk_without_b(steps=4)
    assert [ids(plan) for plan in plans] == [
        ["0-1", "0-4", "1-2", "2-3"],
        ["0-4", "1-2", "2-3", "2-5"],
        ["0-4", "1-2", "2-5"],
        ["0-4", "1-2", "2-5"],
    ]
    new = [p for plan in plans for p in plan.workloads[WEB].placements if p.incarnation > 3]
    assert {p.node for p in new} == {"a", "c"}


def test_what_is_on_a_lost_node_says_that_it_waits() -> None:
    plan = walk_without_b(steps=4)[-1]
    (waiting,) = plan.workloads[WEB].unplaced
    (refusal,) = waiting.refusals
    assert (waiting.ordinal, refusal.reason, refusal.node) == (
        "1", "it waits for node b, which is not ready", "b",
    )  # fmt: skip


@pytest.mark.parametrize("spec", [{"container": host_port(80)}, with_data()], ids=["port", "data"])
def test_exclusive_ones_go_on_without_a_lost_node(spec: dict[str, Any]) -> None:
    plans = walk_without_b(steps=3, **spec)
    assert [ids(plan) for plan in plans] == [
        ["0-4", "1-2", "2-3"],
        ["0-4", "1-2", "2-5"],
        ["0-4", "1-2", "2-5"],
    ]


def test_a_rollout_goes_to_its_end_when_a_lost_node_is_back() -> None:
    state = start(specs(image("1")), inventory(*map(node, "abc"))).state
    after = specs(image("2"))
    for lost in (*[frozenset({NodeName("b")})] * 4, *[frozenset[NodeName]()] * 3):
        state = advance(state, after, [WEB], all_ready(state.plan), lost).state
    assert (ids(state.plan), state.plan.workloads[WEB].unplaced) == (["0-4", "1-6", "2-5"], ())


def test_a_lost_node_takes_no_instance_that_can_be_elsewhere() -> None:
    state = start(specs(image("1", 2)), inventory(*map(node, "abc"))).state
    lost = frozenset({NodeName("c")})
    plan = advance(state, specs(image("1", 4)), [WEB], lost=lost).state.plan
    assert places(plan) == {"0": "a", "1": "b", "2": "a", "3": "b"}


def test_what_is_replaced_all_at_once_does_not_wait_for_a_lost_node() -> None:
    strategy = {"type": "Simultaneous"}
    before, after = (specs(image(tag, updateStrategy=strategy)) for tag in "12")
    state = start(before, inventory(*map(node, "abc"))).state
    plan = advance(state, after, [WEB], {}, frozenset({NodeName("b")})).state.plan
    assert (ids(plan), places(plan)) == (["0-4", "1-5", "2-6"], {"0": "a", "1": "b", "2": "c"})


def test_another_revision_of_what_already_waits_does_not_move_it() -> None:
    plan = walk_without_b(steps=4)[-1]
    state = start(specs(image("3")), set_to(plan.inventory, available=all_ready(plan)), plan).state
    assert "1-2" in ids(state.plan)


def test_an_earlier_instance_counts_with_what_it_requested_itself() -> None:
    small, large = (image(tag, 1, container=requests(cpu)) for tag, cpu in (("1", "1"), ("2", "3")))
    (step_one,) = walk(small, large, "a", steps=1)
    assert ids(step_one) == ["0-1", "0-2"]


def test_a_successor_that_finds_no_place_beside_says_so_and_the_old_one_goes_on() -> None:
    small, large = (image(tag, 1, container=requests(cpu)) for tag, cpu in (("1", "2"), ("2", "3")))
    (step_one,) = walk(small, large, "a", steps=1)
    planned = step_one.workloads[WEB]
    assert ids(step_one) == ["0-1"]
    assert [(u.ordinal, u.refusals[0].reason) for u in planned.unplaced] == [
        ("0", "cpu: wants 3, 2 of 4 free")
    ]


def test_devices_that_fit_once_are_replaced_in_place() -> None:
    machines = inventory(node("a", gpus={"nvidia.com/gpu": 1}))
    before, after = (image(tag, 1, container=gpus(1)) for tag in "12")
    state = start(specs(before), machines).state
    plan = advance(state, specs(after), [WEB], all_ready(state.plan)).state.plan
    (placed,) = plan.workloads[WEB].placements
    assert (ids(plan), placed.gpus, placed.stop_first) == (["0-2"], (0,), True)


def test_what_earlier_instances_are_made_of_is_kept_until_the_last_is_gone() -> None:
    plans = walk(image("1"), image("2"), "a", steps=4)
    kept = [
        [one.objects.workload.spec.source.image for one in plan.earlier.get(WEB, {}).values()]
        for plan in plans
    ]
    assert kept == [["localhost/app:1"]] * 3 + [[]]


def test_a_rollout_is_looked_at_to_its_end() -> None:
    state = start(specs(image("1")), inventory(node("a"))).state
    end = rolled_out(state, specs(image("2")), [WEB]).plan
    assert (end.generation, end.parent, ids(end)) == (2, 1, ["0-4", "1-5", "2-6"])


def test_a_rollout_of_very_many_steps_is_looked_at_to_its_end_as_well() -> None:
    machines = inventory(*(node(f"n{i}") for i in range(4)))
    before, after = (specs(image(tag, 300)) for tag in "12")
    state = start(before, machines).state
    begun = advance(state, after, [WEB], all_ready(state.plan)).state
    planned = rolled_out(begun, after, []).plan.workloads[WEB]
    revisions = {p.revision for p in planned.placements}
    assert (len(planned.placements), revisions) == (300, {planned.revision})


def test_nothing_that_rolls_is_its_own_end() -> None:
    state = start(specs(image("1")), inventory(node("a"))).state
    assert rolled_out(state, state.plan.specs, []).plan == state.plan


def test_readiness_of_others_is_not_looked_at() -> None:
    state = start(specs(image("1")), inventory(node("a"))).state
    made = advance(state, specs(image("2")), [WEB], {}).state.plan
    assert ids(made) == ["0-4", "1-5", "2-6"]
