"""Agents that say what is not so: each harms its own node at most."""

from typing import Any

import msgspec
import pytest

from katgen.names import InstanceKey
from katgen.protocol import Complaint, Report, UnitReport, Verdict
from tests.fakes.agents import FACTS, Box, leader
from tests.unit.leader.given import workload
from tests.unit.leader.test_loop import images
from tests.unit.leader.test_loop_trouble import refusing

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


async def plan_of(box: Box, name: str) -> list[str]:
    """Write one more workload, and return those of the plan that follows."""
    await box.settled(await box.apply(workload(name)))
    return sorted(images(box))


KEY = f"{'A' * 43}="


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ({"interface": "bad if\n"}, "'bad if\\n' is not the name of a link"),
        ({"public_key": "x y"}, "'x y' is not a WireGuard public key"),
        ({"public_key": KEY}, "its public key is that of node a"),
        ({"cpu_millis": 2**70}, "cpuMillis is no amount"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
async def test_a_node_whose_facts_cannot_be_blocks_nobody(fact: dict[str, Any], told: str) -> None:
    mine = msgspec.structs.replace(FACTS, public_key=KEY)
    bad = msgspec.structs.replace(FACTS, **fact)
    async with leader(nodes=("a", "b")) as box, box.agent("a", facts=mine):
        assert await plan_of(box, "web") == ["default/web"]
        async with box.agent("b", facts=bad) as b:
            assert await plan_of(box, "api") == ["default/api", "default/web"]
            unfit = f"reports what no plan can use: {told}"
            assert box.cluster.node_status(b.node)["unfit"] == unfit
            assert b.node not in box.cluster.facts
            b.say(Report(b.node, "boot", 1, 0, "in sync", facts=FACTS))
            await box.until(lambda: box.cluster.plan and b.node in box.cluster.plan.inventory.nodes)
            assert "unfit" not in box.cluster.node_status(b.node)


async def test_facts_that_cannot_be_leave_those_before_in_place() -> None:
    async with leader() as box, box.agent() as agent:
        assert await plan_of(box, "web") == ["default/web"]
        bad = msgspec.structs.replace(FACTS, memory_bytes=-1)
        agent.say(Report(agent.node, "boot", 1, agent.generation, "in sync", facts=bad))
        await box.until(lambda: "unfit" in box.cluster.node_status(agent.node))
        assert box.cluster.facts == {"a": FACTS}
        assert await plan_of(box, "api") == ["default/api", "default/web"]


async def test_a_refusal_of_what_was_not_proposed_makes_its_node_unfit() -> None:
    async with leader(nodes=("a", "b")) as box, box.agent("a"), box.agent("b") as b:
        told = (Complaint("/etc/passwd", "no"),)
        b.verdict = lambda p: Verdict(p.generation, "refused", told)
        assert await plan_of(box, "web") == ["default/web"]
        assert box.cluster.holds == {}
        assert box.cluster.unfit == {"b": "refuses what is not in its bundle: no"}


async def test_a_refusal_without_a_word_makes_its_node_unfit() -> None:
    async with leader(nodes=("a", "b")) as box, box.agent("a"), box.agent("b") as b:
        b.verdict = lambda p: Verdict(p.generation, "refused")
        assert await plan_of(box, "web") == ["default/web"]
        assert box.cluster.unfit == {"b": "refuses what is not in its bundle: refused"}


async def test_a_node_that_refuses_its_own_files_holds_back_what_runs_there_alone() -> None:
    async with leader(nodes=("a", "b")) as box, box.agent("a"), box.agent("b") as b:
        await box.until(lambda: box.cluster.plan and len(box.cluster.plan.inventory.nodes) == 2)
        b.verdict = refusing(b, "/etc/systemd/network/")
        await box.settled(await box.apply(workload("web"), workload("api")))
        assert images(box) == {"default/api": "localhost/web:1"}
        ((key, hold),) = box.cluster.holds.items()
        assert key == "default/web"
        path = "/etc/systemd/network/50-kat-br0.network"
        assert hold.message == f"node b refuses {path}: unsupported key"


async def test_what_a_node_says_of_the_instances_of_others_is_not_taken() -> None:
    async with leader(nodes=("a", "b")) as box, box.agent("a") as a, box.agent("b") as b:
        await box.settled(await box.apply(workload("web")))
        await box.until(lambda: [one.state for one in box.cluster.instances()] == ["running"])
        (instance,) = box.cluster.instances()
        liar = b if instance.node == "a" else a
        unit = UnitReport(instance.unit, instance.key, active_state="failed", since=2.0)
        other = UnitReport("kat.x.service", InstanceKey("default/web/9-9"), active_state="failed")
        liar.say(
            Report(liar.node, "boot", 1, liar.generation, "in sync", held=True, units=(unit, other))
        )
        await box.until(lambda: box.cluster.reports[liar.node].held)
        assert [one.state for one in box.cluster.instances()] == ["running"]
        assert "Failed" not in [one.reason for one in await box.chronicle.events()]
