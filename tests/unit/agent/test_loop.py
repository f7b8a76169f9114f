"""The agent as a whole, on a machine in memory, with a leader that says what the test wants."""

import asyncio
import json
from collections.abc import Callable

import pytest

from agent import state
from agent.ports import LeaderError, PullError, UnfitError, UnitError
from katgen.protocol import (
    Abort,
    Cancel,
    Commit,
    Failed,
    Heartbeat,
    Hello,
    LogEnd,
    LogLine,
    LogLines,
    Pull,
    Pulled,
    ReadLogs,
    ReadUsage,
    SignedRecord,
    UsageAnswer,
    Verdict,
)
from tests.fakes import FakeNode, KilledError
from tests.unit.agent.cluster import IMAGE, TARGET, instance, rules, target_unit
from tests.unit.agent.leader import FakeLeader, Running, running
from tests.unit.agent.traffic import services_file, web

WEB = (rules(), target_unit(), instance(0, 1))
SECOND = instance(1, 2)
CONTAINER = "kat.shop.web.0-1"
SNAPSHOT = "/var/lib/kat/endpoints/shop.json"


def verdicts(agent: Running) -> list[Verdict]:
    return [one for one in agent.leader.session_.sent if isinstance(one, Verdict)]


def fit() -> FakeNode:
    node = FakeNode()
    node.podman.local[IMAGE] = ""
    return node


async def started(agent: Running) -> None:
    """Have generation 1 proposed, committed and applied."""
    agent.leader.say(agent.leader.plan(1, *WEB))
    await agent.until(lambda: len(verdicts(agent)) == 1)
    agent.leader.commit(1)
    await agent.until(lambda: agent.applied() == 1 and agent.sync() == "in sync")


async def test_what_is_proposed_and_committed_runs_and_is_reported() -> None:
    async with running(fit()) as agent:
        await started(agent)
        assert verdicts(agent) == [Verdict(1, "ok")]
        assert list(agent.node.podman.running) == [CONTAINER]
        assert agent.leader.reports[-1].generation == 1


async def test_the_agent_introduces_itself_first() -> None:
    async with running(fit()) as agent:
        await agent.until(lambda: bool(agent.leader.session_.sent))
        hello = agent.leader.session_.sent[0]
        assert isinstance(hello, Hello)
        assert (hello.node, hello.generation, hello.facts.interface) == ("a", 0, "host0")


async def test_what_was_never_proposed_here_is_fetched_and_verified() -> None:
    async with running(fit()) as agent:
        agent.leader.plan(1, *WEB)
        agent.leader.commit(1)
        await agent.until(lambda: agent.applied() == 1)
        assert list(agent.node.podman.running) == [CONTAINER]


async def test_an_aborted_proposal_changes_nothing() -> None:
    async with running(fit()) as agent:
        agent.leader.say(agent.leader.plan(1, *WEB))
        await agent.until(lambda: len(verdicts(agent)) == 1)
        agent.leader.say(Abort(1))
        await agent.pass_time(60)
        assert agent.node.systemd.units == {}
        assert agent.node.files.below("/run/kat/staged") == {}


async def test_a_proposal_that_could_not_be_verified_leaves_nothing_in_memory() -> None:
    node = fit()
    node.tools.missing.add("nft")
    async with running(node) as agent:
        agent.leader.say(agent.leader.plan(1, *WEB))
        await agent.until(lambda: len(verdicts(agent)) == 1)
        assert verdicts(agent)[0].outcome == "unfit"
        assert node.files.below("/run/kat/staged") == {}


async def cut(node: FakeNode, leader: FakeLeader) -> None:
    """Have an apply end as by SIGKILL, before anything is started."""
    node.trace.fail(f"systemd.begin {TARGET}", KilledError("cut here"))
    with pytest.raises(KilledError):
        await leader.cluster.apply(node.ports, leader.cluster.target(1, *WEB))


async def test_without_a_leader_what_was_cut_is_finished() -> None:
    node, leader = fit(), FakeLeader(down=True)
    await cut(node, leader)
    async with running(node, leader) as agent:
        await agent.until(lambda: agent.applied() == 1)
        assert list(node.podman.running) == [CONTAINER]


async def test_a_cut_apply_that_cannot_be_finished_is_tried_again() -> None:
    node, leader = fit(), FakeLeader(down=True)
    await cut(node, leader)
    node.trace.fail("podman.containers", UnfitError("podman does not answer"))
    async with running(node, leader) as agent:
        await agent.pass_time(1)
        assert agent.applied() == 0
        await agent.pass_time(60)
        assert agent.applied() == 1


async def test_a_cut_apply_whose_content_is_damaged_is_finished_once_a_leader_answers() -> None:
    node, leader = fit(), FakeLeader()
    await cut(node, leader)
    path = state.content_path(WEB[2].digest)
    node.files.put(path, b"damaged")
    node.files.take(WEB[2].path)
    leader.plan(1, *WEB)
    async with running(node, leader) as agent:
        await agent.until(lambda: agent.sync() == "degraded")
        leader.commit(1)
        await agent.until(lambda: agent.applied() == 1)
        assert node.files.read(path) == WEB[2].content
        assert list(node.podman.running) == [CONTAINER]


async def test_a_revert_that_takes_long_does_not_keep_ticks_from_coming() -> None:
    node = fit()
    async with running(node) as agent:
        await started(agent)
        node.files.put("/etc/kat/policy", b'drift = "revert"\n')
        node.files.put("/etc/kat/kat.nft", b"# mine\n")
        node.systemd.slow.add("kat-nft.service")
        node.trace.clear()
        await agent.until(lambda: node.trace.texts("systemd.reload kat-nft") != [])
        agent.leader.session_.sent.clear()
        await agent.pass_time(31)
        assert agent.leader.session_.sent.count(Heartbeat()) == 2
        node.systemd.release()


BAD_RECORDS: dict[str, Callable[[SignedRecord], SignedRecord]] = {
    "a bad signature": lambda r: SignedRecord(r.record, "AAAA" + r.signature[4:], r.key_id),
    "an unknown key": lambda r: SignedRecord(r.record, r.signature, "0" * 16),
    "nothing in it": lambda _: SignedRecord("", "", ""),
    "other bytes": lambda r: SignedRecord(r.record.replace("1", "2"), r.signature, r.key_id),
}


@pytest.mark.parametrize("what", BAD_RECORDS)
async def test_a_record_that_does_not_count_changes_nothing_and_is_reported(what: str) -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.trace.clear()
        agent.leader.plan(2, rules())
        agent.leader.say(Commit(BAD_RECORDS[what](agent.leader.record(2))))
        await agent.until(lambda: agent.sync() == "degraded")
        assert agent.node.trace.changes() == []
        assert list(agent.node.podman.running) == [CONTAINER]
        assert "commit record" in agent.leader.reports[-1].problems[0].text


async def test_an_older_record_changes_nothing() -> None:
    async with running(fit()) as agent:
        agent.leader.plan(1, rules())
        agent.leader.plan(2, *WEB)
        agent.leader.commit(2)
        await agent.until(lambda: agent.applied() == 2)
        agent.leader.commit(1)
        await agent.until(lambda: agent.sync() == "degraded")
        assert "older than" in agent.leader.reports[-1].problems[0].text
        assert list(agent.node.podman.running) == [CONTAINER]


async def test_the_same_record_again_asks_nothing_and_changes_nothing() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.trace.clear()
        agent.leader.commit(1)
        await agent.pass_time(1)
        assert agent.node.trace.changes() == []
        assert agent.node.trace.texts("systemd.") == []


async def test_a_proposal_whose_bundle_is_missing_is_the_nodes_trouble_alone() -> None:
    async with running(fit()) as agent:
        proposal = agent.leader.plan(1, *WEB)
        agent.leader.session_.answers = {}
        agent.leader.say(proposal)
        await agent.until(lambda: len(verdicts(agent)) == 1)
        assert verdicts(agent)[0].outcome == "unfit"


async def test_what_a_tool_refuses_is_refused_with_its_text() -> None:
    node = fit()
    node.tools.refusals["nft"] = "/run/kat/staged/1/nft/etc/kat/kat.nft:1:1-7: Error: syntax error"
    async with running(node) as agent:
        agent.leader.say(agent.leader.plan(1, *WEB))
        await agent.until(lambda: len(verdicts(agent)) == 1)
        assert verdicts(agent)[0].outcome == "refused", verdicts(agent)
        assert "syntax error" in verdicts(agent)[0].complaints[0].text


async def test_a_committed_plan_that_met_a_full_disk_is_applied_once_there_is_room() -> None:
    node = fit()
    node.trace.fail("files.write /etc/kat/kat.nft", UnfitError("/etc/kat: no space left"))
    async with running(node) as agent:
        agent.leader.plan(1, *WEB)
        agent.leader.commit(1)
        await agent.until(lambda: agent.sync() == "degraded")
        assert "no space left" in agent.leader.reports[-1].problems[0].text
        await agent.until(lambda: agent.applied() == 1 and agent.sync() == "in sync")


async def test_rules_that_somebody_flushed_are_back_at_once() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.network.load("")
        await agent.until(lambda: agent.node.network.table == "# rules\n")


async def test_rules_that_are_flushed_during_a_long_apply_are_back_before_its_end() -> None:
    node = fit()
    async with running(node) as agent:
        await started(agent)
        node.systemd.slow.add("kat.shop.web.1-2.service")
        agent.leader.plan(2, *WEB, instance(1, 2))
        agent.leader.commit(2)
        await agent.until(lambda: "systemd.start kat.shop.web.1-2.service" in node.trace.texts())
        node.network.load("")
        await agent.until(lambda: node.network.table == "# rules\n")
        assert agent.applied() == 0
        node.systemd.release()
        await agent.until(lambda: agent.applied() == 2)


async def test_rules_are_looked_at_on_every_tick_even_if_nobody_told() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.network.load_unheard("something else")
        await agent.pass_time(16)
        assert agent.node.network.table == "# rules\n"


async def test_rules_that_changed_while_no_agent_ran_are_loaded_at_its_start() -> None:
    node, leader = fit(), FakeLeader()
    async with running(node, leader) as agent:
        await started(agent)
    node.network.load_unheard("changed meanwhile")
    leader.down = True
    async with running(node, leader) as agent:
        await agent.until(lambda: node.network.table == "# rules\n")


async def test_rules_that_are_flushed_as_an_apply_ends_are_not_taken_for_right() -> None:
    node = fit()
    async with running(node) as agent:
        await started(agent)
        node.systemd.effects[f"start {SECOND.unit}"] = node.network.flush_unheard
        agent.leader.plan(2, *WEB, SECOND)
        agent.leader.commit(2)
        await agent.until(lambda: agent.applied() == 2)
        await agent.until(lambda: node.network.table == "# rules\n")


async def test_rules_that_an_apply_could_not_load_are_loaded_at_a_tick() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.trace.fail("systemd.reload", UnitError("kat-nft.service", "failed"))
        agent.leader.plan(2, rules("# newer\n"), *WEB[1:])
        agent.leader.commit(2)
        await agent.until(lambda: agent.applied() == 2 and agent.sync() == "degraded")
        assert "kat-nft.service: failed" in agent.leader.reports[-1].problems[0].text
        await agent.pass_time(16)
        await agent.until(lambda: agent.sync() == "in sync")
        assert agent.node.network.table == "# newer\n"


async def test_rules_that_cannot_be_restored_are_a_problem_until_they_are() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.trace.fail("systemd.reload", UnitError("kat-nft.service", "failed"))
        agent.node.network.load("")
        await agent.until(lambda: agent.sync() == "degraded")
        assert "packet rules" in agent.leader.reports[-1].problems[0].text
        await agent.pass_time(16)
        await agent.until(lambda: agent.sync() == "in sync")
        assert agent.node.network.table == "# rules\n"


async def test_a_crashed_unit_is_reported() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.systemd.crash(f"{CONTAINER}.service")
        await agent.until(lambda: agent.sync() == "degraded")


async def test_many_changes_at_once_are_one_report() -> None:
    async with running(fit()) as agent:
        await started(agent)
        before = len(agent.leader.reports)
        for restarts in range(1, 30):
            agent.node.systemd.crash(f"{CONTAINER}.service", restarts=restarts)
        await agent.pass_time(1)
        assert len(agent.leader.reports) == before + 1


async def test_when_nothing_changes_there_is_a_heartbeat_at_every_tick() -> None:
    async with running(fit()) as agent:
        await started(agent)
        await agent.pass_time(16)
        agent.leader.session_.sent.clear()
        await agent.pass_time(45)
        assert agent.leader.session_.sent == [Heartbeat(), Heartbeat(), Heartbeat()]


async def test_an_edited_file_is_reported_as_a_diff_and_left_alone() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.files.put("/etc/kat/kat.nft", b"# mine\n")
        await agent.pass_time(16)
        await agent.until(lambda: bool(agent.leader.reports[-1].drift))
        assert agent.leader.reports[-1].drift[0].kind == "edited"
        assert agent.node.files.read("/etc/kat/kat.nft") == b"# mine\n"


async def test_an_edited_file_is_written_again_where_the_nodes_policy_says_so() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.node.files.put("/etc/kat/policy", b'drift = "revert"\n')
        agent.node.files.put("/etc/kat/kat.nft", b"# mine\n")
        await agent.pass_time(16)
        await agent.until(lambda: agent.node.files.read("/etc/kat/kat.nft") == rules().content)
        await agent.pass_time(16)
        await agent.until(lambda: agent.leader.reports[-1].drift == ())


async def test_a_leader_that_went_away_is_looked_for_again() -> None:
    async with running(fit()) as agent:
        await started(agent)
        agent.leader.say(LeaderError("connection reset"))
        await agent.until(lambda: agent.leader.connections == 2)
        assert list(agent.node.podman.running) == [CONTAINER]


async def test_without_a_leader_nothing_is_touched() -> None:
    node, leader = fit(), FakeLeader()
    async with running(node, leader) as agent:
        await started(agent)
    leader.down = True
    node.trace.clear()
    async with running(node, leader) as agent:
        await agent.pass_time(300)
        assert leader.connections > 5
        own = "files.delete_tree /run/kat/staged"
        assert [c for c in node.trace.changes() if c != own] == ["systemd.reload kat-nft.service"]


async def test_after_a_rollback_a_leader_is_heard_but_not_followed() -> None:
    node = fit()
    node.files.put(state.HOLD, b"")
    async with running(node) as agent:
        agent.leader.plan(1, *WEB)
        agent.leader.commit(1)
        await agent.pass_time(60)
        assert agent.applied() == 0
        assert agent.leader.reports[-1].held
        node.files.take(state.HOLD)
        await agent.pass_time(60)
        assert agent.applied() == 1


async def test_a_stop_leaves_what_is_so_when_it_comes_whatever_stops_after() -> None:
    node, more = fit(), (services_file(web(0, 1)),)
    async with running(node) as agent:
        agent.leader.plan(1, *WEB, *more)
        agent.leader.commit(1)
        await agent.until(lambda: agent.applied() == 1 and agent.sync() == "in sync")
        await agent.pass_time(61)
        assert withdrawn_at_boot(node) == {}
        node.systemd.slow.add("kat.shop.web.1-2.service")
        agent.leader.plan(2, *WEB, SECOND, *more)
        agent.leader.commit(2)
        await agent.until(lambda: node.files.stat(state.JOURNAL) is not None)
        node.systemd.crash(f"{CONTAINER}.service")
        await agent.pass_time(0.2)
        agent.stopping.set()
        await agent.pass_time(0)
        assert not agent.task.done()
        assert withdrawn_at_boot(node) == {"web": ["10.100.0.10"]}
        node.systemd.stopping = True
        node.files.take(SNAPSHOT)
        node.systemd.release()
        await asyncio.wait_for(agent.task, 5)
        assert SNAPSHOT not in node.files.tree


def withdrawn_at_boot(node: FakeNode) -> object:
    """Return what names leave out after a boot without an agent."""
    return json.loads(node.files.tree[SNAPSHOT].content)["withdrawn"]


async def test_a_stop_lets_the_apply_under_way_end() -> None:
    node = fit()
    node.systemd.slow.add(f"{CONTAINER}.service")
    async with running(node) as agent:
        agent.leader.plan(1, *WEB)
        agent.leader.commit(1)
        await agent.until(lambda: node.files.stat(state.JOURNAL) is not None)
        agent.stopping.set()
        await asyncio.sleep(0)
        assert not agent.task.done()
        node.systemd.release()
        await asyncio.wait_for(agent.task, 5)
        assert agent.applied() == 1


async def answers(agent: Running, count: int) -> list[object]:
    """Return the answers to requests, once there are so many."""
    sent = agent.leader.session_.sent

    def told() -> list[object]:
        return [m for m in sent if hasattr(m, "id")]

    await agent.until(lambda: len(told()) >= count)
    return told()


async def test_a_pull_is_answered_with_the_digest() -> None:
    node = fit()
    node.podman.local["example/web:1"] = "sha256:" + "1" * 64
    async with running(node) as agent:
        agent.leader.say(Pull("1", "example/web:1", "IfNotPresent", 10))
        said = await answers(agent, 1)
        assert said[-1] == Pulled("1", "sha256:" + "1" * 64)


async def test_a_failed_pull_is_answered_with_the_registrys_text() -> None:
    node = fit()
    node.trace.fail("podman.pull", PullError("manifest unknown"))
    async with running(node) as agent:
        agent.leader.say(Pull("1", "example/nothing:1", "Always", 10))
        assert await answers(agent, 1) == [Failed("1", "manifest unknown")]


async def test_logs_are_sent_to_their_end() -> None:
    node = fit()
    unit = f"{CONTAINER}.service"
    line = LogLine(1.0, unit, "hello")
    node.journal.entries[unit].append(line)
    async with running(node) as agent:
        agent.leader.say(ReadLogs("1", (unit,)))
        assert await answers(agent, 2) == [LogLines("1", (line,)), LogEnd("1")]


async def test_the_journal_of_the_machine_itself_is_not_read() -> None:
    async with running(fit()) as agent:
        agent.leader.say(ReadLogs("1", ("sshd.service",)))
        assert await answers(agent, 1) == [Failed("1", "sshd.service is no unit of a workload")]


async def test_a_cancelled_request_is_answered_no_more() -> None:
    node = fit()
    async with running(node) as agent:
        agent.leader.say(ReadLogs("1", (f"{CONTAINER}.service",), follow=True))
        agent.leader.say(Cancel("1"))
        agent.leader.say(ReadUsage("2"))
        said = await answers(agent, 1)
        assert [type(one) for one in said] == [UsageAnswer]


async def test_a_fault_of_the_agent_itself_does_not_end_it() -> None:
    node = fit()
    node.trace.fail("machine.facts", RuntimeError("a bug"))
    async with running(node) as agent:
        await started(agent)


async def test_damaged_memory_is_told_and_the_node_is_not_lost() -> None:
    node, leader = fit(), FakeLeader()
    async with running(node, leader) as agent:
        await started(agent)
    node.files.put(state.APPLIED, b"{damaged")
    leader.session_.sent.clear()
    async with running(node, leader) as agent:
        await agent.until(lambda: agent.sync() == "degraded")
        assert "applied.json is damaged" in leader.reports[-1].problems[0].text
        hello = leader.session_.sent[0]
        assert isinstance(hello, Hello)
        assert (hello.epoch, hello.generation) == (0, 0)
        await agent.pass_time(31)
        assert Heartbeat() in leader.session_.sent
        assert list(node.podman.running) == [CONTAINER]


async def test_with_damaged_memory_a_leader_has_nothing_begin_again_and_again() -> None:
    node, leader = fit(), FakeLeader()
    async with running(node, leader) as agent:
        await started(agent)
    whole = node.files.tree[state.APPLIED].content
    node.files.put(state.APPLIED, b"{damaged")
    node.trace.clear()
    async with running(node, leader) as agent:
        leader.commit(1)
        await agent.pass_time(150)
        assert agent.sync() == "degraded"
        assert len(node.trace.texts("systemd.reload kat-nft.service")) == 1
        assert node.counts.refusals[("record",)] in range(2, 6)
        node.files.put(state.APPLIED, whole)
        await agent.pass_time(300)
        assert (agent.sync(), leader.reports[-1].problems) == ("in sync", ())


async def test_a_podman_that_does_not_answer_is_told_until_it_does() -> None:
    node = fit()
    async with running(node) as agent:
        await started(agent)
        node.trace.fail("podman.containers", UnfitError("Podman has not answered for 60 s"))
        node.systemd.crash(f"{CONTAINER}.service", restarts=1)
        await agent.until(lambda: bool(agent.leader.reports[-1].problems))
        assert "Podman has not answered" in agent.leader.reports[-1].problems[0].text
        assert len(agent.leader.reports[-1].units) > 0
        await agent.pass_time(16)
        assert agent.leader.reports[-1].problems == ()


async def test_a_fault_while_logs_are_read_is_answered() -> None:
    node = fit()
    node.trace.fail("journal.read", RuntimeError("a bug"))
    async with running(node) as agent:
        agent.leader.say(ReadLogs("1", (f"{CONTAINER}.service",)))
        (said,) = await answers(agent, 1)
        assert said == Failed("1", "a fault in the agent; see its journal")
