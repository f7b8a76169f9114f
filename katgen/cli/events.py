"""`katcall events`."""

from collections.abc import Sequence

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader
from katgen.cli.documents import Document
from katgen.cli.exits import Exit
from katgen.cli.fetching import EVERYWHERE, listed
from katgen.cli.get import Scope, show
from katgen.cli.nouns import BY_KIND, Target
from katgen.cli.output import Form, remark
from katgen.cli.watching import Watched, watch

_EPILOG = """\b
  katcall events -n shop
  katcall events web -n shop    of one workload
  katcall events -A -w          and what happens from now on"""
_EVENTS = Target(BY_KIND["Event"])


@click.command("events", short_help="Print what happened.", epilog=_EPILOG)
@click.argument("workload", default="", shell_complete=online.names_of("workloads"))
@online.namespace
@online.everywhere
@click.option("-w", "--watch", "is_watching", is_flag=True, help="Go on with what happens.")
@options.every_form
@options.ending
@online.leader
def command(
    *, leader: Leader, workload: str, form: Form, is_watching: bool, **given: str | bool
) -> int:
    """Print what happened in a namespace, or to WORKLOAD; the latest comes last.

    What happens again and again is one line with a count. With -w it is another line each time,
    until Ctrl-C, also over lost connections and restarts of the leader.
    """
    if given["everywhere"] and workload:
        raise click.UsageError("a name is one of a namespace; use -n, not -A")
    scope = Scope(EVERYWHERE if given["everywhere"] else str(given["namespace"]), form)
    if is_watching:
        query = {"workload": workload} if workload else {}
        return watch(leader, Watched(_EVENTS, scope.namespace, query, form), dict)
    found = events(leader, scope.namespace, workload)
    if not found and form in {Form.TABLE, Form.WIDE}:
        remark("nothing is remembered")
    else:
        show(leader, [(_EVENTS, found)], scope)
    return Exit.FINE


def events(leader: Leader, namespace: str, workload: str = "") -> Sequence[Document]:
    """Return events, the latest last. Raises LeaderError."""
    query = {"workload": workload} if workload else {}
    return listed(leader, _EVENTS.noun, namespace, query)
