"""`kat-agent`: the commands' names and how every command ends.

A command's module is imported when it runs: the daemon carries nothing of `init`, and `status`
nothing of the daemon.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

import click

from agent.exits import Exit
from katgen.errors import KatError, RefusedError


class Entry(NamedTuple):
    """Where a command is, what it is called there, and its line in the overview."""

    module: str
    name: str
    summary: str


COMMANDS: Final = {
    "init": Entry("agent.init", "init", "Make this machine the first node of a new cluster."),
    "run": Entry("agent.daemon", "run", "Be the agent; kat-agent.service does it."),
    "status": Entry("agent.local", "status", "Show what runs here and whether it is as planned."),
    "verify": Entry("agent.local", "verify", "Check rendered files with this node's own tools."),
    "rollback": Entry("agent.local", "rollback", "Go back to an earlier generation, and stay."),
    "resume": Entry("agent.local", "resume", "Follow the leader again after a rollback."),
    "reset": Entry("agent.reset", "reset", "Remove all of KAT from this node, except volumes."),
    "version": Entry("agent.local", "version", "Print the version."),
}


class Commands(click.Group):
    """Finds commands in the table above and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        """Import a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found = getattr(import_module(entry.module), entry.name)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        """Write the overview without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 problems, 2 usage, 3 refused.",
)
def kat_agent() -> None:
    """Make this machine a node of KAT, and look after it. Needs no leader to show what is here."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `kat-agent` and exit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `kat-agent` and return its exit code."""
    try:
        outcome = kat_agent.main(arguments, prog_name="kat-agent", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 -- for its descriptor
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return Exit.PIPE_CLOSED
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("kat-agent: interrupted", err=True)
        return Exit.INTERRUPTED
    except click.ClickException as err:
        err.show()
        return Exit.USAGE
    except (KatError, OSError) as err:
        return _said(err)
    except Exception as err:  # noqa: BLE001 -- the shell's last resort: it tells faults from answers
        return _fault(err)
    return outcome if isinstance(outcome, int) else Exit.FINE


def _said(err: Exception) -> Exit:
    """Print each line of an error as one of ours."""
    for line in str(err).splitlines() or [type(err).__name__]:
        click.echo(f"kat-agent: {line}", err=True)
    return Exit.REFUSED if isinstance(err, RefusedError) else Exit.PROBLEMS


def _fault(err: Exception) -> Exit:
    import traceback  # noqa: PLC0415 -- 5 ms of every start

    click.echo("".join(traceback.format_exception(err)), err=True, nl=False)
    click.echo("kat-agent: this is a fault in KAT; please report it with the lines above", err=True)
    return Exit.FAULT
