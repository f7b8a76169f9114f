"""Numbers that are used up, until some have rested."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from katgen.leader.resting import REST_S
from katgen.names import NodeName
from katgen.protocol import Report
from tests.fakes.agents import Box, leader
from tests.unit.leader.given import balancer, key, workload

CLUSTER = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {{name: kat}}
spec: {{clusterCIDR: {}, serviceCIDR: {}}}
"""

SMALL = CLUSTER.replace("{}}}", "10.101.0.0/24, nodeSubnetBits: 5}}")
A = NodeName("a")
ADDRESSES = 21
"""For instances, in 5 bits."""


def service(name: str) -> tuple[str, str]:
    return workload(name), balancer().replace("name: web", f"name: {name}")


def virtuals(box: Box) -> dict[str, str]:
    plan = box.cluster.plan
    assert plan is not None
    return {name: one.virtual_address for name, one in plan.workloads.items()}


async def test_who_finds_no_virtual_address_gets_the_first_that_has_rested() -> None:
    async with small(CLUSTER.format("10.100.0.0/16", "10.101.0.0/31")) as box, box.agent():
        await box.settled(await box.apply(*service("old")))
        assert virtuals(box) == {"default/old": "10.101.0.1"}
        deleted = await box.objects.delete([key("Workload", "old")])
        await box.settled(deleted.revision)
        await box.settled(await box.apply(*service("new")))
        (hold,) = box.cluster.holds.values()
        assert hold.message.startswith("no virtual address is left: serviceCIDR has 1, 0 in use")
        assert virtuals(box) == {}
        await box.turn(REST_S - 1)
        await box.until(lambda: [one.tries for one in box.cluster.holds.values()] == [2])
        assert virtuals(box) == {}
        await box.turn(REST_S)
        await box.until(lambda: virtuals(box))
        assert virtuals(box) == {"default/new": "10.101.0.1"}


async def test_an_instance_that_finds_no_address_gets_the_first_that_has_rested() -> None:
    async with small(SMALL.format("10.100.0.0/16")) as box, box.agent():
        await box.apply(workload("old", f"replicas: {ADDRESSES}"))
        await box.until(lambda: placed(box) == {"default/old": ADDRESSES})
        await box.settled((await box.objects.delete([key("Workload", "old")])).revision)
        await box.settled(await box.apply(workload("new")))
        await until_acknowledged(box)
        assert placed(box) == {"default/new": 0}
        await box.turn(REST_S - 1)
        await box.settled(await box.apply(workload("other", "replicas: 0")))
        await until_acknowledged(box)
        assert placed(box) == {"default/new": 0, "default/other": 0}
        await box.turn(1)
        await box.until(lambda: placed(box)["default/new"] == 1)


async def test_a_node_that_finds_no_subnet_gets_the_first_that_has_rested() -> None:
    async with small(SMALL.format("10.100.0.0/26")) as box, box.agent():
        await box.add_node("b")
        async with box.agent("b"):
            await box.until(lambda: nodes(box) == {"a", "b"})
        await box.objects.delete([key("Node", "b", "-")])
        await box.until(lambda: nodes(box) == {"a"})
        await until_acknowledged(box)
        await box.add_node("c")
        async with box.agent("c"):
            await box.until(lambda: box.cluster.trouble)
            assert nodes(box) == {"a"}
            await box.turn(REST_S)
            await box.until(lambda: nodes(box) == {"a", "c"})
            assert not box.cluster.trouble


async def test_a_number_that_the_last_node_gives_up_late_is_given_at_once() -> None:
    async with small(SMALL.format("10.100.0.0/16")) as box, box.agent() as agent:
        await box.apply(workload("old", f"replicas: {ADDRESSES}"))
        await box.until(lambda: placed(box) == {"default/old": ADDRESSES})
        await box.settled((await box.objects.delete([key("Workload", "old")])).revision)
        await box.settled(await box.apply(workload("new")))
        await until_acknowledged(box)
        agent.say(Report(A, "boot", 1, 1, "applying"))
        await box.until(lambda: box.cluster.reports[A].generation == 1)
        await box.turn(REST_S)
        await box.turn(0)
        assert placed(box) == {"default/new": 0}
        agent.report()
        await box.until(lambda: placed(box) == {"default/new": 1})


@asynccontextmanager
async def small(settings: str) -> AsyncIterator[Box]:
    """Run a leader of a cluster with few numbers; they are settled before its first plan."""
    async with leader() as box:
        await box.settled(await box.apply(settings))
        yield box


async def until_acknowledged(box: Box) -> None:
    """Wait until node a carries out the committed plan."""
    reports = box.cluster.reports
    await box.until(lambda: reports[A].generation == box.cluster.mark[1])


def placed(box: Box) -> dict[str, int]:
    plan = box.cluster.plan
    if plan is None:
        return {}
    return {name: len(one.placements) for name, one in plan.workloads.items()}


def nodes(box: Box) -> set[str]:
    plan = box.cluster.plan
    return set(plan.inventory.nodes) if plan else set()
