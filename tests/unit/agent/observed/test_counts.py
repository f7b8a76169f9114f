"""What the agent counts, where it happens, and what it says is so now."""

from collections.abc import Mapping

import pytest

from agent import state
from agent.health.checks import Checks
from agent.observed.counts import Tally
from agent.observed.server import health, readiness
from agent.ports import LeaderError, UnfitError, UnitState
from tests.fakes import FakeNode
from tests.unit.agent.cluster import IMAGE, instance, rules, target_unit
from tests.unit.agent.endpoints.test_state import ONE, TWO, passed, stage
from tests.unit.agent.health.test_instances import READY, entry
from tests.unit.agent.health.test_instances import running as checking
from tests.unit.agent.leader import Running, running
from tests.unit.agent.test_draining import FIRST, served
from tests.unit.agent.traffic import FULL, living, unit

WEB = (rules(), target_unit(), instance(0, 1))


def said(tally: Tally) -> Mapping[str, int]:
    """Return what was counted at all."""
    return {"/".join(labels): count for labels, count in tally.items() if count}


def fit() -> FakeNode:
    node = FakeNode()
    node.podman.local[IMAGE] = ""
    return node


async def started(agent: Running) -> None:
    agent.leader.plan(1, *WEB)
    agent.leader.commit(1)
    await agent.until(lambda: agent.applied() == 1 and agent.sync() == "in sync")


# --- applies --------------------------------------------------------------------------------------


async def test_an_apply_is_counted_with_its_steps() -> None:
    async with running(fit()) as agent:
        await started(agent)
        counts = agent.node.counts
        assert said(counts.applies) == {"changed": 1}
        assert said(counts.actions)["write"] == 3
        assert counts.apply_s.up_to()[-1] == ("+Inf", 1)
        assert said(counts.refusals) == {}


async def test_a_plan_that_changes_nothing_here_is_told_apart() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.leader.plan(2, *WEB)
        agent.leader.commit(2)
        await agent.until(lambda: agent.applied() == 2)
        assert said(agent.node.counts.applies) == {"changed": 1, "unchanged": 1}


async def test_an_apply_that_fails_is_counted_and_so_is_why() -> None:
    node = fit()
    node.trace.fail("systemd.daemon_reload", UnfitError("no answer"))
    async with running(node) as agent:
        agent.leader.plan(1, *WEB)
        agent.leader.commit(1)
        await agent.until(lambda: agent.applied() == 1)
        assert said(node.counts.applies) == {"failed": 1, "changed": 1}
        assert said(node.counts.refusals) == {"apply": 1}


async def test_a_record_that_is_not_the_cluster_s_word_is_counted() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.leader.plan(2, *WEB)
        agent.leader.cluster.uid = "another"
        agent.leader.commit(2)
        await agent.until(lambda: bool(said(agent.node.counts.refusals)))
        assert said(agent.node.counts.refusals) == {"record": 1}
        assert [one.name for one in readiness(agent.agent.look()).checks if not one.is_ok] == [
            "apply"
        ]


async def test_restored_rules_are_counted() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.network.load("")
        await agent.until(lambda: agent.node.network.table == "# rules\n")
        assert agent.node.counts.rules_restored[()] == 1


# --- what is so now -------------------------------------------------------------------------------


async def test_before_its_first_plan_a_node_is_not_ready() -> None:
    async with running(fit()) as agent:
        await agent.pass_time(1)
        look = agent.agent.look()
        assert (look.applied, health(look).is_ok) == (None, True)
        assert [one.name for one in readiness(look).checks if not one.is_ok] == ["plan"]


async def test_a_node_that_follows_is_ready_and_says_what_it_runs() -> None:
    async with running(fit()) as agent:
        await started(agent)
        look = agent.agent.look()
        assert readiness(look).is_ok
        assert (look.applied, look.known) == ((1, 1), (1, 1))
        assert look.instances == {"active": 1}
        assert look.ready == 1
        assert (look.is_connected, look.contact) == (True, agent.node.clock.now())
        assert agent.node.counts.sessions[()] == 1


async def test_a_leader_that_has_gone_was_heard_when_it_went() -> None:
    async with running(fit()) as agent:
        await started(agent)
        went = agent.node.clock.now()
        agent.leader.down = True
        agent.leader.say(LeaderError("gone"))
        await agent.until(lambda: not agent.agent.look().is_connected)
        await agent.pass_time(60)
        assert agent.agent.look().contact == pytest.approx(went, abs=0.2)
        assert readiness(agent.agent.look()).is_ok


async def test_damaged_memory_is_a_plan_that_nobody_has() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.files.put(state.APPLIED, b"{")
        look = agent.agent.look()
        assert look.applied is None
        assert not readiness(look).is_ok


async def test_ticks_that_do_not_come_are_late() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.clock.boot_s += 61  # nobody is woken: the loop is stuck
        look = agent.agent.look()
        assert look.late_s > 0
        assert not health(look).is_ok


# --- instances ------------------------------------------------------------------------------------


async def test_checks_are_counted_by_what_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with checking() as world:
        world.follow(entry(0, READY))
        world.unit(0)
        await world.pass_s(0)
        world.ready_command(works=False)
        await world.pass_s(10)

        async def unfit(*_: object) -> str:
            raise UnfitError("D-Bus is down")

        monkeypatch.setattr(Checks, "check", unfit)
        await world.pass_s(10)
        found = said(world.node.counts.probes)
        assert found["readiness/exec/good"] == 1
        assert found["readiness/exec/bad"] >= 1
        assert found["readiness/exec/unknown"] >= 1
        total = world.node.counts.probe_s["exec"].up_to()[-1][1]
        assert total == sum(found.values())


async def test_restarts_of_systemd_are_counted_from_the_first_look_on() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        for restarts in (3, 3, 5, 0, 1):
            told = UnitState(unit(ONE), "loaded", "active", "running", restarts=restarts)
            made.endpoints.own._see(told)  # noqa: SLF001 -- systemd's fake counts none
        assert made.node.counts.restarts[("systemd",)] == 6


async def test_turns_are_counted_with_the_time_to_their_effect() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        before = made.node.counts.effect_s.up_to()[-1][1]
        made.packets.failures.append(FULL)
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        assert made.node.counts.effect_s.up_to()[-1][1] == before
        await passed(made, 3)
        await made.endpoints.tick()
        await passed(made)
        assert made.node.counts.effect_s.up_to()[-1][1] == before + 1
        assert made.node.counts.effect_s.sum_s == pytest.approx(3.02, abs=0.05)
        assert made.node.counts.turns[("ready",)] == 2
        assert made.endpoints.counted() == {"ready": 2}


@pytest.mark.parametrize(
    ("has_leader", "answers", "outcome"),
    [(True, True, "known"), (True, False, "unanswered"), (False, False, "alone")],
)
async def test_drains_are_counted_by_who_knew(
    *, has_leader: bool, answers: bool, outcome: str
) -> None:
    async with served(drain_seconds=0, leader=has_leader) as made:
        applying = made.apply(*FIRST)
        await made.passed(1)
        if answers:
            made.know(*made.draining())
        await made.passed(5)
        await applying
        assert said(made.stage.node.counts.drains) == {outcome: 1}
