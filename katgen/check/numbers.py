"""Invariants of addresses, subnets and user ids: inside their range, and never two owners."""

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

from katgen.check.facts import Facts, Instance, Invariant, at_workload
from katgen.errors import Problem, Source
from katgen.names import WorkloadKey

_FIRST_HOST = 10
_UID_FIRST = 0x2A000000
_UID_LAST = 0x6FFFFFFF
_UID_RANGE = 65_536


def subnets_fit(facts: Facts) -> Iterator[Problem]:
    """Every node has a subnet of the right size inside clusterCIDR."""
    spec = facts.plan.specs.cluster.spec
    prefix = 32 - spec.node_subnet_bits
    for node, text in facts.plan.subnets.items():
        subnet = IPv4Network(text)
        at = Source(path=f"subnets.{node}")
        if subnet.prefixlen != prefix:
            yield Problem(at, f"{text} is not a /{prefix}, as nodeSubnetBits says")
        if not subnet.subnet_of(spec.cluster_cidr):
            yield Problem(at, f"{text} is not inside clusterCIDR {spec.cluster_cidr}")
    for node in sorted(facts.plan.inventory.nodes.keys() - facts.plan.subnets.keys()):
        yield Problem(Source(path=f"subnets.{node}"), "the node has no subnet")


def subnets_disjoint(facts: Facts) -> Iterator[Problem]:
    """No two nodes share a part of clusterCIDR."""
    networks = [(IPv4Network(text), node) for node, text in facts.plan.subnets.items()]
    ordered = sorted(networks, key=lambda n: int(n[0].network_address))
    for (one, node), (other, neighbour) in pairwise(ordered):
        if one.broadcast_address >= other.network_address:
            at = Source(path=f"subnets.{neighbour}")
            yield Problem(at, f"{other} overlaps {one} of node {node}")


def public_keys_unique(facts: Facts) -> Iterator[Problem]:
    """No two nodes have one public key: WireGuard would send the one's packets to the other."""
    owners: dict[str, str] = {}
    for name, node in facts.plan.inventory.nodes.items():
        if node.public_key and owners.setdefault(node.public_key, name) != name:
            at = Source(path=f"nodes.{name}")
            yield Problem(at, f"its public key is also that of node {owners[node.public_key]}")


def addresses_unique(facts: Facts) -> Iterator[Problem]:
    """No address has two instances."""
    owners: dict[str, Instance] = {}
    for instance in facts.instances:
        address = instance.placement.address
        other = owners.setdefault(address, instance)
        if other is not instance:
            yield Problem(instance.at, f"its address {address} is also that of {other.at}")


def addresses_in_subnet(facts: Facts) -> Iterator[Problem]:
    """Every instance's address is one of its node's, not reserved, not the broadcast address."""
    spans = {node: _span(text) for node, text in facts.plan.subnets.items()}
    for instance in facts.instances:
        placement = instance.placement
        first, last = spans.get(placement.node, (0, 0))
        if not first <= _number(placement.address) <= last:
            usable = f"{IPv4Address(first)} to {IPv4Address(last)}"
            what = f"its address {placement.address} is not one of node {placement.node}: {usable}"
            yield Problem(instance.at, what)


def _number(address: str) -> int:
    a, b, c, d = map(int, address.split("."))
    return a << 24 | b << 16 | c << 8 | d


def _span(text: str) -> tuple[int, int]:
    """Return the first and last number that instances may have in a subnet."""
    subnet = IPv4Network(text)
    return int(subnet.network_address) + _FIRST_HOST, int(subnet.broadcast_address) - 1


def virtual_addresses_unique(facts: Facts) -> Iterator[Problem]:
    """No virtual address has two workloads."""
    owners: dict[str, str] = {}
    for key, planned in facts.plan.workloads.items():
        address = planned.virtual_address
        if address and owners.setdefault(address, key) != key:
            what = f"its virtual address {address} is also that of {owners[address]}"
            yield Problem(at_workload(key), what)


def virtual_addresses_fit(facts: Facts) -> Iterator[Problem]:
    """Whoever has a load balancer, and nobody else, has a virtual address, inside serviceCIDR."""
    service = facts.plan.specs.cluster.spec.service_cidr
    for key, planned in facts.workloads():
        address = planned.virtual_address
        balanced = facts.plan.specs.workloads[key].load_balancer is not None
        if balanced != bool(address):
            state = "a VirtualLoadBalancer, but no" if balanced else "no VirtualLoadBalancer, but a"
            yield Problem(at_workload(key), f"it has {state} virtual address")
        elif address and not _is_host(address, service):
            yield Problem(at_workload(key), f"{address} is not an address of serviceCIDR {service}")


def _is_host(address: str, network: IPv4Network) -> bool:
    return IPv4Address(address) in network and IPv4Address(address) != network.network_address


def uid_ranges_fit(facts: Facts) -> Iterator[Problem]:
    """Every userns workload has an aligned range of uids within limits, a host-root one none."""
    for key, planned in facts.workloads():
        base = planned.uid_base
        if facts.plan.specs.workloads[key].workload.spec.isolation == "host-root":
            if base:
                yield Problem(at_workload(key), f"it runs as host-root, but has uids from {base}")
        elif not _is_range(base):
            yield Problem(at_workload(key), _no_range(base))
    for key, retired in facts.plan.retired.items():
        if retired.uid_base and not _is_range(retired.uid_base):
            yield Problem(Source(path=f"retired.{key}"), _no_range(retired.uid_base))


def _no_range(base: int) -> str:
    return f"its uids from {base} are not a range between {_UID_FIRST} and {_UID_LAST}"


def _is_range(base: int) -> bool:
    inside = base >= _UID_FIRST and base + _UID_RANGE - 1 <= _UID_LAST
    return inside and (base - _UID_FIRST) % _UID_RANGE == 0


def uid_ranges_unique(facts: Facts) -> Iterator[Problem]:
    """No uid belongs to two workloads, deleted ones included."""
    owners: dict[int, str] = {}
    for key, base in _uid_holders(facts):
        if owners.setdefault(base, key) != key:
            yield Problem(
                at_workload(key), f"its uids from {base} are also those of {owners[base]}"
            )


def _uid_holders(facts: Facts) -> Iterator[tuple[WorkloadKey, int]]:
    for holders in (facts.plan.workloads, facts.plan.retired):
        for key, holder in holders.items():
            if holder.uid_base:
                yield key, holder.uid_base


def resting_has_no_owner(facts: Facts) -> Iterator[Problem]:
    """Nothing that rests is in use."""
    if not facts.plan.resting:
        return
    used: Mapping[str, str] = {
        **{i.placement.address: str(i.at) for i in facts.instances},
        **{w.virtual_address: key for key, w in facts.plan.workloads.items()},
        **{s: n for n, s in facts.plan.subnets.items() if n in facts.plan.inventory.nodes},
    }
    for resource, entry in facts.plan.resting.items():
        at = Source(path=f"resting.{resource}")
        if resource in used:
            yield Problem(at, f"it rests, and is in use by {used[resource]}")
        if entry.resource != resource:
            yield Problem(at, f"the entry is about {entry.resource}")


def ordinals_unique(facts: Facts) -> Iterator[Problem]:
    """Every ordinal of a workload has one instance of a revision."""
    for key, planned in facts.workloads():
        placed = ((p.ordinal, p.revision) for p in planned.placements)
        unplaced = ((u.ordinal, "") for u in planned.unplaced)
        for kind, entries in (("placed", placed), ("unplaced", unplaced)):
            for (ordinal, _), count in Counter(entries).items():
                if count > 1:
                    yield Problem(at_workload(key), f"ordinal {ordinal} is {kind} {count} times")


def units_unique(facts: Facts) -> Iterator[Problem]:
    """No incarnation is used twice, so that no unit name is."""
    for key, planned in facts.workloads():
        counts = Counter([p.incarnation for p in planned.placements])
        for incarnation, count in counts.items():
            if count > 1:
                what = f"incarnation {incarnation} is used {count} times"
                yield Problem(at_workload(key), what)


INVARIANTS: Mapping[str, Invariant] = {
    "subnets-fit": subnets_fit,
    "subnets-disjoint": subnets_disjoint,
    "public-keys-unique": public_keys_unique,
    "addresses-unique": addresses_unique,
    "addresses-in-subnet": addresses_in_subnet,
    "virtual-addresses-unique": virtual_addresses_unique,
    "virtual-addresses-fit": virtual_addresses_fit,
    "uid-ranges-fit": uid_ranges_fit,
    "uid-ranges-unique": uid_ranges_unique,
    "resting-has-no-owner": resting_has_no_owner,
    "ordinals-unique": ordinals_unique,
    "units-unique": units_unique,
}
