"""The cluster's networks: apart from each other, and large enough."""

import posixpath
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Final

from katgen import names
from katgen.errors import Problem, Source
from katgen.model.cluster import ClusterConfiguration, ClusterSpec
from katgen.model.spec import Document as Model
from katgen.names import WorkloadKey
from katgen.validate.load import Written
from katgen.validate.objects import Objects

_UNUSABLE: Final = tuple(
    map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"))
)
"""This host, loopback, link-local, multicast and reserved: RFC 6890, RFC 5771."""


_OWN: Final = (
    "/etc/kat",
    "/run/kat",
    *(
        f"/var/lib/kat/{name}"
        for name in (
            *("agent", "config", "content", "dns", "etcd", "generations"),
            *("ingress", "leader", "runs", "wireguard"),
        )
    ),
)
"""Where KAT keeps its own, which `kat-agent reset` deletes."""


def networks(objects: Objects) -> Iterator[Problem]:
    """One ClusterConfiguration; networks that are usable, apart, and divide into subnets; paths."""
    written = sorted(objects.clusters.values(), key=lambda one: one.at())
    for one in written[1:]:
        first = written[0].at("metadata", "name")
        hint = f"the first is at {first.file}:{first.line}; keep one"
        yield Problem(one.at("metadata", "name"), "a second ClusterConfiguration", hint)
    for one in written:
        yield from _usable(one)
        yield from _apart(one)
        yield from _divides(one)
        yield from _paths(one)


def _paths(one: Written[ClusterConfiguration]) -> Iterator[Problem]:
    """Keep data out of KAT's own folders, and those out of the data's."""
    spec = one.object.spec
    for key, path in (("volumeBasePath", spec.volume_base_path), ("backupPath", spec.backup_path)):
        data = f"{posixpath.normpath(path).rstrip('/')}/"
        for own in _OWN:
            if f"{own}/".startswith(data) or data.startswith(f"{own}/"):
                what = f"{path} and {own}, which is KAT's own, are one in the other"
                yield Problem(one.at("spec", key), what, "choose a folder apart, as /srv/volumes")
                break


def _usable(one: Written[ClusterConfiguration]) -> Iterator[Problem]:
    spec = one.object.spec
    for key, network in (("clusterCIDR", spec.cluster_cidr), ("serviceCIDR", spec.service_cidr)):
        for unusable in _UNUSABLE:
            if network.overlaps(unusable):
                what = f"{network} overlaps {unusable}, which no network can use"
                yield Problem(one.at("spec", key), what, "choose a private one, as 10.100.0.0/16")


def _apart(one: Written[ClusterConfiguration]) -> Iterator[Problem]:
    spec = one.object.spec
    if spec.service_cidr.overlaps(spec.cluster_cidr):
        what = f"{spec.service_cidr} overlaps clusterCIDR {spec.cluster_cidr}"
        hint = "choose a network apart from it, as 10.101.0.0/16"
        yield Problem(one.at("spec", "serviceCIDR"), what, hint)


def _divides(one: Written[ClusterConfiguration]) -> Iterator[Problem]:
    spec = one.object.spec
    if not spec.subnets:
        what = f"not one node fits: {capacities(spec)}"
        yield Problem(one.at("spec", "nodeSubnetBits"), what, "lower it, or widen clusterCIDR")


def capacities(spec: ClusterSpec) -> str:
    """Return the prefix that nodeSubnetBits leads to, and both capacities."""
    return (
        f"nodeSubnetBits {spec.node_subnet_bits} gives every node a /{spec.node_prefix} of "
        f"{spec.cluster_cidr}, for {spec.subnets} nodes with {spec.hosts} instances each"
    )


def room(objects: Objects, spec: ClusterSpec) -> Iterator[Problem]:
    """Check that nodes, instances and virtual addresses fit into the networks."""
    nodes = sorted(objects.nodes.values(), key=lambda one: one.object.metadata.name)
    for one in nodes[spec.subnets :]:
        what = f"there is no subnet for this node: {capacities(spec)}"
        hint = "lower nodeSubnetBits, or widen clusterCIDR"
        yield Problem(one.at("metadata", "name"), what, hint)
    yield from _instances(objects, spec, min(len(nodes) or spec.subnets, spec.subnets))
    yield from _virtual_addresses(objects, spec)


def _instances(objects: Objects, spec: ClusterSpec, nodes: int) -> Iterator[Problem]:
    counts = {key: _count(objects, key, nodes) for key in objects.workloads}
    total, limit = sum(counts.values()), nodes * spec.hosts
    if total > limit and nodes:
        largest = max(counts, key=lambda key: (counts[key], key))
        machines = "1 node has" if nodes == 1 else f"{nodes} nodes have"
        what = f"{total} instances in all, and {machines} addresses for {limit}: {capacities(spec)}"
        hint = "have fewer, add nodes, or raise nodeSubnetBits"
        yield Problem(_size_of(objects, largest), what, hint)


def _count(objects: Objects, key: WorkloadKey, nodes: int) -> int:
    spec = objects.workloads[key].object.spec
    if spec.type == "DaemonService":
        return nodes
    if spec.type == "Service":
        return 1 if spec.replicas is None else spec.replicas
    job = objects.jobs.get(key)
    if job is None:
        return 1
    runs = job.object.spec
    return runs.parallelism if runs.schedule else min(runs.parallelism, runs.completions)


def _size_of(objects: Objects, key: WorkloadKey) -> Source:
    job = objects.jobs.get(key)
    return job.at("spec", "parallelism") if job else objects.workloads[key].at("spec", "replicas")


def _virtual_addresses(objects: Objects, spec: ClusterSpec) -> Iterator[Problem]:
    for key in sorted(objects.load_balancers)[spec.virtual_addresses :]:
        what = (
            f"no virtual address is left: {len(objects.load_balancers)} load balancers, and "
            f"serviceCIDR {spec.service_cidr} has {spec.virtual_addresses}"
        )
        at = objects.load_balancers[key].at("metadata", "name")
        yield Problem(at, what, "widen serviceCIDR")


def host_ports(objects: Objects, spec: ClusterSpec) -> Iterator[Problem]:
    """Check that no host port takes the traffic of one of KAT's own."""
    own = {
        (spec.agent_port, "TCP"): "agentPort",
        (spec.api_port, "TCP"): "apiPort",
        (spec.etcd_peer_port, "TCP"): "etcdPeerPort",
        (spec.etcd_client_port, "TCP"): "etcdClientPort",
        (spec.wireguard_port, "UDP"): "wireguardPort",
    }
    for one in objects.workloads.values():
        for index, port in enumerate(one.object.spec.container.ports):
            taken = own.get((port.host_port or 0, port.protocol))
            if taken:
                at = one.at("spec", "container", "ports", index, "hostPort")
                what = f"host port {port.host_port}/{port.protocol} is the cluster's {taken}"
                yield Problem(at, what, "choose another")


def lengths(objects: Objects, spec: ClusterSpec) -> Iterator[Problem]:
    """Check that the longest name of each workload's instances fits DNS and Linux."""
    domain = spec.cluster_domain
    nodes = [one.object.metadata.name for one in objects.nodes.values()] or ["local"]
    for key, one in objects.workloads.items():
        ordinal = _longest_ordinal(objects, key, nodes)
        host = names.hostname(one.object.metadata.name, ordinal)
        if len(host) > names.HOSTNAME_MAX:
            what = f"{host!r} has {len(host)} characters"
            hint = f"a host name has at most {names.HOSTNAME_MAX}; choose a shorter name"
            yield Problem(one.at("metadata", "name"), what, hint)
        full = f"{_longest_prefix(objects, key, ordinal)}.{names.service_name(key, domain)}"
        yield from _too_long_for_dns(full, one)
    for node in objects.nodes.values():
        full = f"{node.object.metadata.name}.{names.zone('node', domain)}"
        yield from _too_long_for_dns(full, node)


def _too_long_for_dns(full: str, one: Written[Model]) -> Iterator[Problem]:
    if len(full) > names.DNS_NAME_MAX:
        hint = f"a DNS name has at most {names.DNS_NAME_MAX}; choose shorter names"
        yield Problem(one.at("metadata", "name"), f"{full!r} has {len(full)} characters", hint)


def _longest_prefix(objects: Objects, key: WorkloadKey, ordinal: str) -> str:
    """Return the longest of what the zone puts before a workload's name."""
    ports = objects.workloads[key].object.spec.container.ports
    balancer = objects.load_balancers.get(key)
    services = balancer.object.spec.ports if balancer else ()
    prefixes = [
        "vip",
        ordinal,
        *(f"_{port.name}._{port.protocol.lower()}.ep" for port in ports if port.name),
        *(f"_{port.name}._{port.protocol.lower()}" for port in services if port.name),
    ]
    return max(prefixes, key=len)


def _longest_ordinal(objects: Objects, key: WorkloadKey, nodes: list[str]) -> str:
    spec = objects.workloads[key].object.spec
    if spec.type == "DaemonService":
        return max(nodes, key=len)
    job = objects.jobs.get(key)
    if spec.type == "Job" and job is not None:
        runs = job.object.spec
        return str((runs.parallelism if runs.schedule else runs.completions) - 1)
    return str(max(0, (spec.replicas or 1) - 1))
