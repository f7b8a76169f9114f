"""As test_crash_points, with instances that serve: whatever is left of an apply misleads nobody."""

import json
from contextlib import suppress
from dataclasses import dataclass

import pytest

from agent import state
from agent.apply import apply, resume
from agent.endpoints.leaving import PATH as LEAVING
from agent.endpoints.services import FOLDER, installed_services
from agent.endpoints.services import Services as Installed
from agent.ports import UnfitError
from katgen.bundle import Activation, Artifact
from katgen.names import InstanceKey
from tests.fakes import FakeNode, KilledError
from tests.unit.agent.cluster import TARGET, Cluster, instance, rules, target_unit, zone
from tests.unit.agent.traffic import NAMES, SNAPSHOT, Stage, living, services_file, unit, web

ONE, TWO, NEXT = web(0, 1), web(1, 2), web(0, 3)
UNIT = target_unit()
BEFORE = (rules(), UNIT, zone(), instance(0, 1), instance(1, 2), services_file(ONE, TWO))
SUCCESSOR = instance(0, 3, activation=Activation.STOP_FIRST)
TOO_MANY = 200


@dataclass(frozen=True, slots=True)
class Case:
    """An apply on a node that serves two instances; `serving` are the candidates after it."""

    name: str
    after: tuple[Artifact, ...]
    serving: tuple[InstanceKey, ...]


CASES = (
    Case(
        "one less",
        (rules("# one\n"), UNIT, zone(), instance(0, 1), services_file(ONE)),
        (ONE,),
    ),
    Case(
        "stop-first replacement",
        (rules("# two\n"), UNIT, zone(), SUCCESSOR, instance(1, 2), services_file(NEXT, TWO)),
        (NEXT, TWO),
    ),
    Case("all goes", (rules("# none\n"), UNIT), ()),
)


ONE_ALONE = (rules(), UNIT, zone(), instance(0, 1), services_file(ONE))
ALONE = Case(
    "of one instance", (rules("# two\n"), UNIT, zone(), SUCCESSOR, services_file(NEXT)), (NEXT,)
)


class World:
    """A node that serves, and what it is to become."""

    def __init__(self, case: Case, before: tuple[Artifact, ...] = BEFORE) -> None:
        self.before = before
        self.case, self.cluster, self.node = case, Cluster(), FakeNode()
        self.stage = Stage(self.node)
        self.target = self.cluster.target(2, *case.after)

    async def begin(self) -> None:
        first = self.cluster.target(1, *self.before)
        self.stage.begin()
        await self.cluster.apply(self.node.ports, first, self.stage.endpoints)
        for one in (ONE, TWO):
            self.stage.turn(one, ready=True)
        await self.stage.endpoints.save()
        self.cluster.put_contents(self.node.ports)
        self.node.files.flush({p.rpartition("/")[0] for p in self.node.files.tree})

    async def apply(self) -> None:
        await apply(self.target, self.node.ports, self.stage.endpoints)

    async def boot(self) -> None:
        self.node.reboot()
        if self.node.files.tree.get(f"/etc/systemd/system/{TARGET}"):
            await self.node.systemd.start(TARGET, 1)

    async def converge(self) -> None:
        """Start the agent again, first without a leader."""
        self.node.trace.spare()
        self.stage = self.stage.again()
        self.stage.begin()
        await resume(self.node.ports, self.stage.endpoints)
        await self.apply()
        for one in self.case.serving:
            self.stage.turn(one, ready=True)
        await self.stage.endpoints.settled(self.target)

    async def ready_before_the_end(self, one: InstanceKey) -> None:
        """Have the agent live on for a moment: it sees an instance ready, and remembers it."""
        self.stage.turn(one, ready=True)
        await self.stage.endpoints.save()

    async def assert_serving_without_resume(self, one: InstanceKey) -> None:
        """From its start on an agent has an instance serve, whether the apply can go on or not."""
        stage = self.stage.again()
        stage.packets.kernel.clear()
        async with living(stage):
            await self.node.clock.advance(0.02)
            assert stage.packets.kernel == {"shop": (one,)}
            assert json.loads(self.node.files.tree[NAMES].content)["withdrawn"] == {}
            await stage.endpoints.installed(self.target)
            await self.node.clock.advance(0.02)
            assert json.loads(self.node.files.tree[NAMES].content)["withdrawn"] == {}
            await stage.endpoints.save()

    def assert_boot_is_right(self) -> None:
        """What the next boot would include names nobody who is not a candidate there."""
        found = installed_services(self.node.files, Installed()).candidates
        snapshot = self.node.files.tree.get(f"{SNAPSHOT}.nft")
        included = set(snapshot.content.decode().split()) if snapshot else set()
        assert included <= found

    async def assert_converged(self) -> None:
        await self.stage.endpoints.save()
        files, wanted = self.node.files, self.case.serving
        assert state.load(files, state.JOURNAL, state.Journal) is None
        assert installed_services(files, Installed()).candidates == set(wanted)
        has_services = f"{FOLDER}/shop.json" in files.tree
        assert [f"{SNAPSHOT}{end}" in files.tree for end in (".json", ".nft")] == [has_services] * 2
        assert (NAMES in files.tree) == has_services
        assert LEAVING not in files.tree
        assert self.stage.packets.kernel == ({"shop": wanted} if wanted else {})
        self.assert_boot_is_right()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("reboot", [False, True], ids=["killed", "power cut"])
async def test_cut_at_any_point_it_converges_and_no_boot_is_misled(
    case: Case, *, reboot: bool
) -> None:
    for nth in range(1, TOO_MANY):
        world = World(case)
        await world.begin()
        world.node.trace.kill_before(nth)
        try:
            await world.apply()
        except KilledError:
            world.node.trace.spare()
            if reboot:
                await world.boot()
            world.assert_boot_is_right()
            await world.converge()
            await world.assert_converged()
        else:
            await world.stage.endpoints.settled(world.target)
            assert nth > 5
            return
    raise AssertionError("the apply never ends")


async def test_a_successor_that_was_ready_when_the_agent_was_killed_serves_on() -> None:
    case, was_ready = ALONE, 0
    for nth in range(1, TOO_MANY):
        world = World(case, ONE_ALONE)
        await world.begin()
        world.node.trace.kill_before(nth)
        try:
            await world.apply()
        except KilledError:
            world.node.trace.spare()
        else:
            assert was_ready > 2
            return
        if is_running(world.node, NEXT):
            was_ready += 1
            await world.ready_before_the_end(NEXT)
            await world.assert_serving_without_resume(NEXT)
        await world.converge()
        await world.assert_converged()
    raise AssertionError("the apply never ends")


def is_running(node: FakeNode, instance: InstanceKey) -> bool:
    return unit(instance) in {one.unit for one in node.podman.running.values()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "method", ["files.write", "files.delete", "systemd.states", "systemd.stop", "systemd.reload"]
)
async def test_whatever_the_machine_fails_at_it_converges_later(case: Case, method: str) -> None:
    for nth in range(1, TOO_MANY):
        world = World(case)
        await world.begin()
        world.node.trace.clear()
        world.node.trace.fail(method, UnfitError("No space left on device"), nth)
        with suppress(UnfitError):
            await world.apply()
        world.assert_boot_is_right()
        if len(world.node.trace.texts(f"{method} ")) < nth:
            return
        await world.converge()
        await world.assert_converged()
    raise AssertionError("the apply never ends")
