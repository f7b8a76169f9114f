"""systemd-networkd: the bridge, the overlay, and the per-link resolver settings.

| overlay | resolver settings | way to other nodes | peers |
|---|---|---|---|
| `wireguard` | on `kat0` | one route through `kat0` | `50-kat0.netdev.d` |
| `host-gateway` | on `kat-dns0` | a route each, by their gateway | `50-kat-dns0.network.d` |
| (a lone node) | on `kat-dns0` | | |

A lone node needs neither tunnel nor key nor kernel module. docs/adr/0011-data-plane-overlay.md says
why there is a veth pair, and how a route names a gateway on a link whose `.network` is not KAT's.

Sources: systemd.netdev(5), systemd.network(5).
"""

from functools import lru_cache
from ipaddress import IPv4Network

from katgen.bundle import Activation, Artifact, artifact
from katgen.names import BRIDGE_MAC
from katgen.render.ipv4 import address, network
from katgen.render.networkd_words import domain, endpoint, interface, key, section
from katgen.render.view import ClusterView, NodeView, PeerView

FOLDER = "/etc/systemd/network"
PRIVATE_KEY = "/var/lib/kat/wireguard/private.key"
"""Made by the node itself; mode 0640, group systemd-network."""
UPLINK = "kat-uplink"
"""Alternative name of the underlay's link, for a node that has not reported the link's own name."""
SYSCTL = "/etc/sysctl.d/50-kat.conf"
_SYSCTL = """\
# Instances reach other nodes and the outside through this one.
net.ipv4.ip_forward = 1
# And each other: do not tell them a shorter way. The first line only lets the second one count.
net.ipv4.conf.all.send_redirects = 0
-net.ipv4.conf.kat-br0.send_redirects = 0
"""
_KEEPALIVE_S = 25
_ADDRESS = "<address>"
_SUBNET = "<subnet>"
_HEADER = "# Managed by KAT; an edit is reported as drift.\n"
_QUIET = (
    ("LinkLocalAddressing", "no"),
    ("IPv6AcceptRA", "no"),
    ("LLMNR", "no"),
    ("MulticastDNS", "no"),
)


def own(view: NodeView) -> tuple[Artifact, ...]:
    """Return the files that depend on the node's address."""
    spec = view.cluster.spec
    link = _overlay_link(view.cluster)
    at = address(view.address)
    prefix = network(view.subnet).partition("/")[2]
    bridge = _bridge(spec.service_cidr).replace(_SUBNET, f"{at}/{prefix}")
    overlay = _overlay(link, spec.cluster_cidr, spec.cluster_domain)
    return (
        _file("50-kat-br0.network", bridge.replace(_ADDRESS, at)),
        _file(f"50-{link}.network", overlay.replace(_ADDRESS, at)),
    )


def shared(view: ClusterView) -> tuple[Artifact, ...]:
    """Return the files that all nodes have alike: devices, ports, the kernel's settings."""
    return (
        _file("50-kat-br0.netdev", _bridge_device(view)),
        *_overlay_devices(view),
        _file("50-kat-port.network", _instance_port()),
        artifact(SYSCTL, _HEADER + _SYSCTL, activation=Activation.SYSCTL, pair_key=SYSCTL),
    )


def _bridge_device(view: ClusterView) -> str:
    device = section(
        "NetDev", Name="kat-br0", Kind="bridge", MACAddress=BRIDGE_MAC, MTUBytes=str(view.mtu)
    )
    return device + section("Bridge", STP="no", ForwardDelaySec="0", MulticastSnooping="no")


def _overlay_devices(view: ClusterView) -> tuple[Artifact, ...]:
    if _overlay_link(view) == "kat0":
        return (_file("50-kat0.netdev", _tunnel(view), secret=True),)
    pair = section("NetDev", Name="kat-dns0", Kind="veth") + section("Peer", Name="kat-dns1")
    port = section("Match", Name="kat-dns1") + section("Network", ("Bridge", "kat-br0"), *_QUIET)
    return (_file("50-kat-dns0.netdev", pair), _file("50-kat-dns1.network", port))


def peer(view: PeerView) -> tuple[Artifact, ...]:
    """Return the file by which other nodes reach this one, or nothing if they cannot yet.

    A node without a public key has no tunnel; one without an underlay address no route.
    """
    if not view.cluster.multi_node:
        return ()
    if view.cluster.spec.overlay == "wireguard":
        return _tunnel_peer(view) if view.node.public_key else ()
    return _route_peer(view) if view.node.gateway else ()


def peer_path(cluster: ClusterView, node: str) -> str:
    """Return where a node's peer file stands; that node itself leaves it out."""
    of = "50-kat0.netdev.d" if cluster.spec.overlay == "wireguard" else "50-kat-dns0.network.d"
    return f"{FOLDER}/{of}/{node}.conf"


def _overlay_link(view: ClusterView) -> str:
    """Return the link that always has carrier, so that its resolver settings always hold."""
    return "kat0" if view.spec.overlay == "wireguard" and view.multi_node else "kat-dns0"


@lru_cache(maxsize=8)
def _bridge(service_cidr: IPv4Network) -> str:
    """Return the bridge's settings with _SUBNET and _ADDRESS still to be put in."""
    return "".join(
        (
            section("Match", Name="kat-br0"),
            section("Link", RequiredForOnline="no"),
            section(
                "Network",
                ("Address", _SUBNET),
                ("ConfigureWithoutCarrier", "yes"),
                ("IgnoreCarrierLoss", "yes"),
                *_QUIET,
            ),
            "# Translated before it leaves; the route gives the node's own packets their source.\n",
            _route(service_cidr),
        )
    )


@lru_cache(maxsize=8)
def _overlay(link: str, cluster_cidr: IPv4Network, cluster_domain: str) -> str:
    """Return the settings of the overlay's link with _ADDRESS still to be put in."""
    return "".join(
        (
            section("Match", Name=link),
            section("Link", RequiredForOnline="no"),
            section(
                "Network",
                ("Address", f"{_ADDRESS}/32"),
                *_QUIET,
                ("DNS", _ADDRESS),
                ("Domains", f"~{domain(cluster_domain)}"),
                ("DNSDefaultRoute", "no"),
                # It speaks neither, whatever the host wants of the servers outside.
                ("DNSOverTLS", "no"),
                ("DNSSEC", "no"),
            ),
            _route(cluster_cidr) if link == "kat0" else "",
        )
    )


def _route(to: IPv4Network) -> str:
    return section("Route", Destination=str(to), PreferredSource=_ADDRESS, Scope="link")


def _tunnel(view: ClusterView) -> str:
    return section("NetDev", Name="kat0", Kind="wireguard", MTUBytes=str(view.mtu)) + section(
        "WireGuard", PrivateKeyFile=PRIVATE_KEY, ListenPort=str(view.spec.wireguard_port)
    )


def _tunnel_peer(view: PeerView) -> tuple[Artifact, ...]:
    settings = [("PublicKey", key(view.node.public_key)), ("AllowedIPs", network(view.subnet))]
    at = _endpoint(view)
    if at:
        settings.append(("Endpoint", endpoint(at)))
    if view.keepalive:
        settings.append(("PersistentKeepalive", str(_KEEPALIVE_S)))
    text = section("WireGuardPeer", *settings)
    return (_peer_file(view, text, secret=True),)


def _endpoint(view: PeerView) -> str:
    """Return where a node can be called; behind NAT it can only call."""
    if view.node.behind_nat:
        return ""
    if view.node.endpoint or not view.node.gateway:
        return view.node.endpoint
    return f"{view.node.gateway}:{view.cluster.spec.wireguard_port}"


def _route_peer(view: PeerView) -> tuple[Artifact, ...]:
    # Gateway= is on the file's own link; MultiPathRoute= is the key that takes another.
    through = f"{address(view.node.gateway)}@{interface(view.interface or UPLINK)}"
    text = section("Route", Destination=network(view.subnet), MultiPathRoute=through)
    return (_peer_file(view, text, secret=False),)


def _peer_file(view: PeerView, text: str, *, secret: bool) -> Artifact:
    where = peer_path(view.cluster, view.node.name)
    return _artifact(where, text, Activation.PEER, secret=secret)


def _instance_port() -> str:
    """Return the settings of the node's end of every instance's link, which Podman makes.

    With bridge-nf-call-iptables an instance that calls itself by its virtual address is answered
    by the bridge and not by the router: the frame goes out where it came in.
    """
    return "".join(
        (
            section("Match", Name=f"kat-{'[0-9a-f]' * 8}", Kind="veth"),
            section("Link", RequiredForOnline="no"),
            section("Network", ("Bridge", "kat-br0"), *_QUIET),
            section("Bridge", HairPin="yes"),
        )
    )


def _file(name: str, text: str, *, secret: bool = False) -> Artifact:
    return _artifact(f"{FOLDER}/{name}", text, Activation.NETWORKD, secret=secret)


def _artifact(where: str, text: str, activation: Activation, *, secret: bool) -> Artifact:
    """Return a file of networkd's; `secret` ones say who talks to whom, and a device has a key."""
    return artifact(
        where,
        _HEADER + text,
        mode=0o640 if secret else 0o644,
        owner="root:systemd-network" if secret else "root:root",
        activation=activation,
        pair_key=where,
    )
