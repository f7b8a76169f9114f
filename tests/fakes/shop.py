"""What the fake leader has: a namespace with two workloads on two nodes."""

import time
from typing import Any

DIGEST = "sha256:" + "ab" * 32


# Ages that read the same while a test runs.
MINUTES = 25 * 60 + 20  # 25m
HOURS = 3 * 3600 + 65  # 3h1m
DAYS = 3 * 86400 + 30  # 3d
LOGS = (
    {"time": 1700000000.25, "instance": "web/0-3", "text": "GET / 200"},
    {"time": 1700000001.5, "instance": "web/1-4", "text": "GET /\x1b[31m 404"},
)


HELD: dict[str, Any] = {
    "wanted": 1,
    "running": 0,
    "ready": 0,
    "state": "failed",
    "message": "shop/db/0-1 on b failed: no space left on device",
    "revision": "41aa",
    "image": "localhost/db:8",
    "heldBack": {
        "reason": "ImagePullFailed",
        "message": "manifest unknown",
        "since": "2026-11-21T10:00:00Z",
    },
}
"""Status of the workload `db`."""


def shop() -> dict[str, Any]:
    """Return the answer of every route that is read, by path."""
    return _objects() | _cluster() | _told()


def ago(seconds: float) -> str:
    """Return that moment as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def _listed(kind: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"kind": f"{kind}List", "metadata": {"resourceVersion": "40"}, "items": [*items]}


def _metadata(name: str, age: float, **more: object) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "generation": 2,
        "resourceVersion": "38",
        "creationTimestamp": ago(age),
        **more,
    }


def workload() -> dict[str, Any]:
    """Return the workload `web`."""
    return {
        "apiVersion": "kat/v1alpha1",
        "kind": "Workload",
        "metadata": _metadata("web", HOURS, labels={"tier": "front"}),
        "spec": {
            "type": "Service",
            "replicas": 2,
            "source": {"image": "localhost/web:1"},
            "container": {
                "ports": [{"name": "http", "containerPort": 8080, "hostPort": 80}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            },
        },
        "status": {
            "wanted": 2,
            "running": 2,
            "ready": 2,
            "state": "running",
            "message": "",
            "revision": "5f3a",
            "image": "localhost/web:1",
            "heldBack": None,
        },
    }


def _instance(name: str, node: str, address: str, **more: object) -> dict[str, Any]:
    return {
        "kind": "Instance",
        "metadata": {"name": name, "namespace": "shop"},
        "workload": name.split("/", maxsplit=1)[0],
        "node": node,
        "address": address,
        "revision": "5f3a",
        "unit": f"kat.shop.{name.replace('/', '.')}.service",
        "state": "running",
        "restarts": 0,
        "exitCode": 0,
        "since": time.time() - MINUTES,
        "image": DIGEST,
        "health": "",
        "lines": [],
        "endpoint": "ready",
        **more,
    }


def _objects() -> dict[str, Any]:
    web, db = workload(), workload()
    db["metadata"] = _metadata("db", DAYS)
    db["spec"] = {"type": "Service", "replicas": 1, "source": {"image": "localhost/db:9"}}
    db["status"] = HELD
    failed = _instance(
        "db/0-1", "b", "10.100.1.11", state="failed", restarts=3, exitCode=1, endpoint="notready",
        lines=["starting", "no space left on device"],
    )  # fmt: skip
    running = (
        _instance("web/0-3", "a", "10.100.0.10"),
        _instance("web/1-4", "b", "10.100.1.10"),
    )
    balancer = {
        "kind": "VirtualLoadBalancer",
        "metadata": _metadata("web", HOURS),
        "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
    }
    config = {"kind": "Config", "metadata": _metadata("web-conf", HOURS), "data": {"a": "1"}}
    secret = {"kind": "Secret", "metadata": _metadata("tls", HOURS), "keys": ["crt", "key"]}
    lists = {
        "workloads": _listed("Workload", db, web),
        "instances": _listed("Instance", failed, *running),
        "virtualloadbalancers": _listed("VirtualLoadBalancer", balancer),
        "configs": _listed("Config", config),
        "secrets": _listed("Secret", secret),
        "jobs": _listed("JobDefinition"),
        "builds": _listed("BuildDefinition"),
    }
    return {
        **{f"/n/shop/{plural}": found for plural, found in lists.items()},
        **{f"/{plural}": found for plural, found in lists.items()},
        **{f"/n/default/{plural}": _listed("Any") for plural in lists},
        "/n/shop/workloads/web": web,
        "/n/shop/workloads/db": db,
        "/n/shop/virtualloadbalancers/web": balancer,
    }


def node(name: str, **status: object) -> dict[str, Any]:
    """Return a node."""
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"disk": "ssd"}},
        "spec": {"advertiseAddress": "192.0.2.1", "overlaySubnet": "10.100.0.0/24"},
        "status": {
            "condition": "Ready",
            "sync": "in sync",
            "versions": {"kat": "0.1.0", "systemd": "257", "podman": "5.4.2", "kernel": "6.12"},
            "capacity": {"cpu": "4", "memory": "8Gi"},
            "workloadInstances": ["shop/web/0-3"],
            "lastHeartbeatTime": ago(MINUTES),
            "drift": [],
            "problems": [],
            **status,
        },
    }


DRIFT = {
    "kind": "edited",
    "path": "/etc/kat/kat.nft",
    "diff": "--- /etc/kat/kat.nft\n+++ /etc/kat/kat.nft\n@@ -1,2 +1,2 @@\n table\n-old\n+new\n",
}


def _cluster() -> dict[str, Any]:
    late = node(
        "b",
        sync="degraded",
        drift=[DRIFT, {"kind": "stopped", "unit": "kat.shop.db.0-1.service"}],
        problems=[{"path": "/etc/kat/kat.nft", "text": "syntax error"}],
    )
    cluster = {
        "kind": "ClusterConfiguration",
        "metadata": {"name": "shop"},
        "spec": {
            "clusterCIDR": "10.100.0.0/16",
            "serviceCIDR": "10.101.0.0/16",
            "clusterDomain": "kat.cluster.local",
            "scheduling": "BinPack",
        },
    }
    space = {"kind": "Namespace", "metadata": {"name": "shop", "creationTimestamp": ago(HOURS)}}
    return {
        "/version": {
            "version": "0.1.0",
            "cluster": "shop",
            "uid": "u",
            "generation": 7,
            "epoch": 1,
        },
        "/nodes": _listed("Node", node("a"), late),
        "/nodes/a": node("a"),
        "/nodes/b": late,
        "/namespaces": _listed("Namespace", space),
        "/clusterconfiguration": cluster,
        "/plans": _listed(
            "Generation",
            {"generation": 7, "time": ago(MINUTES), "digest": "cd" * 32, "changed": ["shop/web"]},
        ),
    }


def _told() -> dict[str, Any]:
    events = _listed(
        "Event",
        {
            "namespace": "shop", "kind": "Workload", "name": "db", "reason": "Failed",
            "message": "kat.shop.db.0-1.service: exit code 1", "count": 3, "node": "b",
            "first": ago(300), "last": ago(MINUTES),
        },
    )  # fmt: skip
    explanation = {
        "workload": "shop/web",
        "placed": 2,
        "unplaced": [],
        "nodes": [
            {
                "node": "a", "isFeasible": True, "ordinals": ["0"],
                "score": {"place": 1, "preference": 0, "own": 1, "load": 25, "instances": 3},
            },
            {"node": "b", "isFeasible": False, "reasons": ["unschedulable"], "ordinals": ["1"]},
        ],
    }  # fmt: skip
    history = {"n": 1, "revision": 30, "generation": 5, "time": ago(DAYS)}
    history["objects"] = {"Workload": {"spec": {"source": {"image": "localhost/web:0"}}}}
    usage = {"namespace": "shop", "name": "web/0-3", "node": "a", "memoryBytes": 50 << 20}
    return {
        "/events": events,
        "/explain/shop/web": explanation,
        "/n/shop/workloads/web/history": _listed("Revision", history),
        "/usage": {"items": [{**usage, "time": 100.0, "cpuNs": 5_000_000_000}]},
    }
