"""What the agent hears and asks of the kernel all the time, netlink(7), rtnetlink(7).

By hand, because it is little: pyroute2 adds 10 MB to a process whose aim is to stay below 40.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

NETLINK_NETFILTER: Final = 12
NFTABLES_GROUP: Final = 7
SOL_NETLINK: Final = 270
ADD_MEMBERSHIP: Final = 1
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_TYPE_BITS: Final = 0x3FFF
_NFT_SUBSYSTEM: Final = 10
NETFILTER_HEADER: Final = 4
"""Bytes: family, version, resource (nfgenmsg)."""
_TABLE: Final = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, …: the table's name, the same everywhere."""
_DONE, _ERROR = 3, 2
_GETADDR, _NEWADDR = 22, 20
REQUEST: Final = 0x1
ACK: Final = 0x4
_DUMP_FLAGS: Final = 0x300
DUMP: Final = REQUEST | _DUMP_FLAGS
_GETGEN, _GEN_ID = 16, 1
_ANSWER_S: Final = 1
_IFADDR: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, link's index
_ADDRESS, _LOCAL = 1, 2
_BUFFER: Final = 1 << 16


def nft_events() -> socket.socket:
    """Return a socket, not blocking, that gets every change of the kernel's packet rules."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    events.settimeout(0)
    events.bind((0, 0))
    events.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NFTABLES_GROUP)
    return events


def drain(events: socket.socket, tables: frozenset[str]) -> bool:
    """Read what has come; whether one of these tables, by name, is touched, or events were lost.

    Raises OSError.
    """
    is_touched = False
    while True:
        try:
            data, (port, _) = events.recvfrom(_BUFFER)
        except BlockingIOError:
            return is_touched
        except OSError as err:
            if err.errno != errno.ENOBUFS:  # which is: more has happened than the buffer holds
                raise
            is_touched = True
            continue
        # Port 0 is the kernel; once touched, the rest of a burst need not be looked at.
        if port == 0 and not is_touched:
            is_touched = any(name in tables for name in _tables(data))


def _tables(data: bytes) -> Iterator[str]:
    for kind, payload in messages(data):
        if kind >> 8 == _NFT_SUBSYSTEM:
            for number, value in attributes(payload[NETFILTER_HEADER:]):
                if number == _TABLE:
                    yield value.rstrip(b"\0").decode("utf-8", "replace")


def rules_generation() -> int:
    """Return how often packet rules of this network namespace were changed, by anybody. OSError.

    A number of 32 bits. What packets themselves do to sets does not count.
    """
    with kernel_socket(NETLINK_NETFILTER) as kernel:
        for _, payload in ask(kernel, _NFT_SUBSYSTEM << 8 | _GETGEN, REQUEST, bytes(4)):
            number = dict(attributes(payload[NETFILTER_HEADER:])).get(_GEN_ID)
            if number is not None:
                return int.from_bytes(number, "big")
    raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))


def kernel_socket(protocol: int) -> socket.socket:
    """Return a socket for questions to the kernel, which answers at once. OSError."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    kernel.settimeout(_ANSWER_S)
    return kernel


def ask(kernel: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of an answer: of a dump all, else one, or none if it is a bare `ACK`.

    Raises OSError for one that is an error.
    """
    header = _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0)
    kernel.sendto(header + body, (0, 0))
    while True:
        for answer, payload in messages(kernel.recv(_BUFFER)):
            if answer == _DONE:
                return
            if answer == _ERROR:
                number = -struct.unpack_from("=i", payload)[0]
                if number:
                    raise OSError(number, os.strerror(number))
                return
            yield answer, payload
            if not flags & _DUMP_FLAGS:
                return


def ipv4_addresses() -> list[tuple[int, str, int]]:
    """Return (index of the link, address, prefix length) of every IPv4 address. OSError."""
    with kernel_socket(socket.NETLINK_ROUTE) as kernel:
        body = _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)
        answers = ask(kernel, _GETADDR, DUMP, body)
        return [_address(payload) for kind, payload in answers if kind == _NEWADDR]


def _address(payload: bytes) -> tuple[int, str, int]:
    _, prefix, _, _, index = _IFADDR.unpack_from(payload)
    found = dict(attributes(payload[_IFADDR.size :]))
    own = found.get(_LOCAL) or found[_ADDRESS]  # of a point-to-point link _ADDRESS is far
    return index, socket.inet_ntoa(own), prefix


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of each message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each attribute, without the flags of the type."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_BITS, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
