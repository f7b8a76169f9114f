"""`katcall explain`."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import click

from katgen import plan
from katgen.cli import options
from katgen.cli.exits import Exit
from katgen.cli.online import DEFAULT, chosen, context, names_of
from katgen.cli.output import Form, columns, counted, print_json, say, visible
from katgen.cli.pipeline import load, planned
from katgen.errors import Problem, Source, SpecError
from katgen.names import WorkloadKey, split_key
from katgen.schedule.explain import Explanation, NodeVerdict

_BETTER: Final = {
    "MostEmpty": "MostEmpty: of nodes that are equal otherwise, the emptier one is better",
    "BinPack": "BinPack: of nodes that are equal otherwise, the fuller one is better",
}
_HEAD: Final = ("NODE", "HAS", "RANK", "LOAD", "INSTANCES", "PREFERENCE", "WHY NOT")


_EPILOG: Final = """\b
  katcall explain web                    in the namespace default
  katcall explain shop/web
  katcall explain --offline -f shop/ web"""


@click.command("explain", short_help="Say why a workload runs where it does.", epilog=_EPILOG)
@click.option("--offline", is_flag=True, help="Plan from the files; ask no leader.")
@options.files_if_any
@options.cluster
@options.nodes
@options.parent
@click.option("-n", "--namespace", default="", metavar="NAME", help="The namespace.")
@context
@options.form
@options.ending
@click.argument("workload", shell_complete=names_of("workloads"))
def command(
    *, offline: bool, workload: str, namespace: str, form: Form, **given: options.Given
) -> int:
    """Say for every node whether WORKLOAD may run there, and why (not), with the numbers.

    WORKLOAD is a name, or <namespace>/<name>. The best node comes first; a node that has an
    instance is judged as if that one were still to be placed.

    -f, --cluster, --nodes and --parent are for --offline.
    """
    named = f"{namespace}/{workload}" if namespace and "/" not in workload else workload
    if offline:
        options.refuse_with(
            "asks a leader; leave --offline out", given, {"context_name": "context"}
        )
        options.require_files(given)
        told, strategy = _offline(named, given)
    else:
        options.refuse_with("goes with --offline only", given, {"files": "file", **options.OFFLINE})
        told, strategy = _online(named, str(given["context_name"]))
    if form is Form.JSON:
        print_json(told)
    else:
        for line in _lines(told, strategy):
            say(visible(line))
    return Exit.FINE


def _offline(workload: str, given: Mapping[str, options.Given]) -> tuple[Explanation, str]:
    loaded = load(options.named(given))
    key = _found(workload, loaded.specs.workloads)
    made = planned(loaded)
    told = plan.explain(loaded.specs, loaded.inventory, made, key)
    return told, made.specs.cluster.spec.scheduling


def _online(workload: str, context_name: str) -> tuple[Explanation, str]:
    """Ask a leader. Raises LeaderError."""
    from katgen.cli.connection import Request, path  # noqa: PLC0415 -- offline needs none of it
    from katgen.cli.documents import text  # noqa: PLC0415 -- the same

    asked = chosen(context_name)
    namespace, _, name = workload.rpartition("/")
    told = asked.ask(Request(path("explain", namespace or DEFAULT, name)), Explanation)
    cluster = asked.ask(Request(path("clusterconfiguration")), dict[str, object])
    return told, text(cluster, "spec.scheduling")


def _found(name: str, keys: Collection[WorkloadKey]) -> WorkloadKey:
    """Return the one workload of this key, or of this name in any namespace. Raises SpecError."""
    found = [key for key in keys if name in {key, split_key(key)[1]}]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"is the name of {counted(len(found), 'workload')}: {', '.join(found)}"
        raise SpecError([Problem(Source(name), what, "say which")])
    raise SpecError([Problem(Source(name), "is no workload of these files", _known(keys))])


def _known(keys: Collection[WorkloadKey]) -> str:
    return f"there are {', '.join(keys)}" if keys else "there is none"


def _lines(told: Explanation, strategy: str) -> Iterator[str]:
    yield _first(told)
    yield from (f"quota: {line}" for line in told.quota)
    yield from (f"data of ordinal {ordinal} is on {node}" for ordinal, node in told.data.items())
    for one in told.unplaced:
        for refusal in one.refusals:
            where = counted(refusal.count, "node")
            yield f"ordinal {one.ordinal} has no node: {refusal.reason} ({where})"
    yield ""
    rows = [_HEAD, *(_row(verdict) for verdict in told.nodes)]
    used = [i for i in range(len(_HEAD)) if any(row[i] for row in rows[1:])]
    yield from columns([[row[i] for i in used] for row in rows])
    if any(verdict.is_feasible for verdict in told.nodes):
        yield ""
        yield _BETTER[strategy or "MostEmpty"]


def _first(told: Explanation) -> str:
    feasible = sum(verdict.is_feasible for verdict in told.nodes)
    nodes = counted(len(told.nodes), "node")
    placed = counted(told.placed, "instance")
    lacking = f", {len(told.unplaced)} without a node" if told.unplaced else ""
    return f"{told.workload}: {placed}{lacking}; {feasible} of {nodes} could take one"


def _row(verdict: NodeVerdict) -> tuple[str, ...]:
    score = verdict.score
    numbers = (
        (f"{score.place}", f"{score.load / 10:g} %", f"{score.instances}", f"{score.preference:g}")
        if score
        else ("", "", "", "")
    )
    preference = numbers[3] if numbers[3] != "0" else ""
    return (
        verdict.node,
        ", ".join(verdict.ordinals),
        *numbers[:3],
        preference,
        "; ".join(verdict.reasons),
    )
