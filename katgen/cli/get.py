"""`katcall get`."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader
from katgen.cli.documents import Document, namespace
from katgen.cli.exits import Exit
from katgen.cli.fetching import CHUNK, EVERYWHERE, instances, listed, named, workload_of
from katgen.cli.nouns import Target, targets
from katgen.cli.output import Form, has_colour, print_json, print_yaml, remark
from katgen.cli.tables import Scene, label, table
from katgen.cli.watching import Watched, watch

_EPILOG = """\b
  katcall get workloads                  those of the namespace default
  katcall get wl,inst -n shop            two kinds
  katcall get instances -A -o wide       of all namespaces, with more columns
  katcall get workload web -o yaml       one, as it can be applied again
  katcall get wl -l tier=front -o name   for scripts
  katcall get inst -w --field-selector node=b

Kinds: workloads (wl), instances (inst), nodes (no), namespaces (ns), jobs, builds, configs (cm),
secrets (sec), virtualloadbalancers (vlb), plans, events (ev), clusterconfiguration (cc). Of
secrets, only the keys are shown. Instances have the labels of their workloads.

-w goes on until Ctrl-C, also over lost connections and restarts of the leader. In a table, what
changes is another row, unless no column shows it; with -o json, each object is one line."""

_WITHOUT_LABELS: Final = frozenset({"Event", "Generation", "ClusterConfiguration"})
_SELECTORS: Final = {"selector": "labelSelector", "field_selector": "fieldSelector"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects, and how to show them. `query` are the selectors."""

    namespace: str
    form: Form
    query: Mapping[str, str] = field(default_factory=dict)
    chunk: int = CHUNK

    @property
    def is_everywhere(self) -> bool:
        """Whether all namespaces are meant."""
        return self.namespace == EVERYWHERE


@click.command("get", short_help="List things, or print them.", epilog=_EPILOG)
@click.argument("words", nargs=-1, required=True, metavar="KIND [NAME]...",
                shell_complete=online.kinds_and_names)  # fmt: skip
@online.namespace
@online.everywhere
@click.option("-l", "--selector", default="", metavar="LABELS",
              help="Only with these: a=b,c!=d,e in (f,g),!h.")  # fmt: skip
@click.option("--field-selector", default="", metavar="FIELDS",
              help="Only with these: node=b,state!=running.")  # fmt: skip
@click.option("-w", "--watch", "is_watching", is_flag=True, help="Go on with what changes.")
@click.option("--watch-only", "is_later", is_flag=True, help="The same, without what is there.")
@click.option("--output-watch-events", "has_types", is_flag=True,
              help="With -w: say ADDED, MODIFIED or DELETED.")  # fmt: skip
@click.option("--chunk-size", "chunk", type=click.IntRange(min=0), default=CHUNK, metavar="N",
              show_default=True, help="Objects to ask for at once; 0 is all.")  # fmt: skip
@options.every_form
@options.ending
@online.leader
def command(
    *, leader: Leader, words: Sequence[str], form: Form, chunk: int, **given: str | bool
) -> int:
    """List the objects of a kind, or of several: KIND,KIND; or print those that are named."""
    wanted = targets(words)
    where = EVERYWHERE if given["everywhere"] else str(given["namespace"])
    query = {name: str(given[one]) for one, name in _SELECTORS.items() if given[one]}
    scope = Scope(where, form, query, chunk)
    _check(wanted, scope)
    if given["is_watching"] or given["is_later"]:
        return _watch(leader, wanted, scope, given)
    found = [(one, _found(leader, one, scope)) for one in wanted]
    show(leader, found, scope)
    return Exit.FINE


def _check(wanted: Sequence[Target], scope: Scope) -> None:
    """Raise UsageError for what does not go together."""
    for one in wanted:
        if scope.is_everywhere and one.names and one.noun.is_namespaced:
            raise click.UsageError("a name is one of a namespace; use -n, not -A")
        if scope.query and one.names:
            raise click.UsageError("a selector does not go with names")
        if "labelSelector" in scope.query and one.noun.kind in _WITHOUT_LABELS:
            raise click.UsageError(f"-l does not go with {one.noun.plural}")
        if scope.query and one.noun.kind == "ClusterConfiguration":
            raise click.UsageError("there is but one clusterconfiguration")


def _watch(
    leader: Leader, wanted: Sequence[Target], scope: Scope, given: Mapping[str, str | bool]
) -> int:
    target, *others = wanted
    if others or len(target.names) > 1:
        raise click.UsageError("-w goes with one kind, or one name")
    if target.noun.kind == "ClusterConfiguration":
        raise click.UsageError("-w does not go with clusterconfiguration")
    watched = Watched(
        target,
        scope.namespace,
        scope.query,
        scope.form,
        has_types=bool(given["has_types"]),
        is_later=bool(given["is_later"]),
    )
    return watch(leader, watched, lambda: _by_workload(leader, scope))


def _found(leader: Leader, target: Target, scope: Scope) -> Sequence[Document]:
    if target.names:
        return named(leader, target.noun, scope.namespace, target.names)
    return listed(leader, target.noun, scope.namespace, scope.query, chunk=scope.chunk)


Found = Sequence[tuple[Target, Sequence[Document]]]


def show(leader: Leader, found: Found, scope: Scope) -> None:
    """Print what was found. Raises LeaderError."""
    if scope.form in {Form.JSON, Form.YAML}:
        _dump(found, scope.form)
    elif scope.form is Form.NAME:
        for one, documents in found:
            for document in documents:
                click.echo(f"{one.noun.singular}/{label(document)}")
    else:
        _tables(leader, found, scope)


def _dump(found: Found, form: Form) -> None:
    """Print one object as itself, several as a List."""
    every = list(chain.from_iterable(documents for _, documents in found))
    is_single = len(found) == 1 and len(found[0][0].names) == 1 and len(every) == 1
    value: object = every[0] if is_single else {"kind": "List", "items": every}
    if form is Form.JSON:
        print_json(value)
    else:
        print_yaml(value)


def _tables(leader: Leader, found: Found, scope: Scope) -> None:
    shown = [(one, documents) for one, documents in found if documents]
    if not shown:
        where = "" if scope.is_everywhere else f" in the namespace {scope.namespace!r}"
        is_namespaced = all(one.noun.is_namespaced for one, _ in found)
        remark(f"there are none{where if is_namespaced else ''}")
        return
    is_wide = scope.form is Form.WIDE and any(one.noun.kind == "Workload" for one, _ in shown)
    scene = Scene(time.time(), _by_workload(leader, scope) if is_wide else {})
    coloured = has_colour(sys.stdout)
    for line in _lines(shown, scope, scene):
        click.echo(line, color=coloured)


def _lines(shown: Found, scope: Scope, scene: Scene) -> Iterator[str]:
    for number, (one, documents) in enumerate(shown):
        if len(shown) > 1:
            yield from ("",) if number else ()
            yield click.style(f"== {one.noun.plural}", bold=True)
        has_namespace = scope.is_everywhere and one.noun.is_namespaced
        is_wide = scope.form is Form.WIDE
        yield from table(
            one.noun.kind, documents, scene, is_wide=is_wide, has_namespace=has_namespace
        )


def _by_workload(leader: Leader, scope: Scope) -> Mapping[str, Sequence[Document]]:
    by_workload: dict[str, list[Document]] = {}
    for one in instances(leader, scope.namespace):
        by_workload.setdefault(f"{namespace(one)}/{workload_of(one)}", []).append(one)
    return by_workload
