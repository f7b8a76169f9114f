"""Numbers that are used up, until some have rested."""

from katgen.leader.resting import REST_S
from tests.fakes.agents import Box, leader
from tests.unit.leader.given import balancer, key, workload

CLUSTER = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {{name: kat}}
spec: {{clusterCIDR: {}, serviceCIDR: {}}}
"""


def service(name: str) -> tuple[str, str]:
    return workload(name), balancer().replace("name: web", f"name: {name}")


def virtuals(box: Box) -> dict[str, str]:
    plan = box.cluster.plan
    assert plan is not None
    return {name: one.virtual_address for name, one in plan.workloads.items()}


async def test_who_finds_no_virtual_address_gets_the_first_that_has_rested() -> None:
    async with leader() as box, box.agent():
        await box.apply(CLUSTER.format("10.100.0.0/16", "10.101.0.0/31"))
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
