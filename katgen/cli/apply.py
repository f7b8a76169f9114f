"""`katcall apply`."""

from collections.abc import Sequence

import click

from katgen.cli import online, options
from katgen.cli.connection import GZIP, Leader, Request, path
from katgen.cli.output import Form
from katgen.cli.packing import pack
from katgen.cli.preview import show_plan
from katgen.cli.written import carry_out, wait_from

_EPILOG = """\b
  katcall apply -f examples/simple-service
  katcall apply -f web.kat -f db.kat --no-wait
  katcall apply -f shop/ --dry-run=server   what would change on every node
  generate-kat | katcall apply -f -

Ctrl-C ends the wait, not the change. If a workload's image cannot be pulled, or a node's own tools
refuse its files, its earlier revision goes on, and the exit code is 5."""


@click.command("apply", short_help="Bring .kat files to the cluster.", epilog=_EPILOG)
@options.files
@click.option("--dry-run", type=click.Choice(["server", "none"]), is_flag=False,
              flag_value="server", default="none", metavar="[=server]",
              help="Show what the leader would do; write nothing.")  # fmt: skip
@click.option("--force", is_flag=True, help="Also what the leader holds for unsafe.")
@click.option(
    "-n", "--namespace", default="", metavar="NAME", help="Of objects that name none themselves."
)
@online.waiting
@options.form
@options.ending
@online.leader
def command(
    *,
    leader: Leader,
    files: Sequence[str],
    dry_run: str,
    force: bool,
    form: Form,
    **given: str | bool,
) -> int:
    """Create or change everything that the files hold, all or nothing, and wait until it runs."""
    waiting = wait_from(no_wait=bool(given["no_wait"]), timeout=str(given["timeout"]))
    packed = pack(files)
    is_dry = dry_run == "server"
    query = {"dryRun": "1"} if is_dry else {}
    if given["namespace"]:
        query["namespace"] = str(given["namespace"])
    if force:
        query["force"] = "1"
    request = Request(path("apply"), "POST", query, packed.body, GZIP, packed.names)
    if is_dry:
        return show_plan(leader, request, form)
    return carry_out(leader, request, waiting, form)
