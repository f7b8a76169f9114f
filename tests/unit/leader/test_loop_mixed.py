"""Plans that hold objects of two applies: a held workload's as they stood, the others' as they are.

No user could write such a set, and the leader that made it must be able to read it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from katgen.check import check_whole
from katgen.leader import planstore
from katgen.leader.loop import BATCH_S
from katgen.leader.store import Store
from katgen.leader.store.memory import MemoryStore
from katgen.names import NodeName, WorkloadKey
from katgen.plan import start
from katgen.planned import Plan
from katgen.protocol import Pull, Pulled
from katgen.wire import plan_from_json, plan_json
from tests.fakes.agents import DEADLINE_S, DIGEST, Box, FakeAgent, leader
from tests.unit.leader.given import workload
from tests.unit.leader.test_changes import followed
from tests.unit.leader.test_desired import want
from tests.unit.leader.test_loop import NGINX, images
from tests.unit.leader.test_loop_trouble import BAD, holds
from tests.unit.schedule.world import inventory, node

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
HOST = "x.example.com"
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


GIVEN = [workload("web", image=NGINX), served("web", HOST), workload("b"), served("b")]
TAKEN = [workload("web", image=BAD), served("web"), workload("b"), served("b", HOST), workload("c")]


def hosts(box: Box) -> dict[str, list[str]]:
    """Return which workload of the plan has which hosts."""
    found: dict[str, list[str]] = {}
    plan = box.cluster.plan
    for key, objects in plan.specs.workloads.items() if plan else ():
        balancer = objects.load_balancer
        found[key] = [one.host for one in balancer.spec.ingress] if balancer else []
    return found


async def test_a_host_that_a_held_workload_has_is_given_away_when_that_goes_on() -> None:
    store = MemoryStore()
    async with after(store, GIVEN, TAKEN) as box:
        assert hosts(box) == {"default/b": [], "default/c": [], "default/web": [HOST]}
        told = f"{HOST}/ leads to default/web, which is held back"
        assert holds(box)["default/b"] == ("Waits", told)
        status = box.cluster.workload_status(WorkloadKey("default/b")).held_back
        assert (status.reason, status.message) == ("Waits", told) if status else False
        events = await box.chronicle.events("default", "b")
        assert [e.message for e in events if e.reason == "Waits"] == [told]
    async with leader(store) as box, box.agent():
        await box.until(lambda: hosts(box).get("default/b") == [HOST])
        assert hosts(box)["default/web"] == []
        await box.until(lambda: not box.cluster.left)
        assert holds(box) == {}
    await store.close()


def pull_of(agent: FakeAgent, image: str) -> list[Pull]:
    return [one for one in agent.asked(Pull) if isinstance(one, Pull) and one.image == image]


async def test_who_waits_for_a_host_is_not_held_while_the_image_is_on_its_way() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(*GIVEN))
        agent.pulls[BAD] = "..."
        revision = await box.apply(*TAKEN)
        following = asyncio.create_task(followed(box, revision))
        await box.until(lambda: pull_of(agent, BAD))
        await box.turn(BATCH_S)
        await box.until(lambda: "default/b" in box.cluster.left)
        assert holds(box) == {}
        agent.say(Pulled(pull_of(agent, BAD)[-1].id, DIGEST))
        async with asyncio.timeout(DEADLINE_S):
            last = (await following)[-1]
        assert (last.phase, last.message) == ("done", "")
        assert hosts(box)["default/b"] == [HOST]


async def test_who_waits_is_shown_as_long_as_no_plan_can_be_made() -> None:
    store = MemoryStore()
    async with after(store, GIVEN, TAKEN) as box:
        box.cluster.applied[NodeName("z")] = (99, 1)
        await box.settled(await box.apply(workload("d")))
        assert box.cluster.trouble
        assert holds(box)["default/b"][0] == "Waits"
    await store.close()


async def test_a_dry_run_says_who_waits_for_a_host() -> None:
    store = MemoryStore()
    async with after(store, GIVEN, TAKEN) as box:
        shown = await box.loop.preview(None)
        assert [(one.name, one.reason) for one in shown.held] == [
            ("b", "Waits"),
            ("web", "ImagePullFailed"),
        ]
    await store.close()


async def test_who_waits_for_a_host_is_let_go_when_he_wants_it_no_more() -> None:
    store = MemoryStore()
    async with after(store, GIVEN, TAKEN) as box:
        await box.settled(await box.apply(workload("b"), served("b", "y.example.com")))
        assert hosts(box)["default/b"] == ["y.example.com"]
        assert sorted(holds(box)) == ["default/web"]
    await store.close()


def test_a_plan_in_which_two_have_one_host_can_be_read() -> None:
    """Before 0013 said who has it, such plans were committed."""
    written = want(workload("a"), served("a", HOST), workload("b"), served("b", HOST))
    plan = start(written.specs, inventory(node("n1"))).state.plan
    assert plan_from_json(plan_json(plan), "p") == plan
