"""One probe: thresholds, and when its checks are due."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.health.probes import State, begin, first_wait_s, next_due, second_due, take
from katgen.bundle import Probe

READINESS = Probe("readiness", "tcp", 80, success_threshold=2, failure_threshold=3)
LIVENESS = Probe("liveness", "tcp", 80, failure_threshold=3)


def after(probe: Probe, checks: str) -> str:
    """Return what each check makes of a probe: `+` healthy, `-` not; upper case when certain."""
    state, said = begin(probe), ""
    for one in checks:
        state = take(probe, state, healthy=one == "+")
        letter = "g" if state.is_good else "b"
        said += letter.upper() if state.is_sure else letter
    return said


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ("++", "bG"),
        ("+-++", "bbbG"),
        ("---", "bbB"),
        ("++--+--", "bGGGGGG"),
        ("++---", "bGGGB"),
        ("++---+++", "bGGGBBGG"),
    ],
)
def test_readiness_begins_not_ready_and_turns_at_its_thresholds(checks: str, said: str) -> None:
    assert after(READINESS, checks) == said


@pytest.mark.parametrize(
    ("checks", "said"), [("-", "g"), ("--+--", "ggGGG"), ("---", "ggB"), ("---+", "ggBG")]
)
def test_liveness_begins_alive_and_dies_of_failures_in_a_row(checks: str, said: str) -> None:
    assert after(LIVENESS, checks) == said


thresholds = st.integers(1, 5)


@given(st.lists(st.booleans(), max_size=40), thresholds, thresholds)
def test_it_is_what_the_last_long_enough_row_says(
    checks: list[bool], successes: int, failures: int
) -> None:
    probe = msgspec.structs.replace(
        READINESS, success_threshold=successes, failure_threshold=failures
    )
    state = begin(probe)
    for one in checks:
        state = take(probe, state, healthy=one)
    expected = False
    for end in range(1, len(checks) + 1):
        if end >= successes and all(checks[end - successes : end]):
            expected = True
        if end >= failures and not any(checks[end - failures : end]):
            expected = False
    assert state.is_good is expected


@given(st.lists(st.booleans(), max_size=20), st.booleans())
def test_one_check_never_turns_what_needs_two(checks: list[bool], last: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
    probe = msgspec.structs.replace(READINESS, failure_threshold=2)
    state = begin(probe)
    for one in checks:
        state = take(probe, state, healthy=one)
    settled = replace(state, streak=0)
    assert take(probe, settled, healthy=last).is_good is state.is_good


def test_a_state_of_one_start_knows_nothing_of_another() -> None:
    assert begin(READINESS) == State(is_good=False, is_sure=False, streak=0)
    assert begin(LIVENESS) == State(is_good=True, is_sure=False, streak=0)


SLOW = Probe("readiness", "tcp", 80, initial_delay_seconds=5, period_seconds=10)


@pytest.mark.parametrize(
    ("running_s", "wait_s"), [(0, 5), (3, 2), (5, 0), (14.9, 0), (15, 4), (900, 4)]
)
def test_the_first_check_comes_after_the_delay_and_within_a_period_of_the_agent_s_start(
    running_s: float, wait_s: float
) -> None:
    assert first_wait_s(SLOW, running_s, share=0.4) == wait_s


@given(st.floats(0, 1e6), st.floats(0, 1))
def test_no_check_is_before_the_delay_nor_later_than_a_period(running: float, share: float) -> None:
    wait = first_wait_s(SLOW, running, share)
    assert wait >= 0
    assert running + wait >= 5 or running >= 5
    assert wait <= max(5 - running, 10)


def test_the_second_check_comes_after_half_a_period_to_a_whole() -> None:
    assert [second_due(SLOW, 100, 100, share) for share in (0, 0.5, 1)] == [105, 107.5, 110]


def test_checks_keep_their_beat_and_one_that_took_long_is_followed_at_once() -> None:
    assert [next_due(SLOW, 100, now) for now in (100, 103, 110, 117)] == [110, 110, 110, 117]
