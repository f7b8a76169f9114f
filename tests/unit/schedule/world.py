"""Small worlds for planning: workloads and nodes in one line each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from katgen.model.cluster import ClusterConfiguration
from katgen.model.objects import Config, JobDefinition, Namespace, VirtualLoadBalancer
from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import NodeName, WorkloadKey, key
from katgen.planned import Inventory, Node, Plan, Taint
from katgen.quantity import cpu_milli, memory_bytes

Yaml = Mapping[str, Any]


def cluster(**spec: Any) -> ClusterConfiguration:  # noqa: ANN401 -- a YAML document
    given = {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16", **spec}
    document = {"kind": "ClusterConfiguration", "metadata": {"name": "test"}, "spec": given}
    return ClusterConfiguration.model_validate(document)


def workload(
    name: str,
    replicas: int | None = None,
    *,
    labels: Yaml | None = None,
    balanced: bool = False,
    job: Yaml | None = None,
    **spec: Any,  # noqa: ANN401 -- a YAML document
) -> WorkloadObjects:
    """Return a workload of namespace shop (or of `ns/name`); `spec` is its spec as in a file."""
    namespace, _, short = name.rpartition("/")
    metadata = {"name": short, "namespace": namespace or "shop"}
    given: dict[str, Any] = {"type": "Job" if job is not None else "Service", **spec}
    given.setdefault("source", {"image": "localhost/app:1"})
    if replicas is not None:
        given["replicas"] = replicas
    document = {"kind": "Workload", "metadata": {**metadata, "labels": labels or {}}, "spec": given}
    balancer = {
        "kind": "VirtualLoadBalancer",
        "metadata": metadata,
        "spec": {"ports": [{"port": 80}]},
    }
    definition = {"kind": "JobDefinition", "metadata": metadata, "spec": job}
    return WorkloadObjects(
        Workload.model_validate(document),
        VirtualLoadBalancer.model_validate(balancer) if balanced else None,
        JobDefinition.model_validate(definition) if job is not None else None,
    )


def requests(cpu: str | None = None, memory: str | None = None, **container: Any) -> Yaml:  # noqa: ANN401 -- a YAML document
    """Return a container that requests CPU and memory."""
    amounts = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v is not None}
    return {**container, "resources": {"requests": amounts}}


def gpus(count: int, vendor: str = "nvidia") -> Yaml:
    """Return a container that needs GPUs."""
    return {"resources": {"gpu": {"count": count, "vendor": vendor}}}


def host_port(port: int) -> Yaml:
    """Return a container with a host port."""
    return {"ports": [{"containerPort": port, "hostPort": port}]}


def with_data(volume: str = "data", *, shared: bool = False) -> dict[str, Any]:
    """Return the part of a spec that keeps data on the node."""
    return {
        "volumes": [{"name": volume, "simpleClusterStorage": {"shared": shared}}],
        "container": {"volumeMounts": [{"name": volume, "mountPath": "/data"}]},
    }


def specs(
    *objects: WorkloadObjects,
    quota: Yaml | None = None,
    settings: Yaml | None = None,
    configs: Mapping[str, Yaml] | None = None,
) -> Specs:
    """Return specs of these workloads; `quota` is that of every namespace."""
    by_key = {key(o.workload.metadata.namespace, o.workload.metadata.name): o for o in objects}
    names = sorted({k.partition("/")[0] for k in by_key} | {"shop"})
    spec = {"quota": quota} if quota else {}
    namespaces = {
        n: Namespace.model_validate({"kind": "Namespace", "metadata": {"name": n}, "spec": spec})
        for n in names
    }
    written = {
        key("shop", name): Config.model_validate(
            {"kind": "Config", "metadata": {"name": name, "namespace": "shop"}, "data": data}
        )
        for name, data in (configs or {}).items()
    }
    return Specs(cluster(**(settings or {})), namespaces, dict(sorted(by_key.items())), written)


def node(  # noqa: PLR0913 -- one keyword for each thing that a node can have
    name: str,
    labels: Yaml | None = None,
    *,
    cpu: str | None = "4",
    memory: str | None = "8Gi",
    taints: tuple[str, ...] = (),
    cordoned: bool = False,
    ready: bool = True,
    gpus: Mapping[str, int] | None = None,
) -> Node:
    """Return a node; taints as `key=value:Effect`."""
    allocatable: dict[str, int] = dict(gpus or {})
    if cpu is not None:
        allocatable["cpu"] = cpu_milli(cpu)
    if memory is not None:
        allocatable["memory"] = memory_bytes(memory)
    return Node(
        NodeName(name), dict(labels or {}), tuple(map(_taint, taints)), cordoned, ready, allocatable
    )


def _taint(text: str) -> Taint:
    left, _, effect = text.rpartition(":")
    name, _, value = left.partition("=")
    return Taint(name, effect, value)


def inventory(*nodes: Node, **facts: Any) -> Inventory:  # noqa: ANN401 -- further fields
    """Return an inventory of these nodes."""
    return Inventory({n.name: n for n in nodes}, **facts)


def places(plan: Plan, name: str = "shop/web") -> dict[str, str]:
    """Return the node of every ordinal."""
    return {str(p.ordinal): str(p.node) for p in plan.workloads[WorkloadKey(name)].placements}


def addresses(plan: Plan, name: str = "shop/web") -> dict[str, str]:
    """Return the address of every ordinal."""
    return {str(p.ordinal): p.address for p in plan.workloads[WorkloadKey(name)].placements}


def ids(plan: Plan, name: str = "shop/web") -> list[str]:
    """Return the ids of a workload's instances."""
    return [f"{p.ordinal}-{p.incarnation}" for p in plan.workloads[WorkloadKey(name)].placements]


def reasons(plan: Plan, name: str = "shop/web") -> dict[str, list[str]]:
    """Return, for every ordinal without a place, why: `count x reason`."""
    return {
        str(u.ordinal): [f"{r.count}x {r.reason}" for r in u.refusals]
        for u in plan.workloads[WorkloadKey(name)].unplaced
    }


def without(written: Specs, *names: str) -> Specs:
    """Return specs without some workloads."""
    left = {k: o for k, o in written.workloads.items() if k not in names}
    return replace(written, workloads=left)
