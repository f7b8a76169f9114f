"""Connections that the kernel remembers, over ctnetlink: include/uapi/linux/netfilter of Linux.

A UDP client goes on to the instance that its first packet was led to, as long as it sends. And what
begins while there are no packet rules stays untranslated, for all that is sent from the same port.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
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

_Judge = Callable[[int, str, str], bool]
"""Of a connection's protocol, the address that it was made to, and who answers it."""


def forget_udp(answering: Mapping[str, Collection[str]], within_s: float = _WITHIN_S) -> int:
    """Delete UDP connections to these addresses that others answer than are named for each.

    Returns how many. Raises OSError: TimeoutError if there were too many to look at them all in
    time; those that were found are deleted nevertheless.
    """

    def is_stale(protocol: int, virtual: str, instance: str) -> bool:
        # An older kernel does not filter.
        return protocol == socket.IPPROTO_UDP and instance not in answering.get(
            virtual, (instance,)
        )

    only = next(iter(answering)) if len(answering) == 1 else ""
    return _forget(is_stale, _filter(only, socket.IPPROTO_UDP), within_s)


def forget_untranslated(virtual: Collection[str], within_s: float = _WITHIN_S) -> int:
    """Delete connections to these addresses that nobody was found for when they began.

    Returns how many. Raises as `forget_udp` does.
    """

    def is_stray(_protocol: int, to: str, answerer: str) -> bool:
        return to == answerer and to in virtual

    return _forget(is_stray, _filter(next(iter(virtual))) if len(virtual) == 1 else b"", within_s)


def _forget(judge: _Judge, only: bytes, within_s: float) -> int:
    with kernel_socket(NETLINK_NETFILTER) as kernel:
        found, is_all = _found(_judged(kernel, judge, only), time.monotonic() + within_s)
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


def _judged(kernel: socket.socket, judge: _Judge, only: bytes) -> Iterator[dict[int, bytes] | None]:
    """Yield the attributes of each connection that is judged to go, None for every other one."""
    for _, payload in ask(kernel, _GET, DUMP, _FAMILY + only):
        entry = dict(attributes(payload[NETFILTER_HEADER:]))
        protocol, _, virtual = _tuple(entry[_ORIGINAL])
        _, answerer, _ = _tuple(entry[_REPLY])
        yield entry if judge(protocol, virtual, answerer) else None


def _filter(virtual: str, protocol: int = 0) -> bytes:
    """Return what has the kernel leave out other addresses and protocols, if one is given."""
    parts, flags = [], 0
    if virtual:
        destination = _attribute(_DESTINATION, socket.inet_aton(virtual))
        parts.append(_attribute(_TUPLE_IP | _NESTED, destination))
        flags |= _BY_DESTINATION
    if protocol:
        number = _attribute(_PROTOCOL_NUMBER, bytes((protocol,)))
        parts.append(_attribute(_TUPLE_PROTOCOL | _NESTED, number))
        flags |= _BY_PROTOCOL
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
