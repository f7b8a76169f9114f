"""Who has a name for the outside while a workload is held back."""

from katgen.names import WorkloadKey
from tests.unit.leader.given import workload
from tests.unit.leader.test_desired import planned_for, want
from tests.unit.leader.test_loop_mixed import served

A, B, C = (WorkloadKey(f"default/{name}") for name in "abc")
X, Y = "x.example.com", "y.example.com"


def shop(**hosts: str) -> list[str]:
    """Return a workload for each name, which this host leads to."""
    return [text for name, host in hosts.items() for text in (workload(name), served(name, host))]


def test_a_name_that_a_held_workload_has_stays_with_it() -> None:
    aim = planned_for(want(*shop(a=Y, b=X), revision=2), want(*shop(a=X, b="b.org")), A)
    assert aim.waiting == {B: f"{X}/ leads to default/a, which is held back"}
    assert (aim.changed, aim.differs) == (frozenset(), False)


def test_who_waits_keeps_his_name_from_others() -> None:
    old, new = want(*shop(a=X, b=Y, c="c.org")), want(*shop(a="a.org", b=X, c=Y), revision=2)
    aim = planned_for(new, old, A)
    assert aim.waiting == {
        B: f"{X}/ leads to default/a, which is held back",
        C: f"{Y}/ leads to default/b, which is held back",
    }
    assert not aim.differs


def test_a_new_workload_waits_outside_the_plan() -> None:
    aim = planned_for(want(*shop(a=Y, b=X), revision=2), want(*shop(a=X)), A)
    assert (list(aim.specs.workloads), set(aim.waiting)) == ([A], {B})


def test_the_name_of_a_held_workload_that_is_deleted_is_free() -> None:
    aim = planned_for(want(*shop(b=X), revision=2), want(*shop(a=X)), A)
    assert (list(aim.specs.workloads), aim.waiting) == ([B], {})


def test_nobody_waits_for_a_workload_that_is_not_held() -> None:
    aim = planned_for(want(*shop(a=Y, b=X), revision=2), want(*shop(a=X, b=Y)))
    assert (set(aim.changed), aim.waiting) == ({A, B}, {})
