"""Run the tests in named stages: `python -m tests.stages [STAGE…]`.

Every stage runs, also after one failed; then comes a summary with times, the tests that failed, and
pytest's own closing lines. A test has pyproject.toml's time, a command LIMIT_S. Exit 1 if a stage
failed, 2 for an unknown stage.
"""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.environment import REPOSITORY

BIN = Path(sys.executable).parent
PYTEST = (str(BIN / "pytest"), "-rsfE")
GENERATE = "katgen.cli.generate"
NO_TESTS = 5  # pytest's exit code when it found none
BROKEN = ("FAILED ", "ERROR ")  # how pytest's lines about tests that did not pass begin
TEST = re.compile(r"(?:FAILED|ERROR) (tests/[^ ]+)")
SHOWN = 20  # of them in the summary
LIMIT_S = 60 * 60
"""How long a command may take: the lab is through in half of it."""
END_S = 60
"""How long it then has to tell how far it came."""
# Folders of stages of their own; `unit` is all the rest.
APART = ("golden", "properties", "api", "oracles", "lab", "bench")

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended.

    `failed` has its command lines, `broken` pytest's lines about tests, `closing` its last line.
    """

    stage: str
    seconds: float
    failed: tuple[str, ...]
    closing: str = ""
    broken: tuple[str, ...] = ()


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
    failed, broken = [], []
    closing = ""
    for command in STAGES[stage]:
        code, lines = run_shown(command)
        if code != 0:
            failed.append(" ".join((Path(command[0]).name, *command[1:])))
        if command[: len(PYTEST)] == PYTEST:
            closing = "no tests" if code == NO_TESTS else (lines or [""])[-1]
            broken += [(found[1], line) for line in lines if (found := TEST.match(line))]
    seconds = time.monotonic() - start
    each = tuple(dict(reversed(broken)).values())  # the first line of each
    outcome = Outcome(stage, seconds, tuple(failed), closing, each[::-1])
    say(f"=== {stage}: {verdict(outcome)} in {outcome.seconds:.1f} s\n")
    return outcome


def run_shown(
    command: Command, limit_s: float = LIMIT_S, end_s: float = END_S
) -> tuple[int, list[str]]:
    """Run a command; return its exit code and the lines that it printed, without empty ones.

    If it took too long, there is a last one that says so.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    lines, late = list[str](), list[str]()
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        watch = threading.Thread(
            target=end_in_time, args=(child, limit_s, end_s, late), daemon=True
        )
        watch.start()
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.strip())
    return child.returncode, [line for line in (*lines, *late) if line]


def end_in_time(
    child: "subprocess.Popen[str]", limit_s: float, end_s: float, late: list[str]
) -> None:
    """End a command that takes too long, first as Ctrl-C does: pytest then tells how far it is."""
    for how, within_s in ((signal.SIGINT, limit_s), (signal.SIGKILL, end_s)):
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            late.append(f"still running after {within_s:g} s, ended by {how.name}")
            say(late[-1])
            child.send_signal(how)


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the closing report: each stage, and each command and test of it that failed."""
    lines = ["=== summary"]
    for outcome in outcomes:
        head = f"{outcome.stage:<12}{outcome.seconds:>8.1f} s  {verdict(outcome):<8}"
        lines.append(f"{head}{outcome.closing}".rstrip())
        lines += [f"{'':<24}failed: {command}" for command in outcome.failed]
        lines += [f"  {line}" for line in outcome.broken[:SHOWN]]
        if more := outcome.broken[SHOWN:]:
            lines.append(f"  and {len(more)} more")
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
