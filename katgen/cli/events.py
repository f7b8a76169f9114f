"""`katcall events`."""

import sys
import time
from collections.abc import Sequence

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.documents import Document, Listing
from katgen.cli.output import Form, has_colour, print_json, remark
from katgen.cli.tables import Scene, table

_EPILOG = """\b
  katcall events -n shop
  katcall events web -n shop    of one workload
  katcall events -A"""


@click.command("events", short_help="Print what happened.", epilog=_EPILOG)
@click.argument("workload", default="", shell_complete=online.names_of("workloads"))
@online.namespace
@online.everywhere
@options.form
@options.ending
@online.leader
def command(*, leader: Leader, workload: str, namespace: str, everywhere: bool, form: Form) -> None:
    """Print what happened in a namespace, or to WORKLOAD; the latest comes last.

    What happens again and again is one line with a count.
    """
    if everywhere and workload:
        raise click.UsageError("a name is one of a namespace; use -n, not -A")
    found = events(leader, "" if everywhere else namespace, workload)
    if form is Form.JSON:
        print_json({"kind": "List", "items": found})
    elif not found:
        remark("nothing is remembered")
    else:
        coloured = has_colour(sys.stdout)
        for line in table("Event", found, Scene(time.time(), {}), has_namespace=everywhere):
            click.echo(line, color=coloured)


def events(leader: Leader, namespace: str, workload: str = "") -> Sequence[Document]:
    """Return events, the latest last. Raises LeaderError."""
    query = {"namespace": namespace, "workload": workload}
    wanted = {name: value for name, value in query.items() if value}
    return leader.ask(Request(path("events"), query=wanted), Listing).items
