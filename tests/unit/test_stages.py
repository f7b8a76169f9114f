import signal
import sys

import pytest

from tests import stages
from tests.stages import SHOWN, STAGES, Outcome, main, run_shown, summary

ENDLESS = "import time; print('begun', flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {ENDLESS}"


def test_the_summary_names_each_stage_its_time_and_what_failed() -> None:
    outcomes = [
        Outcome("lint", 1.25, ("ruff check .",)),
        Outcome("unit", 20.0, (), "12 passed in 19.50s"),
    ]
    assert summary(outcomes) == [
        "=== summary",
        "lint             1.2 s  FAILED",
        "                        failed: ruff check .",
        "unit            20.0 s  ok      12 passed in 19.50s",
        "total           21.2 s",
    ]


def test_the_summary_has_the_tests_that_failed_and_not_a_thousand() -> None:
    broken = tuple(f"FAILED tests/lab/test_{n}.py::test" for n in range(SHOWN + 3))
    lines = summary([Outcome("lab", 1.0, ("pytest tests/lab",), "23 failed in 1 s", broken)])
    assert lines[3:5] == [f"  {line}" for line in broken[:2]]
    assert lines[-2] == "  and 3 more"


@pytest.mark.parametrize(
    ("program", "code"), [(ENDLESS, -signal.SIGINT), (DEAF, -signal.SIGKILL)], ids=["ends", "deaf"]
)
def test_a_command_that_does_not_end_is_ended(
    program: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, lines = run_shown((sys.executable, "-c", program), limit_s=3, end_s=0.5)
    assert ended == code
    assert lines[0] == "begun"
    assert lines[-1] in capsys.readouterr().out
    assert lines[-1].startswith("still running after ")


def test_what_failed_is_named_once_and_what_it_logged_is_no_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = """
ERROR    agent.rules:rules.py:10 no
FAILED tests/a.py::test_b[1] - assert the whole of it
F
FAILED tests/a.py::test_b[1] - assert the...
ERROR tests/a.py::test_c - oh
2 failed in 1 s
"""
    program = ("sh", "-c", f"echo '{said}'; exit 1")
    monkeypatch.setattr(stages, "PYTEST", program)
    monkeypatch.setitem(STAGES, "unit", (program,))
    outcome = stages.run_stage("unit")
    assert outcome.broken == (
        "FAILED tests/a.py::test_b[1] - assert the whole of it",
        "ERROR tests/a.py::test_c - oh",
    )
    assert outcome.closing == "2 failed in 1 s"


def test_a_stage_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unit", "smoke"]) == 2
    assert capsys.readouterr().out == f"unknown stage smoke: there are {', '.join(STAGES)}\n"
