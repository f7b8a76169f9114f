"""`katcall logs`."""

import sys
from collections.abc import Iterator, Mapping
from itertools import cycle

import click
import msgspec

from katgen.cli import online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.documents import name
from katgen.cli.exits import Exit
from katgen.cli.failures import failure
from katgen.cli.fetching import instances
from katgen.cli.output import Form, has_colour, remark, visible

_EPILOG = """\b
  katcall logs web
  katcall logs web/0-3 -n shop      one instance
  katcall logs web -f --since 10m
  katcall logs web --all > web.log

On a node: journalctl -u 'kat.<namespace>.<workload>.*'"""
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
_LAST = 100
_TIME_MAX = 2.0**33


class Line(msgspec.Struct, frozen=True):
    """One entry of a journal; `instance` is `<workload>/<id>`, '' for a remark of the leader's."""

    text: str
    instance: str = ""
    time: float = 0


@click.command("logs", short_help="Print what a workload wrote.", epilog=_EPILOG)
@click.argument("subject", metavar="WORKLOAD|INSTANCE", shell_complete=online.names_of("workloads"))
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("--since", default="", metavar="TIME", help="Not older than this: 90s, 10m, 2h, 1d.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines of each.")
@click.option("--all", "is_all", is_flag=True, help="From the beginning.")
@click.option("--system", is_flag=True, help="Also what systemd and Podman say.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time.")
@online.namespace
@options.json_only
@options.ending
@online.leader
def command(
    *,
    leader: Leader,
    subject: str,
    timestamps: bool,
    namespace: str,
    form: Form,
    **given: str | bool | int | None,
) -> int:
    """Print what the instances of WORKLOAD wrote, or one INSTANCE: <workload>/<id>.

    Without --since, --tail or --all: the last 100 lines of each instance. Where several instances
    speak, each line begins with the name of its own. With --json, every line is a JSON object.
    """
    query = _query(given)
    workload, slash, _ = subject.partition("/")
    known = [name(one) for one in instances(leader, namespace, workload)]
    if slash:
        query["instance"] = subject
    elif not known:
        what = f"{namespace}/{workload} has no instance"
        raise failure(what, f"katcall describe workload {workload} -n {namespace} says why")
    request = Request(path("n", namespace, "workloads", workload, "logs"), query=query)
    labels = {} if slash or len(known) == 1 else _labels(known)
    is_whole = True
    for line in leader.lines(request, Line):
        is_whole &= bool(line.instance)  # else it is the leader's own: a node cannot be asked
        _show(line, labels, form, has_time=timestamps)
    return Exit.FINE if is_whole else Exit.UNFINISHED


def _query(given: Mapping[str, str | bool | int | None]) -> dict[str, str]:
    since, tail = str(given["since"]), given["tail"]
    if given["is_all"] and (since or tail is not None):
        raise click.UsageError("--all goes with neither --since nor --tail")
    query = {"follow": "1"} if given["follow"] else {}
    if given["system"]:
        query["everything"] = "1"
    if since:
        query["since"] = str(online.duration_s(since))
    if tail is None and not (since or given["is_all"]):
        tail = _LAST
    if tail is not None:
        query["tail"] = str(tail)
    return query


def _labels(names: list[str]) -> dict[str, str]:
    """Return what stands before the lines of each instance, styled."""
    width = max(map(len, names))
    return {
        one: click.style(f"{one:<{width}} |", fg=colour)
        for one, colour in zip(names, cycle(_COLOURS), strict=False)
    }


def _show(line: Line, labels: dict[str, str], form: Form, *, has_time: bool) -> None:
    if not line.instance:  # the leader's own: a node cannot be asked
        remark(visible(line.text))
        return
    if form is Form.JSON:
        click.echo(msgspec.json.encode(line).decode())
        return
    click.echo(" ".join(_parts(line, labels, has_time=has_time)), color=has_colour(sys.stdout))
    sys.stdout.flush()


def _parts(line: Line, labels: dict[str, str], *, has_time: bool) -> Iterator[str]:
    if labels:
        yield labels.get(line.instance) or f"{visible(line.instance)} |"
    if has_time:
        yield _stamp(line.time)
    yield visible(line.text.rstrip("\r\n"))


def _stamp(time: float) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 -- beside its only use

    return datetime.fromtimestamp(min(max(time, 0), _TIME_MAX), UTC).strftime(
        "%Y-%m-%dT%H:%M:%S.%fZ"
    )
