"""Agents that say what is not so: each harms its own node at most."""

from katgen.protocol import Complaint, Verdict
from tests.fakes.agents import leader
from tests.unit.leader.given import workload
from tests.unit.leader.test_loop import images

HUGE = "x" * 2_000_000


async def test_a_verdict_of_two_million_characters_stops_nothing() -> None:
    async with leader() as box, box.agent() as agent:
        agent.verdict = lambda p: Verdict(p.generation, "unfit", (Complaint("", HUGE),))
        await box.settled(await box.apply(workload("web")))
        await box.turn(1)  # events are written
        await box.settled(await box.apply(workload("api")))
        assert sorted(images(box)) == ["default/api", "default/web"]
        assert box.cluster.unfit == {"a": "x" * 4096}
        (event,) = [one for one in await box.chronicle.events() if one.reason == "Unfit"]
        assert event.message == "x" * 1024
