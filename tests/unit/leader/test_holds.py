from katgen.leader.holds import (
    Fault,
    Hold,
    Reason,
    after_nodes_changed,
    backoff_s,
    held,
    in_force,
    next_retry,
)
from katgen.names import WorkloadKey

WEB, API = WorkloadKey("default/web"), WorkloadKey("default/api")
PULL = Fault(Reason.IMAGE_PULL_FAILED, "manifest unknown")


def test_the_wait_doubles_up_to_five_minutes() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 5, 6, 99)] == [10, 20, 40, 160, 300, 300]


def test_the_same_fault_of_the_same_objects_waits_longer() -> None:
    first = held(None, WEB, PULL, version=7, now=100)
    assert (first.tries, first.retry_at) == (1, 110)
    again = held(first, WEB, PULL, version=7, now=110)
    assert (again.tries, again.retry_at) == (2, 130)
    assert held(again, WEB, PULL, version=8, now=110).tries == 1


def test_what_a_tool_refused_is_not_tried_again() -> None:
    assert held(None, WEB, Fault(Reason.REFUSED, "bad"), version=1, now=0).retry_at is None


def test_a_hold_is_over_with_other_objects_or_when_its_time_has_come() -> None:
    hold = held(None, WEB, PULL, version=7, now=100)
    assert in_force({WEB: hold}, {WEB: 7}, 109) == {WEB}
    assert in_force({WEB: hold}, {WEB: 7}, 110) == frozenset()
    assert in_force({WEB: hold}, {WEB: 8}, 109) == frozenset()


def test_other_nodes_end_the_holds_that_are_about_nodes() -> None:
    unplaced = Hold(WEB, Reason.UNPLACED, "", 1)
    refused = Hold(API, Reason.REFUSED, "", 1)
    assert after_nodes_changed([unplaced, refused]) == {API: refused}


def test_what_is_being_tried_has_no_next_try() -> None:
    web = held(None, WEB, PULL, version=7, now=100)
    api = held(None, API, PULL, version=7, now=200)
    assert next_retry([web, api], ()) == 110
    assert next_retry([web, api], {WEB}) == 210
    assert next_retry([], ()) is None
