"""The name server's sockets and settings."""

import json

from katgen.bundle import Activation
from katgen.render import dns
from tests import cuts


def test_the_sockets_are_on_the_nodes_own_address_and_the_agents_is_roots_alone() -> None:
    _, socket = dns.own(cuts.node_view(cuts.cluster(), "b"))
    lines = socket.content.decode().splitlines()
    assert socket.path == "/etc/systemd/system/kat-dns.socket"
    assert (socket.unit, socket.activation) == ("kat-dns.socket", Activation.DAEMON_RELOAD)
    assert {"ListenDatagram=10.100.2.1:53", "ListenStream=10.100.2.1:53"} < set(lines)
    assert {"ListenDatagram=/run/kat/dns.sock", "SocketMode=0600", "FreeBind=yes"} < set(lines)


def test_no_number_of_failed_starts_ends_the_sockets() -> None:
    _, socket = dns.own(cuts.node_view(cuts.cluster(), "b"))
    assert b"\nTriggerLimitIntervalSec=0\n" in socket.content


def test_the_settings() -> None:
    settings, _ = dns.own(cuts.node_view(cuts.cluster(upstreamDNS=["192.0.2.53"]), "b"))
    assert (settings.path, settings.activation) == ("/etc/kat/dns.json", Activation.DNS)
    assert json.loads(settings.content) == {
        "format": 1,
        "domain": "kat.cluster.local",
        "address": "10.100.2.1",
        "clusterCIDR": "10.100.0.0/16",
        "serviceCIDR": "10.101.0.0/16",
        "upstreams": ["192.0.2.53"],
    }


def test_every_boot_starts_the_socket_by_a_file_that_no_namespace_can_have() -> None:
    (drop_in,) = dns.shared()
    assert drop_in.path == "/etc/systemd/system/sockets.target.d/kat-dns.conf"
    assert drop_in.content.decode().endswith("\n[Unit]\nWants=kat-dns.socket\n")
