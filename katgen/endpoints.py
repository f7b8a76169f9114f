"""Who gets traffic: the plan's candidates, narrowed by what agents say of them (spec §6.3). Pure.

The candidates of a namespace are a file of its shared set, `/var/lib/kat/services/<ns>.json`, as
`NamespaceServices`. A record can only narrow them; without a record a candidate is new: not ready.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from katgen.names import InstanceKey, Ordinal

FORMAT: Final = 1
"""Of the files of candidates."""

READY: Final = "ready"
NOT_READY: Final = "notready"
DRAINING: Final = "draining"
STATES: Final = frozenset({READY, NOT_READY, DRAINING})
"""Of records. One that is not ready and has never been says so besides: `EndpointRecord.is_new`."""
NEW: Final = "new"
"""Of such an instance, here: not ready, and nothing that its health says of the service."""

States = Mapping[InstanceKey, str]
"""The last known state of each instance: of `STATES`, or `NEW`, which is also what is missing."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An instance that the plan lets have traffic. `address` is dotted."""

    instance: InstanceKey
    ordinal: Ordinal
    address: str


class Service(msgspec.Struct, frozen=True, rename="camel"):
    """A workload's candidates in the order of their slots, and its virtual address if it has one.

    `tcp` and `udp` map the virtual address's ports to the instances'. `sticky`: a client stays with
    its slot. `panic_threshold`: with less than this percentage ready of those
    that ever were, these all get traffic.
    """

    workload: str
    candidates: tuple[Candidate, ...]
    virtual_address: str = ""
    tcp: Mapping[int, int] = {}
    udp: Mapping[int, int] = {}
    sticky: bool = False
    panic_threshold: int = 50


class NamespaceServices(msgspec.Struct, frozen=True, rename="camel"):
    """All Services and DaemonServices of a namespace, sorted by workload."""

    format: int
    namespace: str
    services: tuple[Service, ...]


def path(namespace: str) -> str:
    """Return where a namespace's candidates stand on a node."""
    return f"/var/lib/kat/services/{namespace}.json"


def served(service: Service, states: States) -> tuple[Candidate, ...]:
    """Return the candidates that the virtual address leads to, in the order of their slots.

    The ready ones. Below the panic threshold, all that have been ready and are not draining: a new
    one is no sign that something is wrong, and may not even have a container. If there is no such
    candidate, those that are draining; if all are new, all, unless the threshold is 0.
    """
    known = _in(service, states, READY, NOT_READY)
    if not known:
        everybody = service.candidates if service.panic_threshold else ()
        return _in(service, states, DRAINING) or everybody
    ready = _in(service, states, READY)
    is_panic = len(ready) * 100 < len(known) * service.panic_threshold
    return known if is_panic else ready


def _in(service: Service, states: States, *wanted: str) -> tuple[Candidate, ...]:
    return tuple(c for c in service.candidates if states.get(c.instance, NEW) in wanted)


def withdrawn(service: Service, states: States) -> tuple[str, ...]:
    """Return the addresses that names leave out: those of candidates that are not ready."""
    return tuple(c.address for c in service.candidates if states.get(c.instance) != READY)
