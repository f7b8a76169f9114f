"""What a node says of itself. Asked often, so that what has not changed is not asked for again."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent import state
from agent.ports import Container, NodePorts, UnitState
from agent.start_units import last_words
from agent.state import Applied
from katgen.bundle import Entry
from katgen.names import InstanceKey, NodeName
from katgen.protocol import Complaint, Drift, Facts, Report, UnitReport

RUNS: Final = "/var/lib/kat/runs"
"""Holds an empty file for every finished run of a job; systemd forgets the unit itself."""
LINES: Final = 20
Restarts = Callable[[], Mapping[InstanceKey, int]]


@dataclass(frozen=True, slots=True)
class Now:
    """What the agent knows beside the units: is it applying, what keeps it from following."""

    applying: bool = False
    problems: tuple[Complaint, ...] = ()
    drift: tuple[Drift, ...] = ()
    facts: Facts | None = None


@dataclass(slots=True)
class Status:
    """A node's units, remembered between reports.

    `restarts` are those for want of life: systemd counts its own alone, and not after those.
    """

    node: NodePorts
    name: NodeName
    restarts: Restarts = dict
    states: dict[str, UnitState] = field(default_factory=dict)
    _lines: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    _containers: dict[str, Container] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    _containers_due: bool = False

    async def report(self, now: Now, changed: Collection[str] | None = None) -> Report:
        """Return the state of the node. `changed`: units to ask for again; None asks for all."""
        files = self.node.files
        applied = state.load(files, state.APPLIED, Applied)
        entries = _with_units(applied.entries) if applied else {}
        asked = await self._refresh(entries, changed)
        self._containers_due |= bool(asked) or changed is None
        instances = {i.unit: i.instance for i in applied.manifest.instances} if applied else {}
        units = [await self._unit(unit, instances) for unit in sorted(entries)]
        return Report(
            node=self.name,
            boot_id=self.node.machine.boot_id(),
            epoch=applied.epoch if applied else 0,
            generation=applied.generation if applied else 0,
            sync=_sync(now, units),
            held=state.is_held(files),
            problems=now.problems,
            units=tuple(units),
            drift=now.drift,
            facts=now.facts,
        )

    def over(self) -> frozenset[str]:
        """Return the units whose run is finished, as far as their marks or systemd tell."""
        return frozenset(
            unit
            for unit, one in self.states.items()
            if one.active_state == "inactive" and (self._is_marked(unit) or one.since)
        )

    async def _refresh(
        self, entries: Mapping[str, Entry], changed: Collection[str] | None
    ) -> Collection[str]:
        """Ask for the units that changed, and for those not known yet; return which."""
        for gone in self.states.keys() - entries.keys():
            del self.states[gone]
        asked = [u for u in entries if changed is None or u in changed or u not in self.states]
        if asked:
            self.states.update(await self.node.systemd.states(asked))
        return asked

    async def look_at_containers(self) -> bool:
        """Learn images and health for the next report, if units have changed; False if not.

        Apart from `report`, which tells what systemd knows: Podman can take its time, the more so
        while it starts containers.
        """
        if not self._containers_due:
            return False
        containers = await self.node.podman.containers()
        self._containers_due = False
        self._containers = {one.unit or f"{one.name}.service": one for one in containers}
        if any(one.image_id not in self._digests for one in containers):
            images = await self.node.podman.images()
            self._digests = {image: _digest(names) for image, names in images.items()}
        return True

    async def _unit(self, unit: str, instances: Mapping[str, InstanceKey]) -> UnitReport:
        now, container = self.states[unit], self._containers.get(unit)
        instance = instances.get(unit, InstanceKey(""))
        inactive = now.active_state == "inactive"
        marked = inactive and unit in instances and self._is_marked(unit)
        return UnitReport(
            unit=unit,
            instance=instance,
            active_state=now.active_state,
            sub_state="exited" if marked else now.sub_state,
            result=now.result,
            restarts=now.restarts + self.restarts().get(instance, 0),
            exit_code=now.exit_code,
            since=now.since,
            image_digest=self._digests.get(container.image_id, "") if container else "",
            health=container.health if container else "",
            lines=await self._tail(now),
        )

    async def _tail(self, now: UnitState) -> tuple[str, ...]:
        """Return the last lines of a failure, read once for each."""
        if now.active_state != "failed" and now.sub_state != "auto-restart":
            self._lines.pop(now.unit, None)
            return ()
        known = self._lines.get(now.unit)
        if known is None or known[0] != now.since:
            lines = await last_words(self.node, now.unit, LINES)
            known = self._lines[now.unit] = (now.since, lines)
        return known[1]

    def _is_marked(self, unit: str) -> bool:
        mark = f"{RUNS}/{unit.removesuffix('.service')}"
        return self.node.files.stat(mark) is not None


def _with_units(entries: Iterable[Entry]) -> dict[str, Entry]:
    return {e.unit: e for e in entries if e.unit and not e.unit.endswith(".slice")}


def _digest(names: Iterable[str]) -> str:
    """Return `sha256:…` of an image that came from a registry, else ''."""
    return next((name.partition("@")[2] for name in names if "@sha256:" in name), "")


def _sync(now: Now, units: Iterable[UnitReport]) -> str:
    if now.applying:
        return "applying"
    failed = any(one.active_state == "failed" for one in units)
    return "degraded" if failed or now.problems else "in sync"
