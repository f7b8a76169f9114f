"""The bridge, the overlay and the resolver settings, in systemd-networkd's words."""

from typing import Any

import pytest

from katgen.bundle import Activation
from katgen.errors import EncodeError
from katgen.names import NodeName
from katgen.planned import Node
from katgen.render import networkd
from katgen.render.networkd_words import domain, endpoint, interface, key, section
from katgen.render.view import ClusterView
from tests import cuts

KEY = "We8EaJD79znnqO97q5bbXYM/QlxJ3vy9gQdxUiVNrjo="
FOLDER = "/etc/systemd/network"
HEADER = "# Managed by KAT; an edit is reported as drift.\n"
QUIET = "LinkLocalAddressing=no\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\n"
BRIDGE = (
    f"{HEADER}[Match]\nName=kat-br0\n[Link]\nRequiredForOnline=no\n"
    "[Network]\nAddress=10.100.1.1/24\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n"
    f"{QUIET}"
    "# Translated before it leaves; the route gives the node's own packets their source.\n"
    "[Route]\nDestination=10.101.0.0/16\nPreferredSource=10.100.1.1\nScope=link\n"
)
RESOLVER = (
    "[Link]\nRequiredForOnline=no\n"
    f"[Network]\nAddress=10.100.1.1/32\n{QUIET}"
    "DNS=10.100.1.1\nDomains=~kat.cluster.local\nDNSDefaultRoute=no\n"
    "DNSOverTLS=no\nDNSSEC=no\n"
)
TUNNEL_ROUTE = "[Route]\nDestination=10.100.0.0/16\nPreferredSource=10.100.1.1\nScope=link\n"
WIREGUARD = cuts.cluster()
GATEWAY = cuts.cluster(overlay="host-gateway", mtu=1500)
LONE = cuts.cluster(multi_node=False)


def test_a_node_has_its_address_on_the_bridge_and_on_the_tunnel() -> None:
    assert cuts.texts(networkd.own(cuts.node_view(WIREGUARD, "a"))) == {
        f"{FOLDER}/50-kat-br0.network": BRIDGE,
        f"{FOLDER}/50-kat0.network": f"{HEADER}[Match]\nName=kat0\n{RESOLVER}{TUNNEL_ROUTE}",
    }


@pytest.mark.parametrize("cluster", [GATEWAY, LONE], ids=["host-gateway", "lone-node"])
def test_without_a_tunnel_the_resolver_settings_are_on_a_veth_pair(
    cluster: ClusterView,
) -> None:
    assert cuts.texts(networkd.own(cuts.node_view(cluster, "a"))) == {
        f"{FOLDER}/50-kat-br0.network": BRIDGE,
        f"{FOLDER}/50-kat-dns0.network": f"{HEADER}[Match]\nName=kat-dns0\n{RESOLVER}",
    }


def test_the_tunnel_has_a_port_a_key_and_readers_of_its_own() -> None:
    devices = {a.path: a for a in networkd.shared(cuts.cluster(wireguardPort=51999))}
    tunnel = devices[f"{FOLDER}/50-kat0.netdev"]
    assert tunnel.content.decode() == (
        f"{HEADER}[NetDev]\nName=kat0\nKind=wireguard\nMTUBytes=1420\n"
        "[WireGuard]\nPrivateKeyFile=/var/lib/kat/wireguard/private.key\nListenPort=51999\n"
    )
    assert (tunnel.mode, tunnel.owner) == (0o640, "root:systemd-network")


def test_all_nodes_share_the_bridge_the_ports_and_the_veth_pair() -> None:
    shared = cuts.texts(networkd.shared(GATEWAY))
    assert shared == {
        f"{FOLDER}/50-kat-br0.netdev": (
            f"{HEADER}[NetDev]\nName=kat-br0\nKind=bridge\n"
            "MACAddress=0a:4b:00:00:00:00\nMTUBytes=1500\n"
            "[Bridge]\nSTP=no\nForwardDelaySec=0\nMulticastSnooping=no\n"
        ),
        f"{FOLDER}/50-kat-dns0.netdev": (
            f"{HEADER}[NetDev]\nName=kat-dns0\nKind=veth\n[Peer]\nName=kat-dns1\n"
        ),
        f"{FOLDER}/50-kat-dns1.network": (
            f"{HEADER}[Match]\nName=kat-dns1\n[Network]\nBridge=kat-br0\n{QUIET}"
        ),
        f"{FOLDER}/50-kat-port.network": (
            f"{HEADER}[Match]\nName=kat-{'[0-9a-f]' * 8}\nKind=veth\n"
            "[Link]\nRequiredForOnline=no\n"
            f"[Network]\nBridge=kat-br0\n{QUIET}[Bridge]\nHairPin=yes\n"
        ),
        "/etc/sysctl.d/50-kat.conf": shared["/etc/sysctl.d/50-kat.conf"],
    }


def test_every_node_forwards() -> None:
    settings = cuts.texts(networkd.shared(LONE))["/etc/sysctl.d/50-kat.conf"].splitlines()
    assert [line for line in settings if not line.startswith("#")] == [
        "net.ipv4.ip_forward = 1",
        "net.ipv4.conf.all.send_redirects = 0",
        "-net.ipv4.conf.kat-br0.send_redirects = 0",
    ]


def peer(cluster: ClusterView, **node: Any) -> dict[str, str]:  # noqa: ANN401 -- Node's own fields
    """Return node b's file as others read it."""
    return cuts.texts(networkd.peer(cuts.peer_view(cluster, Node(NodeName("b"), **node))))


def test_a_peer_is_called_at_its_endpoint() -> None:
    assert peer(WIREGUARD, public_key=KEY, endpoint="b.example:51820", gateway="192.0.2.2") == {
        f"{FOLDER}/50-kat0.netdev.d/b.conf": (
            f"{HEADER}[WireGuardPeer]\nPublicKey={KEY}\nAllowedIPs=10.100.2.0/24\n"
            "Endpoint=b.example:51820\n"
        )
    }


def test_a_peer_without_endpoint_is_called_at_its_underlay_address() -> None:
    (text,) = peer(WIREGUARD, public_key=KEY, gateway="192.0.2.2").values()
    assert text.endswith("\nEndpoint=192.0.2.2:51820\n")


@pytest.mark.parametrize("node", [{"behind_nat": True, "gateway": "192.0.2.2"}, {}])
def test_a_peer_that_cannot_be_called_has_no_endpoint(node: dict[str, Any]) -> None:
    (text,) = peer(WIREGUARD, public_key=KEY, **node).values()
    assert "Endpoint" not in text


def test_a_reader_behind_nat_keeps_its_tunnels_open() -> None:
    node = Node(NodeName("b"), public_key=KEY, gateway="192.0.2.2")
    (one,) = networkd.peer(cuts.peer_view(WIREGUARD, node, keepalive=True))
    assert one.content.decode().endswith("\nPersistentKeepalive=25\n")
    assert one.activation is Activation.PEER


def test_a_node_without_a_key_or_an_underlay_address_is_no_peer_yet() -> None:
    assert peer(WIREGUARD, gateway="192.0.2.2") == {}
    assert peer(GATEWAY, public_key=KEY) == {}


def test_a_lone_node_has_no_peers() -> None:
    assert peer(LONE, public_key=KEY, gateway="192.0.2.2") == {}


@pytest.mark.parametrize(("link", "shown"), [("eth0", "eth0"), ("", "kat-uplink")])
def test_a_route_to_a_peer_names_the_readers_link(link: str, shown: str) -> None:
    node = Node(NodeName("b"), gateway="192.0.2.2")
    (one,) = networkd.peer(cuts.peer_view(GATEWAY, node, interface=link))
    assert one.path == f"{FOLDER}/50-kat-dns0.network.d/b.conf"
    assert one.content.decode() == (
        f"{HEADER}[Route]\nDestination=10.100.2.0/24\nMultiPathRoute=192.0.2.2@{shown}\n"
    )


HOSTILE = ["", " a", "a\n[Route]", "a\r", "a\0", "é", "a\x7f", "a "]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_that_is_not_one_line_is_refused(value: str) -> None:
    with pytest.raises(EncodeError, match="cannot be the value of DNS= in a network file"):
        section("Network", DNS=value)


@pytest.mark.parametrize("value", [*HOSTILE, KEY[:-1], KEY + "=", KEY.replace("o=", "p=")])
def test_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(EncodeError, match="is not a WireGuard public key"):
        key(value)


@pytest.mark.parametrize(
    "value", [*HOSTILE, "192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "a b:1", "::1:1", ":1"]
)
def test_what_is_no_endpoint_is_refused(value: str) -> None:
    with pytest.raises(EncodeError, match="is not an endpoint"):
        endpoint(value)


@pytest.mark.parametrize("value", ["192.0.2.1:1", "[2001:db8::1]:51820", "node-b.example:65535"])
def test_an_endpoint_is_an_address_or_a_name_with_a_port(value: str) -> None:
    assert endpoint(value) == value


@pytest.mark.parametrize("value", [*HOSTILE, "12", "a/b", "eth0@x", "-a"])
def test_what_is_no_link_is_refused(value: str) -> None:
    with pytest.raises(EncodeError, match="is not the name of a network link"):
        interface(value)


@pytest.mark.parametrize("value", [*HOSTILE, "a..b", "a.", ".a", "~a", "a b.c"])
def test_what_is_no_domain_is_refused(value: str) -> None:
    with pytest.raises(EncodeError, match="is not a domain"):
        domain(value)
