"""A new revision in the place of an old one, step by step as instances become ready."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from katgen.diff import Verb
from katgen.leader.answers import Progress
from katgen.leader.rollouts.steady import STEADY_S
from katgen.leader.store.memory import MemoryStore
from katgen.names import NodeName, WorkloadKey
from katgen.protocol import Propose, Report
from tests.fakes.agents import DEADLINE_S, Box, FakeAgent, leader
from tests.unit.leader.given import workload

WEB = WorkloadKey("default/web")
STRATEGY = "updateStrategy: {progressDeadlineSeconds: 30, rolling: {maxSurge: 1}}"
PROBE = "readiness: {http: {path: /ready, port: 8080}}"


def web(version: str, replicas: int = 3, strategy: str = STRATEGY) -> str:
    extra = f"replicas: {replicas}\n  container: {{args: [{version}], {PROBE}}}\n  {strategy}"
    return workload("web", extra)


def identities(box: Box) -> list[str]:
    """Return the instances of web that the committed plan has."""
    return [one.key.rpartition("/")[2] for one in box.cluster.instances()]


class Readiness:
    """Which instances are ready: those of the first three incarnations, and who is let."""

    def __init__(self) -> None:
        self.let: set[str] = set()
        self.is_open = False

    def __call__(self, instance: str) -> bool:
        identity = instance.rpartition("/")[2]
        return self.is_open or identity in {"0-1", "1-2", "2-3"} | self.let


async def let(agent: FakeAgent, readiness: Readiness, identity: str) -> None:
    readiness.let.add(identity)
    agent.tell_states()


@asynccontextmanager
async def rolling(box: Box) -> AsyncIterator[tuple[FakeAgent, Readiness, int]]:
    """Deploy three instances, and begin a rollout of another revision that is not ready."""
    readiness = Readiness()
    async with box.agent(is_ready=readiness) as agent:
        await box.settled(await box.apply(web("one")))
        await box.until(lambda: set(box.cluster.endpoints.values()) == {"ready"})
        revision = await box.apply(web("two"))
        await box.until(lambda: identities(box) == ["0-1", "0-4", "1-2", "2-3"])
        yield agent, readiness, revision


async def until(
    coming: AsyncIterator[Progress], holds: Callable[[Progress], bool]
) -> list[Progress]:
    lines: list[Progress] = []
    async with asyncio.timeout(DEADLINE_S):
        async for one in coming:
            lines.append(one)
            if holds(one):
                break
    return lines


def message(box: Box) -> tuple[str, str]:
    status = box.cluster.workload_status(WEB)
    return status.state, status.message


async def reasons(box: Box) -> list[str]:
    return [one.reason for one in await box.chronicle.events("default", "web")]


async def test_each_new_instance_that_is_ready_takes_the_place_of_an_old_one() -> None:
    async with leader() as box, rolling(box) as (agent, readiness, _):
        await let(agent, readiness, "0-4")
        await box.until(lambda: identities(box) == ["0-4", "1-2", "1-5", "2-3"])
        assert message(box) == ("rolling", "2 of 3 updated, 1 ready")
        await let(agent, readiness, "1-5")
        await box.until(lambda: identities(box) == ["0-4", "1-5", "2-3", "2-6"])
        await let(agent, readiness, "2-6")
        await box.until(lambda: identities(box) == ["0-4", "1-5", "2-6"])
        await box.until(lambda: message(box) == ("running", ""))
        assert "RolledOut" in await reasons(box)


async def test_as_long_as_nobody_becomes_ready_no_plan_is_made() -> None:
    async with leader() as box, rolling(box) as (agent, _, _):
        proposed = len(agent.asked(Propose))
        agent.tell_states()
        agent.report()
        await box.turn(1)
        await box.turn(1)
        assert identities(box) == ["0-1", "0-4", "1-2", "2-3"]
        assert len(agent.asked(Propose)) == proposed


async def test_readiness_of_what_does_not_roll_makes_no_plan() -> None:
    readiness = Readiness()
    async with leader() as box, box.agent(is_ready=readiness) as agent:
        await box.settled(await box.apply(web("one")))
        await box.until(lambda: set(box.cluster.endpoints.values()) == {"ready"})
        mark = box.cluster.mark
        agent.is_ready = lambda _: False
        agent.tell_states()
        await box.until(lambda: set(box.cluster.endpoints.values()) == {"notready"})
        await box.turn(1)
        assert box.cluster.mark == mark


async def test_a_change_is_followed_through_all_steps_to_the_last() -> None:
    async with leader() as box, rolling(box) as (agent, readiness, revision):
        readiness.is_open = True
        agent.tell_states()
        async with asyncio.TaskGroup() as group:
            lines: list[Progress] = []
            async for one in box.loop.changes(revision):
                lines.append(one)
                if one.workloads[0].state == "running":
                    group.create_task(box.turn(STEADY_S))
        assert lines[-1].phase == "done"
        assert lines[-1].generation == box.cluster.mark[1]
        assert identities(box) == ["0-4", "1-5", "2-6"]


async def test_a_rollout_without_progress_fails_and_the_old_instances_go_on() -> None:
    async with leader() as box, rolling(box) as (_, _, revision):
        following = asyncio.create_task(
            until(box.loop.changes(revision), lambda one: one.phase == "failed")
        )
        await box.turn(31)
        last = (await following)[-1]
        assert last.message == (
            "default/web: rollout of default/web stands still: 0 of 3 new instances ready; "
            "default/web/0-4 on a is not ready for 31 s (readiness: http :8080/ready)"
        )
        assert identities(box) == ["0-1", "0-4", "1-2", "2-3"]
        assert message(box)[0] == "failed"
        assert "ProgressDeadlineExceeded" in await reasons(box)


async def test_a_rollout_that_stands_still_goes_on_once_somebody_is_ready() -> None:
    async with leader() as box, rolling(box) as (agent, readiness, _):
        await box.turn(31)
        await box.until(lambda: message(box)[0] == "failed")
        await let(agent, readiness, "0-4")
        await box.until(lambda: identities(box) == ["0-4", "1-2", "1-5", "2-3"])


async def test_going_back_uses_the_instances_that_are_still_there() -> None:
    async with leader() as box, rolling(box):
        await box.settled(await box.apply(web("one")))
        await box.until(lambda: identities(box) == ["0-1", "1-2", "2-3"])
        await box.until(lambda: message(box) == ("running", ""))


async def test_a_leader_that_begins_in_mid_rollout_goes_on_from_there() -> None:
    store = MemoryStore()
    async with leader(store) as box:
        await box.add_node("a")
        async with rolling(box):
            pass
    readiness = Readiness()
    readiness.is_open = True
    async with leader(store) as box:
        await box.until(lambda: box.cluster.committed)
        assert message(box)[0] == "rolling"
        async with box.agent(is_ready=readiness, generation=box.cluster.mark[1]):
            await box.until(lambda: identities(box) == ["0-4", "1-5", "2-6"])
    await store.close()


async def test_a_new_leader_replaces_nobody_before_it_has_heard_who_is_ready() -> None:
    store = MemoryStore()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent():
            await box.settled(await box.apply(web("one")))
    async with leader(store) as box, AsyncExitStack() as stack:
        await box.until(lambda: box.cluster.committed)
        await stack.enter_async_context(box.agent(is_mute=True))
        await box.settled(await box.apply(web("two")))
        assert identities(box) == ["0-1", "0-4", "1-2", "2-3"]
    await store.close()


async def test_a_step_waits_for_a_node_that_has_not_applied_the_last_one() -> None:
    readiness = Readiness()
    async with leader(nodes=("a", "b")) as box, AsyncExitStack() as stack:
        agents = {
            NodeName(n): await stack.enter_async_context(box.agent(n, is_ready=readiness))
            for n in "ab"
        }
        await box.settled(await box.apply(web("one")))
        await box.until(lambda: set(box.cluster.endpoints.values()) == {"ready"})
        await box.apply(web("two"))
        await box.until(lambda: "0-4" in identities(box))
        new = next(one for one in box.cluster.instances() if one.key.endswith("/0-4"))
        late = agents[next(n for n in agents if n != new.node)]
        mark, reports = box.cluster.mark, box.cluster.reports
        await box.until(lambda: reports[late.node].generation == mark[1])
        late.say(report_of(late, mark[1] - 1))
        await box.until(lambda: reports[late.node].generation < mark[1])
        await let(agents[new.node], readiness, "0-4")
        await box.until(lambda: box.cluster.endpoints[new.key] == "ready")
        await box.turn(1)
        assert box.cluster.mark == mark
        late.report()
        await box.until(lambda: "0-1" not in identities(box))


def report_of(agent: FakeAgent, generation: int) -> Report:
    return Report(agent.node, "boot", 1, generation, "in sync", units=agent.units())


async def test_a_workload_that_is_not_ready_yet_is_not_done() -> None:
    readiness = Readiness()
    async with leader() as box, box.agent(is_ready=lambda _: False) as agent:
        revision = await box.apply(web("one"))
        told = "0 of 3 ready; default/web/0-1 on a is not ready (readiness: http :8080/ready)"
        lines = await until(
            box.loop.changes(revision), lambda one: one.workloads[0].message == told
        )
        assert lines[-1].workloads[0].state == "starting"
        agent.is_ready = readiness
        agent.tell_states()
        await box.turn(STEADY_S)
        lines = await until(box.loop.changes(revision), lambda one: one.phase == "done")
        assert lines[-1].workloads[0].state == "running"


async def test_a_preview_shows_the_end_of_a_rollout() -> None:
    async with leader() as box, rolling(box):
        shown = await box.loop.preview(None)
        actions = shown.nodes[NodeName("a")].actions
        starts = [one.unit for one in actions if one.verb is Verb.START]
        assert starts == ["kat.default.web.1-5.service", "kat.default.web.2-6.service"]


IN_PLACE = """replicas: 2
  volumes: [{name: data, simpleClusterStorage: {}}]
  container:
    args: [%s]
    volumeMounts: [{name: data, mountPath: /data}]
    readiness: {tcp: {port: 8080}}
  updateStrategy: {progressDeadlineSeconds: 30}"""


async def test_what_cannot_run_twice_is_replaced_one_after_the_other_in_its_place() -> None:
    readiness = Readiness()
    async with leader() as box, box.agent(is_ready=readiness) as agent:
        await box.settled(await box.apply(workload("web", IN_PLACE % "one")))
        await box.until(lambda: set(box.cluster.endpoints.values()) == {"ready"})
        await box.apply(workload("web", IN_PLACE % "two"))
        await box.until(lambda: identities(box) == ["0-3", "1-2"])
        await let(agent, readiness, "0-3")
        await box.until(lambda: identities(box) == ["0-3", "1-4"])
        assert message(box) == ("rolling", "2 of 2 updated, 1 ready")
        await box.turn(31)
        await box.until(lambda: message(box)[0] == "failed")
        await let(agent, readiness, "1-4")
        await box.until(lambda: message(box) == ("running", ""))
