import signal
import sys

import pytest

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
    ended, lines = run_shown((sys.executable, "-c", program), limit_s=1, end_s=0.5)
    assert ended == code
    assert lines[0] == "begun"
    assert "is still running after 1 s" in capsys.readouterr().out


def test_a_stage_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unit", "smoke"]) == 2
    assert capsys.readouterr().out == f"unknown stage smoke: there are {', '.join(STAGES)}\n"
