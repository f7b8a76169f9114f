"""Stop and start units, several at once, and wait for each job's end."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from agent.actions import INSTANCE, RUN_UNITS, in_turns, is_run
from agent.ports import NodePorts, UnfitError, UnitError
from agent.quadlet import is_oneshot, last_value
from agent.reap import remove_left
from katgen.diff import Action, Verb

STARTS_AT_ONCE: Final = 8
STOPS_AT_ONCE: Final = 16
"""More: a stop is mostly waiting for the container's own end."""
START_WAIT_S: Final = 20
"""How long an apply waits for a start; systemd goes on, and so does the next apply."""
_JOB_S: Final = 3600
_STOP_S: Final = 90
_STOP_MARGIN_S: Final = 30
_TAIL: Final = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FailedUnit:
    """A unit that did not start: systemd's word, and the last lines of its journal."""

    unit: str
    result: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """How starts ended; `waiting` are those that had not after `START_WAIT_S`."""

    failed: tuple[FailedUnit, ...]
    waiting: tuple[str, ...]


Drain = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]
"""Takes instances out of traffic; returns how long each may still run (`agent.traffic`)."""


async def stop_units(
    node: NodePorts, actions: Iterable[Action], paths: Mapping[str, str], drain: Drain
) -> None:
    """Stop units; when this returns, their containers are gone. `paths` is file by unit.

    All of one turn drain together. Raises UnfitError if one does not stop: its file and its address
    are then not free.
    """
    stopped: set[str] = set()
    room = asyncio.Semaphore(STOPS_AT_ONCE)
    for turn in in_turns(actions):
        seconds = await drain([action.unit for action in turn])

        async def stop(one: Action, waits: Mapping[str, int] = seconds) -> None:
            if waits.get(one.unit):
                await node.clock.sleep(waits[one.unit])
            async with room:
                await _stop(node, one.unit, paths.get(one.unit, ""))

        await _all(turn, stop)
        stopped.update(action.unit for action in turn)
    instances = frozenset(unit for unit in stopped if paths.get(unit, "").endswith(INSTANCE))
    if instances:
        await remove_left(node, instances)


async def _stop(node: NodePorts, unit: str, path: str) -> None:
    text = (node.files.read(path) or b"").decode(errors="replace") if path else ""
    written = last_value(text, "Service", "TimeoutStopSec")
    timeout = (int(written) if written.isdecimal() else _STOP_S) + _STOP_MARGIN_S
    try:
        await node.systemd.stop(unit, timeout)
    except UnitError as err:
        state = (await node.systemd.states([unit]))[unit].active_state
        if state not in ("inactive", "failed"):
            raise UnfitError(f"{unit} does not stop: {err.result}, it is {state}") from err


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts units. `services` are texts that systemd shall find without a reload, by unit."""

    node: NodePorts
    services: Mapping[str, str]

    async def start(self, actions: Iterable[Action]) -> Started:
        """Start or restart each, in turns; one that fails stops no other."""
        every = tuple(actions)
        await self._install([a.unit for a in every if a.unit in self.services])
        ended = []
        for turn in in_turns(every):
            ended += await _each(turn, self._start, STARTS_AT_ONCE)
        failed = tuple(one for one in ended if isinstance(one, FailedUnit))
        return Started(failed, tuple(one for one in ended if isinstance(one, str)))

    async def _install(self, units: list[str]) -> None:
        """Write the services that systemd has not loaded; what it runs is left alone."""
        if not units:
            return
        states = await self.node.systemd.states(units)
        for unit in units:
            if states[unit].load_state != "loaded":
                self.node.files.write(f"{RUN_UNITS}/{unit}", self.services[unit].encode())

    async def _start(self, action: Action) -> FailedUnit | str | None:
        unit, systemd = action.unit, self.node.systemd
        run = systemd.restart if action.verb is Verb.RESTART else systemd.start
        try:
            if is_run(unit) or is_oneshot(self.services.get(unit, "")):
                await systemd.begin(unit)
            else:
                async with asyncio.timeout(START_WAIT_S):
                    await run(unit, _JOB_S)
        except TimeoutError:
            return unit
        except UnitError as err:
            return FailedUnit(unit, err.result, await last_words(self.node, unit, _TAIL))
        return None


async def last_words(node: NodePorts, unit: str, lines: int) -> tuple[str, ...]:
    """Return the end of a unit's journal; a journal that does not answer has none."""
    try:
        return tuple(await node.journal.tail(unit, lines))
    except UnfitError as err:
        return (f"its journal cannot be read: {err}",)


async def _each(
    actions: tuple[Action, ...], do: Callable[[Action], Awaitable[T]], at_once: int
) -> list[T]:
    """Do something with each, a few at once; all have ended when this returns or raises."""
    room = asyncio.Semaphore(at_once)

    async def one(action: Action) -> T:
        async with room:
            return await do(action)

    return await _all(actions, one)


async def _all(
    actions: tuple[Action, ...], do: Callable[[Action], Coroutine[Any, Any, T]]
) -> list[T]:
    tasks = [asyncio.create_task(do(action), name=action.unit) for action in actions]
    try:
        # No TaskGroup: callers tell one UnfitError, not a group of them.
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
