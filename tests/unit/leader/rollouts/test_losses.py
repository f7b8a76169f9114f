"""A node that dies holds up no rollout for longer than it takes to be lost."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from katgen.leader.agents.roll import DEFAULT_TIMEOUT_S
from katgen.leader.cluster import Cluster
from katgen.leader.store.memory import MemoryStore
from katgen.names import NodeName
from tests.fakes.agents import Box, FakeAgent, leader
from tests.unit.leader.rollouts.test_rolling import Readiness, identities, message, web

PATIENT = "updateStrategy: {progressDeadlineSeconds: 90, rolling: {maxSurge: 1}}"
Agents = dict[NodeName, FakeAgent]


@asynccontextmanager
async def three(
    box: Box, readiness: Readiness, generation: int = 0
) -> AsyncIterator[tuple[Agents, AsyncExitStack]]:
    """Connect three nodes."""
    async with AsyncExitStack() as stack:
        agents = {
            NodeName(n): await stack.enter_async_context(
                box.agent(n, is_ready=readiness, generation=generation)
            )
            for n in "abc"
        }
        yield agents, stack


async def begun(box: Box) -> None:
    """Deploy an instance for each node, and begin a rollout."""
    await box.settled(await box.apply(web("one", strategy=PATIENT)))
    await box.until(lambda: list(box.cluster.endpoints.values()) == ["ready"] * 3)
    await box.apply(web("two", strategy=PATIENT))
    await box.until(lambda: identities(box) == ["0-1", "0-4", "1-2", "2-3"])


def home(cluster: Cluster, identity: str) -> NodeName:
    key = f"default/web/{identity}"
    return next(one.node for one in cluster.instances() if one.key == key)


async def dies(box: Box, agent: FakeAgent) -> None:
    agent.hang_up()
    await box.until(lambda: agent.node not in box.cluster.connected)


async def test_a_rollout_goes_on_without_a_lost_node_and_ends_when_it_is_back() -> None:
    readiness = Readiness()
    async with leader(nodes=("a", "b", "c")) as box, three(box, readiness) as (agents, stack):
        await begun(box)
        dead = home(box.cluster, "2-3")
        await dies(box, agents[dead])
        readiness.is_open = True
        for one in agents.values():
            if one.node != dead:
                one.tell_states()
        mark = box.cluster.mark
        await box.turn(1)
        await box.turn(1)
        assert box.cluster.mark == mark
        await box.turn(DEFAULT_TIMEOUT_S)
        await box.until(lambda: {"0-1", "1-2"}.isdisjoint(identities(box)))
        assert "2-3" in identities(box)
        await box.turn(91)
        await box.until(lambda: message(box)[0] == "failed")
        assert f"it waits for node {dead}, which is not ready" in message(box)[1]
        await stack.enter_async_context(
            box.agent(dead, is_ready=readiness, generation=box.cluster.mark[1])
        )
        await box.until(lambda: message(box) == ("running", ""))
        assert len(identities(box)) == 3
        assert "2-3" not in identities(box)


async def test_a_new_instance_on_a_lost_node_holds_up_no_other() -> None:
    readiness = Readiness()
    async with leader(nodes=("a", "b", "c")) as box, three(box, readiness) as (agents, _):
        await begun(box)
        dead = home(box.cluster, "0-4")
        await dies(box, agents[dead])
        readiness.is_open = True
        await box.turn(1)
        assert identities(box) == ["0-1", "0-4", "1-2", "2-3"]
        await box.turn(DEFAULT_TIMEOUT_S)
        others = {"0-1", "1-2", "2-3"} - {
            one for one in ("0-1", "1-2", "2-3") if home(box.cluster, one) == dead
        }
        assert others
        await box.until(lambda: (others - {"0-1"}).isdisjoint(identities(box)))


async def test_a_new_leader_knows_who_was_lost_until_it_hears_of_them() -> None:
    store, readiness = MemoryStore(), Readiness()
    async with leader(store) as box:
        for name in "abc":
            await box.add_node(name)
        async with three(box, readiness) as (agents, _):
            await begun(box)
            dead = home(box.cluster, "2-3")
            await dies(box, agents[dead])
            await box.turn(DEFAULT_TIMEOUT_S)
            readiness.is_open = True
            for one in agents.values():
                if one.node != dead:
                    one.tell_states()
            await box.until(lambda: box.cluster.plan and box.cluster.plan.inventory.lost == {dead})
    async with leader(store) as box:
        await box.until(lambda: box.cluster.committed)
        async with AsyncExitStack() as stack:
            for name in sorted({"a", "b", "c"} - {dead}):
                await stack.enter_async_context(
                    box.agent(name, is_ready=readiness, generation=box.cluster.mark[1])
                )
            await box.settled(await box.apply(web("two", replicas=4, strategy=PATIENT)))
            plan = box.cluster.plan
            assert plan is not None
            assert plan.inventory.lost == {dead}
            assert "3" not in {
                identity.partition("-")[0]
                for identity in identities(box)
                if home(box.cluster, identity) == dead
            }
    await store.close()
