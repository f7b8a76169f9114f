"""Whoever applied something can follow it to its end."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from katgen.leader.answers import Progress
from katgen.leader.documents import ObjectKey
from katgen.leader.rollouts.steady import STEADY_S
from katgen.leader.store.memory import MemoryStore
from katgen.protocol import Propose, Pull, Pulled, UnitReport, Verdict
from tests.fakes.agents import DEADLINE_S, DIGEST, Box, FakeAgent, leader
from tests.unit.leader.given import workload
from tests.unit.leader.test_loop import NGINX, states

BAD = "docker.io/library/nginx:nosuch"


async def followed(box: Box, revision: int) -> list[Progress]:
    """Follow a change; a second passes as soon as everything runs."""
    lines: list[Progress] = []
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        async for one in box.loop.changes(revision):
            lines.append(one)
            if all(each.state == "running" for each in one.workloads):
                group.create_task(box.turn(STEADY_S))
    return lines


async def test_a_change_ends_when_what_it_changed_runs() -> None:
    async with leader() as box, box.agent():
        revision = await box.apply(workload("web"), workload("api"))
        lines = await followed(box, revision)
        assert lines[-1].phase == "done"
        assert [(o.name, o.wanted, o.running, o.state) for o in lines[-1].workloads] == [
            ("api", 1, 1, "running"),
            ("web", 1, 1, "running"),
        ]


async def test_a_bad_image_fails_the_change_with_the_registry_s_words() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[NGINX] = "! manifest unknown"
        lines = await followed(box, await box.apply(workload("web", image=NGINX)))
        assert (lines[-1].phase, lines[-1].message) == ("failed", "default/web: manifest unknown")


async def test_a_unit_that_fails_fails_the_change_with_its_last_line() -> None:
    def broken(unit: UnitReport) -> UnitReport:
        return msgspec.structs.replace(
            unit, active_state="failed", exit_code=1, lines=("no such file",)
        )

    async with leader() as box, box.agent(unit=broken):
        lines = await followed(box, await box.apply(workload("web")))
        assert lines[-1].phase == "failed"
        assert lines[-1].message == ("default/web: default/web/0-1 on a failed: no such file")


async def test_a_deletion_ends_when_its_instances_are_gone() -> None:
    async with leader() as box, box.agent():
        await followed(box, await box.apply(workload("web")))
        gone = await box.objects.delete([ObjectKey("Workload", "default", "web")])
        lines = await followed(box, gone.revision)
        assert (lines[-1].phase, lines[-1].workloads[0].message) == ("done", "deleted")


async def test_a_revision_that_changed_no_object_is_done_at_once() -> None:
    async with leader() as box, box.agent():
        await followed(box, await box.apply(workload("web")))
        lines = await followed(box, (await box.store.list("")).revision + 7)
        assert [one.phase for one in lines] == ["done"]


async def test_without_progress_a_change_fails_after_the_deadline() -> None:
    def slow(unit: UnitReport) -> UnitReport:
        return msgspec.structs.replace(unit, active_state="activating", sub_state="start")

    async with leader() as box, box.agent(unit=slow):
        revision = await box.apply(workload("web"))
        following = asyncio.create_task(followed(box, revision))
        await box.until(lambda: states(box) == {"default/web/0-1": "starting"})
        await box.turn(301)
        async with asyncio.timeout(DEADLINE_S):
            last = (await following)[-1]
        assert last.phase == "failed"
        assert last.message == "no progress for 300 s: default/web"


async def test_a_workload_that_finds_no_node_fails_with_every_reason() -> None:
    async with leader() as box, box.agent():
        lines = await followed(box, await box.apply(workload("web", "nodeSelector: {disk: ssd}")))
        assert lines[-1].phase == "failed"
        assert lines[-1].message.startswith("default/web: no node can take 1 instance: ")


async def until(
    coming: AsyncIterator[Progress], holds: Callable[[Progress], bool]
) -> list[Progress]:
    """Take lines until one is as it should be; that is the last."""
    lines: list[Progress] = []
    async with asyncio.timeout(DEADLINE_S):
        async for one in coming:
            lines.append(one)
            if holds(one):
                break
    return lines


def told(lines: list[Progress]) -> list[tuple[str, str]]:
    """Return phase and the first workload's state, line by line."""
    return [(one.phase, one.workloads[0].state) for one in lines if one.workloads]


async def test_a_workload_that_no_plan_has_yet_waits() -> None:
    async with leader() as box:
        coming = box.loop.changes(await box.apply(workload("web")))
        lines = await until(coming, lambda one: one.message == "no node is connected")
        assert {state for _, state in told(lines)} == {"waiting"}


async def test_without_a_node_a_change_is_not_done() -> None:
    async with leader() as box:
        async with box.agent():
            await followed(box, await box.apply(workload("web")))
        gone = await box.objects.delete([ObjectKey("Workload", "default", "web")])
        following = asyncio.create_task(followed(box, gone.revision))
        await box.settled(gone.revision)
        await box.turn(301)
        last = (await following)[-1]
        assert (last.phase, "no node is connected" in last.message) == ("failed", True)


async def test_after_a_correction_nothing_is_told_of_what_was_wrong() -> None:
    async with leader() as box, box.agent() as agent:
        agent.pulls[BAD] = "! manifest unknown"
        await followed(box, await box.apply(workload("web", image=BAD)))
        lines = await followed(box, await box.apply(workload("web", image=NGINX)))
        assert lines[-1].phase == "done"
        assert not [one for one in told(lines) if one[1] in {"held", "failed"}]


async def test_a_change_is_not_done_before_what_was_pulled_for_it_runs() -> None:
    async with leader() as box, box.agent() as agent:
        await followed(box, await box.apply(workload("web")))
        agent.pulls[NGINX] = "..."
        revision = await box.apply(workload("web", image=NGINX))
        following = asyncio.create_task(followed(box, revision))
        await box.settled(revision)
        (pull,) = [p for p in agent.asked(Pull) if isinstance(p, Pull) and p.image == NGINX]
        agent.say(Pulled(pull.id, DIGEST))
        lines = await following
        assert lines[-1].phase == "done"
        assert states(box) == {"default/web/0-2": "running"}
        assert lines[-1].generation == box.cluster.mark[1]


async def test_a_proposal_is_told_of_with_its_own_number() -> None:
    async with leader() as box, box.agent() as agent:
        await followed(box, await box.apply(workload("web")))
        asked = asyncio.Event()

        def silent(proposal: Propose) -> Verdict | None:  # noqa: ARG001 -- what agents are asked
            asked.set()
            return None

        agent.verdict = silent
        coming = box.loop.changes(await box.apply(workload("api")))
        lines = await until(coming, lambda one: one.phase == "proposing" and asked.is_set())
        assert asked.is_set()
        assert lines[-1].generation == box.cluster.mark[1] + 1


def crashing(agent: FakeAgent, restarts: int) -> None:
    """Have an agent report that everything ended with 3 and is about to be started again."""

    def ended(unit: UnitReport) -> UnitReport:
        return msgspec.structs.replace(
            unit,
            active_state="activating",
            sub_state="auto-restart",
            exit_code=3,
            restarts=restarts,
            since=10.0 + restarts,
            lines=("no database", "giving up"),
        )

    agent.unit = ended
    agent.report()


async def test_what_runs_but_for_a_moment_is_not_done() -> None:
    async with leader() as box, box.agent() as agent:
        coming = box.loop.changes(await box.apply(workload("web")))
        lines = await until(coming, lambda one: one.workloads[0].state == "running")
        assert lines[-1].phase == "applying"
        crashing(agent, 0)
        lines = await until(coming, lambda one: one.workloads[0].state != "running")
        assert told(lines) == [("applying", "starting")]


async def test_what_crashes_again_and_again_fails_with_its_last_lines() -> None:
    async with leader() as box, box.agent() as agent:
        following = asyncio.create_task(followed(box, await box.apply(workload("web"))))
        await box.until(lambda: states(box) == {"default/web/0-1": "running"})
        for restarts in range(4):
            crashing(agent, restarts)
        last = (await following)[-1]
        assert last.phase == "failed"
        said = "default/web/0-1 on a ends again and again: no database; giving up"
        assert last.workloads[0].message == said


async def test_a_restarted_leader_knows_what_a_change_was_about() -> None:
    store = MemoryStore()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent():
            revision = await box.apply(workload("web"))
            await followed(box, revision)
    async with leader(store) as box:
        following = asyncio.create_task(followed(box, revision))
        async with box.agent():
            last = (await following)[-1]
        assert (last.phase, [one.name for one in last.workloads]) == ("done", ["web"])
    await store.close()
