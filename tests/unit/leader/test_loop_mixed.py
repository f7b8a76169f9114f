"""Plans that hold objects of two applies: a held workload's as they stood, the others' as they are.

No user could write such a set, and the leader that made it must be able to read it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from katgen.check import check_whole
from katgen.leader import planstore
from katgen.leader.store import Store
from katgen.leader.store.memory import MemoryStore
from katgen.planned import Plan
from katgen.wire import plan_from_json, plan_json
from tests.fakes.agents import DIGEST, Box, leader
from tests.unit.leader.given import workload
from tests.unit.leader.test_loop import NGINX, images
from tests.unit.leader.test_loop_trouble import BAD, holds

CLUSTER = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: kat}
spec: {clusterCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16, %s}
"""


def namespace(spec: str) -> str:
    return f"""
apiVersion: kat/v1alpha1
kind: Namespace
metadata: {{name: default}}
spec: {{{spec}}}
"""


def served(name: str, *hosts: str) -> str:
    """Return a load balancer that leads these hosts to a workload."""
    ingress = ", ".join(f"{{host: {host}, servicePort: 80}}" for host in hosts)
    return f"""
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80}}], ingress: [{ingress}]}}
"""


def context(text: str) -> str:
    return f"container: {{securityContext: {{{text}}}}}"


MOUNTED = """container: {volumeMounts: [{name: x, mountPath: /x}]}
  volumes: [{name: x, hostMount: {hostPath: /srv/x/y, ensureType: Directory}}]"""
BEFORE_AND_AFTER = {
    "allowHostRoot": (
        [namespace("allowHostRoot: true"), workload("web", "isolation: host-root", NGINX)],
        [namespace("allowHostRoot: false"), workload("web", image=BAD)],
    ),
    "allowedHostPaths": (
        [namespace("allowedHostPaths: [/srv/x]"), workload("web", MOUNTED, NGINX)],
        [namespace("allowedHostPaths: []"), workload("web", image=BAD)],
    ),
    "allowedDevices": (
        [
            namespace("allowedDevices: [/dev/fuse]"),
            workload("web", context("devices: [/dev/fuse]"), NGINX),
        ],
        [namespace("allowedDevices: []"), workload("web", image=BAD)],
    ),
    "allowedCapabilities": (
        [
            namespace("allowedCapabilities: [NET_RAW]"),
            workload("web", context("capabilities: {add: [NET_RAW]}"), NGINX),
        ],
        [namespace("allowedCapabilities: []"), workload("web", image=BAD)],
    ),
    "a host": (
        [workload("web", image=NGINX), served("web", "x.example.com"), workload("b"), served("b")],
        [workload("web", image=BAD), served("web"), workload("b"), served("b", "x.example.com")],
    ),
    "a port of the cluster's own": (
        [
            CLUSTER % "wireguardPort: 51820",
            workload(
                "web",
                "container: {ports: [{containerPort: 53, protocol: UDP, hostPort: 5353}]}",
                NGINX,
            ),
        ],
        [CLUSTER % "wireguardPort: 5353", workload("web", image=BAD)],
    ),
    "room": (
        [
            CLUSTER.replace("10.100.0.0/16", "10.100.0.0/24") % "nodeSubnetBits: 8",
            workload("web", "replicas: 150", NGINX),
        ],
        [workload("web", "replicas: 1", BAD), workload("b", "replicas: 150")],
    ),
}


@asynccontextmanager
async def after(store: Store, old: Sequence[str], new: Sequence[str]) -> AsyncIterator[Box]:
    """Run a leader to which `old`, then `new` was applied; the image of `web` is not there."""
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent() as agent:
            agent.pulls[BAD] = "! manifest unknown"
            await box.settled(await box.apply(*old))
            before = box.cluster.mark
            await box.settled(await box.apply(*new))
            assert holds(box)["default/web"][0] == "ImagePullFailed"
            assert box.cluster.mark > before
            yield box


def plan_of(box: Box) -> Plan:
    assert box.cluster.plan is not None
    return box.cluster.plan


@pytest.mark.parametrize("case", BEFORE_AND_AFTER)
async def test_a_plan_with_a_held_workload_can_be_read_again(case: str) -> None:
    store = MemoryStore()
    async with after(store, *BEFORE_AND_AFTER[case]) as box:
        plan = plan_of(box)
    found = await planstore.load(store)
    assert found is not None
    assert found.plan == plan
    assert plan_json(found.plan) == plan_json(plan)
    assert check_whole(found.plan) == ()
    assert plan_from_json(plan_json(plan), "downloaded.json") == plan
    await store.close()


@pytest.mark.parametrize("case", [one for one in BEFORE_AND_AFTER if one != "room"])
async def test_a_leader_that_finds_such_a_plan_goes_on(case: str) -> None:
    store = MemoryStore()
    async with after(store, *BEFORE_AND_AFTER[case]) as box:
        mark = box.cluster.mark
    async with leader(store) as box, box.agent() as agent:
        agent.pulls[BAD] = "! manifest unknown"
        await box.until(lambda: "default/web" in box.cluster.holds)
        assert box.cluster.mark == mark
        agent.pulls[BAD] = DIGEST
        await box.turn(10)
        await box.until(lambda: images(box)["default/web"] == f"{BAD}@{DIGEST}")
        assert box.cluster.mark > mark
    await store.close()
