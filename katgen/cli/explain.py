"""`katcall explain --offline`."""

from collections.abc import Collection, Iterator
from typing import Final

import click

from katgen import plan
from katgen.cli import options
from katgen.cli.exits import Exit
from katgen.cli.output import Form, columns, counted, print_json, say, visible
from katgen.cli.pipeline import load, planned
from katgen.errors import Problem, Source, SpecError
from katgen.names import WorkloadKey, split_key
from katgen.planned import Plan
from katgen.schedule.explain import Explanation, NodeVerdict

_BETTER: Final = {
    "MostEmpty": "MostEmpty: of nodes that are equal otherwise, the emptier one is better",
    "BinPack": "BinPack: of nodes that are equal otherwise, the fuller one is better",
}
_HEAD: Final = ("NODE", "HAS", "RANK", "LOAD", "INSTANCES", "PREFERENCE", "WHY NOT")


@click.command("explain", short_help="Say why a workload runs where it does.")
@click.option("--offline", is_flag=True, help="Plan from the files; ask no leader.")
@options.files
@options.cluster
@options.nodes
@options.parent
@options.form
@options.ending
@click.argument("workload")
def command(*, offline: bool, workload: str, form: Form, **given: options.Given) -> int:
    """Say for every node whether WORKLOAD may run there, and why (not), with the numbers.

    WORKLOAD is a name, or <namespace>/<name>. The best node comes first; a node that has an
    instance is judged as if that one were still to be placed.
    """
    options.require_offline(is_given=offline)
    loaded = load(options.named(given))
    key = _found(workload, loaded.specs.workloads)
    made = planned(loaded)
    told = plan.explain(loaded.specs, loaded.inventory, made, key)
    if form is Form.JSON:
        print_json(told)
    else:
        for line in _lines(told, made):
            say(visible(line))
    return Exit.FINE


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


def _lines(told: Explanation, made: Plan) -> Iterator[str]:
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
        yield _BETTER[made.specs.cluster.spec.scheduling]


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
