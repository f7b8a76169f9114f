"""The sockets that systemd passes on, sd_listen_fds(3), or one of our own for a trial."""

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

FIRST: Final = 3
_RECEIVE_BYTES: Final = 4 * 1024 * 1024
_PORTS_TRIED: Final = 32


class Sockets(NamedTuple):
    """What there is to listen on; `news` are the agent's datagrams."""

    udp: Sequence[socket.socket]
    tcp: Sequence[socket.socket]
    news: Sequence[socket.socket]


def passed() -> Sockets:
    """Return the sockets that this process was started with."""
    count = int(os.environ.get("LISTEN_FDS", "0"))
    meant = os.environ.get("LISTEN_PID", "") == str(os.getpid())
    return _sorted([socket.socket(fileno=FIRST + n) for n in range(count if meant else 0)])


def opened(address: str, port: int) -> Sockets:
    """Bind a socket of each kind; port 0 is any that is free for both. Raises OSError."""
    for _ in range(_PORTS_TRIED if port == 0 else 0):
        try:
            return _pair(address, port)
        except OSError as error:  # the kernel chose it for UDP only: TCP's may be taken
            if error.errno != errno.EADDRINUSE:
                raise
    return _pair(address, port)


def _pair(address: str, port: int) -> Sockets:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        udp.bind((address, port))
        tcp = socket.create_server(udp.getsockname(), backlog=512)
    except OSError:
        udp.close()
        raise
    return _sorted([udp, tcp])


def _sorted(found: Sequence[socket.socket]) -> Sockets:
    for one in found:
        one.setblocking(False)  # noqa: FBT003 -- the only way to say it
    news = [one for one in found if one.family == socket.AF_UNIX]
    udp = [one for one in found if one not in news and one.type == socket.SOCK_DGRAM]
    tcp = [one for one in found if one not in news and one.type == socket.SOCK_STREAM]
    return Sockets(udp, tcp, news)
