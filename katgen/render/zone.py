"""Zones: one for each namespace, and `node.<domain>`, as RFC 1035 §5 master files.

| name in `<ns>.<domain>` | type | answer | TTL |
|---|---|---|---|
| `<workload>` | A | the virtual address, or the instances if there is none | 30, 5 |
| `ep.<workload>` | A | the instances | 5 |
| `vip.<workload>` | A | the virtual address | 30 |
| `<ordinal>.<workload>` | A | that instance, over all its revisions | 5 |
| `_<port>._<protocol>.<workload>` | SRV | the virtual address's port, or the instances' | 30, 5 |
| `_<port>._<protocol>.ep.<workload>` | SRV | the instances' ports | 5 |

The file is the boot snapshot: every candidate counts as ready. No name in it is relative. The name
server is called by the cluster's domain, which no zone contains: each node's own kat-dns answers.

The serial is made of the content: the same plan gives the same bytes, and another content another
serial. It does not grow, so the zones are not for transfer; kat-dns reads them from disk.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from katgen import names
from katgen.bundle import Activation, Artifact, artifact
from katgen.planned import Placement
from katgen.render.view import NamespaceView, NodesView, PlannedWorkload
from katgen.render.zone_words import address, label, name

INSTANCE_TTL = 5
STABLE_TTL = 30
_NEGATIVE_TTL = 5
"""How long a resolver may remember that a name is not there: RFC 2308 §4."""


def path(origin: str) -> str:
    """Return where a zone's file stands on a node; `origin` has no final dot."""
    return f"/var/lib/kat/dns/{origin}.zone"


def namespace(view: NamespaceView) -> tuple[Artifact, ...]:
    """Return the zone of a namespace."""
    domain = view.cluster.spec.cluster_domain
    lines = [line for workload in view.workloads for line in _workload(workload, domain)]
    return (_zone(names.zone(view.name, domain), domain, lines),)


def nodes(view: NodesView) -> tuple[Artifact, ...]:
    """Return the zone of the nodes' names."""
    domain = view.cluster.spec.cluster_domain
    origin = names.zone("node", domain)
    lines = [_a(name(label(node), origin), STABLE_TTL, at) for node, at in view.addresses]
    return (_zone(origin, domain, lines),)


def _zone(origin: str, domain: str, lines: Sequence[str]) -> Artifact:
    apex, server = name(origin), name(domain)
    body = "\n".join(lines)
    serial = int.from_bytes(hashlib.sha256(body.encode()).digest()[:4], "big") or 1
    head = (
        f"; Managed by KAT.\n"
        f"{apex} {STABLE_TTL} IN SOA {server} {name('hostmaster', domain)}"
        f" {serial} 3600 600 86400 {_NEGATIVE_TTL}\n"
        f"{apex} {STABLE_TTL} IN NS {server}\n"
    )
    where = path(origin)
    text = head + body + "\n" if body else head
    return artifact(where, text, activation=Activation.DNS, pair_key=where)


def _workload(workload: PlannedWorkload, domain: str) -> Iterator[str]:
    host = name(names.service_name(workload.key, domain))
    placements = workload.plan.placements
    virtual = workload.plan.virtual_address
    addresses = [p.address for p in placements]
    yield from (_a(host, STABLE_TTL, virtual),) if virtual else _all(host, addresses)
    yield from _all(name("ep", host), addresses)
    if virtual:
        yield _a(name("vip", host), STABLE_TTL, virtual)
    for ordinal, placement in _current(placements).items():
        yield _a(name(label(ordinal), host), INSTANCE_TTL, placement.address)
    yield from _services(workload, host)


def _all(host: str, addresses: Iterable[str]) -> Iterator[str]:
    return (_a(host, INSTANCE_TTL, at) for at in addresses)


def _current(placements: Iterable[Placement]) -> dict[str, Placement]:
    """Return the latest incarnation of each ordinal."""
    latest: dict[str, Placement] = {}
    for placement in placements:
        known = latest.get(placement.ordinal)
        if known is None or known.incarnation < placement.incarnation:
            latest[placement.ordinal] = placement
    return latest


def _services(workload: PlannedWorkload, host: str) -> Iterator[str]:
    """Return the SRV records of named ports, RFC 2782."""
    balancer = workload.objects.load_balancer
    virtual = workload.plan.virtual_address
    if balancer and virtual:
        for port in balancer.spec.ports:
            if port.name:
                yield _srv(_service(port.name, port.protocol, host), STABLE_TTL, port.port, host)
    for owner in (name("ep", host),) if virtual else (host, name("ep", host)):
        yield from _instance_services(workload, host, owner)


def _instance_services(workload: PlannedWorkload, host: str, owner: str) -> Iterator[str]:
    ordinals = _current(workload.plan.placements)
    for port in workload.objects.workload.spec.container.ports:
        if port.name:
            service = _service(port.name, port.protocol, owner)
            for ordinal in ordinals:
                target = name(ordinal, host)
                yield _srv(service, INSTANCE_TTL, port.container_port, target)


def _service(port: str, protocol: str, host: str) -> str:
    return name(f"_{label(port, longest=62)}", f"_{protocol.lower()}", host)


def _a(host: str, ttl: int, at: str) -> str:
    return f"{host} {ttl} IN A {address(at)}"


def _srv(service: str, ttl: int, port: int, target: str) -> str:
    return f"{service} {ttl} IN SRV 0 0 {port} {target}"
