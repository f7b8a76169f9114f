"""Who is answered."""

import socket

import pytest

from agent.dns.clients import Clients, is_own
from agent.dns.settings import Network

CLUSTER = Network(10 << 24 | 100 << 16, 0xFFFF << 16)


def own_address() -> str:
    """Return the address of this machine by which it would reach another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
        found: str = channel.getsockname()[0]
        return found


@pytest.mark.parametrize("address", ["10.100.0.1", "10.100.7.10", "10.100.255.255"])
def test_the_clusters_addresses_are_answered(address: str) -> None:
    clients = Clients(CLUSTER, lambda _: False)
    assert clients.has(address)
    assert clients.has(address)


@pytest.mark.parametrize(
    "address", ["10.101.0.1", "192.0.2.1", "8.8.8.8", "0.0.0.1", "255.255.255.255", "", "x", "::1"]
)
def test_nobody_else_is(address: str) -> None:
    assert not Clients(CLUSTER).has(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53"])
def test_the_machine_is_by_its_loopback(address: str) -> None:
    assert Clients(CLUSTER).has(address)


def test_the_machine_is_by_its_address_elsewhere() -> None:
    assert is_own(own_address())


def test_an_address_that_the_machine_has_no_more_is_a_stranger() -> None:
    own = {"192.0.2.7"}
    clients = Clients(CLUSTER, own.__contains__)
    assert clients.has("192.0.2.7")
    own.clear()
    assert not clients.has("192.0.2.7")
