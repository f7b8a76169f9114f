"""`katcall restart`."""

from collections.abc import Sequence

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.exits import Exit
from katgen.cli.nouns import workload_names
from katgen.cli.output import Form
from katgen.cli.written import carry_out, wait_from

_EPILOG = """\b
  katcall restart workload web
  katcall restart web api -n shop --no-wait"""


@click.command("restart", short_help="Replace instances by new ones.", epilog=_EPILOG)
@click.argument("words", nargs=-1, required=True, metavar="[workload] NAME...",
                shell_complete=online.names_of("workloads"))  # fmt: skip
@online.namespace
@online.waiting
@options.form
@options.ending
@online.leader
def command(*, leader: Leader, words: Sequence[str], form: Form, **given: str | bool) -> int:
    """Replace every instance of the workloads NAME... by a new one, as their updateStrategy says.

    With imagePullPolicy Always, the image's tag is looked up again.
    """
    waiting = wait_from(no_wait=bool(given["no_wait"]), timeout=str(given["timeout"]))
    for one in workload_names(words):
        where = path("n", str(given["namespace"]), "workloads", one, "restart")
        carry_out(leader, Request(where, "POST", body=b"{}"), waiting, form)
    return Exit.FINE
