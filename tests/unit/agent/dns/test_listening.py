"""Sockets of one's own: both kinds at one port, or none."""

import errno
import socket

import pytest

from agent.dns import listening

ADDRESS = "127.0.0.1"


def test_any_port_is_one_that_both_kinds_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.create_server
    refused: list[tuple[str, int]] = []

    def create_server(address: tuple[str, int], *, backlog: int) -> socket.socket:
        if len(refused) < 3:
            refused.append(address)
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return real(address, backlog=backlog)

    monkeypatch.setattr(socket, "create_server", create_server)
    made = listening.opened(ADDRESS, 0)
    with made.udp[0] as udp, made.tcp[0] as tcp:
        assert udp.getsockname() == tcp.getsockname()
    assert len(refused) == 3


def test_a_port_that_tcp_cannot_have_is_left_to_udp_too() -> None:
    with socket.create_server((ADDRESS, 0)) as other:
        where = other.getsockname()
        with pytest.raises(OSError, match="in use"):
            listening.opened(*where)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(where)


def test_an_address_that_is_not_here_is_refused_once() -> None:
    with pytest.raises(OSError, match="assign"):
        listening.opened("192.0.2.1", 0)
