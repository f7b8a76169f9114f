"""`katcall diff`."""

import sys
from collections.abc import Iterator, Sequence

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader
from katgen.cli.documents import Document, members, name, text
from katgen.cli.fetching import listed, named
from katgen.cli.nouns import BY_KIND
from katgen.cli.output import Form, counted, has_colour, print_json, visible
from katgen.cli.plantext import coloured

_EPILOG = """\b
  katcall diff          all nodes
  katcall diff a        one

Whether nodes undo it by themselves is driftPolicy in the ClusterConfiguration."""
_WORDS = {
    "edited": "edited",
    "missing": "deleted",
    "mode": "mode or owner changed",
    "stopped": "stopped",
    "foreign": "not KAT's",
}


@click.command("diff", short_help="Show what somebody changed on the nodes.", epilog=_EPILOG)
@click.argument("names", nargs=-1, metavar="[NODE]...", shell_complete=online.names_of("nodes"))
@options.form
@options.ending
@online.leader
def command(*, leader: Leader, names: Sequence[str], form: Form) -> None:
    """Show what differs on the nodes from what KAT put there: files edited, units stopped by hand.

    This is no plan: katcall plan shows what KAT itself would change.
    """
    node = BY_KIND["Node"]
    nodes = named(leader, node, "", names) if names else listed(leader, node, "")
    found = {name(one): members(one, "status.drift") for one in nodes}
    if form is Form.JSON:
        print_json({"nodes": found})
        return
    is_coloured = has_colour(sys.stdout)
    for line in _lines(nodes):
        click.echo(line, color=is_coloured)


def _lines(nodes: Sequence[Document]) -> Iterator[str]:
    total = 0
    for one in nodes:
        drift = members(one, "status.drift")
        if not drift:
            continue
        yield click.style(f"== {visible(name(one))}", bold=True)
        for each in drift:
            yield from _item(each)
        yield ""
        total += len(drift)
    yield f"{counted(total, 'difference')} on {counted(len(nodes), 'node')}"


def _item(drift: object) -> Iterator[str]:
    kind = text(drift, "kind")
    what = text(drift, "path") or text(drift, "unit")
    yield click.style(visible(f"{_WORDS.get(kind, kind)}: {what}"), fg="yellow")
    if diff := text(drift, "diff"):
        yield from coloured(diff.rstrip("\n").split("\n"))
