"""What `katcall describe` prints, from what the leader told."""

from collections.abc import Iterator, Mapping, Sequence

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
    since,
    text,
)
from katgen.cli.output import visible
from katgen.cli.tables import Scene, aligned, table

Told = Mapping[str, object]
"""Documents by what they are: `workload`, `instances`, `events`, `node`."""


def workload_lines(told: Told, now: float) -> Iterator[str]:
    """Yield all about a workload, styled."""
    workload = mapping(told, "workload")
    yield from _facts(_about_workload(workload, told, now))
    yield from _instance_table(_documents(told, "instances"), now)
    yield from _failures(_documents(told, "instances"))
    yield from _event_table(_documents(told, "events"), now)


def _about_workload(workload: Document, told: Told, now: float) -> Iterator[tuple[str, str]]:
    yield "Workload", f"{namespace(workload)}/{name(workload)}"
    yield "Type", text(workload, "spec.type")
    yield "Image", text(workload, "spec.source.image") or text(workload, "spec.source.git.url")
    yield from _status(workload)
    yield "Replicas", text(workload, "spec.replicas")
    yield "Update", text(workload, "spec.updateStrategy.type")
    yield "Labels", _pairs(mapping(workload, "metadata.labels"))
    yield "Node selector", _pairs(mapping(workload, "spec.nodeSelector"))
    yield "Requests", _pairs(mapping(workload, "spec.container.resources.requests"))
    yield "Limits", _pairs(mapping(workload, "spec.container.resources.limits"))
    yield "Volumes", joined(text(one, "name") for one in members(workload, "spec.volumes"))
    yield "Ports", joined(map(_port, members(workload, "spec.container.ports")))
    yield "Service", joined(map(_service, members(told, "virtualloadbalancer.spec.ports")))
    yield "Schedule", text(told, "jobdefinition.spec.schedule")
    yield "Created", _ago(since(moment(workload, "metadata.creationTimestamp"), now))
    yield "Version", text(workload, "metadata.generation")


def _status(workload: Document) -> Iterator[tuple[str, str]]:
    """Yield how it is, and where what runs is not what is written."""
    of = mapping(workload, "status")
    state, message = text(of, "state"), text(of, "message")
    yield "Status", f"{state}: {message}" if message else state
    reason = text(of, "heldBack.reason")
    if reason:
        since, said = text(of, "heldBack.since"), text(of, "heldBack.message")
        yield "Held back", f"{reason}, since {since}: {said}"
    image = text(of, "image")
    if reason or image != text(workload, "spec.source.image"):
        runs = [("revision", text(of, "revision")), ("image", image)]
        yield "Runs", ", ".join(f"{what} {value}" for what, value in runs if value)


def instance_lines(told: Told, now: float) -> Iterator[str]:
    """Yield all about one instance, or each of several."""
    for number, one in enumerate(_documents(told, "instances")):
        yield from ("",) if number else ()
        yield from _facts(_about_instance(one, now))
        yield from _failures([one])
    yield from _event_table(_documents(told, "events"), now)


def _about_instance(one: Document, now: float) -> Iterator[tuple[str, str]]:
    yield "Instance", f"{namespace(one)}/{name(one)}"
    yield "State", joined((text(one, "state"), _for(since(moment(one, "since"), now))))
    yield "Health", text(one, "health")
    yield "Node", text(one, "node")
    yield "Address", text(one, "address")
    yield "Unit", text(one, "unit")
    yield "Image", text(one, "image")
    yield "Revision", text(one, "revision")
    yield "Restarts", text(one, "restarts")
    yield "Exit code", text(one, "exitCode")


def node_lines(told: Told, now: float) -> Iterator[str]:
    """Yield all about a node."""
    node = mapping(told, "node")
    yield from _facts(_about_node(node, now))
    problems = members(node, "status.problems")
    if problems:
        yield from ("", click.style("Problems", bold=True))
        for one in problems:
            yield f"  {visible(': '.join(filter(None, (text(one, 'path'), text(one, 'text')))))}"
    yield from _instance_table(_documents(told, "instances"), now, has_namespace=True)
    drift = members(node, "status.drift")
    if drift:
        yield ""
        yield f"{len(drift)} of its files or units were changed by hand: katcall diff {name(node)}"


def _about_node(node: Document, now: float) -> Iterator[tuple[str, str]]:
    yield "Node", name(node)
    yield "Condition", text(node, "status.condition")
    yield "Sync", text(node, "status.sync")
    yield "Seen", _ago(since(moment(node, "status.lastHeartbeatTime"), now))
    yield "Unschedulable", "yes" if find(node, "spec.unschedulable") is True else ""
    yield "Labels", _pairs(mapping(node, "metadata.labels"))
    yield "Taints", joined(map(_taint, members(node, "spec.taints")))
    yield "Address", text(node, "spec.advertiseAddress")
    yield "Overlay", text(node, "spec.overlaySubnet")
    yield "Capacity", _pairs(mapping(node, "status.capacity"))
    yield "Versions", _pairs(mapping(node, "status.versions"))


def _documents(told: Told, key: str) -> Sequence[Document]:
    found = told.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, Sequence) else []


def _facts(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    shown = [(label, value) for label, value in pairs if value]
    width = max(len(label) for label, _ in shown) + 1
    for label, value in shown:
        yield f"{label + ':':<{width}}  {visible(value)}"


def _instance_table(
    every: Sequence[Document], now: float, *, has_namespace: bool = False
) -> Iterator[str]:
    yield ""
    if not every:
        yield "No instance."
        return
    yield from table("Instance", every, Scene(now, {}), has_namespace=has_namespace)
    yield ""
    units = [(name(one), text(one, "unit")) for one in every]
    yield from aligned(("INSTANCE", "UNIT"), units)


def _failures(every: Sequence[Document]) -> Iterator[str]:
    """Yield the last lines of what failed."""
    for one in every:
        lines = members(one, "lines")
        if lines and text(one, "state") != "running":
            code = text(one, "exitCode")
            said = f" (exit code {code})" if code not in {"", "0"} else ""
            yield from ("", click.style(f"Last lines of {visible(name(one))}{said}", bold=True))
            yield from (f"  {visible(str(line).rstrip())}" for line in lines)


def _event_table(found: Sequence[Document], now: float) -> Iterator[str]:
    if found:
        yield from ("", click.style("Events", bold=True))
        yield from table("Event", found, Scene(now, {}))


def _pairs(values: Document) -> str:
    return joined(f"{key}={value}" for key, value in values.items() if not isinstance(value, dict))


def _port(port: object) -> str:
    host = text(port, "hostPort")
    number = text(port, "containerPort")
    protocol = text(port, "protocol") or "TCP"
    return f"{number}/{protocol}" + (f" on the node's {host}" if host not in {"", "0"} else "")


def _service(port: object) -> str:
    target = text(port, "targetPort")
    return text(port, "port") + (f" -> {target}" if target not in {"", "0"} else "")


def _taint(taint: object) -> str:
    value = text(taint, "value")
    return f"{text(taint, 'key')}{'=' if value else ''}{value}:{text(taint, 'effect')}"


def _ago(age: str) -> str:
    return f"{age} ago" if age else ""


def _for(age: str) -> str:
    return f"for {age}" if age else ""
