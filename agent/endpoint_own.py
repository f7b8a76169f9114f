"""The instances that run on this node: what their units and probes make of them, and who drains."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.endpoint_records import own_state
from agent.ports import NodePorts, UnitState
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey

_RUNS: Final = frozenset({"active", "reloading"})
_MARGIN_S: Final = 5


class Health(Protocol):
    """What tells who is ready (`agent.health.Health`)."""

    def follow(self, instances: Mapping[InstanceKey, InstanceEntry]) -> None:
        """Take over what this node runs."""

    def unit(self, state: UnitState) -> None:
        """Take in a unit's state."""

    def ready(self) -> frozenset[InstanceKey]:
        """Return the instances that are ready now."""


@dataclass(slots=True)
class OwnInstances:
    """`changed` is called with an instance and its state whenever that may be another.

    Those in `_kept` were ready when another agent ran last on this boot, and count as ready until
    their health says so itself, their unit does not run, or it had time enough to say so.
    """

    node: NodePorts
    changed: Callable[[InstanceKey, str], None]
    health: Health = field(init=False)
    entries: Mapping[InstanceKey, InstanceEntry] = field(default_factory=dict)
    _by_unit: Mapping[str, InstanceKey] = field(default_factory=dict)
    _draining: set[InstanceKey] = field(default_factory=set)
    _kept: dict[InstanceKey, float] = field(default_factory=dict)
    _unasked: set[str] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def follow(self, instances: Iterable[InstanceEntry]) -> None:
        """Look after these from now on; new ones are not ready until their unit has been seen."""
        before = self.entries
        self.entries = {one.instance: one for one in instances}
        self._by_unit = {one.unit: key for key, one in self.entries.items()}
        self._draining &= self.entries.keys()
        self._kept = {key: at for key, at in self._kept.items() if key in self.entries}
        self.health.follow(self.entries)
        self._ask(one.unit for key, one in self.entries.items() if before.get(key) != one)

    def keep_ready(self, instances: Iterable[InstanceKey]) -> None:
        """Count these as ready until their health is known."""
        now = self.node.clock.boottime()
        for one in instances:
            if one in self.entries:
                self._kept[one] = now + _patience_s(self.entries[one])

    def state(self, instance: InstanceKey) -> str:
        """Return what to record of an instance."""
        is_ready = instance in self._kept or instance in self.health.ready()
        return own_state(is_ready=is_ready, is_draining=instance in self._draining)

    # --- what is heard ----------------------------------------------------------------------------

    def heard(self, unit: str) -> None:
        """Take in that a unit has changed; '' means that any may have."""
        self._ask(self._by_unit if not unit else [unit] if unit in self._by_unit else [])

    def turned(self, instance: InstanceKey, _: bool = False) -> None:  # noqa: FBT001, FBT002 -- as Health calls it
        """Take in that an instance's health is another."""
        self._kept.pop(instance, None)
        if instance in self.entries:
            self.changed(instance, self.state(instance))

    def _ask(self, units: Iterable[str]) -> None:
        self._unasked.update(units)
        if self._unasked:
            self._news.set()

    async def run(self) -> None:
        """Ask for the states of changed units, for ever. Raises UnfitError and loses nothing."""
        while True:
            await self._news.wait()
            self._news.clear()
            asked, self._unasked = self._unasked & self._by_unit.keys(), set()
            try:
                states = await self.node.systemd.states(sorted(asked)) if asked else {}
            except BaseException:
                self._ask(asked)
                raise
            for one in states.values():
                self._take(one)

    def _take(self, state: UnitState) -> None:
        self.health.unit(state)
        instance = self._by_unit.get(state.unit)
        if instance in self._kept and state.active_state not in _RUNS:
            self.turned(instance)

    def tick(self) -> None:
        """Let those go that were kept ready and have not become so."""
        now = self.node.clock.boottime()
        for one in [key for key, until in self._kept.items() if until <= now]:
            self.turned(one)

    # --- draining ---------------------------------------------------------------------------------

    async def running(self, units: Collection[str]) -> tuple[InstanceEntry, ...]:
        """Return those of the units that are instances and run. Raises UnfitError."""
        asked = sorted(unit for unit in units if unit in self._by_unit)
        states = await self.node.systemd.states(asked) if asked else {}
        return tuple(
            self.entries[self._by_unit[unit]]
            for unit in asked
            if states[unit].active_state in _RUNS
        )

    def drain(self, instances: Collection[InstanceKey]) -> None:
        """Have these drain, whatever their health."""
        self._draining.update(instances)
        for one in instances:
            self.turned(one)

    def stay(self, instances: Collection[InstanceKey]) -> None:
        """Have these not drain any more: a stop was begun, and is not wanted now."""
        for one in self._draining.intersection(instances):
            self._draining.discard(one)
            self.turned(one)


def _patience_s(entry: InstanceEntry) -> float:
    """Return how long a healthy instance takes at most until its probe says so."""
    probes = [one for one in entry.probes if one.purpose == "readiness"]
    longest = (
        one.initial_delay_seconds
        + max(one.success_threshold, one.failure_threshold) * one.period_seconds
        + one.timeout_seconds
        for one in probes
    )
    return _MARGIN_S + max(longest, default=0)
