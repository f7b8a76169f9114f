"""Endpoint records between nodes: who may speak, who hears, who has answered."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from katgen.leader.agents.received import bounded
from katgen.leader.documents import ObjectKey
from katgen.leader.store import Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.protocol import (
    NOTE_REASONS,
    EndpointKnown,
    EndpointNews,
    EndpointRecord,
    EndpointRecords,
    EndpointsTaken,
    Note,
)
from tests.fakes.agents import Box, FakeAgent, leader
from tests.unit.leader.given import workload

ANSWER_S = 5
TWO = "replicas: 2"


def record(instance: str, sequence: int, state: str, boot: str = "boot-1") -> EndpointRecord:
    return EndpointRecord(InstanceKey(instance), boot, sequence, state)


@dataclass
class Trio:
    """Three nodes, with the instances that run on each."""

    box: Box
    agents: dict[str, FakeAgent]

    def home(self, workload_key: str) -> tuple[FakeAgent, InstanceKey]:
        """Return the agent that runs a workload's first instance, and its name."""
        every = self.box.cluster.instances()
        one = next(one for one in every if one.key.startswith(f"{workload_key}/"))
        return self.agents[one.node], one.key

    def others(self, owner: FakeAgent) -> list[FakeAgent]:
        return [one for one in self.agents.values() if one is not owner]

    async def passed(self, times: int = 4) -> None:
        """Let time pass for some batches."""
        for _ in range(times):
            await self.box.turn(0.05)

    async def say(self, agent: FakeAgent, *records: EndpointRecord, full: bool = False) -> None:
        agent.say(EndpointRecords(records, full=full))
        await self.passed()


@asynccontextmanager
async def trio(*texts: str) -> AsyncIterator[Trio]:
    """Run a leader with nodes a, b and c, and objects; by default one instance on each node."""
    async with leader(nodes=("a", "b", "c")) as box, AsyncExitStack() as stack:
        agents = {n: await stack.enter_async_context(box.agent(n, is_mute=True)) for n in "abc"}
        await box.settled(await box.apply(*(texts or (workload("web"),))))
        made = Trio(box, agents)
        await made.passed()
        yield made


def news(agent: FakeAgent) -> list[tuple[str, str]]:
    """Return (instance, state) of all news that an agent has heard, in order."""
    messages = [one for one in agent.heard if isinstance(one, EndpointNews)]
    return [(r.instance, r.state) for one in messages for r in one.records]


def known(agent: FakeAgent) -> list[int]:
    return [one.sequence for one in agent.heard if isinstance(one, EndpointKnown)]


def answer(agents: Iterable[FakeAgent]) -> None:
    """Have agents answer the last news that they heard."""
    for agent in agents:
        numbers = [one.number for one in agent.heard if isinstance(one, EndpointNews)]
        agent.say(EndpointsTaken(max(numbers)))


async def test_what_a_node_says_of_its_own_is_heard_by_the_others_alone() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "ready"))
        assert [news(one) for one in made.others(owner)] == [[(web, "ready")]] * 2
        assert news(owner) == []


async def test_a_state_is_shown_with_its_instance_and_counted_with_its_workload() -> None:
    async with trio(workload("web", TWO)) as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "ready"))
        shown = {one.key: one.endpoint for one in made.box.cluster.instances()}
        assert sorted(shown.values()) == ["", "ready"]
        assert shown[web] == "ready"
        assert made.box.cluster.workload_status(WorkloadKey("default/web")).ready == 1


async def test_a_node_that_does_not_run_it_is_not_believed() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        liar = made.others(owner)[0]
        await made.say(liar, record(web, 9, "ready"), record("default/none/0-1", 1, "ready"))
        assert made.box.cluster.endpoints == {}
        assert [news(one) for one in made.agents.values()] == [[], [], []]


ISOLATED = """
apiVersion: kat/v1alpha1
kind: Namespace
metadata: {name: default}
spec: {isolated: true}
"""


async def test_of_an_isolated_namespace_only_the_nodes_that_run_it_hear() -> None:
    async with trio(ISOLATED, workload("web", TWO)) as made:
        owner, web = made.home("default/web")
        homes = {one.node for one in made.box.cluster.instances()}
        assert len(homes) == 2
        await made.say(owner, record(web, 1, "ready"))
        heard = {name for name, one in made.agents.items() if news(one)}
        assert heard == {str(one) for one in homes} - {str(owner.node)}


async def test_a_node_hears_of_a_namespace_once_it_has_a_part_in_it() -> None:
    async with trio(ISOLATED, workload("web")) as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "ready"))
        assert [news(one) for one in made.others(owner)] == [[], []]
        await made.box.settled(await made.box.apply(workload("web", "replicas: 3")))
        await made.passed()
        homes = {one.node for one in made.box.cluster.instances()} - {owner.node}
        assert homes
        for one in homes:
            assert news(made.agents[one]) == [(web, "ready")]


async def test_an_older_record_changes_nothing_and_one_of_another_boot_counts() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 7, "ready"))
        await made.say(owner, record(web, 6, "notready"))
        assert made.box.cluster.endpoints == {web: "ready"}
        await made.say(owner, record(web, 1, "notready", "boot-2"))
        assert made.box.cluster.endpoints == {web: "notready"}


async def test_a_burst_goes_out_as_its_first_and_its_last_word() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        for sequence in range(1, 21):
            state = "ready" if sequence % 2 else "notready"
            owner.say(EndpointRecords((record(web, sequence, state),)))
        await made.passed()
        answer(made.others(owner))
        await made.passed()
        (heard, _) = (news(one) for one in made.others(owner))
        assert len(heard) <= 2
        assert heard[-1] == (web, "notready")


async def test_a_flap_makes_no_plan_and_writes_nothing_but_its_event() -> None:
    written: list[Transaction] = []

    class Counting(MemoryStore):
        async def commit(self, transaction: Transaction) -> int:
            written.append(transaction)
            return await super().commit(transaction)

    store = Counting()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent(is_mute=True) as agent:
            await box.settled(await box.apply(workload("web")))
            made = Trio(box, {"a": agent})
            await made.passed(20)
            mark, web = box.cluster.mark, made.home("default/web")[1]
            written.clear()
            for sequence in range(1, 11):
                state = "ready" if sequence % 2 else "notready"
                await made.say(agent, record(web, sequence, state))
            await box.turn(1)
            await made.passed()
            assert box.cluster.mark == mark
            keys = {key for one in written for key in (*one.puts, *one.deletes)}
            assert keys
            assert {key.partition("/")[0] for key in keys} == {"events"}
            told = {one.reason: one.count for one in await box.chronicle.events(name="web")}
            assert (told["Ready"], told["NotReady"]) == (5, 5)
    await store.close()


async def test_that_a_new_instance_is_not_ready_yet_is_no_event() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "notready"))
        reasons = {one.reason for one in await made.box.chronicle.events(name="web")}
        assert "NotReady" not in reasons


# --- draining -------------------------------------------------------------------------------------


async def test_the_owner_of_a_draining_instance_hears_when_all_others_have_taken_it() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "draining"))
        first, second = made.others(owner)
        answer([first])
        await made.passed()
        assert known(owner) == []
        answer([second])
        await made.passed()
        assert known(owner) == [1]


async def test_alone_a_draining_instance_is_known_to_all_at_once() -> None:
    async with leader() as box, box.agent(is_mute=True) as agent:
        await box.settled(await box.apply(workload("web")))
        made = Trio(box, {"a": agent})
        web = made.home("default/web")[1]
        await made.say(agent, record(web, 1, "draining"))
        assert known(agent) == [1]


async def test_a_node_that_goes_away_is_waited_for_no_more() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "draining"))
        first, second = made.others(owner)
        answer([first])
        second.hang_up()
        await made.passed()
        assert known(owner) == [1]


async def test_a_stop_that_is_begun_again_is_answered_again() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        for _ in range(2):
            await made.say(owner, record(web, 1, "draining"))
            answer(made.others(owner))
            await made.passed()
        assert known(owner) == [1, 1]


async def test_a_draining_instance_that_the_plan_has_no_more_is_still_spoken_of() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "ready"))
        answer(made.others(owner))
        generation = owner.generation
        owner.is_deaf = True
        gone = await made.box.objects.delete([ObjectKey("Workload", "default", "web")])
        await made.box.turn(3)
        await made.box.settled(gone.revision)
        await made.say(owner, record(web, 2, "draining"))
        assert [news(one)[-1] for one in made.others(owner)] == [(web, "draining")] * 2
        answer(made.others(owner))
        await made.passed()
        assert known(owner) == [2]
        owner.generation = generation + 1
        owner.report()
        await made.passed()
        assert made.box.cluster.endpoints == {}


# --- sessions -------------------------------------------------------------------------------------


async def test_a_slow_node_gets_the_last_state_alone_and_holds_nobody_up() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        slow, quick = made.others(owner)
        for sequence in range(1, 7):
            state = "ready" if sequence % 2 else "notready"
            await made.say(owner, record(web, sequence, state))
            answer([quick])
            await made.passed()
        assert len(news(quick)) == 6
        assert news(slow) == [(web, "ready")]
        await made.box.turn(ANSWER_S)
        await made.passed()
        assert news(slow) == [(web, "ready"), (web, "notready")]


async def test_who_comes_back_hears_everything() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        away = made.others(owner)[0]
        for one in made.agents.values():
            await made.say(one, *([record(web, 1, "ready")] if one is owner else []), full=True)
        away.hang_up()
        await made.passed()
        async with made.box.agent(away.node, is_mute=True) as again:
            await made.passed()
            (heard,) = [one for one in again.heard if isinstance(one, EndpointNews)]
            assert heard.full
            assert news(again) == [(web, "ready")]


async def test_who_comes_back_has_to_speak_of_its_instances_again() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "ready"), full=True)
        assert made.box.cluster.spoken == {owner.node}
        owner.hang_up()
        await made.passed()
        assert made.box.cluster.spoken == set()
        assert made.box.cluster.endpoints == {web: "ready"}
        async with made.box.agent(owner.node, is_mute=True) as again:
            await made.passed()
            assert made.box.cluster.spoken == set()
            await made.say(again, record(web, 1, "notready", boot="boot-2"), full=True)
            assert made.box.cluster.spoken == {owner.node}


async def test_a_newer_session_that_replaces_one_has_not_spoken_either() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        await made.say(owner, record(web, 1, "ready"), full=True)
        async with made.box.agent(owner.node, is_mute=True):
            await made.passed()
            assert made.box.cluster.spoken == set()


async def test_a_new_leader_takes_nothing_from_nodes_before_all_have_spoken() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        first, second = made.others(owner)
        await made.say(first, full=True)
        await made.say(owner, record(web, 1, "ready"))  # not all of its own
        second.hang_up()
        await made.passed()
        async with made.box.agent(second.node, is_mute=True) as again:
            await made.passed()
            messages = [one for one in again.heard if isinstance(one, EndpointNews)]
            assert [one.full for one in messages] == [False]


async def test_what_is_said_before_the_plan_is_read_counts_once_it_is() -> None:
    store = MemoryStore()
    async with leader(store) as box:
        await box.add_node("a")
        async with box.agent(is_mute=True):
            await box.settled(await box.apply(workload("web")))
    box = Box(store, box.clock, box.signer)
    web = InstanceKey("default/web/0-1")
    serving = asyncio.create_task(box.endpoints.run())
    box.endpoints.arrived(NodeName("a"))
    box.endpoints.told(NodeName("a"), EndpointRecords((record(web, 1, "ready"),), full=True))
    assert box.cluster.endpoints == {}
    running = asyncio.create_task(box.loop.run())
    await box.until(lambda: box.cluster.rendered is not None)
    await Trio(box, {}).passed()
    assert box.cluster.endpoints == {web: "ready"}
    for task in (serving, running):
        task.cancel()
    await asyncio.gather(serving, running, return_exceptions=True)
    await store.close()


async def heard_of(box: Box) -> list[tuple[str, str, str]]:
    """Return reason, node and message of what an agent said of health."""
    every = await box.chronicle.events("default", "web")
    return [(e.reason, e.node, e.message) for e in every if e.reason in NOTE_REASONS]


async def test_what_becomes_of_health_is_an_event_of_the_workload() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        mark = made.box.cluster.mark
        owner.say(EndpointRecords((), notes=(Note(web, "Killing", "was not alive: restarted"),)))
        await made.passed()
        text = f"{web}: was not alive: restarted"
        assert await heard_of(made.box) == [("Killing", owner.node, text)]
        assert made.box.cluster.mark == mark


async def test_what_a_node_says_of_the_health_of_another_s_instance_is_no_event() -> None:
    async with trio() as made:
        owner, web = made.home("default/web")
        made.others(owner)[0].say(EndpointRecords((), notes=(Note(web, "Killing", "a lie"),)))
        await made.passed()
        assert await heard_of(made.box) == []


def test_notes_are_cut_and_those_of_another_reason_are_not_taken() -> None:
    web = InstanceKey("default/web/0-1")
    long, strange = Note(web, "Unhealthy", "x" * 10_000), Note(web, "Promoted", "")
    told = bounded(EndpointRecords((), notes=(strange, *(long,) * 200)))
    assert isinstance(told, EndpointRecords)
    assert [len(one.text) for one in told.notes] == [1024] * 99


def test_of_records_that_cannot_be_meant_none_is_taken() -> None:
    given = EndpointRecords(
        (
            record("default/web/0-1", 1, "ready"),
            record("default/web/0-2", 1, "perfect"),
            record("x" * 1000, 1, "ready"),
            record("default/web/0-3", -1, "ready"),
            record("default/web/0-4", 1, "ready", "b" * 1000),
        )
    )
    assert bounded(given) == EndpointRecords((record("default/web/0-1", 1, "ready"),))


def test_a_node_sends_no_more_records_than_it_can_have_units() -> None:
    given = EndpointRecords(tuple(record(f"n/w/{n}-1", 1, "ready") for n in range(6000)))
    told = bounded(given)
    assert isinstance(told, EndpointRecords)
    assert len(told.records) == 5000
