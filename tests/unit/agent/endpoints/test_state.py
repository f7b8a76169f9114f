"""Endpoint state on one node: what is said, and what it changes there, with or without a leader."""

import json

import pytest

from agent.endpoints.memory import MEMORY
from agent.endpoints.services import FOLDER
from agent.endpoints.session import NOTES_MAX
from agent.ports import LeaderError, UnfitError
from katgen.names import InstanceKey
from katgen.protocol import (
    EndpointNews,
    EndpointRecord,
    EndpointRecords,
    EndpointsTaken,
    Note,
    ToLeader,
)
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, FakeSession, instance, rules, target_unit
from tests.unit.agent.traffic import (
    FULL,
    NAMES,
    SNAPSHOT,
    Stage,
    living,
    services_file,
    unit,
    web,
)

ONE, TWO, FAR = web(0, 1), web(1, 2), web(2, 3)
"""Two that run here, and one on another node."""


async def stage() -> Stage:
    """Return a node that runs two of three candidates."""
    node, cluster = FakeNode(), Cluster()
    files = (rules(), target_unit(), instance(0, 1), instance(1, 2), services_file(ONE, TWO, FAR))
    await cluster.apply(node.ports, cluster.target(1, *files))
    return Stage(node)


async def passed(made: Stage, seconds: float = 0.02) -> None:
    await made.node.clock.advance(seconds)


def withdrawn(made: Stage) -> list[str]:
    """Return the addresses that names leave out."""
    read = json.loads(made.node.files.tree[NAMES].content)
    found: list[str] = read["withdrawn"].get("web", [])
    return found


def news(number: int, state: str, sequence: int = 1, *, full: bool = False) -> EndpointNews:
    return EndpointNews(number, (EndpointRecord(FAR, "elsewhere", sequence, state),), full)


async def test_new_instances_are_not_ready() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        assert withdrawn(made) == ["10.100.0.10", "10.100.0.11", "10.100.0.12"]


async def test_with_no_leader_who_is_ready_gets_traffic_and_has_a_name_at_once() -> None:
    made = await stage()
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO)}
        assert withdrawn(made) == ["10.100.0.12"]
        made.turn(ONE, ready=False)
        await passed(made)
        assert withdrawn(made) == ["10.100.0.10", "10.100.0.12"]
        assert made.rung[-1] == "shop"


async def test_below_the_panic_threshold_all_get_traffic_and_names_tell_the_ready_alone() -> None:
    made = await stage()
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        made.endpoints.hear(news(1, "notready"))
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO)}
        made.turn(TWO, ready=False)
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO, FAR)}
        assert withdrawn(made) == ["10.100.0.11", "10.100.0.12"]


async def test_who_has_never_been_ready_makes_no_panic_also_after_a_restart_of_the_agent() -> None:
    made = await stage()
    async with living(made):
        made.turn(ONE, ready=True)
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE,)}
        made.turn(ONE, ready=False)
        await passed(made)
    again = made.again()
    async with living(again):
        await passed(again)
        assert again.packets.kernel == {"shop": (ONE,)}


async def test_a_burst_is_taken_together() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.rung.clear()
        for turn in range(51):
            made.turn(ONE, ready=turn % 2 == 0)
        await passed(made)
        assert made.rung == ["shop"]


async def test_the_same_again_writes_nothing() -> None:
    made = await stage()
    async with living(made):
        made.turn(ONE, ready=True)
        await passed(made)
        await made.endpoints.tick()
        made.node.trace.clear()
        made.turn(ONE, ready=True)
        await made.endpoints.tick()
        await passed(made)
        assert made.node.trace.changes() == []


async def test_a_job_s_run_has_no_record() -> None:
    made = await stage()
    async with living(made):
        made.endpoints.own.turned(InstanceKey("shop/job/0-1"), True)  # noqa: FBT003 -- as Health calls it
        session = FakeSession()
        made.endpoints.connected(session)
        await passed(made)
        (told,) = session.sent
        assert isinstance(told, EndpointRecords)
        assert [one.instance for one in told.records] == [ONE, TWO]


# --- what is remembered ---------------------------------------------------------------------------


async def test_over_a_restart_of_the_agent_states_stay_until_health_says_otherwise() -> None:
    made = await stage()
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        made.endpoints.hear(news(1, "ready"))
        await passed(made)
    again = made.again()
    again.packets.kernel.clear()
    async with living(again):
        await passed(again)
        assert withdrawn(again) == []
        assert again.packets.kernel == {"shop": (ONE, TWO, FAR)}
        again.turn(ONE, ready=False)
        await passed(again)
        assert withdrawn(again) == ["10.100.0.10"]


async def test_after_a_boot_own_ones_start_not_ready_and_others_stay() -> None:
    made = await stage()
    async with living(made):
        made.turn(ONE, ready=True)
        made.endpoints.hear(news(1, "ready"))
        await passed(made)
    await made.endpoints.save()
    made.node.reboot()
    again = made.again()
    async with living(again):
        await passed(again)
        assert withdrawn(again) == ["10.100.0.10", "10.100.0.11"]


async def test_after_a_boot_without_a_leader_others_keep_their_place_in_the_next_snapshot() -> None:
    made = await stage()
    async with living(made):
        made.endpoints.hear(news(1, "ready"))
        await passed(made)
        await made.endpoints.tick()
    made.node.reboot()
    again = made.again()
    async with living(again):
        await again.endpoints.tick()
        found = json.loads(again.node.files.tree[f"{SNAPSHOT}.json"].content)["withdrawn"]["web"]
        assert "10.100.0.12" not in found


async def test_after_another_boot_that_nobody_has_said_anything_on_others_still_stay() -> None:
    made = await stage()
    async with living(made):
        made.endpoints.hear(news(1, "ready"))
        await made.endpoints.save()
    for _ in range(2):
        made.node.reboot()
        made = made.again()
        async with living(made):
            await passed(made)
            await made.endpoints.save()
            assert "10.100.0.12" not in withdrawn(made)


async def test_news_that_say_nothing_new_write_nothing() -> None:
    made = await stage()
    async with living(made):
        made.endpoints.hear(news(1, "ready"))
        await passed(made, 1.1)
        made.node.trace.clear()
        made.endpoints.hear(news(2, "ready"))
        await passed(made, 1.1)
        assert made.node.trace.changes() == []


async def test_memory_is_written_once_a_second_however_much_changes() -> None:
    made = await stage()
    async with living(made):
        await passed(made, 1.1)
        made.node.trace.clear()
        for turn in range(15):
            made.turn(ONE, ready=turn % 2 == 0)
            await passed(made, 0.1)
        assert len(made.node.trace.texts(f"files.write {MEMORY}")) == 2


async def test_what_has_changed_since_is_remembered_at_the_end() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.turn(ONE, ready=True)
        await passed(made)
        await made.endpoints.save()
    own = json.loads(made.node.files.tree[MEMORY].content)["own"]
    assert {one["instance"]: one["state"] for one in own}[ONE] == "ready"


async def test_damaged_memory_is_no_memory() -> None:
    made = await stage()
    made.node.files.put(MEMORY, b"{half")
    async with living(made):
        made.turn(ONE, ready=True)
        await passed(made)
        assert withdrawn(made) == ["10.100.0.11", "10.100.0.12"]


async def test_a_damaged_services_file_is_told_and_what_it_said_holds() -> None:
    made = await stage()
    cluster = Cluster()
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        made.node.files.put(f"{FOLDER}/shop.json", b"{half")
        files = (instance(0, 1), instance(1, 2), services_file(ONE, TWO, FAR))
        await made.endpoints.installed(cluster.target(2, *files))
        assert made.packets.kernel == {"shop": (ONE, TWO)}
        assert "shop.json is damaged" in made.problems[0]


# --- the leader -----------------------------------------------------------------------------------


async def test_the_leader_hears_everything_at_first_and_then_what_changes() -> None:
    made, session = await stage(), FakeSession()
    async with living(made):
        made.turn(ONE, ready=True)
        made.endpoints.connected(session)
        await passed(made)
        made.turn(TWO, ready=True)
        await passed(made)
        told = [one for one in session.sent if isinstance(one, EndpointRecords)]
        said = [(one.full, [(r.instance, r.state) for r in one.records]) for one in told]
        assert said == [(True, [(ONE, "ready"), (TWO, "notready")]), (False, [(TWO, "ready")])]


def notes(session: FakeSession) -> list[str]:
    """Return the texts that the leader has been told."""
    told = [one for one in session.sent if isinstance(one, EndpointRecords)]
    return [note.text for one in told for note in one.notes]


async def test_what_becomes_of_health_is_told_once_and_at_once() -> None:
    made, session = await stage(), FakeSession()
    async with living(made):
        made.endpoints.connected(session)
        await passed(made)
        made.endpoints.session.note(ONE, "Killing", "was not alive")
        await passed(made)
        said = EndpointRecords((), notes=(Note(ONE, "Killing", "was not alive"),))
        assert session.sent[-1] == said
        made.turn(ONE, ready=True)
        await passed(made)
        assert notes(session) == ["was not alive"]


async def test_what_became_of_health_without_a_leader_is_told_to_the_next_leader() -> None:
    class Broken(FakeSession):
        async def send(self, message: ToLeader) -> None:
            raise LeaderError(f"gone before {type(message).__name__}")

    made, session = await stage(), FakeSession()
    async with living(made):
        made.endpoints.connected(Broken())
        for number in range(NOTES_MAX + 1):
            made.endpoints.session.note(ONE, "Unhealthy", f"failure {number}")
            await passed(made)
        made.endpoints.session.gone()
        made.endpoints.connected(session)
        await passed(made)
        assert notes(session) == [f"failure {number}" for number in range(1, NOTES_MAX + 1)]


async def test_a_leader_that_takes_nothing_holds_no_effect_up() -> None:
    class Stuck(FakeSession):
        async def send(self, message: ToLeader) -> None:
            del message
            await made.node.clock.sleep(1000)

    made = await stage()
    async with living(made):
        made.endpoints.connected(Stuck())
        await passed(made)
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE, TWO)}


async def test_news_have_their_effect_and_are_answered_after_it() -> None:
    made, session = await stage(), FakeSession()
    async with living(made):
        made.endpoints.connected(session)
        await passed(made)
        made.packets.failures.append(FULL)
        made.endpoints.hear(news(7, "ready"))
        await passed(made)
        assert EndpointsTaken(7) not in session.sent
        await made.endpoints.tick()
        await passed(made)
        assert session.sent[-1] == EndpointsTaken(7)
        assert withdrawn(made) == ["10.100.0.10", "10.100.0.11"]


async def test_news_that_come_during_a_load_are_answered_after_it() -> None:
    made, session = await stage(), FakeSession()
    async with living(made):
        made.endpoints.connected(session)
        await passed(made)
        async with made.endpoints.loading():
            made.endpoints.hear(news(7, "ready"))
            await passed(made)
            assert EndpointsTaken(7) not in session.sent
        await passed(made)
        assert session.sent[-1] == EndpointsTaken(7)


async def test_the_number_of_an_earlier_session_is_not_answered_in_the_next() -> None:
    made, session = await stage(), FakeSession()
    async with living(made):
        made.endpoints.connected(FakeSession())
        made.endpoints.hear(news(7, "ready"))
        made.endpoints.session.gone()
        made.endpoints.connected(session)
        await passed(made)
        assert not any(isinstance(one, EndpointsTaken) for one in session.sent)


async def test_instances_that_are_no_candidates_any_more_are_forgotten() -> None:
    made, cluster = await stage(), Cluster()
    async with living(made):
        made.endpoints.hear(news(1, "ready"))
        await passed(made)
        files = (rules(), target_unit(), instance(0, 1), instance(1, 2), services_file(ONE, TWO))
        target = cluster.target(2, *files)
        await cluster.apply(made.node.ports, target, made.endpoints)
        await made.endpoints.save()
        assert json.loads(made.node.files.tree[MEMORY].content)["others"] == []


# --- boot snapshots -------------------------------------------------------------------------------


async def test_boot_snapshots_are_written_once_a_minute_and_at_the_end() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        await made.endpoints.tick()
        made.turn(ONE, ready=True)
        await passed(made)
        await made.endpoints.tick()
        before = made.node.files.tree[f"{SNAPSHOT}.json"].content
        assert b"10.100.0.10" in before
        await passed(made, 61)
        await made.endpoints.tick()
        assert b"10.100.0.10" not in made.node.files.tree[f"{SNAPSHOT}.json"].content
        made.turn(TWO, ready=True)
        await passed(made)
        await made.endpoints.save()
        assert made.node.files.tree[f"{SNAPSHOT}.nft"].content.decode().split() == [ONE, TWO]


async def test_of_a_machine_that_goes_down_there_is_no_snapshot() -> None:
    made = await stage()
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        made.endpoints.hear(news(1, "ready"))
        await passed(made)
        await made.endpoints.save()
        before = made.node.files.below("/var/lib/kat/endpoints")
        made.node.systemd.stopping = True
        for one in (ONE, TWO):
            made.turn(one, ready=False)
        await passed(made, 61)
        await made.endpoints.tick()
        await made.endpoints.save()
        assert made.node.files.below("/var/lib/kat/endpoints") == before
        assert made.problems == []


async def test_where_nobody_can_tell_whether_it_goes_down_there_is_none_either() -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.node.trace.fail("systemd.is_stopping", UnfitError("D-Bus is down"))
        await made.endpoints.save()
        assert f"{SNAPSHOT}.json" not in made.node.files.tree
        assert made.problems == ["endpoint state, whether the machine is going down: D-Bus is down"]
        await made.endpoints.save()
        assert f"{SNAPSHOT}.json" in made.node.files.tree


async def test_after_a_load_the_next_snapshot_need_not_wait_for_a_minute() -> None:
    made = await stage()
    async with living(made):
        async with made.endpoints.loading():
            pass
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        await passed(made)
        await made.endpoints.tick()
        assert b"10.100.0.10" not in made.node.files.tree[f"{SNAPSHOT}.json"].content


async def test_a_kernel_that_cannot_take_them_gets_no_rules_as_snapshot() -> None:
    made = await stage()
    made.packets.has_snapshots = False
    async with living(made):
        await passed(made)
        await made.endpoints.save()
        assert f"{SNAPSHOT}.json" in made.node.files.tree
        assert f"{SNAPSHOT}.nft" not in made.node.files.tree


@pytest.mark.parametrize("state", ["active", "inactive"])
async def test_health_is_given_the_states_of_units_that_change(state: str) -> None:
    made = await stage()
    async with living(made):
        await passed(made)
        made.health.units.clear()
        if state == "inactive":
            await made.node.systemd.stop(unit(ONE), 1)
        made.endpoints.own.heard(unit(ONE))
        made.endpoints.own.heard("kat.shop.target")
        await passed(made)
        assert made.health.units == [f"{unit(ONE)} {state}"]
