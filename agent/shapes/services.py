"""What a file of candidates may hold: the agent makes elements of packet rules of it.

That addresses are the cluster's cannot be told here: no file of this kind says what the cluster is.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from katgen.endpoints import FORMAT, NamespaceServices, Service, path
from katgen.names import is_label

FOLDER: Final = path("").rpartition("/")[0] + "/"
_ID: Final = re.compile(r"(?P<ordinal>.+)-[1-9]\d{0,18}", re.ASCII)
_PORT_MAX: Final = 65_535
_SLOTS_MAX: Final = 0x800000
"""Each slot is a mark of its own, units/data-plane.nft."""


def service_faults(where: str, text: str) -> Iterator[str]:
    """Yield why a file is none of KAT's candidates."""
    try:
        found = msgspec.json.decode(text.encode(errors="replace"), type=NamespaceServices)
    except msgspec.MsgspecError as err:
        yield f"it holds no candidates: {err}"
        return
    if found.format != FORMAT or path(found.namespace) != where or not is_label(found.namespace):
        yield "it is of another namespace or format"
    # Byte for byte: so it has no unknown key, and none twice.
    if text.replace("\n", "") != msgspec.json.encode(found).decode():
        yield "it is not written as KAT writes it"
    names = [one.workload for one in found.services]
    if names != sorted(set(names)):
        yield "its workloads are not in order"
    virtual = [one.virtual_address for one in found.services if one.virtual_address]
    if len(virtual) != len(set(virtual)):
        yield "two workloads have one virtual address"
    for service in found.services:
        yield from _faults_of(service, f"{found.namespace}/{service.workload}")


def _faults_of(service: Service, key: str) -> Iterator[str]:
    if not is_label(service.workload):
        yield f"{service.workload[:80]!r} is no workload"
    ports = [p for pair in (*service.tcp.items(), *service.udp.items()) for p in pair]
    if any(not 0 < port <= _PORT_MAX for port in ports):
        yield f"{key}: a port is none"
    if bool(ports) != bool(service.virtual_address):
        yield f"{key}: a virtual address has ports, and no other has"
    if not 0 <= service.panic_threshold <= 100:  # noqa: PLR2004 -- a percentage
        yield f"{key}: panicThreshold is no percentage"
    if len(service.candidates) > _SLOTS_MAX:
        yield f"{key}: more candidates than there are slots"
    yield from _strange_addresses(service, key)
    yield from _strange_instances(service, key)


def _strange_addresses(service: Service, key: str) -> Iterator[str]:
    addresses = [one.address for one in service.candidates]
    if service.virtual_address:
        addresses.append(service.virtual_address)
    if len(addresses) != len(set(addresses)):
        yield f"{key}: an address is there twice"
    yield from (f"{key}: {one[:40]!r} is no address" for one in addresses if not _is_address(one))


def _strange_instances(service: Service, key: str) -> Iterator[str]:
    if len({one.instance for one in service.candidates}) != len(service.candidates):
        yield f"{key}: a candidate is there twice"
    for one in service.candidates:
        match = _ID.fullmatch(one.instance.removeprefix(f"{key}/"))
        if match is None or match["ordinal"] != one.ordinal or not is_label(one.ordinal):
            yield f"{key}: {one.instance[:80]!r} is no instance of it"


def _is_address(text: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(text)) == text
    except ValueError:
        return False
