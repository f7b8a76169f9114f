"""`katcall rollback`."""

import time
from collections.abc import Iterator, Sequence

import click
import msgspec

from katgen.cli import online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.documents import Document, Listing, find, moment, since, text
from katgen.cli.exits import Exit
from katgen.cli.nouns import workload_names
from katgen.cli.output import Form, print_json, remark, say
from katgen.cli.tables import aligned
from katgen.cli.written import carry_out, wait_from

_EPILOG = """\b
  katcall rollback workload web --list    the revisions that are remembered
  katcall rollback workload web           the one before
  katcall rollback workload web --to 3"""


@click.command("rollback", short_help="Go back to an earlier revision.", epilog=_EPILOG)
@click.argument("words", nargs=-1, required=True, metavar="[workload] NAME",
                shell_complete=online.names_of("workloads"))  # fmt: skip
@click.option("--to", "number", type=click.IntRange(min=1), metavar="N", help="Which; see --list.")
@click.option("--list", "is_list", is_flag=True, help="List the earlier revisions; do nothing.")
@online.namespace
@online.waiting
@options.form
@options.ending
@online.leader
def command(
    *, leader: Leader, words: Sequence[str], number: int | None, form: Form, **given: str | bool
) -> int:
    """Give the workload NAME the spec that it had before, or that of revision N."""
    names = workload_names(words)
    if len(names) != 1:
        raise click.UsageError("one workload at a time")
    base = ("n", str(given["namespace"]), "workloads", names[0])
    if given["is_list"]:
        return _list(leader.ask(Request(path(*base, "history")), Listing).items, form)
    waiting = wait_from(no_wait=bool(given["no_wait"]), timeout=str(given["timeout"]))
    body = msgspec.json.encode({"to": number or 0})
    return carry_out(leader, Request(path(*base, "rollback"), "POST", body=body), waiting, form)


def _list(revisions: Sequence[Document], form: Form) -> int:
    if form is Form.JSON:
        print_json({"kind": "List", "items": revisions})
    elif not revisions:
        remark("there is no earlier revision")
    else:
        for line in aligned(("N", "AGE", "PLAN", "IMAGE"), [*_rows(revisions, time.time())]):
            say(line)
    return Exit.FINE


def _rows(revisions: Sequence[Document], now: float) -> Iterator[tuple[str, ...]]:
    for one in revisions:
        workload = find(one, "objects.Workload")
        image = text(workload, "spec.source.image") or text(workload, "spec.source.git.url")
        age = since(moment(one, "time"), now)
        yield text(one, "n"), age, text(one, "generation"), image
