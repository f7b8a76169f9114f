"""`katcall get`."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import click

from katgen.cli import online, options
from katgen.cli.connection import Leader
from katgen.cli.documents import Document, name, namespace
from katgen.cli.fetching import EVERYWHERE, instances, listed, named, workload_of
from katgen.cli.nouns import Target, targets
from katgen.cli.output import Form, has_colour, print_json, print_yaml, remark
from katgen.cli.tables import Scene, table

_EPILOG = """\b
  katcall get workloads                  those of the namespace default
  katcall get wl,inst -n shop            two kinds
  katcall get instances -A -o wide       of all namespaces, with more columns
  katcall get workload web -o yaml       one, as it can be applied again
  katcall get wl -l tier=front -o name   for scripts

Kinds: workloads (wl), instances (inst), nodes (no), namespaces (ns), jobs, builds, configs (cm),
secrets (sec), virtualloadbalancers (vlb), plans, events (ev), clusterconfiguration (cc). Of
secrets, only the keys are shown."""

_WITHOUT_LABELS: Final = frozenset({"Event", "Generation", "ClusterConfiguration"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects, and how to show them."""

    namespace: str
    selector: str
    form: Form

    @property
    def is_everywhere(self) -> bool:
        """Whether all namespaces are meant."""
        return self.namespace == EVERYWHERE


@click.command("get", short_help="List things, or print them.", epilog=_EPILOG)
@click.argument("words", nargs=-1, required=True, metavar="KIND [NAME]...",
                shell_complete=online.kinds_and_names)  # fmt: skip
@online.namespace
@online.everywhere
@click.option("-l", "--selector", default="", metavar="LABELS", help="Only with these: a=b,c=d.")
@click.option("-w", "--watch", "is_watching", is_flag=True, help="Not built yet.")
@options.every_form
@options.ending
@online.leader
def command(
    *,
    leader: Leader,
    words: Sequence[str],
    is_watching: bool,
    form: Form,
    **given: str | bool,
) -> None:
    """List the objects of a kind, or of several: KIND,KIND; or print those that are named."""
    if is_watching:
        raise click.UsageError("-w comes with watches, which are not built yet")
    wanted = targets(words)
    where = EVERYWHERE if given["everywhere"] else str(given["namespace"])
    if where == EVERYWHERE and any(one.names and one.noun.is_namespaced for one in wanted):
        raise click.UsageError("a name is one of a namespace; use -n, not -A")
    scope = Scope(where, str(given["selector"]), form)
    found = [(one, _found(leader, one, scope)) for one in wanted]
    if form in {Form.JSON, Form.YAML}:
        _dump(found, form)
    elif form is Form.NAME:
        for one, documents in found:
            for document in documents:
                click.echo(f"{one.noun.singular}/{_label(document)}")
    else:
        _tables(leader, found, scope)


def _found(leader: Leader, target: Target, scope: Scope) -> Sequence[Document]:
    if scope.selector and (target.names or target.noun.kind in _WITHOUT_LABELS):
        raise click.UsageError(
            f"-l does not go with {'names' if target.names else target.noun.plural}"
        )
    if target.names:
        return named(leader, target.noun, scope.namespace, target.names)
    query = {"labelSelector": scope.selector} if scope.selector else {}
    return listed(leader, target.noun, scope.namespace, query)


def _label(document: Document) -> str:
    return name(document) or str(document.get("generation") or document.get("name") or "")


Found = Sequence[tuple[Target, Sequence[Document]]]


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
    kinds = {one.noun.kind for one, _ in shown}
    scene = Scene(time.time(), _by_workload(leader, scope) if "Workload" in kinds else {})
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
