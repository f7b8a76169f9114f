"""Options that several commands share, and how every command ends."""

import functools
from collections.abc import Callable

import click

from katgen.cli.exits import Exit
from katgen.cli.output import Form, print_problems
from katgen.errors import ProblemsError, RefusedError

files = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="PATH",
    help="A file, a directory (its *.kat files, recursively), or - for standard input. Repeatable.",
)
cluster = click.option(
    "--cluster",
    metavar="FILE",
    help="The ClusterConfiguration; its defaults if neither this nor -f gives one.",
)
nodes = click.option(
    "--nodes",
    metavar="FILE",
    help="The Nodes; if none are given, one unlimited node named 'local'.",
)
parent = click.option(
    "--parent",
    metavar="PLAN.JSON",
    help="The plan to follow: what need not move stays where that plan has it.",
)
Command = Callable[..., "int | None"]


def form(command: Command) -> Command:
    """Add `-o table|json`, and `--json`, which says the same on every command."""
    choice = click.Choice([one.value for one in Form])
    option = click.option(
        "-o", "--output", "output", type=choice, default="table", help="How to print."
    )
    return option(json_only(command))


def json_only(command: Command) -> Command:
    """Add `--json` where `-o` means something else."""
    return click.option("--json", "is_json", is_flag=True, help="Print JSON; the same as -o json.")(
        command
    )


def ending(command: Command) -> Callable[..., int]:
    """Give a command its `form`; turn what it raises on purpose into lines and an exit code."""

    @functools.wraps(command)
    def run(*, is_json: bool, output: str = "table", **rest: object) -> int:
        form = Form.JSON if is_json else Form(output)
        try:
            return command(form=form, **rest) or Exit.FINE
        except ProblemsError as err:
            print_problems(err.problems, form)
            return Exit.REFUSED if isinstance(err, RefusedError) else Exit.PROBLEMS

    return run
