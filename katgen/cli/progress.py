"""How far a change is, for eyes: a live view on a terminal, lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from katgen.cli.output import Form, has_colour, say, visible
from katgen.leader.answers import Progress, Rollout

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_COLOURS: Final = {"running": "green", "failed": "red", "held": "yellow"}
_SHOWN: Final = 20
"""Workloads in the live view; what runs already is left out first."""


class Display(Protocol):
    """Takes in every state of a change."""

    def show(self, progress: Progress) -> None:
        """Show how far it is."""


class Silent:
    """Shows nothing: programs get the outcome alone."""

    def show(self, progress: Progress) -> None:
        """Show nothing."""


class Lines:
    """Prints what is new."""

    def __init__(self) -> None:
        self._phase = ""
        self._told: dict[str, str] = {}

    def show(self, progress: Progress) -> None:
        """Print a line for a new phase and for each workload of which something changed."""
        phase = phase_text(progress)
        if phase != self._phase and progress.phase not in {"done", "failed"}:
            self._phase = phase
            say(phase)
        for one in progress.workloads:
            key, line = f"{one.namespace}/{one.name}", rollout_text(one)
            if self._told.get(key) != line:
                self._told[key] = line
                say(visible(f"{key}: {line}"))


class Terminal:
    """Draws over what it drew before."""

    def __init__(self, live: "Live") -> None:
        self._live = live

    def show(self, progress: Progress) -> None:
        """Draw the workloads below the phase."""
        self._live.update(drawn(progress))


@contextmanager
def display(form: Form) -> Iterator[Display]:
    """Give what suits the output; the last state stays on the screen."""
    if form is not Form.TABLE:
        yield Silent()
    elif not has_colour(sys.stdout):
        yield Lines()
    else:
        from rich.console import Console  # noqa: PLC0415 -- 50 ms that only a terminal costs
        from rich.live import Live  # noqa: PLC0415 -- the same

        console = Console(file=sys.stdout, highlight=False)
        with Live(console=console, refresh_per_second=8, redirect_stdout=False) as live:
            yield Terminal(live)


def drawn(progress: Progress) -> "Table":
    """Return the live view of a state."""
    from rich.spinner import Spinner  # noqa: PLC0415 -- as above
    from rich.table import Table  # noqa: PLC0415 -- as above
    from rich.text import Text  # noqa: PLC0415 -- as above

    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for one in _foremost(progress):
        state = Text(one.state, style=_COLOURS.get(one.state, "cyan"))
        what = f"{one.running} of {one.wanted}" + (f"  {one.message}" if one.message else "")
        if is_leaving(one):
            state, what = Text(one.message), ""
        rows.add_row(visible(f"{one.namespace}/{one.name}"), state, Text(visible(what)))
    view = Table.grid()
    if progress.phase not in {"done", "failed"}:
        view.add_row(Spinner("dots", Text(phase_text(progress), style="bold")))
    view.add_row(rows)
    return view


def _foremost(progress: Progress) -> list[Rollout]:
    ordered = sorted(progress.workloads, key=lambda one: one.state == "running")
    return sorted(ordered[:_SHOWN], key=lambda one: (one.namespace, one.name))


def phase_text(progress: Progress) -> str:
    """Return `applying generation 12`."""
    number = f" generation {progress.generation}" if progress.generation else ""
    message = f": {progress.message}" if progress.message else ""
    return visible(f"{progress.phase}{number}{message}")


def is_leaving(one: Rollout) -> bool:
    """Whether a workload is being deleted, or is gone: then only the message says something."""
    return not one.wanted and one.state in {"running", "waiting"} and bool(one.message)


def rollout_text(one: Rollout) -> str:
    """Return `pulling, 0 of 2 running; what the registry says`."""
    if is_leaving(one):
        return one.message
    message = f"; {one.message}" if one.message else ""
    return f"{one.state}, {one.running} of {one.wanted} running{message}"
