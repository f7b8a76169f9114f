"""`katcall`: the commands' names and how every command ends.

A command's module is imported when it runs, so that help and completion are there at once.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final, NamedTuple

import click

from katgen.cli.exits import Exit


class Entry(NamedTuple):
    """Where a command is, and its line in the overview."""

    module: str
    summary: str


COMMANDS: Final = {
    "apply": Entry("apply", "Bring .kat files to the cluster, and wait until they run."),
    "plan": Entry("plan", "Show what would change on every node, file by file."),
    "diff": Entry("drift", "Show what somebody changed on the nodes."),
    "get": Entry("get", "List things, or print them."),
    "describe": Entry("describe", "Tell all about a workload, an instance or a node."),
    "explain": Entry("explain", "Say for every node whether a workload may run there, and why."),
    "logs": Entry("logs", "Print what a workload or an instance wrote."),
    "events": Entry("events", "Print what happened."),
    "top": Entry("top", "Show what nodes and instances use now."),
    "scale": Entry("scale", "Set how many copies of a workload run."),
    "restart": Entry("restart", "Replace the instances of workloads by new ones."),
    "rollback": Entry("rollback", "Go back to an earlier revision of a workload."),
    "delete": Entry("delete", "Take things out of the cluster."),
    "validate": Entry("validate", "Say what is wrong with .kat files, all of it at once."),
    "render": Entry("render", "Write the files that every node gets into a directory."),
    "schema": Entry("schema", "Print the JSON Schema of a kind."),
    "init-example": Entry("example", "Write a small example that works."),
    "login": Entry("login", "Say which leader to ask, and as whom."),
    "completion": Entry("completion", "Print the completion script of a shell."),
    "version": Entry("version", "Print the versions of katcall and of the leader."),
}


class ReaderGoneError(Exception):
    """Nobody reads standard output any more. click would end the process itself, with 1."""


class Commands(click.Group):
    """Finds commands in the table above and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        """Import a command, which its module calls `command`."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found = import_module(f"katgen.cli.{entry.module}").command
        return found if isinstance(found, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was called. Raises ReaderGoneError."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as err:
            raise ReaderGoneError from err

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        """Write the overview without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 problems in the input, 2 usage, 3 refused, 4 no leader, "
    "5 not all of it runs.",
)
def katcall() -> None:
    """Bring .kat files to a cluster; or turn them into the files of every node, offline."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `katcall` and exit. SIGTERM cleans up as an interrupt does."""
    signal.signal(signal.SIGTERM, _terminated)
    _open_missing()
    # One run makes much that lives to its end, and little that only a collector could find.
    gc.disable()
    sys.exit(run(arguments))


def _terminated(number: int, _: object) -> None:
    sys.exit(128 + number)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `katcall` and return its exit code."""
    try:
        outcome = katcall.main(arguments, prog_name="katcall", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, ReaderGoneError):
        _close_stdout()
        return Exit.PIPE_CLOSED
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("katcall: interrupted", err=True)
        return Exit.INTERRUPTED
    except click.ClickException as err:
        err.show()
        return Exit.USAGE
    except OSError as err:
        return _unwritten(err)
    except Exception as err:  # noqa: BLE001 -- the shell's last resort: it tells faults from answers
        return _fault(err)
    return outcome if isinstance(outcome, int) else Exit.FINE


def _open_missing() -> None:
    """Let what the shell closed (`>&-`) go nowhere; Python has None there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- pathlib costs 10 ms of start; open to the end
            setattr(sys, name, nowhere)


def _unwritten(err: OSError) -> Exit:
    """Say that the output failed. Of files, every error names one, and is a problem by now."""
    if err.filename is not None:
        return _fault(err)
    _close_stdout()
    with suppress(OSError):  # it may be standard error that failed
        click.echo(f"katcall: standard output: {err.strerror}", err=True)
    return Exit.PROBLEMS


def _fault(err: Exception) -> Exit:
    import traceback  # noqa: PLC0415 -- 5 ms of every start

    click.echo("".join(traceback.format_exception(err)), err=True, nl=False)
    click.echo("katcall: this is a fault in KAT; please report it with the lines above", err=True)
    return Exit.FAULT


def _close_stdout() -> None:
    """Keep Python from complaining at exit about what it could not write."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 -- pathlib costs 10 ms of start
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
