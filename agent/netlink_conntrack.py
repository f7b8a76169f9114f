"""Connections that the kernel remembers, over ctnetlink: include/uapi/linux/netfilter of Linux.

A UDP client goes on to the instance that its first packet was led to, as long as it sends.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from agent.netlink import (
    ACK,
    DUMP,
    NETFILTER_HEADER,
    NETLINK_NETFILTER,
    REQUEST,
    ask,
    attributes,
    kernel_socket,
)

_SUBSYSTEM: Final = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_FAMILY: Final = struct.pack("=BBH", socket.AF_INET, 0, 0)
_ATTRIBUTE: Final = struct.Struct("=HH")
_NESTED: Final = 0x8000
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_SOURCE, _DESTINATION = 1, 2
_PROTOCOL_NUMBER: Final = 1
_FILTER_ORIGINAL: Final = 1
_BY_DESTINATION, _BY_PROTOCOL = 1 << 1, 1 << 3
_WITHIN_S: Final = 5
"""A million entries that the kernel does not filter take longer."""


def forget_udp(answering: Mapping[str, Collection[str]], within_s: float = _WITHIN_S) -> int:
    """Delete UDP connections to these addresses that others answer than are named for each.

    Returns how many. Raises OSError: TimeoutError if there were too many to look at them all in
    time; those that were found are deleted nevertheless.
    """
    with kernel_socket(NETLINK_NETFILTER) as kernel:
        found, is_all = _found(_stale(kernel, answering), time.monotonic() + within_s)
    count = _delete(found)
    if not is_all:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return count


def _found(
    entries: Iterator[dict[int, bytes] | None], deadline: float
) -> tuple[list[dict[int, bytes]], bool]:
    """Return what is found until then, and whether that is all."""
    found = []
    for entry in entries:
        if entry is not None:
            found.append(entry)
        if time.monotonic() > deadline:
            return found, False
    return found, True


def _delete(entries: Collection[dict[int, bytes]]) -> int:
    count = 0
    with kernel_socket(NETLINK_NETFILTER) as kernel:
        for entry in entries:
            body = _FAMILY + b"".join(
                _attribute(kind | (_NESTED if kind == _ORIGINAL else 0), entry[kind])
                for kind in (_ORIGINAL, _ID, _ZONE)
                if kind in entry
            )
            try:
                list(ask(kernel, _DELETE, REQUEST | ACK, body))
            except OSError as err:
                if err.errno != errno.ENOENT:  # it ended meanwhile
                    raise
            else:
                count += 1
    return count


def _stale(
    kernel: socket.socket, answering: Mapping[str, Collection[str]]
) -> Iterator[dict[int, bytes] | None]:
    """Yield the attributes of each connection that leads to who does not answer any more.

    None for every other one.
    """
    only = next(iter(answering)) if len(answering) == 1 else ""
    for _, payload in ask(kernel, _GET, DUMP, _FAMILY + _filter(only)):
        entry = dict(attributes(payload[NETFILTER_HEADER:]))
        protocol, _, virtual = _tuple(entry[_ORIGINAL])
        _, instance, _ = _tuple(entry[_REPLY])
        # An older kernel does not filter.
        is_stale = instance not in answering.get(virtual, (instance,))
        yield entry if protocol == socket.IPPROTO_UDP and is_stale else None


def _filter(virtual: str) -> bytes:
    """Return what has the kernel leave out all but UDP, and all other addresses if one is given."""
    protocol = _attribute(_PROTOCOL_NUMBER, bytes((socket.IPPROTO_UDP,)))
    parts, flags = [_attribute(_TUPLE_PROTOCOL | _NESTED, protocol)], _BY_PROTOCOL
    if virtual:
        destination = _attribute(_DESTINATION, socket.inet_aton(virtual))
        parts.insert(0, _attribute(_TUPLE_IP | _NESTED, destination))
        flags |= _BY_DESTINATION
    wanted = _attribute(_FILTER_ORIGINAL, struct.pack("=I", flags))
    return _attribute(_ORIGINAL | _NESTED, b"".join(parts)) + _attribute(_FILTER | _NESTED, wanted)


def _tuple(data: bytes) -> tuple[int, str, str]:
    """Return protocol, source and destination of one direction."""
    parts = dict(attributes(data))
    ends = dict(attributes(parts[_TUPLE_IP]))
    protocol = dict(attributes(parts[_TUPLE_PROTOCOL]))[_PROTOCOL_NUMBER][0]
    return protocol, socket.inet_ntoa(ends[_SOURCE]), socket.inet_ntoa(ends[_DESTINATION])


def _attribute(kind: int, value: bytes) -> bytes:
    data = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return data + bytes(-len(data) % 4)
