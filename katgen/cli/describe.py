"""`katcall describe`."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader
from katgen.cli.described import Told, instance_lines, node_lines, workload_lines
from katgen.cli.documents import Document, joined, text
from katgen.cli.events import events
from katgen.cli.failures import LeaderError
from katgen.cli.fetching import EVERYWHERE, instances, named, one_of
from katgen.cli.nouns import BY_KIND, noun
from katgen.cli.output import Form, has_colour, print_json

_EPILOG = """\b
  katcall describe workload web -n shop
  katcall describe instance web/0-3
  katcall describe node a"""
_NOT_FOUND: Final = 404


@click.command("describe", short_help="Tell all about something.", epilog=_EPILOG)
@click.argument("kind", metavar="workload|instance|node", shell_complete=online.kinds)
@click.argument("subject", metavar="NAME", shell_complete=online.names_of_kind)
@online.namespace
@options.form
@options.ending
@online.leader
def command(*, leader: Leader, kind: str, subject: str, namespace: str, form: Form) -> None:
    """Tell all about a workload, an instance or a node: spec, places, units, addresses, events."""
    found = noun(kind).kind
    if found not in _VIEWS:
        raise click.UsageError(f"describe tells of {joined(map(str.lower, _VIEWS))}, not {kind}")
    gather, lines = _VIEWS[found]
    told = gather(leader, namespace, subject)
    if form is Form.JSON:
        print_json(told)
        return
    coloured = has_colour(sys.stdout)
    for line in lines(told, time.time()):
        click.echo(line, color=coloured)


def _workload(leader: Leader, scope: str, subject: str) -> Told:
    workload = one_of(leader, BY_KIND["Workload"], scope, subject)
    own = {
        one.lower(): found
        for one in ("VirtualLoadBalancer", "JobDefinition", "BuildDefinition")
        if (found := _if_any(leader, one, scope, subject)) is not None
    }
    return {
        "workload": workload,
        **own,
        "instances": instances(leader, scope, subject),
        "events": events(leader, scope, subject),
    }


def _if_any(leader: Leader, kind: str, scope: str, subject: str) -> Document | None:
    try:
        return one_of(leader, BY_KIND[kind], scope, subject)
    except LeaderError as err:
        if err.status == _NOT_FOUND:
            return None
        raise


def _instance(leader: Leader, scope: str, subject: str) -> Told:
    found = named(leader, BY_KIND["Instance"], scope, [subject])
    return {"instances": found, "events": events(leader, scope, subject.partition("/")[0])}


def _node(leader: Leader, _: str, subject: str) -> Told:
    node = one_of(leader, BY_KIND["Node"], "", subject)
    every = [one for one in instances(leader, EVERYWHERE) if text(one, "node") == subject]
    return {"node": node, "instances": every}


_VIEWS: Final[
    Mapping[
        str,
        tuple[Callable[[Leader, str, str], Told], Callable[[Told, float], Iterator[str]]],
    ]
] = {
    "Workload": (_workload, workload_lines),
    "Instance": (_instance, instance_lines),
    "Node": (_node, node_lines),
}
