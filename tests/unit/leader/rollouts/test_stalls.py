"""Rollouts that have stood still, or were held back, go on once what they waited for is there."""

from contextlib import AsyncExitStack

from katgen.names import InstanceKey, NodeName
from katgen.protocol import Pull, Pulled, Report
from tests.fakes.agents import DIGEST, Box, FakeAgent, leader
from tests.unit.leader.rollouts.test_rolling import (
    WEB,
    Readiness,
    identities,
    let,
    message,
    reasons,
    rolling,
    web,
)

IMAGE = "localhost/web:1"


async def stalled(box: Box) -> None:
    """Let the deadline of 30 s pass."""
    await box.turn(31)
    await box.until(lambda: message(box)[0] == "failed")


async def test_an_instance_that_was_ready_before_sets_a_rollout_going_again() -> None:
    async with leader() as box, rolling(box) as (agent, readiness, _):
        await let(agent, readiness, "0-4")
        await box.until(lambda: "1-5" in identities(box))
        readiness.let = {"1-5"}
        agent.tell_states()
        await box.until(lambda: state_of(box, "0-4") == "notready")
        await stalled(box)
        assert message(box)[1] == (
            "rollout of default/web stands still: 1 of 3 new instances ready; "
            "default/web/0-4 on a is not ready any more (readiness: http :8080/ready)"
        )
        await let(agent, readiness, "0-4")
        await box.until(lambda: identities(box) == ["0-4", "1-5", "2-3", "2-6"])
        assert message(box)[0] == "rolling"


def state_of(box: Box, identity: str) -> str:
    return box.cluster.endpoints.get(InstanceKey(f"default/web/{identity}"), "")


async def test_a_node_that_applies_a_step_after_the_deadline_sets_it_going_again() -> None:
    readiness = Readiness()
    async with leader(nodes=("a", "b")) as box, AsyncExitStack() as stack:
        agents = {
            NodeName(n): await stack.enter_async_context(box.agent(n, is_ready=readiness))
            for n in "ab"
        }
        late = await begun_with_a_late_node(box, agents)
        other = next(one for one in agents.values() if one is not late)
        await let(other, readiness, "0-4")
        await box.until(lambda: state_of(box, "0-4") == "ready")
        await stalled(box)
        assert message(box)[1] == (
            "rollout of default/web stands still: 1 of 3 new instances ready; "
            f"node {late.node} has not applied plan {box.cluster.mark[1]} for 31 s"
        )
        late.report()
        await box.until(lambda: "0-1" not in identities(box))


async def begun_with_a_late_node(box: Box, agents: dict[NodeName, FakeAgent]) -> FakeAgent:
    """Begin a rollout that one of the nodes has not heard of, where no new instance is."""
    await box.settled(await box.apply(web("one")))
    await box.until(lambda: set(box.cluster.endpoints.values()) == {"ready"})
    await box.apply(web("two"))
    await box.until(lambda: "0-4" in identities(box))
    new = next(one for one in box.cluster.instances() if one.key.endswith("/0-4"))
    late = agents[next(n for n in agents if n != new.node)]
    mark, reports = box.cluster.mark, box.cluster.reports
    await box.until(lambda: reports[late.node].generation == mark[1])
    late.say(Report(late.node, "boot", 1, mark[1] - 1, "in sync", units=late.units()))
    await box.until(lambda: reports[late.node].generation < mark[1])
    return late


async def test_the_deadline_does_not_run_while_an_image_is_on_its_way() -> None:
    async with leader() as box, rolling(box) as (agent, readiness, _):
        agent.pulls[IMAGE] = "..."
        asked = len(agent.asked(Pull))
        await let(agent, readiness, "0-4")
        await box.until(lambda: len(agent.asked(Pull)) > asked)
        await box.until(lambda: WEB in box.cluster.pending)
        await box.turn(31)
        await box.turn(31)
        assert WEB in box.cluster.pending
        assert message(box)[0] == "rolling"
        assert "ProgressDeadlineExceeded" not in await reasons(box)
        (pull,) = [one for one in agent.asked(Pull)[asked:] if isinstance(one, Pull)]
        agent.pulls[IMAGE] = DIGEST
        agent.say(Pulled(pull.id, DIGEST))
        await box.until(lambda: identities(box) == ["0-4", "1-2", "1-5", "2-3"])


async def test_a_node_that_has_just_lost_its_session_is_waited_for() -> None:
    readiness = Readiness()
    async with leader(nodes=("a", "b")) as box, AsyncExitStack() as stack:
        agents = {
            NodeName(n): await stack.enter_async_context(box.agent(n, is_ready=readiness))
            for n in "ab"
        }
        late = await begun_with_a_late_node(box, agents)
        other = next(one for one in agents.values() if one is not late)
        late.hang_up()
        await box.until(lambda: late.node not in box.cluster.connected)
        mark = box.cluster.mark
        await let(other, readiness, "0-4")
        await box.until(lambda: state_of(box, "0-4") == "ready")
        await box.turn(1)
        await box.turn(1)
        assert box.cluster.mark == mark
        back = await stack.enter_async_context(
            box.agent(late.node, is_ready=readiness, generation=mark[1])
        )
        back.report()
        await box.until(lambda: "0-1" not in identities(box))
