"""What must fit together inside one Workload."""

from collections.abc import Iterable, Iterator
from typing import Final

from katgen.errors import Problem, Source
from katgen.model.container import Container
from katgen.model.probe import Probe
from katgen.model.shape import attributes
from katgen.model.workload import Workload
from katgen.validate.load import Written
from katgen.validate.objects import Objects
from katgen.validate.translate import did_you_mean

One = Written[Workload]
_CONTAINER: Final = ("spec", "container")
PODMAN_PERIOD_S: Final = 2
"""The shortest of Podman's checks: each is a unit with systemd's own start limit."""


def insides(objects: Objects) -> Iterator[Problem]:
    """Type and its fields, names that stand twice, mounts, probes, requests and limits."""
    for one in objects.workloads.values():
        yield from _type(one)
        yield from _names(one)
        yield from _ports(one)
        yield from _mounts(one)
        yield from _probes(one)
        yield from _meaning_of_probes(one)
        yield from _amounts(one)


def _type(one: One) -> Iterator[Problem]:
    spec = one.object.spec
    if spec.replicas is not None and spec.type != "Service":
        hint = {
            "Job": "remove it; a JobDefinition has completions and parallelism",
            "DaemonService": "remove it; there is one instance on every node",
        }[spec.type]
        yield Problem(one.at("spec", "replicas"), f"a {spec.type} has no replicas", hint)
    if spec.type == "Job":
        yield from _retries(one)
    if spec.type == "Job" and spec.restart_policy.condition == "Always":
        at = one.at("spec", "restartPolicy", "condition")
        yield Problem(
            at, "a Job that is always started again never ends", "choose OnFailure or Never"
        )


def _retries(one: One) -> Iterator[Problem]:
    """Refuse a second count of attempts: a Job's JobDefinition has the one that counts."""
    policy = one.object.spec.restart_policy
    fields = {"maxRestarts": "backoffLimit", "backoffSeconds": "backoffSeconds", "resetSeconds": ""}
    given = policy.model_fields_set
    for attribute, key in attributes(type(policy)).items():
        if attribute in given and key in fields:
            hint = f"give the JobDefinition {fields[key]} instead" if fields[key] else "remove it"
            at = one.at("spec", "restartPolicy", key)
            yield Problem(at, "a Job is tried again as its JobDefinition says", hint)


def _names(one: One) -> Iterator[Problem]:
    container = one.object.spec.container
    lists = (
        ((*_CONTAINER, "env"), "the variable", (env.name for env in container.env)),
        ((*_CONTAINER, "ports"), "the port name", (port.name for port in container.ports)),
        (("spec", "volumes"), "the volume", (volume.name for volume in one.object.spec.volumes)),
    )
    for path, what, names in lists:
        for index, name, first in twice(names):
            at = one.at(*path, index, "name")
            yield Problem(at, f"{what} {name!r} stands twice", f"it is also at [{first}]; keep one")


def _ports(one: One) -> Iterator[Problem]:
    ports = one.object.spec.container.ports
    numbers = (f"{port.container_port}/{port.protocol}" for port in ports)
    for index, number, first in twice(numbers):
        at = one.at(*_CONTAINER, "ports", index, "containerPort")
        yield Problem(at, f"port {number} stands twice", f"it is also at [{first}]; keep one")
    hosts = (f"{p.host_port}/{p.protocol}" if p.host_port else None for p in ports)
    for index, number, first in twice(hosts):
        at = one.at(*_CONTAINER, "ports", index, "hostPort")
        yield Problem(at, f"host port {number} is taken by [{first}]", "choose another")


def _mounts(one: One) -> Iterator[Problem]:
    spec = one.object.spec
    mounts = spec.container.volume_mounts
    volumes = [volume.name for volume in spec.volumes]
    for index, mount in enumerate(mounts):
        here = (*_CONTAINER, "volumeMounts", index)
        if mount.name not in volumes:
            hint = did_you_mean(mount.name, volumes) if volumes else "add it to spec.volumes"
            yield Problem(one.at(*here, "name"), f"there is no volume {mount.name!r}", hint)
        if not _segments(mount.mount_path):
            at = one.at(*here, "mountPath")
            yield Problem(at, "'/' is the container itself", "mount at a path below it")
    paths = ("/" + "/".join(_segments(mount.mount_path)) for mount in mounts)
    for index, path, first in twice(paths):
        at = one.at(*_CONTAINER, "volumeMounts", index, "mountPath")
        yield Problem(at, f"{path} is taken by [{first}]", "choose another path")


def _segments(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _probes(one: One) -> Iterator[Problem]:
    container = one.object.spec.container
    for name, probe in (("readiness", container.readiness), ("liveness", container.liveness)):
        for path, port in checked_ports(probe):
            if is_unlisted(container, port, "TCP"):
                yield unlisted(one.at(*_CONTAINER, name, *path), container, port, "TCP")


def _meaning_of_probes(one: One) -> Iterator[Problem]:
    """Refuse checks that would not be made, and thresholds that would not count."""
    container = one.object.spec.container
    if one.object.spec.type == "Job":
        words = {
            "readiness": "remove it; nothing sends requests to a Job",
            "liveness": "remove it; a JobDefinition's activeDeadlineSeconds ends what hangs",
        }
        for name, hint in words.items():
            if getattr(container, name) is not None:
                yield Problem(one.at(*_CONTAINER, name), "a Job's run is not checked", hint)
        return
    live = container.liveness
    if live is not None and live.exec is not None and live.period_seconds < PODMAN_PERIOD_S:
        at = one.at(*_CONTAINER, "liveness", "periodSeconds")
        what = "liveness by command is Podman's, and systemd starts it 5 times in 10 s at most"
        yield Problem(at, what, f"give {PODMAN_PERIOD_S} or more, or check by http or tcp")
    if live is not None and live.success_threshold != 1:
        at = one.at(*_CONTAINER, "liveness", "successThreshold")
        hint = "remove it; what is not alive is restarted, and begins anew"
        yield Problem(at, "one success is what makes an instance alive", hint)


def checked_ports(probe: Probe | None) -> Iterator[tuple[tuple[str, str], int]]:
    """Return the port that a check asks, and its path in the check."""
    if probe is not None and probe.http is not None:
        yield ("http", "port"), probe.http.port
    if probe is not None and probe.tcp is not None:
        yield ("tcp", "port"), probe.tcp.port


def is_unlisted(container: Container, port: int, protocol: str) -> bool:
    """Whether a container lists ports, and this one is not among them."""
    listed = [(p.container_port, p.protocol) for p in container.ports]
    return bool(listed) and (port, protocol) not in listed


def unlisted(at: Source, container: Container, port: int, protocol: str) -> Problem:
    """Return the problem of a port that a container does not list."""
    known = ", ".join(f"{p.container_port}/{p.protocol}" for p in container.ports)
    what = f"the container does not list port {port}/{protocol}, only {known}"
    return Problem(at, what, "choose one of them, or add it to spec.container.ports")


def _amounts(one: One) -> Iterator[Problem]:
    resources = one.object.spec.container.resources
    for name in ("cpu", "memory"):
        request, limit = getattr(resources.requests, name), getattr(resources.limits, name)
        if request is not None and limit is not None and request > limit:
            at = one.at(*_CONTAINER, "resources", "requests", name)
            yield Problem(at, "is more than the limit", f"lower it, or raise limits.{name}")


def twice(keys: Iterable[str | None]) -> Iterator[tuple[int, str, int]]:
    """Return (index, key, first index) of each key that stood before; None never did."""
    seen: dict[str, int] = {}
    for index, key in enumerate(keys):
        first = seen.setdefault(key, index) if key else index
        if key and first != index:
            yield index, key, first
