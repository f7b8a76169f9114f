"""Who gets traffic: the plan's candidates, narrowed by what agents say of them (spec §6.3). Pure.

The candidates of a namespace are a file of its shared set, `/var/lib/kat/services/<ns>.json`, as
`NamespaceServices`. A record can only narrow them; without a record a candidate is not ready.
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

States = Mapping[InstanceKey, str]
"""The last known state of each instance; what is missing is not ready."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An instance that the plan lets have traffic. `address` is dotted."""

    instance: InstanceKey
    ordinal: Ordinal
    address: str


class Service(msgspec.Struct, frozen=True, rename="camel"):
    """A workload's candidates in the order of their slots, and its virtual address if it has one.

    `tcp` and `udp` map the virtual address's ports to the instances'. `sticky`: a client stays with
    its slot. `panic_threshold`: with less than this percentage ready, all get traffic.
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

    The ready ones; below the panic threshold, of those that are not draining, all that are not
    draining; if all are draining, all.
    """
    standing = tuple(c for c in service.candidates if states.get(c.instance) != DRAINING)
    if not standing:
        return service.candidates
    ready = tuple(c for c in standing if states.get(c.instance) == READY)
    is_panic = len(ready) * 100 < len(standing) * service.panic_threshold
    return standing if is_panic else ready


def withdrawn(service: Service, states: States) -> tuple[str, ...]:
    """Return the addresses that names leave out: those of candidates that are not ready."""
    return tuple(c.address for c in service.candidates if states.get(c.instance) != READY)
