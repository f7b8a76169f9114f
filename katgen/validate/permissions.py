"""What a Namespace allows its workloads to take from the machines: nothing, unless it says so."""

from collections.abc import Iterable, Iterator

from katgen import names
from katgen.errors import Problem
from katgen.model.objects import NamespaceSpec
from katgen.model.workload import Workload
from katgen.validate.load import Written
from katgen.validate.objects import Objects

_NOTHING = NamespaceSpec()


def permissions(objects: Objects) -> Iterator[Problem]:
    """host-root, host paths, devices and capabilities."""
    for one in objects.workloads.values():
        namespace = one.object.metadata.namespace
        key = names.key("default", namespace)
        written = objects.namespaces.get(key)
        if written is None and not objects.lacks("Namespace", key):
            continue
        allowed = written.object.spec if written else _NOTHING
        yield from _isolation(one, allowed)
        yield from _host_paths(one, allowed)
        yield from _devices(one, allowed)
        yield from _capabilities(one, allowed)


def _isolation(one: Written[Workload], allowed: NamespaceSpec) -> Iterator[Problem]:
    if one.object.spec.isolation == "host-root" and not allowed.allow_host_root:
        yield _refused(one, ("spec", "isolation"), "host-root", "set the Namespace's allowHostRoot")


def _host_paths(one: Written[Workload], allowed: NamespaceSpec) -> Iterator[Problem]:
    for index, volume in enumerate(one.object.spec.volumes):
        mount = volume.host_mount
        if mount is not None and not is_below(mount.host_path, allowed.allowed_host_paths):
            path = ("spec", "volumes", index, "hostMount", "hostPath")
            yield _refused(
                one,
                path,
                f"the host path {mount.host_path}",
                "list it in the Namespace's allowedHostPaths",
            )


def _devices(one: Written[Workload], allowed: NamespaceSpec) -> Iterator[Problem]:
    for index, device in enumerate(one.object.spec.container.security_context.devices):
        if not is_below(device, allowed.allowed_devices):
            path = ("spec", "container", "securityContext", "devices", index)
            yield _refused(
                one, path, f"the device {device}", "list it in the Namespace's allowedDevices"
            )


def _capabilities(one: Written[Workload], allowed: NamespaceSpec) -> Iterator[Problem]:
    known = {name.removeprefix("CAP_") for name in allowed.allowed_capabilities}
    added = one.object.spec.container.security_context.capabilities.add
    for index, name in enumerate(added):
        if name.removeprefix("CAP_") not in known:
            path = ("spec", "container", "securityContext", "capabilities", "add", index)
            yield _refused(
                one,
                path,
                f"the capability {name}",
                "list it in the Namespace's allowedCapabilities",
            )


def _refused(
    one: Written[Workload], path: tuple[str | int, ...], what: str, remedy: str
) -> Problem:
    namespace = one.object.metadata.namespace
    hint = f"{remedy}, or do without"
    return Problem(one.at(*path), f"Namespace {namespace!r} does not allow {what}", hint)


def is_below(path: str, roots: Iterable[str]) -> bool:
    """Whether a path is one of the roots or below one: `/etc/x` is below `/etc`, `/etcx` is not."""
    parts = _parts(path)
    return any(parts[: len(root)] == root for root in map(_parts, roots))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
