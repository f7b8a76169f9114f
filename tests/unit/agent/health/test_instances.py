"""Who is ready on a node, over a fake machine whose clock the test moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from agent.health.instances import Health
from agent.ports import UnfitError, UnitState
from katgen.bundle import InstanceEntry, Probe
from katgen.names import InstanceKey
from tests.fakes.node import FakeNode
from tests.fakes.systemd import FakeSystemd

READY = Probe("readiness", "exec", period_seconds=10, failure_threshold=2, command=("/bin/ready",))
LISTENS = Probe("liveness", "tcp", 80, period_seconds=10, failure_threshold=2)
SERVICE = b"[Service]\nExecStart=/bin/sleep inf\n"


def key(number: int) -> InstanceKey:
    return InstanceKey(f"shop/web/{number}-1")


def unit(number: int) -> str:
    return f"kat.shop.web.{number}-1.service"


def entry(number: int, *probes: Probe, restart_policy: str = "Always") -> InstanceEntry:
    return InstanceEntry(
        key(number), unit(number), f"10.100.0.1{number}", probes, restart_policy=restart_policy
    )


class World:
    """A node, what its health says of changes (`0+` for ready, `0-` for not), and what people."""

    def __init__(self) -> None:
        self.node = FakeNode()
        self.said: list[str] = []
        self.noted: list[str] = []
        self.alive = {0: True, 1: True}
        self.health = Health(self.node.ports, self._changed, self._noted)

    def _changed(self, instance: InstanceKey, is_ready: bool) -> None:  # noqa: FBT001 -- as Health calls it
        self.said.append(f"{instance.removeprefix('shop/web/')[0]}{'+' if is_ready else '-'}")

    def _noted(self, _: InstanceKey, reason: str, text: str) -> None:
        self.noted.append(f"{reason}: {text}")

    def follow(self, *entries: InstanceEntry) -> None:
        self.health.follow({one.instance: one for one in entries})

    def unit(self, number: int, active: str = "active", sub: str = "running", pid: int = 7) -> None:
        """Have a unit's state known; another `pid` is another start."""
        now = self.node.clock.now()
        self.health.unit(UnitState(unit(number), "loaded", active, sub, since=now, main_pid=pid))

    def ready_command(self, *, works: bool, number: int = 0) -> None:
        line = f"/usr/bin/podman exec kat.shop.web.{number}-1 /bin/ready"
        (self.node.systemd.bad_programs.discard if works else self.node.systemd.bad_programs.add)(
            line
        )

    async def pass_s(self, seconds: float) -> None:
        await self.node.clock.advance(seconds)

    def calls(self, what: str) -> int:
        return sum(1 for one in self.node.trace.calls if one.method == what)


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.health.run())
    try:
        await world.pass_s(0)
        yield world
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --- units without probes ------------------------------------------------------------------------


def test_without_a_probe_ready_is_what_runs() -> None:
    world = World()
    world.follow(entry(0))
    assert world.health.ready() == frozenset()
    for active, sub in (("activating", "start"), ("active", "running"), ("failed", "failed")):
        world.unit(0, active, sub)
    world.unit(0, "active", "exited")
    assert world.said == ["0-", "0+", "0-"]


def test_a_job_s_run_is_never_ready() -> None:
    world = World()
    world.follow(msgspec.structs.replace(entry(0), is_run=True))
    world.unit(0)
    assert (world.said, world.health.ready()) == ([], frozenset())


def test_of_what_is_not_followed_any_more_nothing_is_said() -> None:
    world = World()
    world.follow(entry(0), entry(1))
    world.unit(0)
    world.unit(1)
    world.follow(entry(1))
    world.unit(0, "inactive", "dead")
    assert (world.said, world.health.ready()) == (["0+", "1+"], frozenset({key(1)}))


# --- readiness -----------------------------------------------------------------------------------


async def test_a_probe_s_first_success_makes_ready() -> None:
    async with running() as world:
        world.follow(entry(0, READY))
        world.unit(0)
        assert world.health.ready() == frozenset()
        await world.pass_s(0)
        assert world.said == ["0+"]


async def test_failures_in_a_row_make_not_ready_and_a_success_ready_again() -> None:
    async with running() as world:
        world.follow(entry(0, READY))
        world.unit(0)
        await world.pass_s(10)
        world.ready_command(works=False)
        await world.pass_s(10)
        assert world.said == ["0+"]
        await world.pass_s(10)
        assert world.said == ["0+", "0-"]
        world.ready_command(works=True)
        await world.pass_s(10)
        assert world.said == ["0+", "0-", "0+"]


async def test_why_a_probe_fails_is_told_once_for_each_time_that_it_turns() -> None:
    told = ["Unhealthy: readiness probe failed: /bin/ready has ended with 1"]
    async with running() as world:
        world.follow(entry(0, READY))
        world.ready_command(works=False)
        world.unit(0)
        await world.pass_s(50)
        assert world.noted == told
        world.ready_command(works=True)
        await world.pass_s(10)
        world.ready_command(works=False)
        await world.pass_s(10)
        assert world.noted == told
        await world.pass_s(10)
        assert world.noted == told * 2


async def test_that_a_new_one_is_not_ready_is_said_when_it_is_certain() -> None:
    async with running() as world:
        world.follow(entry(0, READY))
        world.ready_command(works=False)
        world.unit(0)
        await world.pass_s(0)
        assert world.said == []
        await world.pass_s(60)
        assert world.said == ["0-"]


async def test_a_unit_that_stops_is_not_ready_at_once_and_not_checked() -> None:
    async with running() as world:
        world.follow(entry(0, READY))
        world.unit(0)
        await world.pass_s(0)
        world.unit(0, "deactivating", "stop-sigterm")
        assert world.said == ["0+", "0-"]
        before = world.calls("systemd.run_program")
        await world.pass_s(60)
        assert world.calls("systemd.run_program") == before


async def test_a_start_that_nobody_saw_begins_anew() -> None:
    async with running() as world:
        world.follow(entry(0, READY))
        world.unit(0)
        await world.pass_s(60)
        world.ready_command(works=False)
        world.unit(0, pid=8)
        assert world.said == ["0+", "0-"]


async def test_nothing_is_asked_before_the_initial_delay() -> None:
    async with running() as world:
        world.follow(entry(0, msgspec.structs.replace(READY, initial_delay_seconds=5)))
        world.unit(0)
        await world.pass_s(4.9)
        assert world.calls("systemd.run_program") == 0
        await world.pass_s(0.1)
        assert world.said == ["0+"]


async def test_what_this_machine_cannot_ask_turns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> bool:
        raise UnfitError("systemd: the bus is away")

    async with running() as world:
        world.follow(entry(0, READY))
        world.unit(0)
        await world.pass_s(0)
        monkeypatch.setattr(type(world.node.systemd), "run_program", away)
        await world.pass_s(100)
        assert world.said == ["0+"]


async def test_another_probe_of_what_is_ready_leaves_it_so_until_it_fails() -> None:
    async with running() as world:
        world.follow(entry(0))
        world.unit(0)
        world.ready_command(works=False)
        world.follow(entry(0, READY))
        assert world.said == ["0+"]
        await world.pass_s(20)
        assert world.said == ["0+", "0-"]


async def test_what_is_followed_before_checks_run_is_checked_when_they_do() -> None:
    world = World()
    world.follow(entry(0, READY))
    world.unit(0)
    task = asyncio.create_task(world.health.run())
    await world.pass_s(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert world.said == ["0+"]


async def test_a_check_that_hangs_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        hanging: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        fake = type(world.node.systemd)
        ask = fake.run_program

        async def run(
            systemd: FakeSystemd, one: str, argv: tuple[str, ...], timeout_s: float
        ) -> int:
            return await (hanging if "0-1" in one else ask(systemd, one, argv, timeout_s))

        monkeypatch.setattr(fake, "run_program", run)
        world.follow(entry(0, READY), entry(1, READY))
        world.unit(0)
        world.unit(1)
        await world.pass_s(40)
        assert world.said == ["1+"]
        assert world.calls("systemd.run_program") >= 4


# --- liveness ------------------------------------------------------------------------------------


@asynccontextmanager
async def lively(
    monkeypatch: pytest.MonkeyPatch, restart_policy: str = "Always"
) -> AsyncIterator[World]:
    """Two instances of one workload, that run; `alive` decides what their ports answer."""
    async with running() as world:

        async def tcp(address: str, _port: int, _timeout_s: float) -> str:
            return "" if world.alive[int(address[-1])] else "connection refused"

        monkeypatch.setattr("agent.health.network.tcp", tcp)
        for number in (0, 1):
            world.node.files.put(f"/etc/systemd/system/{unit(number)}", SERVICE)
            await world.node.systemd.start(unit(number), 1)
        world.follow(*(entry(n, LISTENS, restart_policy=restart_policy) for n in (0, 1)))
        world.unit(0)
        world.unit(1)
        await world.pass_s(10)
        assert world.said == ["0+", "1+"]
        yield world


async def test_what_is_dead_is_not_ready_at_once_and_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.alive[0] = False
        await world.pass_s(20)
        assert world.said == ["0+", "1+", "0-"]
        assert world.calls("systemd.restart") == 1
        assert world.health.restarts() == {key(0): 1}
        why = "connecting to 10.100.0.10:80: connection refused"
        assert world.noted == [
            f"Unhealthy: liveness probe failed: {why}",
            f"Killing: was not alive ({why}): restarted",
        ]
        world.unit(0, pid=8)
        assert world.said == ["0+", "1+", "0-", "0+"]


async def test_the_state_of_before_the_restart_does_not_begin_it_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        stale = UnitState(unit(0), "loaded", "active", "running", since=1, main_pid=9)
        world.health.unit(stale)
        world.alive[0] = False
        await world.pass_s(40)
        world.health.unit(stale)
        await world.pass_s(60)
        assert world.calls("systemd.restart") == 1
        assert key(0) not in world.health.ready()


async def test_the_next_run_may_be_known_before_the_restart_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.node.systemd.slow = {unit(0)}
        world.alive[0] = False
        await world.pass_s(20)
        world.alive[0] = True
        world.unit(0, pid=8)
        world.node.systemd.release()
        await world.pass_s(0)
        assert world.health.restarts() == {key(0): 1}
        assert world.said == ["0+", "1+", "0-", "0+"]


async def test_restarts_of_what_is_gone_are_counted_as_one_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.alive[0] = False
        await world.pass_s(20)
        world.follow(entry(1, LISTENS))
        assert (world.health.restarts(), world.health.revived()) == ({}, 1)
        world.alive[1] = False
        await world.pass_s(20)
        assert (world.health.restarts(), world.health.revived()) == ({key(1): 1}, 2)


async def test_who_goes_during_its_restart_is_counted_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.node.systemd.slow = {unit(0)}
        world.alive[0] = False
        await world.pass_s(20)
        world.follow(entry(1, LISTENS))
        world.node.systemd.release()
        await world.pass_s(0)
        assert (world.health.restarts(), world.health.revived()) == ({}, 1)


async def test_of_a_workload_one_is_restarted_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.node.systemd.slow = {unit(0), unit(1)}
        world.alive.update({0: False, 1: False})
        await world.pass_s(30)
        assert sorted(world.said[2:]) == ["0-", "1-"]
        assert world.calls("systemd.restart") == 1
        world.node.systemd.release()
        await world.pass_s(0)
        assert world.calls("systemd.restart") == 2


async def test_who_is_alive_again_before_its_turn_is_not_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.node.systemd.slow = {unit(0), unit(1)}
        world.alive.update({0: False, 1: False})
        await world.pass_s(30)
        world.alive.update({0: True, 1: True})
        await world.pass_s(10)
        world.node.systemd.release()
        await world.pass_s(0)
        assert world.calls("systemd.restart") == 1


async def test_what_is_never_started_again_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with lively(monkeypatch, "Never") as world:
        world.alive[0] = False
        await world.pass_s(20)
        assert (world.calls("systemd.stop"), world.calls("systemd.restart")) == (1, 0)
        assert world.noted[-1].startswith("Killing: was not alive")
        assert world.noted[-1].endswith("stopped, as its restartPolicy is Never")


async def test_a_restart_that_fails_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lively(monkeypatch) as world:
        world.node.systemd.hanging = {unit(0)}
        world.alive[0] = False
        await world.pass_s(20)
        assert world.noted[1].startswith("Failed: is not alive")
        assert "does not start again: restart of kat.shop.web.0-1.service" in world.noted[1]
        world.node.systemd.hanging = set()
        await world.pass_s(10)
        assert world.health.restarts() == {key(0): 1}


async def test_liveness_by_command_is_podman_s() -> None:
    async with running() as world:
        live = msgspec.structs.replace(READY, purpose="liveness")
        world.follow(entry(0, live))
        world.unit(0)
        await world.pass_s(60)
        assert (world.said, world.calls("systemd.run_program")) == (["0+"], 0)
