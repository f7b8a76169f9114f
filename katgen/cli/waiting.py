"""Waiting until what a leader has accepted runs, and saying how that ended."""

import time
from collections.abc import Iterator
from typing import Final

import click

from katgen.cli.connection import Leader, Request, Wait, path
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError, failure
from katgen.cli.output import Form, remark, say, visible
from katgen.cli.progress import display
from katgen.errors import Problem, Source
from katgen.leader.answers import Progress, Rollout

_ENDS: Final = frozenset({"done", "failed"})
_RETRY_S: Final = 1.0
_HINTS: Final = {
    "held": "correct it and apply again; what ran before still runs",
    "failed": "katcall logs {name} -n {namespace} and katcall describe workload {name} "
    "-n {namespace} say more",
}


def wait(leader: Leader, revision: str, timeout_s: float, form: Form = Form.TABLE) -> Progress:
    """Follow a change to its end and return how it ended.

    Raises LeaderError if it failed, or is not done in time; Abort after a word on it.
    """
    last = Progress("received")
    try:
        with display(form) as shown:
            for last in _states(leader, revision, time.monotonic() + timeout_s):
                shown.show(last)
    except TimeoutError as err:
        raise _late(last, timeout_s) from err
    except KeyboardInterrupt as err:
        remark()  # past the terminal's ^C
        remark(f"katcall waits no longer; the change goes on (resource version {revision})")
        raise click.exceptions.Abort from err
    if last.phase == "failed":
        raise LeaderError(_failures(last), Exit.UNFINISHED)
    return last


def say_done(last: Progress) -> None:
    """Print the closing line, and before it what else is wrong with the nodes."""
    if last.message:
        remark(f"note: {visible(last.message)}")
    say(f"done: plan {last.generation}" if last.generation else "done", fg="green")


def _states(leader: Leader, revision: str, deadline: float) -> Iterator[Progress]:
    """Yield every state to the last; a leader that restarts is asked again."""
    request = Request(path("changes", revision))
    is_told = False
    while True:
        try:
            for one in leader.lines(request, Progress, Wait(deadline)):
                yield one
                if one.phase in _ENDS:
                    return
            raise failure("the leader stopped telling of the change", "", Exit.UNREACHABLE)
        except LeaderError as err:
            if err.exit is not Exit.UNREACHABLE or err.status:
                raise
            if time.monotonic() + _RETRY_S > deadline:
                raise
            if not is_told:
                is_told = True
                remark(f"{err.problems[0].what}; the change goes on; asking again")
            time.sleep(_RETRY_S)


def _late(last: Progress, timeout_s: float) -> LeaderError:
    waiting = [one for one in last.workloads if one.state != "running"]
    hint = "it goes on; katcall get instances and katcall events show how"
    what = f"not done after {timeout_s:g} s: "
    if not waiting:
        return failure(f"{what}{last.phase}", hint, Exit.UNFINISHED)
    problems = [
        Problem(_source(one), f"{what}{one.state}, {one.running} of {one.wanted} running", hint)
        for one in waiting
    ]
    return LeaderError(problems, Exit.UNFINISHED)


def _failures(last: Progress) -> list[Problem]:
    found = [_problem(one) for one in last.workloads if one.state in _HINTS]
    if found:
        return found
    what = last.message or "the change failed"
    return [Problem(Source(), what, "katcall events -A says more")]


def _problem(one: Rollout) -> Problem:
    hint = _HINTS[one.state].format(name=one.name, namespace=one.namespace)
    if one.state == "held" and not one.wanted:  # nothing of it has run yet
        hint = "correct it and apply again"
    state = "held back" if one.state == "held" else one.state
    message = f": {one.message}" if one.message else ""
    return Problem(_source(one), f"{state}{message}", hint)


def _source(one: Rollout) -> Source:
    return Source(path=f"{one.namespace}/{one.name}")
