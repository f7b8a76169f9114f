"""An apply and traffic: what stops is taken out of traffic before, everywhere, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import pytest

from agent.endpoints.leaving import PATH as LEAVING
from agent.endpoints.rules import EndpointRules
from agent.endpoints.services import FOLDER
from agent.ports import UnfitError
from katgen.bundle import Activation, Artifact
from katgen.names import InstanceKey
from katgen.protocol import EndpointKnown, EndpointRecord, EndpointRecords
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, FakeSession, instance, rules, target_unit
from tests.unit.agent.traffic import NAMES, SNAPSHOT, Stage, living, services_file, unit, web

ONE, TWO, NEXT = web(0, 1), web(1, 2), web(0, 3)
BASE = (rules(), target_unit())
BOTH = (*BASE, instance(0, 1), instance(1, 2), services_file(ONE, TWO))
FIRST = (rules("# one\n"), target_unit(), instance(0, 1), services_file(ONE))
DRAIN_S = 5
LOAD = "systemd.reload kat-nft.service"


@dataclass
class Served:
    """A node that serves two ready instances; `apply` begins an apply."""

    stage: Stage
    cluster: Cluster
    session: FakeSession

    def apply(self, *files: Artifact, generation: int = 2) -> "asyncio.Task[object]":
        self.cluster.put_contents(self.stage.node.ports)
        target = self.cluster.target(generation, *files)
        self.stage.node.trace.clear()
        applying = self.cluster.apply(self.stage.node.ports, target, self.stage.endpoints)
        return asyncio.create_task(applying)

    async def passed(self, seconds: float = 0.02) -> None:
        await self.stage.node.clock.advance(seconds)

    def runs(self) -> set[str]:
        return {one.unit for one in self.stage.node.podman.running.values()}

    def draining(self) -> list[EndpointRecord]:
        told = [one for one in self.session.sent if isinstance(one, EndpointRecords)]
        return [one for some in told for one in some.records if one.state == "draining"]

    def refusing(self) -> list[str]:
        """Return where the kernel resets new connections."""
        return sorted(self.stage.node.network.maps.elements().unready)

    def know(self, *records: EndpointRecord) -> None:
        """Have the leader say that everybody knows."""
        for one in records:
            self.stage.endpoints.hear(EndpointKnown(one.instance, one.boot, one.sequence))


@asynccontextmanager
async def served(
    drain_seconds: int = DRAIN_S, *, leader: bool = True, elements: bool = False
) -> AsyncIterator[Served]:
    """Return a node that serves; with `elements` the kernel is one that has them."""
    node, cluster = FakeNode(), Cluster(drain_seconds=drain_seconds)
    await cluster.apply(node.ports, cluster.target(1, *BOTH))
    stage = Stage(node, rules=EndpointRules(node.ports) if elements else None)
    made = Served(stage, cluster, FakeSession())
    async with living(made.stage):
        if leader:
            made.stage.endpoints.connected(made.session)
        for one in (ONE, TWO):
            made.stage.turn(one, ready=True)
        await made.passed()
        await made.stage.endpoints.save()
        yield made


async def test_what_stops_drains_for_its_time_once_everybody_knows() -> None:
    async with served() as made:
        applying = made.apply(*FIRST)
        await made.passed(1)
        (told,) = made.draining()
        assert told.instance == TWO
        made.know(told)
        await made.passed(DRAIN_S - 1)
        assert made.runs() == {unit(ONE), unit(TWO)}
        await made.passed(1)
        await applying
        assert made.runs() == {unit(ONE)}


async def test_nobody_is_waited_for_longer_than_five_seconds() -> None:
    async with served(drain_seconds=0) as made:
        applying = made.apply(*FIRST)
        await made.passed(4.9)
        assert made.runs() == {unit(ONE), unit(TWO)}
        await made.passed(0.2)
        await applying
        assert made.runs() == {unit(ONE)}


async def test_without_a_leader_there_is_nobody_to_wait_for() -> None:
    async with served(leader=False) as made:
        applying = made.apply(*FIRST)
        await made.passed(DRAIN_S - 0.1)
        assert made.runs() == {unit(ONE), unit(TWO)}
        await made.passed(0.2)
        await applying
        assert made.runs() == {unit(ONE)}


async def test_a_leader_that_goes_away_is_waited_for_no_more() -> None:
    async with served(drain_seconds=0) as made:
        applying = made.apply(*FIRST)
        await made.passed(1)
        made.stage.endpoints.session.gone()
        await made.passed()
        await applying
        assert made.runs() == {unit(ONE)}


async def test_all_that_stop_drain_together() -> None:
    async with served() as made:
        applying = made.apply(*BASE)
        await made.passed()
        assert {one.instance for one in made.draining()} == {ONE, TWO}
        made.know(*made.draining())
        await made.passed(DRAIN_S + 0.1)
        await applying
        assert made.runs() == set()


async def test_what_does_not_run_does_not_drain() -> None:
    async with served() as made:
        await made.stage.node.systemd.stop(unit(TWO), 1)
        await made.apply(*FIRST)
        assert made.draining() == []


async def test_a_stop_first_successor_starts_once_its_predecessor_has_drained() -> None:
    async with served() as made:
        new = instance(0, 3, activation=Activation.STOP_FIRST)
        files = (rules("# two\n"), target_unit(), new, instance(1, 2), services_file(NEXT, TWO))
        applying = made.apply(*files)
        await made.passed()
        made.know(*made.draining())
        await made.passed(DRAIN_S - 1)
        assert made.runs() == {unit(ONE), unit(TWO)}
        await made.passed(1.1)
        await applying
        assert made.runs() == {unit(NEXT), unit(TWO)}


async def test_who_drains_is_out_of_traffic_and_names_before_the_wait() -> None:
    async with served() as made:
        new = instance(0, 3, activation=Activation.STOP_FIRST)
        files = (rules("# two\n"), target_unit(), new, instance(1, 2), services_file(NEXT, TWO))
        applying = made.apply(*files)
        await made.passed()
        assert made.stage.packets.kernel == {"shop": (TWO,)}
        assert b"10.100.0.10" in made.stage.node.files.tree[NAMES].content
        made.know(*made.draining())
        await made.passed(DRAIN_S + 1)
        await applying


async def test_frames_of_who_drains_pass_until_it_has_stopped() -> None:
    async with served() as made:
        applying = made.apply(*FIRST)
        await made.passed()
        assert steps(made, f"files.write {LEAVING}", LOAD) == [f"files.write {LEAVING}", LOAD]
        pins = '{ "kat-0a64000b" . 0a:4b:0a:64:00:0b . 10.100.0.11 }'
        assert pins in made.stage.node.files.tree[LEAVING].content.decode()
        made.know(*made.draining())
        await made.passed(DRAIN_S + 1)
        await applying
        assert LEAVING not in made.stage.node.files.tree


async def test_frames_of_who_has_stopped_pass_no_more() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        made.stage.packets.carried.clear()
        await made.apply(*FIRST)
        (removed,) = made.stage.packets.carried
        assert "delete element inet kat itself { 10.100.0.11 . 10.100.0.11 }" in removed


async def test_what_could_not_be_removed_is_at_the_next_tick_unless_rules_are_loaded() -> None:
    for loads in (False, True):
        async with served(drain_seconds=0, leader=False) as made:
            made.stage.node.systemd.effects[f"stop {unit(TWO)}"] = partial(fail_once, made)
            await made.apply(*FIRST)
            assert made.stage.packets.carried == []
            async with made.stage.endpoints.loading() if loads else nullcontext():
                pass
            await made.stage.endpoints.tick()
            await made.passed()
            assert len(made.stage.packets.carried) == (not loads)


async def test_what_could_not_be_removed_is_not_forgotten_for_a_load_that_may_have_brought_it() -> (
    None
):
    async with served(drain_seconds=0, leader=False) as made:
        made.stage.node.systemd.effects[f"stop {unit(TWO)}"] = partial(fail_once, made)
        await made.apply(*FIRST)
        await made.stage.endpoints.reloaded()  # of rules that somebody had altered meanwhile
        assert len(made.stage.packets.carried) == 1


async def test_what_could_not_be_removed_is_not_forgotten_by_the_next_apply() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        made.stage.node.systemd.effects[f"stop {unit(TWO)}"] = partial(fail_once, made)
        await made.apply(*FIRST)
        fail_once(made)
        await made.apply(*FIRST, generation=3)
        await made.stage.endpoints.tick()
        await made.passed()
        (removed,) = made.stage.packets.carried
        assert "delete element inet kat itself { 10.100.0.11 . 10.100.0.11 }" in removed


def fail_once(made: Served) -> None:
    """Have the next two changes of packet rules fail: those of services, and the removal."""
    made.stage.packets.failures += [UnfitError("nft hangs"), UnfitError("nft hangs")]


async def test_a_successor_at_the_same_address_refuses_nobody_while_its_predecessor_serves() -> (
    None
):
    async with served(elements=True) as made:
        new = instance(0, 3, activation=Activation.STOP_FIRST)
        files = (rules("# two\n"), target_unit(), new, instance(1, 2), services_file(NEXT, TWO))
        applying = made.apply(*files)
        await made.passed()
        made.know(*made.draining())
        await made.passed(DRAIN_S - 1)
        assert made.runs() == {unit(ONE), unit(TWO)}
        assert made.refusing() == []
        await made.passed(1.1)
        await applying
        await made.passed()
        assert made.refusing() == ["10.100.0.10 . tcp . 8080"]


async def test_once_the_predecessor_has_stopped_its_successor_refuses_until_it_is_ready() -> None:
    async with served(drain_seconds=0, leader=False, elements=True) as made:
        made.stage.node.systemd.slow.add(unit(NEXT))
        new = instance(0, 3, activation=Activation.STOP_FIRST)
        files = (rules("# two\n"), target_unit(), new, instance(1, 2), services_file(NEXT, TWO))
        applying = made.apply(*files)
        await made.passed(1)
        made.stage.endpoints.own.heard(unit(ONE))
        await made.passed()
        assert made.runs() == {unit(TWO)}
        assert made.refusing() == ["10.100.0.10 . tcp . 8080"]
        made.stage.node.systemd.release()
        await applying


async def test_what_is_said_too_late_of_one_that_drained_is_not_kept() -> None:
    async with served(drain_seconds=0) as made:
        applying = made.apply(*FIRST)
        await made.passed(5.1)
        await applying
        made.know(*made.draining())
        assert made.stage.endpoints.session.answers == 0


async def test_health_has_its_effect_while_something_drains() -> None:
    async with served() as made:
        applying = made.apply(*FIRST)
        await made.passed()
        made.stage.turn(ONE, ready=False)
        await made.passed()
        assert b"10.100.0.10" in made.stage.node.files.tree[NAMES].content
        made.know(*made.draining())
        await made.passed(DRAIN_S + 1)
        await applying


async def test_after_the_stop_the_record_is_gone() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        await made.apply(*FIRST)
        again = FakeSession()
        made.stage.endpoints.connected(again)
        await made.passed()
        (full,) = again.sent
        assert isinstance(full, EndpointRecords)
        assert [one.instance for one in full.records] == [ONE]


async def test_an_instance_that_is_wanted_after_all_gets_traffic_again() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        made.stage.node.trace.fail("systemd.stop", UnfitError("D-Bus is down"))
        with pytest.raises(UnfitError, match="D-Bus is down"):
            await made.apply(*FIRST)
        await made.apply(*BOTH, generation=3)
        assert made.stage.packets.kernel == {"shop": (ONE, TWO)}


# --- the order of an apply ------------------------------------------------------------------------


def steps(made: Served, *wanted: str) -> list[str]:
    """Return those of these calls that were made, in order."""
    return [one for one in map(str, made.stage.node.trace.calls) if one in wanted]


async def test_snapshots_go_before_services_change_and_new_ones_are_there_before_the_load() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        await made.apply(*FIRST)
        expected = [
            f"files.delete {SNAPSHOT}.nft",
            f"files.write {FOLDER}/shop.json",
            f"files.write {SNAPSHOT}.nft",
            LOAD,
            f"systemd.stop {unit(TWO)}",
        ]
        assert steps(made, *expected) == expected
        assert made.stage.packets.loads == 1
        assert made.stage.node.files.tree[f"{SNAPSHOT}.nft"].content.decode().split() == [ONE]


async def test_what_a_cut_apply_left_for_loads_goes_before_services_change() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        made.stage.node.files.put(LEAVING, b"add element inet kat ns-gone { 10.100.0.9 }\n")
        await made.apply(*FIRST)
        expected = [f"files.delete {LEAVING}", f"files.write {FOLDER}/shop.json"]
        assert steps(made, *expected)[:2] == expected


async def test_of_a_namespace_that_leaves_nothing_stays() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        await made.apply(*BASE)
        await made.passed()
        left = made.stage.node.files.below("/var/lib/kat/endpoints")
        assert left == {}
        assert NAMES not in made.stage.node.files.tree
        assert made.stage.packets.kernel == {}


async def test_names_follow_new_candidates_before_zones_are_reloaded() -> None:
    async with served(drain_seconds=0, leader=False) as made:
        third = InstanceKey("shop/web/2-9")
        made.stage.node.systemd.effects["reload kat-nft.service"] = lambda: seen.append(
            made.stage.node.files.tree[NAMES].content
        )
        seen: list[bytes] = []
        files = (rules("# three\n"), target_unit(), instance(0, 1), instance(1, 2))
        await made.apply(*files, instance(2, 9), services_file(ONE, TWO, third))
        assert b"10.100.0.12" in seen[0]


async def test_the_same_again_writes_nothing_and_asks_nobody() -> None:
    async with served() as made:
        await made.apply(*BOTH, generation=1)
        made.stage.node.trace.clear()
        target = made.cluster.target(1, *BOTH)
        await made.cluster.apply(made.stage.node.ports, target, made.stage.endpoints)
        own = [one for one in made.stage.node.trace.changes() if "/content/" not in one]
        assert own == []
        assert made.stage.node.trace.texts("systemd.") == []
