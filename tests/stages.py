"""Run the tests in named stages: `python -m tests.stages [STAGE…]`.

Every stage runs, also after one failed; then comes a summary with times and pytest's own closing
lines. Exit 1 if a stage failed, 2 for an unknown stage.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.environment import REPOSITORY

BIN = Path(sys.executable).parent
PYTEST = (str(BIN / "pytest"), "-rs")
GENERATE = "katgen.cli.generate"
NO_TESTS = 5  # pytest's exit code when it found none
# Folders of stages of their own; `unit` is all the rest.
APART = ("golden", "properties", "api", "oracles", "lab", "bench")

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended: what failed in it (command lines), and pytest's closing line if any."""

    stage: str
    seconds: float
    failed: tuple[str, ...]
    closing: str = ""


STAGES: dict[str, tuple[Command, ...]] = {
    "lint": (
        (str(BIN / "ruff"), "check", "."),
        (str(BIN / "ruff"), "format", "--check", "."),
        (str(BIN / "mypy"),),
        (str(BIN / "lint-imports"), "--no-cache"),
        (sys.executable, "-m", GENERATE, "--check"),
    ),
    "unit": ((*PYTEST, "tests", *(f"--ignore=tests/{folder}" for folder in APART)),),
    "golden": ((*PYTEST, "tests/golden"),),
    "properties": ((*PYTEST, "tests/properties"),),
    "api": ((*PYTEST, "tests/api"),),
    "oracles": ((*PYTEST, "tests/oracles"),),
    "lab": ((*PYTEST, "tests/lab"),),
}


def main(names: Sequence[str]) -> int:
    """Run the named stages, or all."""
    unknown = sorted(set(names) - set(STAGES))
    if unknown:
        say(f"unknown stage {', '.join(unknown)}: there are {', '.join(STAGES)}")
        return 2
    outcomes = [run_stage(name) for name in names or STAGES]
    for line in summary(outcomes):
        say(line)
    return int(any(outcome.failed for outcome in outcomes))


def run_stage(stage: str) -> Outcome:
    """Run one stage's commands, all of them, and show what they print as they print it."""
    say(f"=== {stage}")
    start = time.monotonic()
    failed = []
    closing = ""
    for command in STAGES[stage]:
        code, last = run_shown(command)
        if code != 0:
            failed.append(" ".join((Path(command[0]).name, *command[1:])))
        if command[: len(PYTEST)] == PYTEST:
            closing = "no tests" if code == NO_TESTS else last
    outcome = Outcome(stage, time.monotonic() - start, tuple(failed), closing)
    say(f"=== {stage}: {verdict(outcome)} in {outcome.seconds:.1f} s\n")
    return outcome


def run_shown(command: Command) -> tuple[int, str]:
    """Run a command; return its exit code and the last line that it printed."""
    last = ""
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            last = line.strip() or last
    return child.returncode, last


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the closing report: a line for each stage, and for each command that failed."""
    lines = ["=== summary"]
    for outcome in outcomes:
        head = f"{outcome.stage:<12}{outcome.seconds:>8.1f} s  {verdict(outcome):<8}"
        lines.append(f"{head}{outcome.closing}".rstrip())
        lines += [f"{'':<24}failed: {command}" for command in outcome.failed]
    total = sum(outcome.seconds for outcome in outcomes)
    return [*lines, f"{'total':<12}{total:>8.1f} s"]


def verdict(outcome: Outcome) -> str:
    """Return one word for a stage."""
    return "FAILED" if outcome.failed else "ok"


def say(line: str) -> None:
    """Print, before anything that a child prints next."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
