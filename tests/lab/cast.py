"""Who takes part in the tests of the data plane, and the files of their nodes.

| | |
|---|---|
| shop/web | 10.101.0.5, two instances on node a, one on b |
| shop/cache | 10.101.0.7 with affinity, one instance on each node |
| shop/client | calls |
| shop/edge | host port 8088 of node a |
| shop/wide | sends larger packets than the overlay takes |
| vault/db, vault/gate | the same in an isolated namespace: 10.101.0.6, host port 8089 |
"""

from collections.abc import Iterator
from contextlib import contextmanager

from katgen.render import networkd, nft
from tests import cuts
from tests.lab.fabric import PORT, Fabric, fabric

HTTP = {"port": 80, "targetPort": PORT}
DNS = {"port": 53, "targetPort": PORT, "protocol": "UDP"}
CLIENT = "10.100.1.12"
STRANGER = "10.100.1.99"
"""Plugged into node a's bridge, and unknown to the plan."""

_WEB = {"0": ("a", "10.100.1.10"), "1": ("a", "10.100.1.11"), "2": ("b", "10.100.2.10")}
_CACHE = {"0": ("a", "10.100.1.15"), "1": ("b", "10.100.2.15")}
_DB = {"0": ("a", "10.100.1.20"), "1": ("b", "10.100.2.20")}
_WIDE = {"0": ("a", "10.100.1.14"), "1": ("b", "10.100.2.14")}


def _with_host_port(port: int) -> dict[str, object]:
    return {"ports": [{"containerPort": PORT, "hostPort": port}]}


WIDE = cuts.workload("shop/wide", _WIDE)
ALL = (
    cuts.balanced(cuts.workload("shop/web", _WEB), "10.101.0.5", {"ports": [HTTP, DNS]}),
    cuts.balanced(
        cuts.workload("shop/cache", _CACHE),
        "10.101.0.7",
        {"ports": [HTTP], "affinity": "ClientIP"},
    ),
    cuts.workload("shop/client", {"0": ("a", CLIENT)}),
    cuts.workload("shop/edge", {"0": ("a", "10.100.1.13")}, container=_with_host_port(8088)),
    WIDE,
    cuts.balanced(cuts.workload("vault/db", _DB), "10.101.0.6", {"ports": [HTTP]}),
    cuts.workload("vault/gate", {"0": ("a", "10.100.1.21")}, container=_with_host_port(8089)),
)


def files(
    node: str, *, vault_is_isolated: bool = True, overlay: str = "wireguard"
) -> dict[str, str]:
    """Return a node's files of the data plane."""
    cluster = cuts.cluster(overlay=overlay)
    vault = cuts.namespace_view(cluster, "vault", ALL, isolated=vault_is_isolated)
    return cuts.texts(
        (
            *networkd.shared(cluster),
            *nft.node(cuts.node_view(cluster, node, ALL)),
            *nft.cluster(cluster),
            *nft.services(cuts.namespace_view(cluster, "shop", ALL)),
            *nft.services(vault),
        )
    )


@contextmanager
def staged(*, bridge_calls: bool) -> Iterator[Fabric]:
    """Make nodes a and b with all instances, a server in each, the stranger, and their rules."""
    with fabric(("a", "b"), bridge_calls=bridge_calls) as net:
        for of in ALL:
            for placement in of.plan.placements:
                name = f"{of.key.partition('/')[2]}-{placement.ordinal}"
                mtu = 1500 if of is WIDE else 1420
                net.instance(placement.node, placement.address, serve=name, mtu=mtu)
        net.instance("a", STRANGER)
        net.serve("outside", "outside")
        for node in ("a", "b"):
            net.load(node, files(node))
        net.until_answered("a", "10.100.2.10")
        net.until_answered("b", "10.100.1.10")
        for of in ALL:
            for placement in of.plan.placements:
                net.until_answered(placement.node, placement.address)
        yield net
