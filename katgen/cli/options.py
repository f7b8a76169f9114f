"""Options that several commands share, and how every command ends."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError
from katgen.cli.inputs import STDIN
from katgen.cli.output import Form, print_problems
from katgen.errors import EncodeError, Problem, ProblemsError, RefusedError, Source


def _files(*, is_required: bool) -> Callable[["Command"], "Command"]:
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=is_required,
        metavar="PATH",
        help="A file, a directory (its *.kat files, recursively), or - for standard input. "
        "Repeatable.",
    )


files = _files(is_required=True)
files_if_any = _files(is_required=False)
cluster = click.option(
    "--cluster",
    metavar="FILE",
    help="The ClusterConfiguration; if none is given, that of --parent, or the defaults.",
)
nodes = click.option(
    "--nodes",
    metavar="FILE",
    help="The Nodes; if none are given, those of --parent, or one without limits named 'local'.",
)
parent = click.option(
    "--parent",
    metavar="PLAN.JSON",
    help="The plan to follow: what need not move stays where that plan has it.",
)
allow_unplaced = click.option(
    "--allow-unplaced", is_flag=True, help="Go on if an instance has no node; it is left out."
)
Command = Callable[..., "int | None"]


def form(command: Command) -> Command:
    """Add `-o table|json`, and `--json`, which says the same on every command."""
    return _output(command, (Form.TABLE, Form.JSON))


def every_form(command: Command) -> Command:
    """Add `-o` with all forms, and `--json`."""
    return _output(command, tuple(Form))


def _output(command: Command, forms: Sequence[Form]) -> Command:
    choice = click.Choice([one.value for one in forms])
    option = click.option(
        "-o", "--output", "output", type=choice, default="table", help="How to print."
    )
    return option(json_only(command))


def json_only(command: Command) -> Command:
    """Add `--json` where `-o` means something else."""
    return click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


@dataclass(frozen=True, slots=True)
class Named:
    """The paths that a command line names; '' where there is none."""

    files: Sequence[str]
    cluster: str = ""
    nodes: str = ""
    parent: str = ""


Given = str | Sequence[str] | None


def named(given: Mapping[str, Given]) -> Named:
    """Return the paths among a command's options. Raises UsageError if two are standard input."""
    files = given["files"] or ()
    single = {name: str(given.get(name) or "") for name in ("cluster", "nodes", "parent")}
    takers = ["-f"] if STDIN in files else []
    takers += [f"--{name}" for name, path in single.items() if path == STDIN]
    if len(takers) > 1:
        raise click.UsageError(f"only one of {', '.join(takers)} can read standard input")
    return Named(files, **single)


def require_files(given: Mapping[str, Given]) -> None:
    """Raise UsageError if an offline command names no file."""
    if not given["files"]:
        raise click.UsageError("--offline needs files: add -f PATH")


OFFLINE: Final = {name: name for name in ("cluster", "nodes", "parent")}
"""What only `--offline` takes."""


def refuse_with(reason: str, given: Mapping[str, object], names: Mapping[str, str]) -> None:
    """Raise UsageError if one of these options, by its parameter, is given."""
    for parameter, name in names.items():
        if given.get(parameter):
            raise click.UsageError(f"--{name} {reason}")


def refuse_online(given: Mapping[str, object]) -> None:
    """Raise UsageError if an offline command is told which leader to ask."""
    refuse_with("names a leader, and --offline asks none", given, {"context_name": "context"})


def ending(command: Command) -> Callable[..., int]:
    """Give a command its `form`; turn what it raises on purpose into lines and an exit code."""

    @functools.wraps(command)
    def run(*, is_json: bool, output: str = "table", **rest: object) -> int:
        form = Form.JSON if is_json else Form(output)
        try:
            return command(form=form, **rest) or Exit.FINE
        except ProblemsError as err:
            print_problems(err.problems, form)
            return _exit_of(err)
        except EncodeError as err:
            hint = "validation should have refused it: this is a gap in KAT, please report it"
            print_problems([Problem(Source(), str(err), hint)], form)
            return Exit.REFUSED

    return run


def _exit_of(err: ProblemsError) -> Exit:
    if isinstance(err, LeaderError):
        return err.exit
    return Exit.REFUSED if isinstance(err, RefusedError) else Exit.PROBLEMS
