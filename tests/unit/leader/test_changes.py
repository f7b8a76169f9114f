"""Whoever applied something can follow it to its end."""

import asyncio

import msgspec

from katgen.leader.answers import Progress
from katgen.leader.documents import ObjectKey
from katgen.protocol import UnitReport
from tests.fakes.agents import DEADLINE_S, Box, leader
from tests.unit.leader.given import workload
from tests.unit.leader.test_loop import NGINX, states


async def followed(box: Box, revision: int) -> list[Progress]:
    return [one async for one in box.loop.changes(revision)]


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
