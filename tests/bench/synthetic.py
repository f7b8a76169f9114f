"""A cluster of any size with the mix that the figures are stated for; the same one every time."""

from ipaddress import IPv4Network
from typing import Any

from katgen.model.cluster import ClusterConfiguration
from katgen.model.objects import Namespace, VirtualLoadBalancer
from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import NodeName, WorkloadKey, key
from katgen.planned import Inventory, Node

ZONES = ("a", "b", "c", "d", "e")
DISKS = ("ssd", "hdd")
CPUS = ("100m", "250m", "500m", "1")
MEMORIES = ("64Mi", "128Mi", "256Mi", "1Gi")


def cluster_configuration() -> ClusterConfiguration:
    """Return settings wide enough for 16,384 nodes with a /24 each."""
    return ClusterConfiguration.model_validate(
        {
            "kind": "ClusterConfiguration",
            "metadata": {"name": "bench"},
            "spec": {
                "clusterCIDR": str(IPv4Network("10.0.0.0/10")),
                "serviceCIDR": str(IPv4Network("10.128.0.0/16")),
            },
        }
    )


def document(number: int, replicas: int, image: str = "registry.example/shop/web:1") -> Any:  # noqa: ANN401 -- a YAML document
    """Return the number-th Workload as its file would hold it: every third one has selectors."""
    spec: dict[str, Any] = {
        "type": "Service",
        "source": {"image": image},
        "replicas": replicas,
        "container": {
            "args": ["--listen", "8080"],
            "env": [{"name": "LEVEL", "value": "info"}, {"name": "SHARD", "value": str(number)}],
            "ports": [{"name": "http", "containerPort": 8080}],
            "resources": {
                "requests": {"cpu": CPUS[number % 4], "memory": MEMORIES[number // 4 % 4]}
            },
        },
    }
    if number % 3:
        spec["nodeSelector"] = {"zone": ZONES[number % 5]}
    if number % 3 == 2:
        spec["nodeSelector"]["disk"] = DISKS[number // 3 % 2]
    metadata = {"name": f"w{number}", "namespace": f"n{number % 250}", "labels": {"tier": "front"}}
    return {"kind": "Workload", "metadata": metadata, "spec": spec}


def balancer(number: int) -> Any:  # noqa: ANN401 -- a YAML document
    """Return the VirtualLoadBalancer of the number-th Workload."""
    metadata = {"name": f"w{number}", "namespace": f"n{number % 250}"}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {"kind": "VirtualLoadBalancer", "metadata": metadata, "spec": {"ports": ports}}


def objects(
    number: int, replicas: int, image: str = "registry.example/shop/web:1"
) -> WorkloadObjects:
    """Return the number-th workload, validated."""
    return WorkloadObjects(
        Workload.model_validate(document(number, replicas, image)),
        VirtualLoadBalancer.model_validate(balancer(number)),
    )


def workload_key(number: int) -> WorkloadKey:
    """Return the key of the number-th workload."""
    return key(f"n{number % 250}", f"w{number}")


def specs(workloads: int, replicas: int) -> Specs:
    """Return `workloads` workloads of `replicas` instances each, in at most 250 namespaces."""
    made = {workload_key(n): objects(n, replicas) for n in range(workloads)}
    names = sorted({f"n{n % 250}" for n in range(workloads)})
    namespaces = {
        n: Namespace.model_validate({"kind": "Namespace", "metadata": {"name": n}}) for n in names
    }
    return Specs(cluster_configuration(), namespaces, dict(sorted(made.items())))


def inventory(nodes: int) -> Inventory:
    """Return `nodes` equal nodes over five zones and two kinds of disk."""
    made = {
        NodeName(f"node-{n:05d}"): Node(
            name=NodeName(f"node-{n:05d}"),
            labels={"zone": ZONES[n % 5], "disk": DISKS[n // 5 % 2]},
            allocatable={"cpu": 64_000, "memory": 256 * 2**30},
            gateway=f"192.168.{n // 250}.{n % 250 + 1}",
            podman_version="5.4.2",
            systemd_version="257",
        )
        for n in range(nodes)
    }
    return Inventory(nodes=made)
