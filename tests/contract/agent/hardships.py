"""What only a real machine can put an adapter through."""

import asyncio
from collections.abc import Sequence

from tests.contract.agent.world import Case, World, first, soon

START_S = 30
JOBS = 100


async def a_hundred_units_start_and_stop_through_a_reexec_and_a_restart_of_the_bus(
    world: World,
) -> None:
    systemd = world.ports.systemd
    units = [f"kat.h{number}.service" for number in range(JOBS)]
    troubles = []
    for number, unit in enumerate(units):
        world.service(unit)
        if number in (20, 60):
            how = ["daemon-reexec"] if number == 20 else ["restart", "dbus"]
            troubles.append(asyncio.create_task(_systemctl(world, how)))
        await systemd.start(unit, START_S)
    await asyncio.gather(*troubles)
    states = await systemd.states(units)
    assert {state.active_state for state in states.values()} == {"active"}
    trouble = asyncio.create_task(_systemctl(world, ["daemon-reexec"]))
    await asyncio.gather(*(systemd.stop(unit, START_S) for unit in units))
    await trouble
    assert await systemd.loaded("kat.h*") == ()


async def a_job_that_ends_while_the_bus_is_down_is_not_waited_for(world: World) -> None:
    unit = "kat.brief.service"
    text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'read x </run/go'\n"
    world.ports.files.write(f"/run/systemd/system/{unit}", text.encode())
    await _run(world, ["mkfifo", "/run/go"])
    begun = asyncio.create_task(world.ports.systemd.start(unit, START_S))
    down = "systemctl stop dbus.socket dbus.service; echo >/run/go; systemctl start dbus.socket"
    starting = f"systemctl show -P SubState {unit} | grep -qx start"
    await _run(world, ["sh", "-c", f"until {starting}; do :; done; {down}"])
    await soon(begun)
    assert (await world.ports.systemd.states([unit]))[unit].active_state == "active"


async def a_new_connection_is_told(world: World) -> None:
    changes = world.ports.systemd.changes()
    listening = asyncio.create_task(first(changes, lambda unit: unit == ""))
    await asyncio.sleep(0)
    await _systemctl(world, ["restart", "dbus"])
    await listening


async def a_program_gets_its_words_as_they_are(world: World) -> None:
    words = ["$HOME", "${HOME}", "%n", "a b", "", ";", "\\", "ü"]
    says = "for x; do printf '%s\\n' \"$x\"; done >/run/words"
    argv = ["/bin/sh", "-c", says, "sh", *words]
    assert await world.ports.systemd.run_program("check-3.service", argv, START_S) == 0
    assert world.ports.files.read("/run/words") == ("\n".join(words) + "\n").encode()


async def a_program_that_takes_too_long_is_killed_with_its_children(world: World) -> None:
    argv = ["/bin/sh", "-c", "trap '' TERM; sleep 1234 & wait; wait"]
    assert await soon(world.ports.systemd.run_program("check-4.service", argv, 0.3)) == -1
    ran = await world.ports.tools.run(["pgrep", "-f", "sleep 1234"], timeout_s=START_S, env={})
    assert ran.stdout == ""


async def who_is_about_to_stop_is_not_restarted(world: World) -> None:
    text = "[Service]\nExecStart=/bin/sleep inf\nExecStop=/bin/sh -c 'read x </run/over'\n"
    world.ports.files.write("/run/systemd/system/kat.h-stop.service", text.encode())
    await _run(world, ["mkfifo", "/run/over"])
    systemd = world.ports.systemd
    await systemd.start("kat.h-stop.service", START_S)
    stopping = asyncio.create_task(systemd.stop("kat.h-stop.service", START_S))
    await _run(world, ["sh", "-c", "until systemctl list-jobs | grep -q h-stop; do :; done"])
    await soon(systemd.try_restart("kat.h-stop.service", START_S))
    await _run(world, ["sh", "-c", "echo >/run/over"])
    await soon(stopping)
    states = await systemd.states(["kat.h-stop.service"])
    assert states["kat.h-stop.service"].active_state == "inactive"


async def _systemctl(world: World, words: Sequence[str]) -> None:
    await _run(world, ["systemctl", *words])


async def _run(world: World, argv: Sequence[str]) -> None:
    ran = await world.ports.tools.run(argv, timeout_s=START_S, env={})
    assert ran.code == 0, ran


HARDSHIPS: tuple[Case, ...] = (
    a_hundred_units_start_and_stop_through_a_reexec_and_a_restart_of_the_bus,
    a_job_that_ends_while_the_bus_is_down_is_not_waited_for,
    a_new_connection_is_told,
    a_program_gets_its_words_as_they_are,
    a_program_that_takes_too_long_is_killed_with_its_children,
    who_is_about_to_stop_is_not_restarted,
)
