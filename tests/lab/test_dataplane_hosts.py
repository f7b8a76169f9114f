"""Two real hosts over a host-gateway overlay: networkd, resolved, Podman and nft together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from katgen.names import NodeName, bridge_port, mac_of
from katgen.planned import Node as PlannedNode
from katgen.render import networkd, nft, podmannet
from tests import cuts
from tests.lab import Node, hosts
from tests.lab.images import BUSYBOX, import_busybox

CLUSTER = cuts.cluster(overlay="host-gateway", mtu=1500)
ADDRESSES = {"a": "10.100.1.10", "b": "10.100.2.10"}
WEB = cuts.balanced(
    cuts.workload("shop/web", {"0": ("a", ADDRESSES["a"]), "1": ("b", ADDRESSES["b"])}),
    "10.101.0.5",
    {"ports": [{"port": 80, "targetPort": 8080}]},
)
ALONE = cuts.balanced(
    cuts.workload("shop/alone", {"0": ("a", ADDRESSES["a"])}),
    "10.101.0.6",
    {"ports": [{"port": 80, "targetPort": 8080}]},
)
UNIT = """
[Container]
Image={image}
Pull=never
ContainerName=web
Network=kat:ip={address},mac={mac},host_interface_name={port}
Exec=httpd -f -p 8080 -h /srv
Tmpfs=/srv
[Quadlet]
DefaultDependencies=false
"""
START = """
systemctl restart systemd-sysctl
networkctl reload
nft -f /etc/kat/kat.nft
systemctl daemon-reload
systemctl start web
podman exec web sh -c 'echo "$1" >/srv/index.html' sh "$2"
/usr/lib/systemd/systemd-networkd-wait-online -i kat-br0 -i kat-dns0 --timeout=20
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both hosts, and how to fetch from them."""

    nodes: Mapping[str, Node] = field(default_factory=dict)

    def fetched(self, node: str, url: str, *, inside: bool) -> str:
        """Return what wget prints on a node, or inside its instance."""
        wget = ["wget", "-q", "-T", "3", "-O", "-", url]
        if not inside:
            wget = ["busybox", *wget]
        return self.nodes[node].run(["podman", "exec", "web", *wget] if inside else wget).stdout


def files(node: str, underlay: Mapping[str, str]) -> dict[str, bytes]:
    """Return a node's network files, and its one instance's unit."""
    view = cuts.node_view(CLUSTER, node, [WEB])
    peers = [
        artifact
        for name, address in underlay.items()
        if name != node
        for artifact in networkd.peer(
            cuts.peer_view(CLUSTER, PlannedNode(NodeName(name), gateway=address), interface="host0")
        )
    ]
    artifacts = (
        *networkd.own(view),
        *networkd.shared(CLUSTER),
        *peers,
        *podmannet.own(view),
        *nft.node(view),
        *nft.cluster(CLUSTER),
        *nft.services(cuts.namespace_view(CLUSTER, "shop", [ALONE, WEB])),
    )
    at = ADDRESSES[node]
    unit = UNIT.format(image=BUSYBOX, address=at, mac=mac_of(at), port=bridge_port(at))
    rendered = {a.path: a.content for a in artifacts}
    return {**rendered, "/etc/containers/systemd/web.container": unit.encode()}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with hosts("a", "b") as booted:
        underlay = {node.name: node.address for node in booted}
        for node in booted:
            import_busybox(node)
            node.put_tree(files(node.name, underlay))
        for node in booted:
            node.run(["sh", "-ec", START, "sh", f"from {node.name}", f"from {node.name}"])
        yield Pair({node.name: node for node in booted})


@pytest.mark.parametrize("node", ["a", "b"])
def test_networkd_has_configured_every_link(pair: Pair, node: str) -> None:
    shown = pair.nodes[node].run(["networkctl", "--no-legend", "list"]).stdout
    states = {line.split()[1]: line.split()[-1] for line in shown.splitlines()}
    port = bridge_port(ADDRESSES[node])
    assert {link: states[link] for link in ("kat-br0", "kat-dns0", "kat-dns1", port)} == {
        "kat-br0": "configured",
        "kat-dns0": "configured",
        "kat-dns1": "configured",
        port: "configured",
    }


def test_a_route_to_another_nodes_subnet_goes_through_the_underlay(pair: Pair) -> None:
    shown = pair.nodes["a"].run(["ip", "route", "get", "10.100.2.10"]).stdout
    assert shown.startswith("10.100.2.10 via 192.0.2.12 dev host0 src ")


@pytest.mark.parametrize("inside", [False, True], ids=["node", "instance"])
@pytest.mark.parametrize("address", ["10.100.1.10", "10.100.2.10"])
def test_instances_answer_nodes_and_instances(pair: Pair, address: str, inside: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    expected = "from a\n" if address == "10.100.1.10" else "from b\n"
    assert pair.fetched("a", f"http://{address}:8080/", inside=inside) == expected
    assert pair.fetched("b", f"http://{address}:8080/", inside=inside) == expected


@pytest.mark.parametrize("inside", [False, True], ids=["node", "instance"])
def test_a_service_is_answered_from_both_nodes(pair: Pair, inside: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    answers = {pair.fetched("a", "http://10.101.0.5/", inside=inside) for _ in range(12)}
    assert answers == {"from a\n", "from b\n"}


@pytest.mark.parametrize("calls", ["0", "1"], ids=["routed", "bridge-nf-call"])
def test_an_instance_reaches_itself_through_its_service(pair: Pair, calls: str) -> None:
    pair.nodes["a"].run(["sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={calls}"])
    assert pair.fetched("a", "http://10.101.0.6/", inside=True) == "from a\n"


def test_the_cluster_s_names_go_to_the_node_s_own_server_and_no_others_do(pair: Pair) -> None:
    shown = pair.nodes["a"].run(["resolvectl", "status", "kat-dns0"]).stdout
    assert "Current Scopes: DNS\n" in shown
    assert "DNS Servers: 10.100.1.1\n" in shown
    assert "DNS Domain: ~kat.cluster.local\n" in shown
    assert "Default Route: no\n" in shown


def test_podman_gave_the_instance_its_mac_address_and_mtu(pair: Pair) -> None:
    shown = pair.nodes["a"].run(["podman", "exec", "web", "ip", "link", "show", "eth0"]).stdout
    assert "mtu 1500 " in shown
    assert "link/ether 0a:4b:0a:64:01:0a " in shown
