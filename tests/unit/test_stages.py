import pytest

from tests.stages import STAGES, Outcome, main, summary


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


def test_a_stage_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unit", "smoke"]) == 2
    assert capsys.readouterr().out == f"unknown stage smoke: there are {', '.join(STAGES)}\n"
