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

import zlib
from collections.abc import Iterable, Iterator, Sequence

from katgen import names
from katgen.bundle import Activation, Artifact, artifact
from katgen.model.container import ContainerPort
from katgen.model.objects import ServicePort
from katgen.planned import Placement
from katgen.render.ipv4 import address, addresses
from katgen.render.view import NamespaceView, NodesView, PlannedWorkload
from katgen.render.zone_words import label, labels, name, room_for

INSTANCE_TTL = 5
STABLE_TTL = 30
_NEGATIVE_TTL = 5
"""How long a resolver may remember that a name is not there: RFC 2308 §4."""
_PORT_MAX = 62
"""Of the characters of a port's name: with `_` before it, it is a label."""


def path(origin: str) -> str:
    """Return where a zone's file stands on a node; `origin` has no final dot."""
    return f"/var/lib/kat/dns/{origin}.zone"


def namespace(view: NamespaceView) -> tuple[Artifact, ...]:
    """Return the zone of a namespace."""
    domain = view.cluster.spec.cluster_domain
    origin = names.zone(view.name, domain)
    apex = name(origin)
    lines = [line for workload in view.workloads for line in _workload(workload, apex)]
    return (_zone(origin, domain, lines),)


def nodes(view: NodesView) -> tuple[Artifact, ...]:
    """Return the zone of the nodes' names."""
    domain = view.cluster.spec.cluster_domain
    origin = names.zone("node", domain)
    apex = name(origin)
    room_for(apex, labels([node for node, _ in view.addresses]))
    addresses([at for _, at in view.addresses])
    lines = [f"{node}.{apex} {STABLE_TTL} IN A {at}" for node, at in view.addresses]
    return (_zone(origin, domain, lines),)


def _zone(origin: str, domain: str, lines: Sequence[str]) -> Artifact:
    apex, server, owner = name(origin), name(domain), name(f"hostmaster.{domain}")
    body = "\n".join((*lines, ""))
    serial = zlib.crc32(body.encode()) or 1
    head = (
        "; Managed by KAT; an edit is reported as drift.\n"
        f"{apex} {STABLE_TTL} IN SOA {server} {owner} {serial} 3600 600 86400 {_NEGATIVE_TTL}\n"
        f"{apex} {STABLE_TTL} IN NS {server}\n"
    )
    where = path(origin)
    return artifact(where, head + body, activation=Activation.DNS, pair_key=where)


def _workload(workload: PlannedWorkload, apex: str) -> list[str]:
    host = f"{label(names.split_key(workload.key)[1])}.{apex}"
    virtual = workload.plan.virtual_address
    ready = addresses([p.address for p in workload.plan.placements])
    current = _current(workload.plan.placements)
    room_for(host, ("vip", *labels(list(current))))
    lines = [f"ep.{host} {INSTANCE_TTL} IN A {at}" for at in ready]
    if virtual:
        lines.append(f"{host} {STABLE_TTL} IN A {address(virtual)}")
        lines.append(f"vip.{host} {STABLE_TTL} IN A {virtual}")
    else:
        lines += [f"{host} {INSTANCE_TTL} IN A {at}" for at in ready]
    lines += [f"{ordinal}.{host} {INSTANCE_TTL} IN A {at}" for ordinal, at in current.items()]
    lines += _instance_services(workload, host, current)
    lines += _virtual_services(workload, host)
    return lines


def _current(placements: Sequence[Placement]) -> dict[str, str]:
    """Return the address of each ordinal; of two incarnations the earlier one's.

    While one replaces the other, that is the one which has been ready.
    """
    addresses_of: dict[str, str] = {one.ordinal: one.address for one in placements}
    if len(addresses_of) == len(placements):
        return addresses_of
    first: dict[str, Placement] = {}
    for one in placements:
        known = first.setdefault(one.ordinal, one)
        if known.incarnation > one.incarnation:
            first[one.ordinal] = one
    return {ordinal: one.address for ordinal, one in first.items()}


def _instance_services(
    workload: PlannedWorkload, host: str, ordinals: Iterable[str]
) -> Iterator[str]:
    """Return the SRV records of the instances' named ports, RFC 2782."""
    owners = (f"ep.{host}",) if workload.plan.virtual_address else (host, f"ep.{host}")
    for port in workload.objects.workload.spec.container.ports:
        for owner in owners if port.name else ():
            start = f"{_service(port, owner)} {INSTANCE_TTL} IN SRV 0 0 {port.container_port}"
            yield from [f"{start} {ordinal}.{host}" for ordinal in ordinals]


def _virtual_services(workload: PlannedWorkload, host: str) -> Iterator[str]:
    """Return the SRV records of the virtual address's named ports."""
    balancer = workload.objects.load_balancer
    if balancer is None or not workload.plan.virtual_address:
        return
    for port in balancer.spec.ports:
        if port.name:
            yield f"{_service(port, host)} {STABLE_TTL} IN SRV 0 0 {port.port} {host}"


def _service(port: ContainerPort | ServicePort, host: str) -> str:
    prefix = f"_{label(port.name or '', longest=_PORT_MAX)}._{port.protocol.lower()}"
    room_for(host, (prefix,))
    return f"{prefix}.{host}"
