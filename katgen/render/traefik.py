"""Traefik's dynamic file: routers and services of every ingress, for its file provider.

Traefik runs on the nodes with `providers.file.directory: /var/lib/kat/ingress/traefik`. A backend
is the service's virtual address, so that endpoint state reaches the proxy through nft and the file
changes with the ingresses alone. Certificates are files that the node unpacks to a tmpfs.

Sources: doc.traefik.io "Routers", "Services", "TLS" of version 3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from katgen.bundle import Activation, Artifact, artifact
from katgen.model.objects import Ingress
from katgen.names import split_key
from katgen.render.traefik_words import quoted, rule, url
from katgen.render.view import NamespaceView, PlannedWorkload

PATH = "/var/lib/kat/ingress/traefik/kat.yaml"


@dataclass(frozen=True, slots=True)
class _Route:
    """One ingress, with the names that it gets in the file."""

    router: str
    service: str
    namespace: str
    backend: str
    ingress: Ingress


def shared(views: Sequence[NamespaceView]) -> tuple[Artifact, ...]:
    """Return the file over all namespaces, or nothing if there is no ingress."""
    routes = [r for view in views for w in view.workloads for r in _routes(w)]
    if not routes:
        return ()
    text = "".join(
        (
            "# Managed by KAT; an edit is reported as drift.\nhttp:\n",
            *_routers(routes),
            *_services(routes),
        )
    )
    text += "".join(_certificates(routes))
    return (artifact(PATH, text, activation=Activation.PROXY, pair_key=PATH),)


def certificate_folder(namespace: str, secret: str) -> str:
    """Return where a node unpacks the certificate (`tls.crt`) and key (`tls.key`) of a Secret."""
    return f"/run/kat/ingress/{namespace}/{secret}"


def _routes(workload: PlannedWorkload) -> Iterator[_Route]:
    balancer = workload.objects.load_balancer
    virtual = workload.plan.virtual_address
    if balancer is None or not virtual:
        return
    namespace, name = split_key(workload.key)
    for number, ingress in enumerate(balancer.spec.ingress):
        if ingress.provider == "traefik":
            service = f"{namespace}.{name}.{ingress.service_port}"
            backend = url(virtual, ingress.service_port)
            yield _Route(f"{namespace}.{name}.{number}", service, namespace, backend, ingress)


def _routers(routes: Sequence[_Route]) -> Iterator[str]:
    yield "  routers:\n"
    for route in routes:
        yield f"    {quoted(route.router)}:\n"
        yield f"      rule: {quoted(rule(route.ingress.host, route.ingress.path))}\n"
        yield f"      priority: {_priority(route.ingress)}\n"
        yield f"      service: {quoted(route.service)}\n"
        if route.ingress.tls is not None:
            yield "      tls: {}\n"


def _priority(ingress: Ingress) -> int:
    """Order routes by how much they say: a whole host first, then the longer host, then path.

    Traefik's own order is by the length of the rule's text.
    """
    whole = not ingress.host.startswith("*.")
    return (whole << 20) + (len(ingress.host) << 12) + len(ingress.path)


def _services(routes: Sequence[_Route]) -> Iterator[str]:
    yield "  services:\n"
    for service, backend in {route.service: route.backend for route in routes}.items():
        yield f"    {quoted(service)}:\n"
        yield "      loadBalancer:\n        servers:\n"
        yield f"          - url: {quoted(backend)}\n"


def _certificates(routes: Sequence[_Route]) -> Iterator[str]:
    folders = [
        certificate_folder(route.namespace, route.ingress.tls.secret_name)
        for route in routes
        if route.ingress.tls is not None and route.ingress.tls.secret_name
    ]
    if folders:
        yield "tls:\n  certificates:\n"
    for folder in dict.fromkeys(folders):
        yield f"    - certFile: {quoted(f'{folder}/tls.crt')}\n"
        yield f"      keyFile: {quoted(f'{folder}/tls.key')}\n"
