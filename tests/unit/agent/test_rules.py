"""Packet rules that others alter or flush, while an apply is under way, and when looks fail.

What is said of an ordinary day, and of a flush, is in `test_loop.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.ports import UnfitError, UnitError
from katgen.protocol import Settings
from tests.unit.agent.cluster import Cluster, instance, rules, target_unit
from tests.unit.agent.leader import FakeLeader, Running, running
from tests.unit.agent.test_loop import fit
from tests.unit.agent.traffic import services_file, web

DRAIN_S = 20
ONE, TWO = web(0, 1), web(1, 2)
BOTH = (rules(), target_unit(), instance(0, 1), instance(1, 2), services_file(ONE, TWO))
FIRST = (rules("# newer\n"), target_unit(), instance(0, 1), services_file(ONE))
LOAD = "systemd.reload kat-nft.service"
ALTERED = "# somebody's\n"
HOUR = Settings(3600, "Report")
REFUSED = UnitError("kat-nft.service", "exit-code")


@asynccontextmanager
async def two_running() -> AsyncIterator[Running]:
    """Have two instances run, on a node whose ticks are an hour apart."""
    leader = FakeLeader(Cluster(drain_seconds=DRAIN_S))
    async with running(fit(), leader) as agent:
        leader.say(HOUR)
        leader.plan(1, *BOTH)
        leader.commit(1)
        await agent.until(lambda: agent.applied() == 1 and agent.sync() == "in sync")
        await agent.pass_time(1)
        agent.node.trace.clear()
        yield agent


@asynccontextmanager
async def draining() -> AsyncIterator[Running]:
    """Have an apply under way that has loaded new rules; one instance drains."""
    async with two_running() as agent:
        begin(agent)
        await agent.until(lambda: agent.node.network.table == "# newer\n")
        await agent.pass_time(6)
        assert agent.applied() == 0
        yield agent


def begin(agent: Running) -> None:
    agent.leader.plan(2, *FIRST)
    agent.leader.commit(2)


async def end(agent: Running) -> None:
    await agent.until(lambda: agent.applied() == 2)
    await agent.pass_time(1)


def restored(agent: Running) -> int:
    return agent.node.counts.rules_restored[()]


def loads(agent: Running) -> int:
    return len(agent.node.trace.texts(LOAD))


def refuse() -> None:
    raise REFUSED


def topics(agent: Running) -> frozenset[str]:
    return agent.agent.look().problems


# --- an apply -------------------------------------------------------------------------------------


async def test_rules_that_are_altered_while_an_apply_drains_are_back_before_its_end() -> None:
    async with draining() as agent:
        agent.node.network.load(ALTERED)
        await agent.pass_time(0.1)
        assert agent.node.network.table == "# newer\n"
        assert agent.applied() == 0
        await end(agent)
        assert (loads(agent), restored(agent)) == (2, 1)


async def test_rules_that_are_altered_unheard_while_an_apply_drains_are_back_at_its_end() -> None:
    async with draining() as agent:
        agent.node.network.load_unheard(ALTERED)
        await end(agent)
        assert agent.node.network.table == "# newer\n"
        assert (loads(agent), restored(agent)) == (2, 1)
        assert agent.node.network.maps.elements().endpoints != {}


async def test_an_element_of_the_rules_that_is_put_in_unheard_during_an_apply_goes() -> None:
    async with draining() as agent:
        agent.node.network.change_unheard("add element inet kat itself { 192.0.2.1 . 192.0.2.2 }\n")
        await end(agent)
        assert agent.node.network.maps.others() == {}


async def test_an_apply_in_which_an_instance_leaves_loads_once() -> None:
    async with draining() as agent:
        assert list(agent.node.network.maps.others()) == ["bridge kat instances", "itself"]
        await end(agent)
        await agent.pass_time(2 * HOUR.tick_seconds)
        assert agent.node.network.maps.others() == {}
        assert (loads(agent), restored(agent)) == (1, 0)


@pytest.mark.parametrize("when", [0, DRAIN_S])
async def test_a_change_of_somebody_elses_tables_during_an_apply_makes_it_load_no_more(
    when: float,
) -> None:
    async with draining() as agent:
        agent.node.network.change_elsewhere()
        await agent.pass_time(when)
        await end(agent)
        agent.node.network.change_elsewhere()
        await agent.pass_time(2 * HOUR.tick_seconds)
        assert (loads(agent), restored(agent)) == (1, 0)


async def test_what_the_kernel_has_before_a_load_has_ended_is_no_change_by_others() -> None:
    async with two_running() as agent:
        agent.node.systemd.slow.add("kat-nft.service")
        begin(agent)
        await agent.until(lambda: loads(agent) == 1)
        agent.node.network.load("# newer\n")
        await agent.pass_time(1)
        agent.node.systemd.release()
        await end(agent)
        assert (loads(agent), restored(agent)) == (1, 0)


async def test_an_apply_that_loads_nothing_mends_what_is_altered_meanwhile() -> None:
    async with two_running() as agent:
        agent.node.systemd.slow.add("kat.shop.web.2-3.service")
        agent.leader.plan(2, *BOTH, instance(2, 3))
        agent.leader.commit(2)
        await agent.until(lambda: bool(agent.node.trace.texts("systemd.start")))
        agent.node.network.load(ALTERED)
        await agent.pass_time(0.1)
        assert agent.node.network.table == "# rules\n"
        agent.node.systemd.release()
        await end(agent)
        assert loads(agent) == 1


async def test_altered_rules_are_not_taken_for_right_because_an_apply_could_not_load_others() -> (
    None
):
    async with two_running() as agent:
        load = agent.node.systemd.effects["reload kat-nft.service"]
        agent.node.systemd.effects["reload kat-nft.service"] = refuse
        agent.node.network.load_unheard(ALTERED)
        begin(agent)
        await end(agent)
        assert "rules" in topics(agent)
        assert agent.node.network.table == ALTERED
        agent.node.systemd.effects["reload kat-nft.service"] = load
        await agent.pass_time(5)
        assert agent.node.network.table == "# newer\n"
        assert "rules" not in topics(agent)


async def test_what_an_apply_has_loaded_and_could_not_read_is_loaded_once_more() -> None:
    async with two_running() as agent:
        agent.node.trace.fail("network.rules", UnfitError("nft is killed"))
        begin(agent)
        await end(agent)
        await agent.pass_time(5)
        assert loads(agent) == 2
        assert "rules" not in topics(agent)


# --- looks and loads that fail --------------------------------------------------------------------


async def test_a_look_that_fails_is_a_problem_and_is_made_again_soon() -> None:
    async with two_running() as agent:
        agent.node.trace.fail("network.rules", UnfitError("nft is killed"))
        agent.node.network.load("")
        await agent.pass_time(0.1)
        assert "rules" in topics(agent)
        assert agent.node.network.table == ""
        await agent.pass_time(5)
        assert agent.node.network.table == "# rules\n"
        assert "rules" not in topics(agent)


async def test_a_look_that_fails_where_nothing_is_wrong_leads_to_no_load() -> None:
    async with two_running() as agent:
        agent.node.trace.fail("network.rules", UnfitError("nft is killed"))
        agent.node.network.load_unheard("# rules\n")
        await agent.pass_time(HOUR.tick_seconds)
        assert "rules" in topics(agent)
        await agent.pass_time(5)
        assert "rules" not in topics(agent)
        assert loads(agent) == 0


async def test_a_load_that_fails_is_tried_again_soon_whatever_the_tick_is() -> None:
    async with two_running() as agent:
        for nth in (1, 2):
            agent.node.trace.fail("systemd.reload", REFUSED, nth)
        agent.node.network.load("")
        await agent.pass_time(5)
        assert "rules" in topics(agent)
        await agent.pass_time(5)
        assert agent.node.network.table == "# rules\n"
        assert "rules" not in topics(agent)


@asynccontextmanager
async def refused() -> AsyncIterator[Running]:
    """Have new rules be refused for five minutes; those from before are still there."""
    async with two_running() as agent:
        agent.node.systemd.effects["reload kat-nft.service"] = refuse
        begin(agent)
        await end(agent)
        await agent.pass_time(300)
        yield agent


async def test_rules_that_are_refused_again_and_again_are_loaded_ever_less_often() -> None:
    async with refused() as agent:
        assert "rules" in topics(agent)
        assert loads(agent) in range(8, 11)
        agent.node.trace.clear()
        await agent.pass_time(600)
        assert loads(agent) == 10
        assert len(agent.node.trace.texts("network.rules")) == 10


async def test_elements_are_mended_also_while_rules_are_refused() -> None:
    async with refused() as agent:
        whole = agent.node.network.maps.elements()
        (first, *_) = whole.endpoints
        theirs = f"delete element inet kat endpoints {{ {first} }}\n"
        agent.node.network.change_unheard(theirs)
        await agent.pass_time(5)
        assert agent.node.network.maps.elements() == whole


async def test_of_rules_that_were_refused_a_flush_has_them_loaded_at_once_and_soon_again() -> None:
    async with refused() as agent:
        agent.node.trace.clear()
        agent.node.network.load("")
        await agent.pass_time(0.1)
        assert loads(agent) == 1
        await agent.pass_time(60)
        assert loads(agent) in range(12, 15)


async def test_what_is_done_to_the_rules_while_nobody_hears_is_seen_once_somebody_does() -> None:
    node = fit()
    node.trace.fail("network.table_changes", UnfitError("netlink: no buffer space"))
    async with running(node, FakeLeader()) as agent:
        agent.leader.say(HOUR)
        agent.leader.plan(1, *BOTH)
        agent.leader.commit(1)
        await agent.until(lambda: agent.applied() == 1)
        assert len(node.trace.texts("network.table_changes")) == 1
        node.network.load(ALTERED)
        await agent.pass_time(5)
        assert node.network.table == "# rules\n"


async def test_nobody_looks_at_rules_as_long_as_all_is_well() -> None:
    async with two_running() as agent:
        await agent.pass_time(HOUR.tick_seconds - 60)
        assert agent.node.trace.texts("network.rules") == []
        assert loads(agent) == 0
