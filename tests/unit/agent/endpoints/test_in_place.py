"""What an agent finds when it starts: files that cannot be read, an apply that was cut."""

import hashlib
import json
from collections.abc import Callable

import pytest

from agent import state
from agent.endpoints.leaving import PATH as LEAVING
from agent.endpoints.memory import MEMORY
from agent.endpoints.services import FOLDER
from agent.ports import UnfitError
from katgen.names import InstanceKey
from katgen.protocol import EndpointRecords
from tests.fakes import FakeNode, KilledError
from tests.unit.agent.cluster import Cluster, FakeSession, instance, rules, target_unit
from tests.unit.agent.traffic import NAMES, SNAPSHOT, Stage, living, services_file, unit, web

ONE, TWO, NEXT = web(0, 1), web(1, 2), web(0, 3)
FILE = f"{FOLDER}/shop.json"
KEPT = (NAMES, f"{SNAPSHOT}.json", f"{SNAPSHOT}.nft")
BASE = (rules(), target_unit())
BOTH = (*BASE, instance(0, 1), instance(1, 2), services_file(ONE, TWO))
HALF = (rules("# one\n"), target_unit(), instance(0, 1), services_file(ONE))
PINS = b'{ "kat-0a64000b" . 0a:4b:0a:64:00:0b . 10.100.0.11 }'


async def served() -> Stage:
    """Return a node on which one of two instances gets traffic, and whose agent has ended."""
    node, cluster = FakeNode(), Cluster()
    await cluster.apply(node.ports, cluster.target(1, *BOTH))
    made = Stage(node)
    async with living(made):
        for one in (ONE, TWO):
            made.turn(one, ready=True)
        made.turn(TWO, ready=False)
        made.turn(ONE, ready=True)
        await made.node.clock.advance(0.02)
        await made.endpoints.save()
    return made


async def passed(made: Stage, seconds: float = 0.02) -> None:
    await made.node.clock.advance(seconds)


def found(made: Stage) -> dict[str, bytes]:
    return {path: made.node.files.tree[path].content for path in KEPT}


def forget_content(made: Stage) -> None:
    """Have the agent keep no content of the file any more."""
    content = services_file(ONE, TWO).content
    made.node.files.take(state.content_path(hashlib.sha256(content).hexdigest()))


def newer(made: Stage) -> None:
    read = json.loads(made.node.files.tree[FILE].content)
    made.node.files.put(FILE, json.dumps({**read, "format": 2}).encode())


def another(made: Stage) -> None:
    made.node.files.put(FILE, services_file(namespace="bank").content)


DAMAGES: dict[str, Callable[[Stage], None]] = {
    "half": lambda made: made.node.files.put(FILE, b"{half"),
    "not UTF-8": lambda made: made.node.files.put(FILE, b'{"namespace": "\xff"}'),
    "of a newer KAT": newer,
    "of another namespace": another,
    "missing": lambda made: made.node.files.take(FILE),
    "a link": lambda made: made.node.files.links.add(FILE),
    "no list": lambda made: made.node.trace.fail(f"files.list {FOLDER}", UnfitError("I/O error")),
}


# --- files of services ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
async def test_of_a_file_that_cannot_be_read_the_content_that_is_kept_counts(damage: str) -> None:
    made = await served()
    before = found(made)
    DAMAGES[damage](made)
    again = made.again()
    async with living(again):
        await passed(again)
        assert again.packets.kernel == {"shop": (ONE,)}
        assert found(again) == before
        assert again.problems[0].startswith("endpoint state, files of services: ")
        again.turn(TWO, ready=True)
        await passed(again)
        assert again.packets.kernel == {"shop": (ONE, TWO)}


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one != "no list"])
async def test_where_no_content_is_kept_all_stays_as_it_is(damage: str) -> None:
    made = await served()
    before = found(made)
    DAMAGES[damage](made)
    forget_content(made)
    again = made.again()
    async with living(again):
        await passed(again)
        again.turn(TWO, ready=True)
        await passed(again, 61)
        await again.endpoints.tick()
        await again.endpoints.save()
        assert again.packets.kernel == {"shop": (ONE,)}
        assert found(again) == before
        assert "its services stay as they are" in again.problems[0]


async def test_where_nothing_tells_which_namespaces_there_are_all_stays_as_it_is() -> None:
    made = await served()
    before = found(made)
    made.node.files.put(state.APPLIED, b"{half")
    for nth in (1, 2):
        made.node.trace.fail(f"files.list {FOLDER}", UnfitError("I/O error"), nth)
    again = made.again()
    async with living(again):
        await passed(again)
        await again.endpoints.save()
        assert again.packets.kernel == {"shop": (ONE,)}
        assert found(again) == before
        await again.endpoints.tick()
        assert again.problems == ["endpoint state, files of services: I/O error"]


async def test_a_file_that_can_be_read_again_counts_from_the_next_tick_on() -> None:
    made = await served()
    content = made.node.files.tree[FILE].content
    made.node.files.put(FILE, b"{half")
    forget_content(made)
    again = made.again()
    async with living(again):
        await passed(again)
        again.turn(TWO, ready=True)
        made.node.files.put(FILE, content)
        await again.endpoints.tick()
        await passed(again)
        assert again.packets.kernel == {"shop": (ONE, TWO)}
        assert not again.packets.spares
        assert json.loads(again.node.files.tree[NAMES].content)["withdrawn"] == {}
        assert again.problems == []


async def test_what_has_left_goes_once_all_is_known_again() -> None:
    made = await served()
    made.node.files.put("/run/kat/endpoints/old.json", b"{}")
    made.node.files.put(state.APPLIED, b"{half")
    for nth in (1, 2):
        made.node.trace.fail(f"files.list {FOLDER}", UnfitError("I/O error"), nth)
    again = made.again()
    async with living(again):
        await passed(again)
        await again.endpoints.tick()
        assert "/run/kat/endpoints/old.json" in again.node.files.tree
        await again.endpoints.tick()
        await passed(again)
        assert "/run/kat/endpoints/old.json" not in again.node.files.tree
        assert again.packets.kernel == {"shop": (ONE,)}


async def test_the_leader_hears_of_instances_whose_services_are_unknown_but_of_no_run() -> None:
    made = await served()
    made.node.files.put(FILE, b"{half")
    forget_content(made)
    made.node.files.take(MEMORY)
    again, session = made.again(), FakeSession()
    async with living(again):
        again.turn(ONE, ready=True)
        again.endpoints.own.turned(InstanceKey("shop/job/0-1"), True)  # noqa: FBT003 -- as Health calls it
        again.endpoints.connected(session)
        await passed(again)
        (told,) = session.sent
        assert isinstance(told, EndpointRecords)
        assert {one.instance: one.state for one in told.records} == {ONE: "ready", TWO: "notready"}


async def test_a_missing_file_takes_nobody_out_of_traffic_when_a_plan_changes_nothing() -> None:
    made = await served()
    cluster = Cluster()
    again = made.again()
    async with living(again):
        await passed(again)
        made.node.files.take(FILE)
        forget_content(made)
        await again.endpoints.installed(cluster.target(2, *BOTH))
        assert again.packets.kernel == {"shop": (ONE,)}
        assert f"{FILE} is missing" in again.problems[0]


async def test_files_that_cannot_be_read_are_told_beside_whatever_else_is_wrong() -> None:
    made = await served()
    made.node.files.put(FILE, b"{half")
    again = made.again()
    async with living(again):
        await passed(again)
        told = list(again.problems)
        again.turn(TWO, ready=True)
        await passed(again)
        assert again.packets.kernel == {"shop": (ONE, TWO)}
        assert again.problems == told != []


# --- what is applied ------------------------------------------------------------------------------


async def unknowing() -> Stage:
    """Return an agent that could not read once what is applied, when it started."""
    made = await served()
    made.node.trace.fail(f"files.read {state.APPLIED}", UnfitError("Too many open files"))
    return made.again()


async def test_what_is_applied_is_looked_after_once_it_can_be_read() -> None:
    made = await unknowing()
    async with living(made):
        await passed(made)
        assert made.health.followed == {}
        await made.endpoints.tick()
        assert set(made.health.followed) == {ONE, TWO}
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE,)}
        made.turn(ONE, ready=False)
        made.turn(TWO, ready=True)
        await passed(made)
        assert made.packets.kernel == {"shop": (TWO,)}
        assert f"{unit(ONE)} active" in made.health.units


async def test_what_is_applied_is_taken_up_once() -> None:
    made = await unknowing()
    async with living(made):
        await made.endpoints.tick()
        made.node.trace.clear()
        await made.endpoints.tick()
        assert made.node.trace.texts(f"files.read {state.APPLIED}") == []


async def test_what_is_applied_is_taken_up_before_an_apply_has_somebody_leave() -> None:
    made, cluster = await unknowing(), Cluster()
    async with living(made):
        await passed(made)
        made.node.trace.fail(f"systemd.stop {unit(TWO)}", KilledError())
        with pytest.raises(KilledError):
            await cluster.apply(made.node.ports, cluster.target(2, *HALF), made.endpoints)
        assert set(made.health.followed) == {ONE, TWO}
        assert PINS in made.node.files.tree[LEAVING].content


# --- an apply that was cut ------------------------------------------------------------------------


async def cut(method: str, *files: str) -> Stage:
    """Return a node whose agent was killed at this step of an apply that ends one of two."""
    made, cluster = await served(), Cluster()
    async with living(made):
        await passed(made)
        made.node.trace.fail(method, KilledError())
        with pytest.raises(KilledError):
            await cluster.apply(made.node.ports, cluster.target(2, *HALF), made.endpoints)
    for path in files:
        made.node.files.take(path)
    return made.again()


async def started(made: Stage) -> Stage:
    """Do what an agent does when it cannot finish the apply: load the rules all the same."""
    made.begin()
    async with made.endpoints.loading():
        pass
    return made


@pytest.mark.parametrize("files", [(), (LEAVING,)], ids=["as it was", "an attempt has deleted it"])
async def test_while_a_cut_apply_cannot_go_on_loads_let_through_who_leaves(
    files: tuple[str, ...],
) -> None:
    made = await started(await cut(f"systemd.stop {unit(TWO)}", *files))
    assert PINS in made.node.files.tree[LEAVING].content
    made.node.files.take(LEAVING)
    await made.endpoints.save()  # as before a load for somebody else's flush
    assert PINS in made.node.files.tree[LEAVING].content


async def test_a_file_that_can_be_read_again_counts_though_a_cut_apply_cannot_go_on() -> None:
    made = await cut(f"systemd.stop {unit(TWO)}")
    content = made.node.files.tree[FILE].content
    made.node.files.put(FILE, b"{half")
    for path in made.node.files.below(state.CONTENT):
        made.node.files.take(path)
    async with living(made):
        await made.endpoints.tick()
        await passed(made)
        assert made.packets.spares
        made.node.files.put(FILE, content)
        await made.endpoints.tick(applying=True)
        assert made.problems != []  # an apply reads for itself
        await made.endpoints.tick()
        assert made.problems == []
        await passed(made)
        assert json.loads(made.node.files.tree[NAMES].content)["withdrawn"] == {}
        assert not made.packets.spares


async def test_before_the_new_rules_are_written_nothing_has_to_be_let_through() -> None:
    made = await started(await cut("files.write /etc/kat/kat.nft"))
    assert LEAVING not in made.node.files.tree


async def test_where_nobody_can_tell_who_leaves_what_lets_them_through_stays() -> None:
    made = await cut(f"systemd.stop {unit(TWO)}")
    text = made.node.files.tree[LEAVING].content
    made.node.files.put(state.JOURNAL, b"{half")
    assert (await started(made)).node.files.tree[LEAVING].content == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (state.APPLIED, b'{"root": "\xff"}'),
        (state.JOURNAL, b'{"to": "\xff"}'),
        ("sets.json", b'[{"name": "\xff"}]'),
        ("manifest.json", b'{"node": "\xff"}'),
    ],
    ids=["applied", "journal", "sets", "manifest"],
)
async def test_what_cannot_be_read_of_its_own_files_keeps_no_agent_from_its_start(
    path: str, text: bytes
) -> None:
    made = await cut(f"systemd.stop {unit(TWO)}")
    (damaged,) = (one for one in made.node.files.tree if one.endswith(path) and "/1-1/" not in one)
    made.node.files.put(damaged, text)
    async with living(made):
        await passed(made)
        assert made.packets.kernel == {"shop": (ONE,)}
