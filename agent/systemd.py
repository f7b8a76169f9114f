"""PID 1 and networkd over the system bus, org.freedesktop.systemd1(5)."""

import asyncio
import re
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from dbus_fast import Message

from agent import transient
from agent.dbus import Bus, CallError, Peer
from agent.jobs import Jobs, LostError
from agent.ports import UnfitError, UnitError, UnitState

SYSTEMD: Final = "org.freedesktop.systemd1"
MANAGER: Final = Peer(SYSTEMD, "/org/freedesktop/systemd1", f"{SYSTEMD}.Manager")
NETWORKD: Final = Peer(
    "org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager"
)
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
UNITS: Final = f"{MANAGER.path}/unit/"
RULES: Final = (
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER.interface}',member='JobRemoved'",
    (
        f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged',"
        f"path_namespace='{UNITS[:-1]}',arg0='{SYSTEMD}.Unit'"
    ),
)
_ANSWER_S: Final = 10
_EXITED: Final = 1
"""CLD_EXITED, wait(2)."""
NO_UNIT: Final = f"{SYSTEMD}.NoSuchUnit"
_WORDS: Final = {
    NO_UNIT: "not-found",
    f"{SYSTEMD}.UnitMasked": "masked",
    f"{SYSTEMD}.LoadFailed": "error",
    f"{SYSTEMD}.BadUnitSetting": "bad-setting",
    "org.freedesktop.DBus.Error.InvalidArgs": "bad-name",
}
"""Why there is not even a job; load states of systemd where it has one."""
_UNIT: Final = (
    *("LoadState", "ActiveState", "SubState", "StateChangeTimestamp"),
    *("NeedDaemonReload", "FragmentPath"),
)
_SERVICE: Final = ("Result", "NRestarts", "ExecMainStatus", "MainPID")
_OURS: Final = re.compile(r"kat[.-].*")


class DBusSystemd:
    """PID 1 and networkd."""

    def __init__(self) -> None:
        self._jobs = Jobs()
        greeting = MANAGER.call("Subscribe")
        self._bus = Bus(greeting, RULES, self._hear, self._renewed)
        self._reloading = asyncio.Lock()
        self._listeners: list[_Names] = []

    async def start(self, unit: str, timeout_s: float) -> None:
        """Start a unit."""
        await self._run("StartUnit", unit, timeout_s)

    async def begin(self, unit: str) -> None:
        """Start a unit without waiting for its job."""
        try:
            await self._bus.call(MANAGER, "StartUnit", "ss", unit, "replace")
        except CallError as err:
            raise UnitError(unit, _WORDS.get(err.name, str(err))) from err

    async def stop(self, unit: str, timeout_s: float) -> None:
        """Stop a unit."""
        try:
            await self._run("StopUnit", unit, timeout_s)
        except UnitError as err:
            if err.result != _WORDS[NO_UNIT]:
                raise

    async def restart(self, unit: str, timeout_s: float) -> None:
        """Restart a unit."""
        await self._run("RestartUnit", unit, timeout_s)

    async def try_restart(self, unit: str, timeout_s: float) -> None:
        """Restart a unit that runs, unless somebody has other plans."""
        await self._run("TryRestartUnit", unit, timeout_s, mode="fail")

    async def run_program(self, unit: str, argv: Sequence[str], timeout_s: float) -> int:
        """Run a program in a unit of its own, which is there until this has ended."""
        wanted = transient.oneshot(argv, timeout_s)
        try:
            async with asyncio.timeout(timeout_s + transient.KILL_S + _ANSWER_S):
                (path,) = await self._bus.call(
                    MANAGER, "StartTransientUnit", transient.SIGNATURE, unit, "fail", wanted, []
                )
                is_done = await self._jobs.result(path) == "done"
                return 0 if is_done else await self._code(unit)
        except CallError as err:
            raise UnfitError(f"systemd: {unit}: {err}") from err
        except LostError as err:
            raise UnfitError(f"systemd: {unit}: the bus was away when it ended") from err
        except TimeoutError as err:
            raise UnfitError(f"systemd: {unit}: its end has not been told") from err
        finally:
            with suppress(CallError, UnfitError):  # PID 1 lets go of it if the bus has been away
                await self._bus.call(MANAGER, "UnrefUnit", "s", unit)

    async def _code(self, unit: str) -> int:
        """Return the code with which a unit's program has ended, -1 if by a signal."""
        path = await self._path(unit)
        if path is None:
            raise UnfitError(f"systemd: {unit}: it is gone, and its end has not been told")
        how = await self._property(path, "Service", "ExecMainCode")
        code = await self._property(path, "Service", "ExecMainStatus")
        return int(code) if how == _EXITED else -1

    async def reload(self, unit: str, timeout_s: float) -> None:
        """Reload a unit; restart one that cannot, start one that does not run."""
        await self._run("ReloadOrRestartUnit", unit, timeout_s)

    async def reset_failed(self, unit: str) -> None:
        """Forget a failure."""
        try:
            await self._bus.call(MANAGER, "ResetFailedUnit", "s", unit)
        except CallError as err:
            if err.name != NO_UNIT:
                raise UnfitError(f"systemd: reset-failed of {unit}: {err}") from err

    async def daemon_reload(self) -> None:
        """Load all units anew."""
        async with self._reloading:
            await self._ask(MANAGER, "Reload")

    async def reload_networkd(self) -> None:
        """Have networkd read its files."""
        await self._ask(NETWORKD, "Reload")

    async def states(self, units: Collection[str]) -> Mapping[str, UnitState]:
        """Ask for a few properties of each: all of them would be 450 and thrice the time."""
        found = await asyncio.gather(*(self._state(unit) for unit in units))
        return dict(zip(units, found, strict=True))

    async def loaded(self, pattern: str) -> Sequence[UnitState]:
        """Return loaded units by glob."""
        rows = (await self._ask(MANAGER, "ListUnitsByPatterns", "asas", [], [pattern]))[0]
        states = (UnitState(row[0], row[2], row[3], row[4]) for row in rows)
        return tuple(sorted(states, key=lambda state: state.unit))

    async def control_groups(self, units: Collection[str]) -> Mapping[str, str]:
        """Ask for the cgroup of each."""
        found = await asyncio.gather(*(self._group(unit) for unit in units))
        return dict(zip(units, found, strict=True))

    async def is_stopping(self) -> bool:
        """Ask for the manager's state, which is so as soon as there is a job for a shutdown."""
        return bool(await self._property(MANAGER.path, "Manager", "SystemState") == "stopping")

    async def changes(self) -> AsyncGenerator[str, None]:
        """Yield names; a unit that changes often before it is taken is yielded once."""
        names = _Names()
        self._listeners.append(names)
        try:
            await self._bus.connect()
            while True:
                yield await names.take()
        finally:
            self._listeners.remove(names)

    async def close(self) -> None:
        """Disconnect."""
        await self._bus.close()

    # --- jobs -------------------------------------------------------------------------------------

    async def _run(self, method: str, unit: str, timeout_s: float, mode: str = "replace") -> None:
        try:
            async with asyncio.timeout(timeout_s):
                result = await self._job(method, unit, mode)
        except CallError as err:
            raise UnitError(unit, _WORDS.get(err.name, str(err))) from err
        except TimeoutError as err:
            word = method.removesuffix("Unit").lower()
            raise UnfitError(f"{unit}: {word} has not ended after {timeout_s:g} s") from err
        if result not in ("done", "skipped"):
            raise UnitError(unit, result)

    async def _job(self, method: str, unit: str, mode: str) -> str:
        """Make a job and wait for its end. Raises CallError."""
        (path,) = await self._bus.call(MANAGER, method, "ss", unit, mode)
        while True:
            try:
                return await self._jobs.result(path)
            except LostError:
                if not await self._is_there(path):
                    return await self._judge(method, unit)

    async def _is_there(self, path: str) -> bool:
        try:
            await self._bus.call(MANAGER, "GetJob", "u", int(path.rpartition("/")[2]))
        except CallError:
            return False
        return True

    async def _judge(self, method: str, unit: str) -> str:
        """Say by a unit's state how a job ended whose end nobody heard."""
        state = await self._state(unit)
        is_up = state.active_state in ("active", "reloading", "refreshing")
        is_over = state.active_state == "inactive"  # stopped, or a oneshot that is done
        if method == "StopUnit":
            return "failed" if is_up else "done"
        return "done" if is_up or is_over else "failed"

    # --- questions --------------------------------------------------------------------------------

    async def _ask(self, peer: Peer, member: str, signature: str = "", *body: object) -> list[Any]:
        try:
            return await self._bus.call(peer, member, signature, *body)
        except CallError as err:
            raise UnfitError(f"{peer.name}: {member}: {err}") from err

    async def _state(self, unit: str) -> UnitState:
        path = await self._path(unit)
        if path is None:
            return UnitState(unit, "not-found", "inactive", "dead")
        wanted = [("Unit", name) for name in _UNIT]
        if unit.endswith(".service"):
            wanted += [("Service", name) for name in _SERVICE]
        values = await asyncio.gather(*(self._property(path, *one) for one in wanted))
        return _unit_state(unit, dict(zip((name for _, name in wanted), values, strict=True)))

    async def _path(self, unit: str) -> str | None:
        """Return the object of a loaded unit. To ask an object for anything would load its unit."""
        try:
            (path,) = await self._bus.call(MANAGER, "GetUnit", "s", unit)
        except CallError as err:
            if err.name == NO_UNIT:
                return None
            raise UnfitError(f"systemd: {unit}: {err}") from err
        return str(path)

    async def _group(self, unit: str) -> str:
        kind = unit.rpartition(".")[2].title()
        path = await self._path(unit) if kind in ("Service", "Slice", "Scope") else None
        return str(await self._property(path, kind, "ControlGroup")) if path else ""

    async def _property(self, path: str, interface: str, name: str) -> Any:  # noqa: ANN401 -- D-Bus' variants
        peer = Peer(SYSTEMD, path, PROPERTIES)
        (value,) = await self._ask(peer, "Get", "ss", f"{SYSTEMD}.{interface}", name)
        return value.value

    # --- signals ----------------------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        if message.member == "JobRemoved":
            _, path, _, result = message.body
            self._jobs.ended(path, result)
        elif message.member == "PropertiesChanged" and (message.path or "").startswith(UNITS):
            unit = unit_of_path((message.path or "").removeprefix(UNITS))
            if _OURS.fullmatch(unit):
                self._tell(unit)

    def _renewed(self) -> None:
        self._jobs.lost()
        self._tell("")

    def _tell(self, unit: str) -> None:
        for listener in self._listeners:
            listener.put(unit)


class _Names:
    """A queue that holds no name twice, so that it is bounded by the number of units."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._some = asyncio.Event()

    def put(self, name: str) -> None:
        self._names[name] = None
        self._some.set()

    async def take(self) -> str:
        await self._some.wait()
        name = next(iter(self._names))
        del self._names[name]
        if not self._names:
            self._some.clear()
        return name


def unit_of_path(label: str) -> str:
    """Return the unit of an object path's last part: `kat_2ea_2eservice` → `kat.a.service`."""
    raw = re.sub(r"_([0-9a-f]{2})", lambda found: chr(int(found.group(1), 16)), label)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def _unit_state(unit: str, values: Mapping[str, Any]) -> UnitState:
    return UnitState(
        unit=unit,
        load_state=values["LoadState"],
        active_state=values["ActiveState"],
        sub_state=values["SubState"],
        result=values.get("Result", ""),
        restarts=values.get("NRestarts", 0),
        exit_code=values.get("ExecMainStatus", 0),
        since=values["StateChangeTimestamp"] / 1_000_000,
        main_pid=values.get("MainPID", 0),
        need_reload=values["NeedDaemonReload"],
        fragment=values["FragmentPath"],
    )
