"""nftables: a node's own file, and the part of the data plane that all nodes have alike.

| file | of | holds |
|---|---|---|
| `/etc/kat/kat.nft` | one node | its subnet, pins and host ports; includes the others |
| `/etc/kat/cluster.nft` | the cluster | tables, hooks and rules: `units/data-plane.nft` |
| `/etc/kat/services/<ns>.nft` | a namespace | elements: see `nft_services` |
| `/var/lib/kat/endpoints/<ns>.nft` | the agent's own | the same elements as of last; no artifact |

Includes are absolute: a relative one that finds nothing is no error to nft. So a staged tree is
checked where its files stand at these paths, in a mount namespace or a chroot.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

from katgen.bundle import Activation, Artifact, artifact
from katgen.names import BRIDGE_MAC, link_of
from katgen.render.ipv4 import address, network
from katgen.render.nft_services import services
from katgen.render.nft_words import element_lines
from katgen.render.view import ClusterView, NodeView, PlacedInstance

__all__ = ["cluster", "node", "services"]

NODE_FILE = "/etc/kat/kat.nft"
CLUSTER_FILE = "/etc/kat/cluster.nft"
_HEADER = "# Managed by KAT; an edit is reported as drift.\n"
_INCLUDE_CLUSTER = f'include "{CLUSTER_FILE}"\n'
_INCLUDE_SERVICES = 'include "/etc/kat/services/*.nft"\n'
_INCLUDE_ENDPOINTS = 'include "/var/lib/kat/endpoints/*.nft"\n'
"""Last, and in the same transaction: no load shows an instance that was known not to be ready.

A line of its own: `kat-nft.service` leaves it out if what is included cannot be loaded.
"""
_TUNNEL_ONLY = """
# Every other node's packets come through the tunnel, which knows their sources.
add rule inet kat forged iifname != { "lo", "kat-br0", "kat0" } ip saddr $cluster_cidr drop
"""


def node(view: NodeView) -> tuple[Artifact, ...]:
    """Return the node's own file: `nft -f` of it is the whole data plane, in one transaction."""
    placed = [i.placement.address for i in view.instances]
    links = map(link_of, placed)
    pins = [f'"{port}" . {mac} . {a}' for a, (mac, port) in zip(placed, links, strict=True)]
    text = "".join(
        (
            _HEADER,
            f"define node_subnet = {network(view.subnet)}\n",
            _INCLUDE_CLUSTER,
            element_lines("bridge kat instances", pins),
            element_lines("inet kat itself", [f"{a} . {a}" for a in placed]),
            element_lines("inet kat host-ports", list(_host_ports(view.instances))),
            _INCLUDE_SERVICES,
            _INCLUDE_ENDPOINTS,
        )
    )
    return (artifact(NODE_FILE, text, activation=Activation.NFT, pair_key=NODE_FILE),)


def _host_ports(instances: Iterable[PlacedInstance]) -> Iterator[str]:
    for instance in instances:
        for port in instance.of.host_ports:
            at = f"{address(instance.placement.address)} . {port.container_port}"
            yield f"{port.protocol.lower()} . {port.host_port} : {at}"


def cluster(view: ClusterView) -> tuple[Artifact, ...]:
    """Return the rules that all nodes share; they depend on the cluster's settings alone."""
    spec = view.spec
    host_bits = 2**spec.node_subnet_bits - 1
    text = "".join(
        (
            _HEADER,
            f"define cluster_cidr = {spec.cluster_cidr}\n",
            f"define service_cidr = {spec.service_cidr}\n",
            f"define host_bits = 0.0.{host_bits >> 8}.{host_bits & 255}\n",
            f"define bridge_mac = {BRIDGE_MAC}\n\n",
            _rules(),
            _TUNNEL_ONLY if spec.overlay == "wireguard" else "",
        )
    )
    return (artifact(CLUSTER_FILE, text, activation=Activation.NFT, pair_key=CLUSTER_FILE),)


@cache
def _rules() -> str:
    return files("katgen.units").joinpath("data-plane.nft").read_text(encoding="utf-8")
