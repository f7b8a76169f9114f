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
_NFT_FAMILY_HEADER: Final = 4
_TABLE: Final = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, …: the table's name, the same everywhere."""
_DONE, _ERROR = 3, 2
_GETADDR, _NEWADDR = 22, 20
_REQUEST_DUMP: Final = 0x301
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
    for kind, payload in _messages(data):
        if kind >> 8 == _NFT_SUBSYSTEM:
            for number, value in _attributes(payload[_NFT_FAMILY_HEADER:]):
                if number == _TABLE:
                    yield value.rstrip(b"\0").decode("utf-8", "replace")


def ipv4_addresses() -> list[tuple[int, str, int]]:
    """Return (index of the link, address, prefix length) of every IPv4 address. OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(1)  # it answers at once
        body = _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)
        header = _HEADER.pack(_HEADER.size + len(body), _GETADDR, _REQUEST_DUMP, 1, 0)
        kernel.sendto(header + body, (0, 0))
        found: list[tuple[int, str, int]] = []
        while True:
            for kind, payload in _messages(kernel.recv(_BUFFER)):
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    raise OSError(number, os.strerror(number))
                if kind == _NEWADDR:
                    found.append(_address(payload))


def _address(payload: bytes) -> tuple[int, str, int]:
    _, prefix, _, _, index = _IFADDR.unpack_from(payload)
    attributes = dict(_attributes(payload[_IFADDR.size :]))
    own = attributes.get(_LOCAL) or attributes[_ADDRESS]  # of a point-to-point link _ADDRESS is far
    return index, socket.inet_ntoa(own), prefix


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_BITS, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
