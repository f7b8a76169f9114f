"""Nodes that can tell each other apart."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from katgen.errors import Problem
from katgen.model.cluster import ClusterSpec
from katgen.model.node import Node
from katgen.validate.load import Written
from katgen.validate.objects import Objects


def nodes(objects: Objects, spec: ClusterSpec) -> Iterator[Problem]:
    """Addresses and keys once only, and addresses below the overlay."""
    keys: dict[str, Written[Node]] = {}
    addresses: dict[IPv4Address, Written[Node]] = {}
    for one in objects.nodes.values():
        address = one.object.spec.advertise_address
        if address is not None:
            other = addresses.setdefault(address, one)
            yield from _same(one, other, ("spec", "advertiseAddress"), f"address {address}")
            yield from _below(one, address, spec)
        elif spec.overlay == "host-gateway" and len(objects.nodes) > 1:
            hint = "give the address under which the other nodes reach it"
            at = one.at("spec", "advertiseAddress")
            yield Problem(at, "overlay host-gateway needs it", hint)
        key = one.object.status.overlay_network.public_key
        if key is not None:
            other = keys.setdefault(key, one)
            path = ("status", "overlayNetwork", "publicKey")
            yield from _same(one, other, path, "public key")


def _same(
    one: Written[Node], other: Written[Node], path: tuple[str, ...], what: str
) -> Iterator[Problem]:
    if other is not one:
        name = other.object.metadata.name
        yield Problem(one.at(*path), f"node {name!r} has the same {what}", "correct one of them")


def _below(one: Written[Node], address: IPv4Address, spec: ClusterSpec) -> Iterator[Problem]:
    for key, network in (("clusterCIDR", spec.cluster_cidr), ("serviceCIDR", spec.service_cidr)):
        if address in network:
            what = f"{address} is inside {key} {network}"
            hint = "give the node's address below the overlay, or choose another network"
            yield Problem(one.at("spec", "advertiseAddress"), what, hint)
