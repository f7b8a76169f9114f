import asyncio
import fnmatch
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from agent.ports import UnfitError, UnitError, UnitState
from tests.fakes.files import FakeFiles
from tests.fakes.podman import FakePodman
from tests.fakes.quadlet import services
from tests.fakes.trace import Trace

GENERATED = "/run/systemd/generator"
SEARCH = ("/etc/systemd/system", "/run/systemd/system", GENERATED, "/usr/lib/systemd/system")
QUADLETS = "/etc/containers/systemd"
ABSENT = UnitState("", "not-found", "inactive", "dead")


@dataclass(frozen=True, slots=True)
class Source:
    """A unit's text as files have it: fragment, drop-ins, and what `SourcePath=` names."""

    fragment: str
    text: str
    origin: bytes | None


@dataclass(slots=True)
class FakeSystemd:
    """PID 1 with the units of a fake disk; a service with `podman run` has a container.

    A unit is loaded when it is started, and forgotten when it has stopped, unless it failed.
    `failing`: result by unit. `hanging`: units whose jobs time out. `slow`: units whose jobs wait
    for `release`.
    `held`: units that another one wants, which keeps them loaded.
    `bad_programs`: those that end with 1, without the marks of checks.
    `effects`: what else a job does, by `start kat-nft.service` and the like.
    `stopping`: the machine is going down.
    """

    files: FakeFiles = field(default_factory=FakeFiles)
    podman: FakePodman = field(default_factory=FakePodman)
    trace: Trace = field(default_factory=Trace)
    failing: dict[str, str] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    bad_programs: set[str] = field(default_factory=lambda: {"/bin/false"})
    effects: dict[str, Callable[[], None]] = field(default_factory=dict)
    stopping: bool = False
    units: dict[str, UnitState] = field(default_factory=dict)
    _sources: dict[str, Source | None] = field(default_factory=dict)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    async def start(self, unit: str, timeout_s: float) -> None:
        self.trace.note("systemd.start", unit, changes=True)
        await self._start(unit, timeout_s)

    async def begin(self, unit: str) -> None:
        self.trace.note("systemd.begin", unit, changes=True)
        if unit not in self.units and self._find(unit) is None:
            raise UnitError(unit, "not-found")
        if unit in self.slow or unit in self.hanging:
            return
        with suppress(UnitError):
            await self._start(unit, 0)

    async def stop(self, unit: str, timeout_s: float) -> None:
        self.trace.note("systemd.stop", unit, changes=True)
        await self._job("stop", unit, timeout_s)
        for member in self._members(unit):
            self._end(member)
        self._end(unit)

    async def restart(self, unit: str, timeout_s: float) -> None:
        self.trace.note("systemd.restart", unit, changes=True)
        await self._job("restart", unit, timeout_s)
        again = [m for m in self._members(unit) if self._is_active(m)]
        for one in (*again, unit):
            self._end(one)
        for one in (unit, *again):
            await self._start(one, timeout_s)

    async def try_restart(self, unit: str, timeout_s: float) -> None:
        if self._is_active(unit):
            await self.restart(unit, timeout_s)

    async def run_program(self, unit: str, argv: Sequence[str], timeout_s: float) -> int:
        del timeout_s
        self.trace.note("systemd.run_program", f"{unit}: {' '.join(argv)}")
        return 1 if _unmarked(argv) in self.bad_programs else 0

    async def reload(self, unit: str, timeout_s: float) -> None:
        self.trace.note("systemd.reload", unit, changes=True)
        if not self._is_active(unit):
            await self._start(unit, timeout_s)
        else:
            await self._job("reload", unit, timeout_s)

    async def reset_failed(self, unit: str) -> None:
        self.trace.note("systemd.reset_failed", unit, changes=True)
        state = self.units.get(unit)
        if state and state.active_state == "failed":
            self._forget(unit)

    async def daemon_reload(self) -> None:
        self.trace.note("systemd.daemon_reload", changes=True)
        self.generate()
        for unit in tuple(self.units):
            self._sources[unit] = self._find(unit)
            if self._sources[unit] is None and not self._is_active(unit):
                self._forget(unit)

    async def reload_networkd(self) -> None:
        self.trace.note("systemd.reload_networkd", changes=True)

    async def states(self, units: Collection[str]) -> Mapping[str, UnitState]:
        self.trace.note("systemd.states", f"{len(units)} units")
        return {unit: self._state(unit) for unit in units}

    async def loaded(self, pattern: str) -> Sequence[UnitState]:
        self.trace.note("systemd.loaded", pattern)
        return tuple(self._state(u) for u in sorted(self.units) if fnmatch.fnmatchcase(u, pattern))

    async def control_groups(self, units: Collection[str]) -> Mapping[str, str]:
        self.trace.note("systemd.control_groups", f"{len(units)} units")
        return {u: f"/kat.slice/{u}" if self._is_active(u) else "" for u in units}

    async def is_stopping(self) -> bool:
        self.trace.note("systemd.is_stopping")
        return self.stopping

    async def changes(self) -> AsyncGenerator[str, None]:
        while True:
            yield await self._changed.get()

    async def close(self) -> None:
        self.trace.note("systemd.close")

    # --- for tests --------------------------------------------------------------------------------

    def release(self) -> None:
        """Let the jobs of slow units end."""
        self._released.set()

    def crash(self, unit: str, restarts: int = 0, exit_code: int = 1) -> None:
        """Let a unit's process die: failed, or after `restarts` by systemd running again."""
        self.podman.vanish(self._container(unit)[0])
        if restarts:
            self._appear(unit)
            self._set(unit, restarts=restarts, exit_code=exit_code)
        else:
            self._set(
                unit,
                active_state="failed",
                sub_state="failed",
                result="exit-code",
                exit_code=exit_code,
            )

    def generate(self) -> None:
        """Do what Quadlet's generator does at boot and at every daemon-reload."""
        for path in self.files.below(GENERATED):
            self.files.take(path)
        for name, made in services(self.files, QUADLETS):
            if isinstance(made, str):
                self.files.put(f"{GENERATED}/{name}", made.encode())

    def reboot(self) -> None:
        """Forget what does not outlive a boot; nothing is started."""
        for path in self.files.below("/run"):
            self.files.take(path)
        self.units.clear()
        self._sources.clear()
        self.podman.running.clear()
        self.stopping = False
        self.generate()

    # --- jobs -------------------------------------------------------------------------------------

    async def _job(self, kind: str, unit: str, timeout_s: float) -> None:
        if unit in self.hanging:
            raise UnfitError(f"{kind} of {unit} has not ended after {timeout_s:g} s")
        if unit in self.slow:
            await self._released.wait()
        self.effects.get(f"{kind} {unit}", lambda: None)()

    async def _start(self, unit: str, timeout_s: float) -> None:
        if self._is_active(unit):
            return
        if unit not in self.units:
            source = self._find(unit)
            if source is None:
                raise UnitError(unit, "not-found")
            self._sources[unit] = source
            self.units[unit] = UnitState(
                unit, "loaded", "inactive", "dead", fragment=source.fragment
            )
        self._set(unit, active_state="activating", sub_state="start")
        await self._job("start", unit, timeout_s)
        if unit in self.failing or not self._appear(unit):
            result = self.failing.get(unit, "exit-code")
            self._set(unit, active_state="failed", sub_state="failed", result=result, exit_code=1)
            raise UnitError(unit, "failed")
        self._set(unit, active_state="active", sub_state="running", result="success", exit_code=0)
        text = self._text(unit)
        if "Type=oneshot" in text and "RemainAfterExit=yes" not in text:
            self._end(unit)
        for wanted in self._wanted(unit):
            try:
                await self._start(wanted, timeout_s)
            except UnitError:
                continue

    def _end(self, unit: str) -> None:
        """End a unit; without its text PID 1 does not know the command that stops its container."""
        if unit not in self.units:
            return
        if self._sources.get(unit) is not None:
            self.podman.vanish(self._container(unit)[0])
        if unit in self.held:
            self._set(unit, active_state="inactive", sub_state="dead")
        else:
            self._forget(unit)
            self._tell(unit)

    def _appear(self, unit: str) -> bool:
        """Let a unit's container run; False if its image is missing."""
        name, image = self._container(unit)
        if name:
            if "Pull=never" in self._text(unit) and image not in self.podman.local:
                return False
            self.podman.appear(name, unit, image)
        return True

    def _container(self, unit: str) -> tuple[str, str]:
        run = re.search(r"podman run --name (\S+).* (\S+)$", self._text(unit), re.MULTILINE)
        return (run.group(1), run.group(2)) if run else ("", "")

    def _wanted(self, unit: str) -> Iterator[str]:
        for line in re.findall(r"^(?:Wants|Requires)=(.*)", self._text(unit), re.MULTILINE):
            yield from line.split()
        for path, content in self.files.below(GENERATED).items():
            if re.search(rf"^WantedBy=.*\b{re.escape(unit)}", content.decode(), re.MULTILINE):
                yield path.rpartition("/")[2]

    def _members(self, unit: str) -> list[str]:
        part = re.compile(
            rf"^(?:PartOf|Requires|BindsTo)=(?:.* )?{re.escape(unit)}( |$)", re.MULTILINE
        )
        direct = [other for other in self.units if part.search(self._text(other))]
        return [*(one for other in direct for one in self._members(other)), *direct]

    # --- units ------------------------------------------------------------------------------------

    def _state(self, unit: str) -> UnitState:
        state = self.units.get(unit)
        if state is None:
            return replace(ABSENT, unit=unit)
        known = self._sources.get(unit)
        load_state = "loaded" if known else "not-found"
        return replace(state, load_state=load_state, need_reload=known != self._find(unit))

    def _find(self, unit: str) -> Source | None:
        tree = self.files.tree
        path = next((p for p in (f"{d}/{unit}" for d in SEARCH) if p in tree), None)
        if path is None:
            return None
        texts = [tree[path].content]
        for folder in SEARCH:
            texts += self.files.below(f"{folder}/{unit}.d").values()
        text = b"\n".join(texts).decode()
        named = re.search(r"^SourcePath=(\S+)", text, re.MULTILINE)
        origin = tree.get(named.group(1)) if named else None
        return Source(path, text, origin.content if origin else None)

    def _text(self, unit: str) -> str:
        source = self._sources.get(unit)
        return source.text if source else ""

    def _is_active(self, unit: str) -> bool:
        return unit in self.units and self.units[unit].active_state in ("active", "activating")

    def _set(self, unit: str, **changed: str | int) -> None:
        self.units[unit] = replace(self.units[unit], **changed)  # type: ignore[arg-type]  # fields by name
        self._tell(unit)

    def _forget(self, unit: str) -> None:
        self.units.pop(unit, None)
        self._sources.pop(unit, None)

    def _tell(self, unit: str) -> None:
        if unit.startswith("kat"):
            self._changed.put_nowait(unit)


def _unmarked(argv: Sequence[str]) -> str:
    return re.sub(r" --env KAT_CHECK=\S+", "", " ".join(argv))
