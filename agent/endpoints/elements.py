"""From endpoint state to elements of `table inet kat`, and from one set of them to another. Pure.

| object | element |
|---|---|
| `services` | virtual address : goto `random-<slots>` or `sticky-<slots>` |
| `endpoints` | virtual address . mark of the slot : instance |
| `unready` | instance . protocol . port: new connections to it are reset |

Elements stand here as text, as nft writes and lists them. What the files of services give is the
case in which everybody is served (katgen/render/nft_services.py, which explains slots).
"""

import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from katgen.endpoints import (
    DRAINING,
    READY,
    Candidate,
    NamespaceServices,
    Service,
    States,
    served,
)
from katgen.errors import EncodeError
from katgen.names import InstanceKey

SERVICES: Final = "services"
ENDPOINTS: Final = "endpoints"
UNREADY: Final = "unready"
OBJECTS: Final = (SERVICES, ENDPOINTS, UNREADY)
_RANDOM_SLOT: Final = 0x4B000000
_STICKY_SLOT: Final = 0x4B800000
"""units/data-plane.nft."""
_TRIES: Final = 32
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements by key; the value of an element of `unready`, which is a set, is ''."""

    services: Mapping[str, str] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    unready: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> Mapping[str, str]:
        """Return the elements of one object."""
        return {SERVICES: self.services, ENDPOINTS: self.endpoints, UNREADY: self.unready}[name]


NOTHING: Final = Elements()


@dataclass(frozen=True, slots=True)
class Share:
    """What one service has of the elements, and whom its virtual address leads to.

    `virtual` is '' without UDP ports: nobody stays with a gone instance then.
    """

    elements: Elements
    virtual: str = ""
    targets: frozenset[str] = frozenset()


def share(
    service: Service,
    states: States,
    own: Collection[InstanceKey],
    serving: Collection[str] = (),
) -> Share:
    """Return what a service has; `own` are the instances of this node.

    `serving` are addresses of this node at which somebody still serves, candidate or not.
    """
    if not service.virtual_address:
        return Share(NOTHING)
    virtual = _address(service.virtual_address)
    chosen = served(service, states)
    slots = _slots(service, chosen)
    first = _STICKY_SLOT if service.sticky else _RANDOM_SLOT
    kind = "sticky" if service.sticky else "random"
    elements = Elements(
        {virtual: f"goto {kind}-{len(slots)}"} if slots else {},
        {f"{virtual} . {at:#x}": _address(one.address) for at, one in enumerate(slots, first)},
        {
            f"{_address(one.address)} . {ports}": ""
            for one in _refusing(service, states, own, chosen)
            if one.address not in serving
            for ports in _ports(service)
        },
    )
    return Share(
        elements,
        virtual if service.udp else "",
        frozenset(one.address for one in chosen) if service.udp else frozenset(),
    )


def _slots(service: Service, chosen: tuple[Candidate, ...]) -> list[Candidate]:
    """Return who is in each slot. Whoever is served keeps its own, as far as there is one.

    So one that leaves or returns changes few elements, and with affinity no other's clients.
    """
    if not chosen:
        return []
    count = len(service.candidates) if service.sticky else len(chosen)
    if len(chosen) == len(service.candidates):
        return list(chosen)
    there = {one.instance for one in chosen}
    slots = [one if one.instance in there else None for one in service.candidates[:count]]
    if service.sticky:
        filling = (_other(at, service.candidates, there) for at in _empty(slots))
    else:
        filling = (one for one in service.candidates[count:] if one.instance in there)
    for at, one in zip(_empty(slots), filling, strict=True):
        slots[at] = one
    return [one for one in slots if one is not None]


def _empty(slots: list[Candidate | None]) -> list[int]:
    return [at for at, one in enumerate(slots) if one is None]


def _other(slot: int, candidates: tuple[Candidate, ...], there: Collection[str]) -> Candidate:
    """Return who stands in for another in its slot: spread, and the same as long as it stays."""
    for number in range(_TRIES):
        one = candidates[zlib.crc32(f"{slot}.{number}".encode()) % len(candidates)]
        if one.instance in there:
            return one
    left = [one for one in candidates if one.instance in there]
    return left[zlib.crc32(str(slot).encode()) % len(left)]


def _refusing(
    service: Service, states: States, own: Collection[InstanceKey], chosen: tuple[Candidate, ...]
) -> Iterator[Candidate]:
    """Yield instances of this node that get no new connections.

    One that drains still takes them: others may not have heard yet that it is about to end.
    """
    mine = [one for one in service.candidates if one.instance in own]
    there = {one.instance for one in chosen} if mine else ()
    for one in mine:
        if one.instance not in there and states.get(one.instance) != DRAINING:
            yield one


def _ports(service: Service) -> Iterator[str]:
    for protocol, ports in (("tcp", service.tcp), ("udp", service.udp)):
        for port in sorted(set(ports.values())):
            yield f"{protocol} . {int(port)}"


def merged(parts: Iterable[Elements]) -> Elements:
    """Return all elements of all parts."""
    whole: dict[str, dict[str, str]] = {name: {} for name in OBJECTS}
    for part in parts:
        whole[SERVICES].update(part.services)
        whole[ENDPOINTS].update(part.endpoints)
        whole[UNREADY].update(part.unready)
    return Elements(whole[SERVICES], whole[ENDPOINTS], whole[UNREADY])


# --- nft's language -------------------------------------------------------------------------------


def changes(old: Elements, new: Elements, chains: Collection[str]) -> str:
    """Return what `nft -f` makes of the one the other with, in one transaction; '' for nothing.

    `chains` are the chains of slots that are there already.
    """
    needed = {v.removeprefix("goto ") for k, v in new.services.items() if old.services.get(k) != v}
    deletes, adds = [], []
    for name in OBJECTS:
        before, after = old.of(name), new.of(name)
        gone = [key for key, value in before.items() if after.get(key) != value]
        come = [(key, value) for key, value in after.items() if before.get(key) != value]
        deletes.append(_command("delete", name, gone))
        adds.append(_command("add", name, [f"{k} : {v}" if v else k for k, v in come]))
    return "".join((*map(_chain, sorted(needed - set(chains))), *deletes, *adds))


def unused(chains: Iterable[str]) -> str:
    """Return what `nft -f` removes chains of slots with; nothing may lead to them any more."""
    return "".join(
        f"flush chain inet kat {one}\ndelete chain inet kat {one}\n" for one in sorted(chains)
    )


def snapshot_text(services: NamespaceServices, states: States) -> str:
    """Return what gives a namespace's elements the state of now, whatever they were before.

    Only where somebody is not served: else the files of services say it. Instances in `unready`
    are left out: their connections would be reset until an agent says that they are ready. So is
    what no packet rule can hold.
    """
    header = f"# Managed by KAT's agent: endpoints of the namespace {services.namespace}.\n"
    texts = []
    for one in services.services:
        with suppress(EncodeError):
            texts.append(_snapshot_of(one, states))
    return header + "".join(texts)


def _snapshot_of(service: Service, states: States) -> str:
    if not service.virtual_address or len(served(service, states)) == len(service.candidates):
        return ""
    now = share(service, states, ()).elements
    given = share(service, dict.fromkeys((one.instance for one in service.candidates), READY), ())
    before = given.elements
    chains = {verdict.removeprefix("goto ") for verdict in now.services.values()}
    return "".join(
        (
            *map(_chain, sorted(chains)),
            _command("destroy", SERVICES, list(before.services)),
            _command("destroy", ENDPOINTS, list(before.endpoints)),
            _command("add", SERVICES, [f"{k} : {v}" for k, v in now.services.items()]),
            _command("add", ENDPOINTS, [f"{k} : {v}" for k, v in now.endpoints.items()]),
        )
    )


def _command(verb: str, name: str, elements: Collection[str]) -> str:
    if not elements:
        return ""
    between = ",\n\t"
    return f"{verb} element inet kat {name} {{\n\t{between.join(elements)} }}\n"


def _chain(name: str) -> str:
    """Return the commands that make a chain of slots, as katgen/render/nft_services.py does."""
    kind, _, number = name.partition("-")
    count, first = int(number), _STICKY_SLOT if kind == "sticky" else _RANDOM_SLOT
    rules = [f"meta mark set numgen random mod {count} offset {first:#x} goto balance"]
    if kind == "sticky":
        rules.insert(0, "jump balance")
    adds = "".join(f"add rule inet kat {name} {rule}\n" for rule in rules)
    return f"add chain inet kat {name}\nflush chain inet kat {name}\n{adds}"


def _address(text: str) -> str:
    """Return an IPv4 address as it is. EncodeError for what nft would read otherwise."""
    if _ADDRESS.fullmatch(text) is None:
        raise EncodeError(f"{text[:40]!r} is not an IPv4 address")
    return text
