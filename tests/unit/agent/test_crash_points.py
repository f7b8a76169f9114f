"""The agent is cut before every single change of an apply, started again, and converges."""

import re
from dataclasses import dataclass, field

import pytest

from agent import state
from agent.apply import apply, resume
from agent.ports import UnfitError
from katgen.bundle import Activation, Artifact
from tests.fakes import FakeNode, FakePodman, KilledError
from tests.unit.agent.cluster import TARGET, Cluster, instance, rules, target_unit, zone

WEB = (instance(0, 1), instance(1, 2))
NEXT = (
    instance(0, 3, activation=Activation.STOP_FIRST),
    instance(1, 4, activation=Activation.STOP_FIRST),
)
JOB = instance(2, 1, workload="job", more="[Service]\nType=oneshot\n")
BASE = (target_unit(), rules())
MANAGED = ("/etc", "/var/lib/kat/dns")
TOO_MANY = 200


@dataclass(frozen=True, slots=True)
class Case:
    """An apply: from one set of files to another."""

    name: str
    before: tuple[Artifact, ...]
    after: tuple[Artifact, ...]


CASES = (
    Case("first", (), (*BASE, zone(), *WEB, JOB)),
    Case("one more", (*BASE, WEB[0]), (*BASE, *WEB)),
    Case("stop-first replacement", (*BASE, *WEB), (*BASE, zone(), *NEXT)),
    Case("settings", (*BASE, *WEB), (target_unit("[Unit]\nDescription=x\n"), rules("#\n"), *WEB)),
    Case("all goes", (*BASE, zone(), *WEB), ()),
)


@dataclass(slots=True)
class OneAddressEach(FakePodman):
    """Refuses a container whose address another one has; `addresses` by unit."""

    addresses: dict[str, str] = field(default_factory=dict)

    def appear(self, name: str, unit: str, image: str = "") -> None:
        taken = {self.addresses[c.unit]: c.name for c in self.running.values() if c.name != name}
        mine = self.addresses[unit]
        assert mine not in taken, f"{name} takes {mine}, which {taken[mine]} has"
        FakePodman.appear(self, name, unit, image)


class World:
    """A node on which `before` is applied and `after` is staged."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.node, self.cluster = FakeNode(), Cluster()
        files = [one for one in (*case.before, *case.after) if is_instance(one)]
        podman = OneAddressEach(self.node.trace, addresses={f.unit: address(f) for f in files})
        self.node.podman = self.node.systemd.podman = podman
        self.target = self.cluster.target(2, *case.after)

    async def begin(self) -> None:
        if self.case.before:
            first = self.cluster.target(1, *self.case.before)
            await self.cluster.apply(self.node.ports, first)
        self.cluster.put_contents(self.node.ports)
        self.node.files.flush({p.rpartition("/")[0] for p in self.node.files.tree})
        self.node.trace.clear()

    async def boot(self) -> None:
        """Start the machine again, with what is on disk; PID 1 starts what the target wants."""
        self.node.reboot()
        if self.node.files.tree.get(f"/etc/systemd/system/{TARGET}"):
            await self.node.systemd.start(TARGET, 1)

    async def converge(self) -> None:
        """Start the agent again, first without a leader."""
        self.node.trace.spare()
        await resume(self.node.ports)
        await apply(self.target, self.node.ports)

    def assert_converged(self) -> None:
        """The node is as its target says, and nothing is left over."""
        files = self.node.files
        found = {path: content for root in MANAGED for path, content in files.below(root).items()}
        assert found == {one.path: one.content for one in self.case.after}
        wanted = {one.unit for one in self.case.after if is_instance(one)}
        running = {one.unit for one in self.node.podman.running.values()}
        assert running == {unit for unit in wanted if unit != JOB.unit}
        services = {path.rpartition("/")[2] for path in files.below("/run/systemd/system")}
        assert services <= wanted
        assert files.below("/run/kat") == {}
        assert state.load(files, state.JOURNAL, state.Journal) is None
        applied = state.load(files, state.APPLIED, state.Applied)
        assert applied is not None
        assert applied.generation == 2


def is_instance(one: Artifact) -> bool:
    return one.path.endswith(".container")


def address(one: Artifact) -> str:
    found = re.search(rb"ip=(\S+)", one.content)
    assert found
    return found.group(1).decode()


async def cut_everywhere(case: Case, *, reboot: bool) -> int:
    """Cut before the first change, the second, …; return how many there were."""
    for nth in range(1, TOO_MANY):
        world = World(case)
        await world.begin()
        world.node.trace.kill_before(nth)
        try:
            await apply(world.target, world.node.ports)
        except KilledError:
            if reboot:
                await world.boot()
            await world.converge()
            world.assert_converged()
        else:
            world.assert_converged()
            return nth - 1
    raise AssertionError("the apply never ends")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_cut_at_any_point_and_started_again_it_converges(case: Case) -> None:
    assert await cut_everywhere(case, reboot=False) > 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_cut_at_any_point_by_a_power_failure_it_converges(case: Case) -> None:
    assert await cut_everywhere(case, reboot=True) > 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "method",
    [
        "files.write", "files.delete", "tools.run", "systemd.stop", "systemd.start",
        "systemd.begin", "systemd.reload", "systemd.daemon_reload", "systemd.states",
        "systemd.reset_failed", "podman.containers",
    ],
)  # fmt: skip
async def test_whatever_the_machine_fails_at_it_converges_later(case: Case, method: str) -> None:
    for nth in range(1, TOO_MANY):
        world = World(case)
        await world.begin()
        world.node.trace.fail(method, UnfitError("No space left on device"), nth)
        try:
            await apply(world.target, world.node.ports)
        except UnfitError:
            await world.converge()
            world.assert_converged()
        else:
            world.assert_converged()
            return
    raise AssertionError("the apply never ends")


async def test_a_disk_that_is_full_from_the_beginning_leaves_the_node_as_it_was() -> None:
    world = World(CASES[2])
    await world.begin()
    before, running = dict(world.node.files.tree), dict(world.node.podman.running)
    world.node.files.room_bytes = 0
    with pytest.raises(UnfitError, match="No space left on device"):
        await apply(world.target, world.node.ports)
    assert world.node.files.tree == before
    assert world.node.podman.running == running


async def test_a_read_only_etc_leaves_what_runs_as_it_was() -> None:
    world = World(CASES[2])
    await world.begin()
    before, running = world.node.files.below("/etc"), dict(world.node.podman.running)
    world.node.files.read_only.add("/etc")
    with pytest.raises(UnfitError, match="Read-only file system"):
        await apply(world.target, world.node.ports)
    assert world.node.files.below("/etc") == before
    assert world.node.podman.running == running
    world.node.files.read_only.clear()
    await world.converge()
    world.assert_converged()


async def test_a_read_only_etc_keeps_what_shall_leave() -> None:
    world = World(CASES[4])
    await world.begin()
    running = dict(world.node.podman.running)
    world.node.files.read_only.add("/etc")
    with pytest.raises(UnfitError, match="Read-only file system"):
        await apply(world.target, world.node.ports)
    assert world.node.podman.running == running


async def test_a_cut_apply_is_overtaken_by_the_next_generation() -> None:
    case = CASES[2]
    third = (target_unit(), instance(0, 5, activation=Activation.STOP_FIRST), instance(2, 6))
    for nth in range(1, TOO_MANY):
        world = World(Case("overtaken", case.before, (*case.after, *third[1:])))
        await world.begin()
        second = world.cluster.target(2, *case.after)
        last = world.cluster.target(3, *third)
        world.cluster.put_contents(world.node.ports)
        world.node.trace.kill_before(nth)
        try:
            await apply(second, world.node.ports)
        except KilledError:
            world.node.trace.spare()
            await apply(last, world.node.ports)
        else:
            return
        running = {one.unit for one in world.node.podman.running.values()}
        assert running == {third[1].unit, third[2].unit}
        assert set(world.node.files.below("/etc")) == {one.path for one in third}
