"""The columns of `katcall get`, by kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from katgen.cli.documents import (
    Document,
    find,
    joined,
    mapping,
    members,
    moment,
    name,
    namespace,
    number,
    since,
    text,
)
from katgen.cli.output import visible

_COLOURS: Final = {
    **dict.fromkeys(("running", "Ready", "in sync"), "green"),
    **dict.fromkeys(("failed", "NotReady", "degraded"), "red"),
    **dict.fromkeys(
        ("starting", "rolling", "pulling", "waiting", "applying", "late", "held"), "yellow"
    ),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a row may need beside its own document. `instances` are by `<namespace>/<workload>`."""

    now: float
    instances: Mapping[str, Sequence[Document]]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands below it; `is_wide` ones appear with `-o wide` only.

    `is_age`: it says something else every second, which is no news. `room`: how wide it gets as a
    rule, where one does not know yet what comes.
    """

    head: str
    cell: Callable[[Document, Scene], str]
    is_wide: bool = False
    is_age: bool = False
    room: int = 0


def _at(head: str, path: str, *, is_wide: bool = False, room: int = 0) -> Column:
    return Column(head, lambda document, _: text(document, path), is_wide, room=room)


def _since(head: str, path: str) -> Column:
    return Column(
        head, lambda document, scene: since(moment(document, path), scene.now), is_age=True, room=5
    )


def _image(document: Document, _: Scene) -> str:
    return text(document, "spec.source.image") or text(document, "spec.source.git.url")


def own_instances(workload: Document, scene: Scene) -> Sequence[Document]:
    """Return a workload's instances."""
    return scene.instances.get(f"{namespace(workload)}/{name(workload)}", ())


def _ready(workload: Document, _: Scene) -> str:
    """Return how many get traffic, of a Job how many run or have ended well; and how many should.

    That of a Service may be written already, and not planned yet.
    """
    kind = text(workload, "spec.type")
    done = number(workload, "status.running" if kind == "Job" else "status.ready")
    wanted = number(workload, "status.wanted")
    if kind == "Service":
        replicas = find(workload, "spec.replicas")
        wanted = number(workload, "spec.replicas") if replicas is not None else max(wanted, 1)
    return f"{done:.0f}/{wanted:.0f}"


_ENDPOINTS: Final = {"ready": "yes", "notready": "no", "": "-"}


def _endpoint(instance: Document, _: Scene) -> str:
    """Return whether it gets traffic; `-` if nobody has said so, or it never does (a Job)."""
    state = text(instance, "endpoint")
    return _ENDPOINTS.get(state, state)


def status_text(workload: Document, _: Scene | None = None) -> str:
    """Return `running`, or `held back: ImagePullFailed` if what is stored is not what runs."""
    reason = text(workload, "status.heldBack.reason")
    return f"held back: {reason}" if reason else text(workload, "status.state")


def _nodes(workload: Document, scene: Scene) -> str:
    return joined(dict.fromkeys(text(one, "node") for one in own_instances(workload, scene)))


def _count(head: str, path: str) -> Column:
    def cell(document: Document, _: Scene) -> str:
        return str(len(mapping(document, path)) or len(members(document, path)))

    return Column(head, cell)


def _keys(secret: Document, _: Scene) -> str:
    return joined(str(one) for one in members(secret, "keys"))


def _ports(balancer: Document, _: Scene) -> str:
    return joined(
        f"{text(port, 'port')}/{text(port, 'protocol') or 'TCP'}"
        for port in members(balancer, "spec.ports")
    )


def _object(event: Document, _: Scene) -> str:
    return f"{text(event, 'kind').lower()}/{text(event, 'name')}"


_AGE: Final = _since("AGE", "metadata.creationTimestamp")
_NAME: Final = _at("NAME", "metadata.name")
NAMESPACE: Final = Column("NAMESPACE", lambda document, _: namespace(document))
_EVENT_NAMESPACE: Final = _at("NAMESPACE", "namespace")
COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "Workload": (
        _NAME,
        _at("TYPE", "spec.type"),
        Column("READY", _ready),
        Column("STATUS", status_text, room=18),
        _AGE,
        Column("NODES", _nodes, is_wide=True),
        Column("IMAGE", _image, is_wide=True),
    ),
    "Instance": (
        _NAME,
        Column("READY", _endpoint),
        _at("STATE", "state", room=8),
        _at("RESTARTS", "restarts"),
        _at("NODE", "node"),
        _at("ADDRESS", "address"),
        _since("SINCE", "since"),
        _at("HEALTH", "health", is_wide=True),
        _at("UNIT", "unit", is_wide=True),
        _at("IMAGE", "image", is_wide=True),
    ),
    "Node": (
        _NAME,
        _at("CONDITION", "status.condition"),
        _at("SYNC", "status.sync", room=8),
        _count("INSTANCES", "status.workloadInstances"),
        _since("SEEN", "status.lastHeartbeatTime"),
        _at("KAT", "status.versions.kat"),
        _at("ADDRESS", "spec.advertiseAddress", is_wide=True),
        _at("CPU", "status.capacity.cpu", is_wide=True),
        _at("MEMORY", "status.capacity.memory", is_wide=True),
        _at("SYSTEMD", "status.versions.systemd", is_wide=True),
        _at("PODMAN", "status.versions.podman", is_wide=True),
        _at("KERNEL", "status.versions.kernel", is_wide=True),
    ),
    "JobDefinition": (_NAME, _at("SCHEDULE", "spec.schedule"), _at("ZONE", "spec.timeZone"), _AGE),
    "BuildDefinition": (_NAME, _at("CONTEXT", "spec.buildContext"), _AGE),
    "Config": (_NAME, _count("FILES", "data"), _AGE),
    "Secret": (_NAME, Column("KEYS", _keys), _AGE),
    "VirtualLoadBalancer": (_NAME, Column("PORTS", _ports), _AGE),
    "Namespace": (_NAME, _at("ISOLATED", "spec.isolated"), _AGE),
    "ClusterConfiguration": (
        _NAME,
        _at("INSTANCES", "spec.clusterCIDR"),
        _at("SERVICES", "spec.serviceCIDR"),
        _at("DOMAIN", "spec.clusterDomain"),
    ),
    "Generation": (
        _at("PLAN", "generation"),
        _since("AGE", "time"),
        Column("ROOT", lambda plan, _: text(plan, "digest")[:12]),
        Column("CHANGED", lambda plan, _: joined(map(str, members(plan, "changed")))),
    ),
    "Event": (
        _since("AGE", "last"),
        _at("COUNT", "count"),
        _at("REASON", "reason", room=16),
        Column("OBJECT", _object, room=16),
        _at("NODE", "node", is_wide=True),
        _at("MESSAGE", "message"),
    ),
}


def table(
    kind: str,
    documents: Sequence[Document],
    scene: Scene,
    *,
    is_wide: bool = False,
    has_namespace: bool = False,
) -> Iterator[str]:
    """Yield a table's lines, styled, its heading first."""
    chosen = columns(kind, is_wide=is_wide, has_namespace=has_namespace)
    rows = [[one.cell(document, scene) for one in chosen] for document in documents]
    yield from aligned([one.head for one in chosen], rows)


def label(document: Document) -> str:
    """Return what names a document beside its kind: `web`, of a plan its number."""
    return name(document) or text(document, "generation") or text(document, "name")


def columns(kind: str, *, is_wide: bool, has_namespace: bool) -> Sequence[Column]:
    """Return the columns of a kind."""
    chosen = [one for one in COLUMNS[kind] if is_wide or not one.is_wide]
    if has_namespace:
        chosen.insert(0, _EVENT_NAMESPACE if kind == "Event" else NAMESPACE)
    return chosen


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns below their heading; words for states have colours."""
    shown = [[visible(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for index, row in enumerate(shown):
        yield styled_row(row, widths, is_head=index == 0)


def styled_row(row: Sequence[str], widths: Sequence[int], *, is_head: bool = False) -> str:
    """Return a line of cells that are visible as they are."""
    last = max((i for i, cell in enumerate(row) if cell), default=-1)
    cells = [
        _cell(cell, width if i < last else 0, is_head=is_head)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells[: last + 1])


def _cell(text: str, width: int, *, is_head: bool) -> str:
    colour = None if is_head else _COLOURS.get(text)
    styled = click.style(text, fg=colour) if colour else text
    return styled + " " * (width - len(text))
