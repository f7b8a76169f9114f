"""Runs of Jobs: once each, and again for a Job that is made anew."""

import msgspec

from katgen.leader.documents import ObjectKey
from katgen.protocol import UnitReport
from tests.fakes.agents import leader
from tests.unit.leader.test_changes import followed
from tests.unit.leader.test_loop import states

JOB = """
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: digits}
spec: {type: Job, source: {image: "localhost/web:1"}}
---
apiVersion: kat/v1alpha1
kind: JobDefinition
metadata: {name: digits}
spec: {completions: 2}
"""
KEY = ObjectKey("Workload", "default", "digits")


def over(unit: UnitReport) -> UnitReport:
    return msgspec.structs.replace(
        unit, active_state="inactive", sub_state="dead", result="success"
    )


def never_run(unit: UnitReport) -> UnitReport:
    return msgspec.structs.replace(over(unit), since=0.0)


async def test_a_run_that_is_over_makes_room_for_the_next() -> None:
    async with leader() as box, box.agent() as agent:
        await box.settled(await box.apply(JOB))
        assert sorted(states(box)) == ["default/digits/0-1"]
        agent.unit = lambda unit: over(unit) if "/0-" in unit.instance else unit
        agent.report()
        await box.until(lambda: states(box) == {"default/digits/1-2": "running"})


async def test_a_job_whose_runs_are_all_over_is_done() -> None:
    async with leader() as box, box.agent(unit=over):
        lines = await followed(box, await box.apply(JOB))
        assert lines[-1].phase == "done"
        await box.until(lambda: states(box) == {})


async def test_a_unit_that_has_not_run_yet_is_not_a_finished_run() -> None:
    async with leader() as box, box.agent(unit=never_run):
        await box.settled(await box.apply(JOB))
        await box.until(
            lambda: [unit for one in box.cluster.reports.values() for unit in one.units]
        )
        await box.settled(
            await box.apply("""
apiVersion: kat/v1alpha1
kind: Config
metadata: {name: other}
""")
        )
        assert states(box) == {"default/digits/0-1": "waiting"}


async def test_a_job_that_is_deleted_and_made_anew_runs_again() -> None:
    async with leader() as box, box.agent(unit=over) as agent:
        await box.apply(JOB)
        await box.until(lambda: box.cluster.plan and box.cluster.plan.inventory.finished)
        await box.until(lambda: states(box) == {})
        agent.unit = lambda unit: unit
        await box.objects.delete([KEY])
        await box.settled(await box.apply(JOB))
        await box.until(lambda: states(box) == {"default/digits/0-3": "running"})


async def test_a_job_that_is_made_anew_within_one_plan_runs_again() -> None:
    async with leader() as box:
        async with box.agent(unit=over):
            await box.apply(JOB)
            await box.until(lambda: box.cluster.plan and box.cluster.plan.inventory.finished)
            await box.until(lambda: states(box) == {})
        await box.stop()  # so that it sees the deletion and the new object at once
        await box.objects.delete([KEY])
        await box.apply(JOB)
        async with leader(box.store) as other, other.agent():
            await other.until(lambda: states(other) == {"default/digits/0-3": "running"})
