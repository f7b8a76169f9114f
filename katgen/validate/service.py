"""Ports, checks and outside names of a VirtualLoadBalancer."""

from collections.abc import Iterator

from katgen.errors import Problem
from katgen.model.objects import Ingress, VirtualLoadBalancer
from katgen.model.workload import Workload
from katgen.validate.load import Written
from katgen.validate.objects import Objects
from katgen.validate.workload import checked_ports, is_unlisted, twice, unlisted

One = Written[VirtualLoadBalancer]
OutsideName = tuple[str, str, str]


def services(objects: Objects) -> Iterator[Problem]:
    """Each port once, targets that the container lists, one place for readiness."""
    for key, one in objects.load_balancers.items():
        yield from _each_once(one)
        yield from _service_ports(one)
        workload = objects.workloads.get(key)
        if workload is not None:
            yield from _targets(one, workload.object)
            yield from _health(one, workload)


def _each_once(one: One) -> Iterator[Problem]:
    ports = one.object.spec.ports
    numbers = (f"{port.port}/{port.protocol}" for port in ports)
    for index, number, first in twice(numbers):
        at = one.at("spec", "ports", index, "port")
        yield Problem(at, f"port {number} stands twice", f"it is also at [{first}]; keep one")
    for index, name, first in twice(port.name for port in ports):
        at = one.at("spec", "ports", index, "name")
        what = f"the port name {name!r} stands twice"
        yield Problem(at, what, f"it is also at [{first}]; keep one")


def _service_ports(one: One) -> Iterator[Problem]:
    known = sorted({p.port for p in one.object.spec.ports if p.protocol == "TCP"})
    for index, ingress in enumerate(one.object.spec.ingress):
        if ingress.service_port not in known:
            at = one.at("spec", "ingress", index, "servicePort")
            what = f"spec.ports has no port {ingress.service_port}/TCP"
            choices = ", ".join(map(str, known))
            yield Problem(at, what, f"choose one of {choices}" if known else "add it")


def _targets(one: One, workload: Workload) -> Iterator[Problem]:
    for index, port in enumerate(one.object.spec.ports):
        target, container = port.target_port or port.port, workload.spec.container
        if is_unlisted(container, target, port.protocol):
            at = one.at("spec", "ports", index, "targetPort" if port.target_port else "port")
            yield unlisted(at, container, target, port.protocol)


def _health(one: One, workload: Written[Workload]) -> Iterator[Problem]:
    container = workload.object.spec.container
    check = one.object.spec.health_check
    if check is not None and container.readiness is not None:
        other = workload.at("spec", "container", "readiness")
        hint = f"readiness is at {other.file}:{other.line}; keep one of them"
        what = "healthCheck and the Workload's readiness are the same thing"
        yield Problem(one.at("spec", "healthCheck"), what, hint)
    for path, port in checked_ports(check):
        if is_unlisted(container, port, "TCP"):
            yield unlisted(one.at("spec", "healthCheck", *path), container, port, "TCP")


def outside_names(objects: Objects) -> Iterator[Problem]:
    """One host and path can lead to one service only."""
    first: dict[OutsideName, One] = {}
    for one in objects.load_balancers.values():
        for index, ingress in enumerate(one.object.spec.ingress):
            name = outside_name(ingress)
            if name in first:
                at = one.at("spec", "ingress", index, "host")
                what = f"{ingress.host}{ingress.path} leads to {first[name].key} already"
                yield Problem(at, what, "choose another host or path")
            first.setdefault(name, one)


def outside_name(ingress: Ingress) -> OutsideName:
    """Return what only one ingress of a cluster may have: provider, host and path."""
    return ingress.provider, ingress.host, ingress.path.rstrip("/")
