"""What all writing commands do: send, say what changed, wait, say how it ended."""

import click
import msgspec

from katgen.cli.connection import Leader, Request, path
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError
from katgen.cli.online import duration_s
from katgen.cli.output import Form, print_json, print_notes, say, visible
from katgen.cli.refusal import held_problem, problem
from katgen.cli.waiting import say_done, wait
from katgen.leader.answers import Changed, Preview, Written

UNCHANGED = "unchanged"
_COLOURS = {"created": "green", "configured": "yellow", "deleted": "red"}


class Wait(msgspec.Struct, frozen=True):
    """Whether to wait, and how long."""

    is_wanted: bool
    timeout_s: float


def wait_from(*, no_wait: bool, timeout: str) -> Wait:
    """Return what `--no-wait` and `--timeout` say. Raises UsageError."""
    return Wait(not no_wait, duration_s(timeout))


def carry_out(leader: Leader, request: Request, waiting: Wait, form: Form) -> int:
    """Send a write, say what it changed, and wait. Raises LeaderError."""
    answer = leader.ask(request, Written)
    if form is Form.TABLE:
        print_notes(problem(one, request.files) for one in answer.notes)
        for one in answer.changed:
            say_changed(one)
    last = None
    if answer.changed and all(one.result == UNCHANGED for one in answer.changed):
        refuse_waiting(leader, answer)
    elif waiting.is_wanted:
        last = wait(leader, answer.resource_version, waiting.timeout_s, form)
    if form is Form.JSON:
        print_json({**msgspec.to_builtins(answer), "progress": last})
    elif last is not None:
        say_done(last)
    return Exit.FINE


def refuse_waiting(leader: Leader, answer: Written) -> None:
    """Raise LeaderError if one of these workloads is held back, or has no node, since earlier.

    An apply that finds everything unchanged must not pass for one that worked.
    """
    named = {f"{one.namespace}/{one.name}" for one in answer.changed}
    pending = leader.ask(Request(path("plan"), "POST"), Preview)
    held = [held_problem(one) for one in pending.held if f"{one.namespace}/{one.name}" in named]
    unplaced = [problem(one, {}) for one in pending.unplaced if one.at in named]
    if held or unplaced:
        raise LeaderError([*held, *unplaced], Exit.UNFINISHED)


def say_changed(one: Changed) -> None:
    """Print `Workload shop/web configured`."""
    name = f"{one.namespace}/{one.name}" if one.namespace not in {"", "-"} else one.name
    result = click.style(one.result, fg=_COLOURS.get(one.result))
    say(f"{visible(f'{one.kind} {name}')} {result}")
