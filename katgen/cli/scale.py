"""`katcall scale`."""

from collections.abc import Sequence

import click
import msgspec

from katgen.cli import online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.nouns import workload_names
from katgen.cli.output import Form
from katgen.cli.written import carry_out, wait_from

_EPILOG = """\b
  katcall scale workload web --replicas 3
  katcall scale web --replicas 0 -n shop    stops it; its data stays"""


@click.command("scale", short_help="Set how many copies of a workload run.", epilog=_EPILOG)
@click.argument("words", nargs=-1, required=True, metavar="[workload] NAME",
                shell_complete=online.names_of("workloads"))  # fmt: skip
@click.option("--replicas", required=True, type=click.IntRange(min=0), metavar="N")
@online.namespace
@online.waiting
@options.form
@options.ending
@online.leader
def command(
    *, leader: Leader, words: Sequence[str], replicas: int, form: Form, **given: str | bool
) -> int:
    """Run N copies of the workload NAME.

    The files that it was applied from still say what they said: apply sets it back.
    """
    names = workload_names(words)
    if len(names) != 1:
        raise click.UsageError("one workload at a time")
    waiting = wait_from(no_wait=bool(given["no_wait"]), timeout=str(given["timeout"]))
    where = path("n", str(given["namespace"]), "workloads", names[0], "scale")
    body = msgspec.json.encode({"replicas": replicas})
    return carry_out(leader, Request(where, "POST", body=body), waiting, form)
