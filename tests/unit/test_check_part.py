"""Looking at what differs from a sound parent finds what looking at everything does."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from katgen.check import check, check_whole
from katgen.check.sound import Sound
from katgen.names import WorkloadKey
from katgen.plan import make_plan
from katgen.planned import Plan
from tests.unit.schedule.world import (
    gpus,
    host_port,
    inventory,
    node,
    places,
    requests,
    specs,
    workload,
)
from tests.unit.test_check import BREAKS, GOOD, moved
from tests.unit.test_check_rollouts import ROLLOUT_BREAKS

set_to = msgspec.structs.replace
ONE, OTHER = WorkloadKey("shop/one"), WorkloadKey("shop/other")
CARDS = {"nvidia.com/gpu": 2}
MACHINES = inventory(node("a", gpus=CARDS), node("b", gpus=CARDS))


def beside(container: Any) -> tuple[Plan, Plan]:  # noqa: ANN401 -- a YAML document
    """Return a sound plan, and one with another workload, on the other node."""
    one = workload("one", 1, container=container)
    parent = make_plan(specs(one), MACHINES)
    assert check(parent) == ()
    both = specs(one, workload("other", 1, container=container))
    return parent, make_plan(both, MACHINES, parent)


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (requests("3"), "workloads.shop/other.0-1: node a has cpu 4, and 6 are requested"),
        (
            host_port(80),
            "workloads.shop/other.0-1: host port 80/TCP is also that of workloads.shop/one.0-1",
        ),
        (gpus(2), "workloads.shop/other.0-1: GPU 0 is also that of workloads.shop/one.0-1"),
    ],
    ids=["requests", "ports", "devices"],
)
def test_what_did_not_change_counts_on_the_nodes_of_what_did(
    container: dict[str, Any], told: str
) -> None:
    parent, plan = beside(container)
    assert plan.workloads[ONE] is parent.workloads[ONE]
    crowded = moved(plan, OTHER, node="a", address="10.100.0.77")
    assert told in [str(p) for p in check(crowded, parent)]


def test_what_did_not_change_counts_in_quotas() -> None:
    one, small = workload("one", 2), {"instances": 2}
    machines = inventory(*MACHINES.nodes.values(), node("c"))
    parent = make_plan(specs(one, quota=small), machines)
    assert check(parent) == ()
    room = make_plan(specs(one, workload("other", 1)), machines, parent)
    assert places(room, OTHER) == {"0": "c"}
    limited = specs(one, room.specs.workloads[OTHER], quota=small)
    assert [str(p) for p in check(set_to(room, specs=limited), parent)] == [
        "workloads.shop/other.0-1: namespace shop may use instances 2, and uses 3"
    ]


def test_what_did_not_change_keeps_others_away() -> None:
    alone = {"antiWorkload": {"required": [{"matchLabels": {"app": "x"}}]}}
    one = workload("one", 1, affinity=alone)
    parent = make_plan(specs(one), MACHINES)
    assert check(parent) == ()
    both = specs(one, workload("other", 1, labels={"app": "x"}))
    near = moved(make_plan(both, MACHINES, parent), OTHER, node="a", address="10.100.0.77")
    assert [str(p) for p in check(near, parent)] == [
        "workloads.shop/one.0-1: it must be apart from workloads.shop/other.0-1; both are in a"
    ]


def test_what_was_deleted_long_ago_is_not_forgotten() -> None:
    one = workload("one", 1)
    first = make_plan(specs(one, workload("other", 1)), MACHINES)
    parent = make_plan(specs(one), MACHINES, first)
    assert check(parent, first) == ()
    plan = set_to(make_plan(specs(one, workload("web", 1)), MACHINES, parent), retired={})
    assert "workloads.shop/other: its next incarnation was 2 and is lower now" in [
        str(p) for p in check(plan, parent)
    ]


@pytest.mark.parametrize(
    ("broken", "parent"),
    [(one[1], one[2]) for one in (*BREAKS, *ROLLOUT_BREAKS)],
    ids=[f"{one[0]}: {one[3]}" for one in (*BREAKS, *ROLLOUT_BREAKS)],
)
def test_the_same_problems_are_found(broken: Callable[[], Plan], parent: Plan | None) -> None:
    before = GOOD if parent is None else parent
    assert check_whole(before) == ()
    check(before)
    plan = broken()
    assert sorted(map(str, check(plan, before))) == sorted(map(str, check_whole(plan, before)))


def test_a_parent_that_nobody_looked_at_vouches_for_nothing() -> None:
    parent, plan = beside(requests("1"))
    assert Sound().differing(plan, parent) is None


def test_a_sound_plan_under_another_number_vouches_for_what_did_not_change() -> None:
    parent, plan = beside(requests("1"))
    sound = Sound()
    sound.add(set_to(parent, generation=7))
    assert sound.differing(plan, parent) == {OTHER}


def test_other_machines_mean_that_everything_is_looked_at() -> None:
    parent, plan = beside(requests("1"))
    sound = Sound()
    sound.add(parent)
    larger = inventory(*MACHINES.nodes.values(), node("c"))
    assert sound.differing(set_to(plan, inventory=larger), parent) is None
