"""What an agent may say, however it came to say it."""

from typing import Any

import msgspec
import pytest

from katgen.leader.agents.received import bounded, problem_of
from katgen.names import NodeName
from katgen.protocol import (
    Complaint,
    Drift,
    Failed,
    Pulled,
    PullProgress,
    Report,
    ToLeader,
    UnitReport,
    Verdict,
)
from tests.fakes.agents import DIGEST, FACTS

HUGE = "x" * 2_000_000
A = NodeName("a")


@pytest.mark.parametrize(
    "message",
    [
        Verdict(1, HUGE, (Complaint(HUGE, HUGE, HUGE, HUGE),)),
        Failed("1", HUGE),
        PullProgress("1", HUGE),
        Pulled("1", HUGE),
        Report(
            A,
            HUGE,
            1,
            1,
            HUGE,
            problems=(Complaint(HUGE, HUGE),) * 100,
            units=(UnitReport("u.service", active_state=HUGE, lines=(HUGE,) * 100),),
            drift=(Drift("edited", HUGE, HUGE, HUGE),),
        ),
    ],
    ids=lambda message: type(message).__name__,
)
def test_whatever_an_agent_says_is_short(message: ToLeader) -> None:
    assert len(msgspec.json.encode(bounded(message))) < 700_000


def test_what_is_short_is_left_as_it_is() -> None:
    unit = UnitReport("u.service", active_state="failed", exit_code=7, since=5.5, lines=("no",))
    report = Report(A, "boot", 1, 3, "degraded", problems=(Complaint("/a", "no"),), units=(unit,))
    assert bounded(report) == report
    assert bounded(Pulled("1", DIGEST)) == Pulled("1", DIGEST)
    assert bounded(Pulled("1", "")) == Pulled("1", "")


def test_numbers_that_no_reader_takes_are_cut() -> None:
    unit = UnitReport("u.service", restarts=2**200, exit_code=-(2**200), since=1e300)
    report = bounded(Report(A, "boot", 2**200, 2**200, "in sync", units=(unit,)))
    assert isinstance(report, Report)
    assert (report.epoch, report.generation) == (2**53, 2**53)
    (cut,) = report.units
    assert (cut.restarts, cut.exit_code, cut.since) == (2**31, 0, 2.0**33)


@pytest.mark.parametrize("digest", ["no digest %h\n[Service]", "sha256:abc", f"{DIGEST}\n", "x"])
def test_a_digest_that_is_none_is_a_failed_pull(digest: str) -> None:
    said = f"the node answers with a digest that is none: {digest!r}"
    assert bounded(Pulled("1", digest)) == Failed("1", said)


@pytest.mark.parametrize(
    ("fact", "problem"),
    [
        ({"interface": "bad if\n"}, "'bad if\\n' is not the name of a link"),
        ({"public_key": "x y"}, "'x y' is not a WireGuard public key"),
        ({"cpu_millis": 2**70}, "cpuMillis is no amount"),
        ({"cpu_millis": -5}, "cpuMillis is no amount"),
        ({"memory_bytes": -1}, "memoryBytes is no amount"),
        ({"custom": {'a b\n"': 1}}, "'a b\\n\"' is not the name of a custom resource"),
        ({"custom": {"nvidia.com/gpu": -1}}, "nvidia.com/gpu is no amount"),
        ({"custom": {HUGE: 1}}, f"{'x' * 80!r} is not the name of a custom resource"),
        (
            {"custom": {f"r{n}": 1 for n in range(65)}},
            "65 kinds of custom resources; the most is 64",
        ),
    ],
    ids=range(9),
)
def test_facts_that_no_plan_can_use_are_told(fact: dict[str, Any], problem: str) -> None:
    assert problem_of(msgspec.structs.replace(FACTS, **fact)) == problem


def test_facts_of_a_machine_are_fine() -> None:
    facts = msgspec.structs.replace(FACTS, custom={"nvidia.com/gpu": 2}, public_key=f"{'A' * 43}=")
    assert problem_of(facts) == ""
