"""`katcall top`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click
import msgspec

from katgen.cli import online, options
from katgen.cli.connection import Leader, Request, path
from katgen.cli.documents import Document, name
from katgen.cli.fetching import listed
from katgen.cli.nouns import BY_KIND
from katgen.cli.output import Form, print_json, remark, say
from katgen.cli.tables import aligned
from katgen.leader.answers import InstanceUsage

_EPILOG = """\b
  katcall top                  instances of the namespace default
  katcall top instances -A
  katcall top nodes"""
INTERVAL_S: Final = 1.0
_LITTLE_KIB: Final = 10 * 1024
"""Less than this is shown in KiB."""


class Usages(msgspec.Struct):
    """Answer of `/usage`."""

    items: tuple[InstanceUsage, ...] = ()


class Load(msgspec.Struct, frozen=True, rename="camel"):
    """What something uses: thousandths of a CPU over a second, and bytes now."""

    name: str
    node: str
    cpu_millis: int
    memory_bytes: int
    namespace: str = ""
    instances: int = 1


@click.command("top", short_help="Show what nodes and instances use now.", epilog=_EPILOG)
@click.argument("what", type=click.Choice(["instances", "nodes"]), default="instances")
@online.namespace
@online.everywhere
@options.form
@options.ending
@online.leader
def command(*, leader: Leader, what: str, namespace: str, everywhere: bool, form: Form) -> None:
    """Show CPU (over one second) and memory (now) by instance, or of all instances by node."""
    before = _usage(leader)
    time.sleep(INTERVAL_S)
    loads = [*_loads(before, _usage(leader))]
    if what == "nodes":
        found = _by_node(loads, listed(leader, BY_KIND["Node"], ""))
    else:
        found = [one for one in loads if everywhere or one.namespace == namespace]
        found.sort(key=lambda one: (-one.cpu_millis, -one.memory_bytes, one.namespace, one.name))
    if form is Form.JSON:
        print_json({"kind": "List", "items": found})
    elif not found:
        remark("nothing runs")
    else:
        _print(found, is_of_nodes=what == "nodes", has_namespace=everywhere)


Counted = Mapping[tuple[str, str], InstanceUsage]


def _usage(leader: Leader) -> Counted:
    items = leader.ask(Request(path("usage")), Usages).items
    return {(one.namespace, one.name): one for one in items}


def _loads(before: Counted, after: Counted) -> Iterator[Load]:
    for key, now in after.items():
        then = before.get(key)
        passed = now.time - then.time if then else 0
        spent = now.cpu_ns - then.cpu_ns if then else 0
        millis = round(spent / passed / 1e6) if passed > 0 and spent > 0 else 0
        yield Load(now.name, now.node, millis, now.memory_bytes, now.namespace)


def _by_node(loads: Sequence[Load], nodes: Sequence[Document]) -> list[Load]:
    found = []
    for node in sorted({*map(name, nodes), *(one.node for one in loads)}):
        own = [one for one in loads if one.node == node]
        cpu, memory = sum(o.cpu_millis for o in own), sum(o.memory_bytes for o in own)
        found.append(Load(node, node, cpu, memory, instances=len(own)))
    return found


def _print(loads: Sequence[Load], *, is_of_nodes: bool, has_namespace: bool) -> None:
    if is_of_nodes:
        head = ["NODE", "CPU", "MEMORY", "INSTANCES"]
        rows = [[one.name, *_numbers(one), str(one.instances)] for one in loads]
    else:
        head = ["NAME", "CPU", "MEMORY", "NODE"]
        rows = [[one.name, *_numbers(one), one.node] for one in loads]
    if has_namespace and not is_of_nodes:
        head.insert(0, "NAMESPACE")
        rows = [[one.namespace, *row] for one, row in zip(loads, rows, strict=True)]
    for line in aligned(head, rows):
        say(line)


def _numbers(load: Load) -> tuple[str, str]:
    if not load.memory_bytes:  # no process runs in so little: it is not accounted
        return f"{load.cpu_millis}m", "-"
    kib = load.memory_bytes / 1024
    memory = f"{kib:.0f}Ki" if kib < _LITTLE_KIB else f"{kib / 1024:.0f}Mi"
    return f"{load.cpu_millis}m", memory
