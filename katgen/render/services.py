"""A namespace's candidates, as agents read them: who may get traffic, in the order of slots.

The same placements in the same order as in `nft_services`: the slot of a candidate is its place.
Two incarnations of one ordinal, while one replaces the other, are two candidates.
"""

from collections.abc import Iterable

import msgspec

from katgen import names
from katgen.bundle import Artifact, artifact
from katgen.endpoints import FORMAT, Candidate, NamespaceServices, Service, path
from katgen.model.objects import ServicePort
from katgen.names import split_key
from katgen.render.ipv4 import address, addresses
from katgen.render.view import NamespaceView, PlannedWorkload


def services(view: NamespaceView) -> tuple[Artifact, ...]:
    """Return the namespace's file, or nothing if it has Jobs alone: nobody calls those."""
    found = tuple(_service(w) for w in view.workloads if w.objects.workload.spec.type != "Job")
    if not found:
        return ()
    flat = msgspec.json.encode(NamespaceServices(FORMAT, view.name, found))
    where = path(view.name)
    return (artifact(where, _in_lines(flat), pair_key=where),)


def _in_lines(flat: bytes) -> bytes:
    """Give every service and candidate a line of its own, so that a diff of files can be read.

    A quote within a JSON string is escaped, so none of these is found in one.
    """
    for place in (b'{"workload":', b'{"instance":', b'],"virtualAddress":'):
        flat = flat.replace(place, b"\n" + place)
    return flat + b"\n"


def _service(workload: PlannedWorkload) -> Service:
    balancer, virtual = workload.objects.load_balancer, workload.plan.virtual_address
    name = split_key(workload.key)[1]
    candidates = _candidates(workload)
    if balancer is None or not virtual:
        return Service(name, candidates)
    spec = balancer.spec
    return Service(
        name,
        candidates,
        address(virtual),
        _ports(spec.ports, "TCP"),
        _ports(spec.ports, "UDP"),
        spec.affinity == "ClientIP",
        spec.panic_threshold,
    )


def _ports(ports: Iterable[ServicePort], protocol: str) -> dict[int, int]:
    chosen = sorted((p.port, p.target_port or p.port) for p in ports if p.protocol == protocol)
    return dict(chosen)


def _candidates(workload: PlannedWorkload) -> tuple[Candidate, ...]:
    placed = workload.plan.placements
    addresses([p.address for p in placed])
    return tuple(
        Candidate(names.instance(workload.key, p.ordinal, p.incarnation), p.ordinal, p.address)
        for p in placed
    )
