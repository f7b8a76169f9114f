"""The instances that run on this node: what their units and probes make of them, and who drains."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.endpoints.records import own_state
from agent.ports import NodePorts, UnitState
from katgen.bundle import InstanceEntry
from katgen.names import InstanceKey

_RUNS: Final = frozenset({"active", "reloading"})
_OVER: Final = frozenset({"inactive", "failed"})


class Health(Protocol):
    """What tells who is ready (`agent.health.instances.Health`)."""

    def follow(self, instances: Mapping[InstanceKey, InstanceEntry]) -> None:
        """Take over what this node runs."""

    def unit(self, state: UnitState) -> None:
        """Take in a unit's state."""

    def ready(self) -> frozenset[InstanceKey]:
        """Return the instances that are ready now."""


@dataclass(slots=True)
class OwnInstances:
    """`changed` is called with an instance and its state whenever that may be another.

    `ended` is called with one that has been drained, once it has stopped.
    Those in `_kept` were ready when an agent ran last on this boot: they are so until their health
    says something itself.
    """

    node: NodePorts
    changed: Callable[[InstanceKey, str], None]
    ended: Callable[[InstanceKey], None]
    health: Health = field(init=False)
    entries: Mapping[InstanceKey, InstanceEntry] = field(default_factory=dict)
    _by_unit: Mapping[str, InstanceKey] = field(default_factory=dict)
    _draining: set[InstanceKey] = field(default_factory=set)
    _kept: set[InstanceKey] = field(default_factory=set)
    _unasked: set[str] = field(default_factory=set)
    _seen: dict[str, UnitState] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def follow(self, instances: Iterable[InstanceEntry]) -> None:
        """Look after these from now on; new ones are not ready until their unit has been seen."""
        before = self.entries
        self.entries = {one.instance: one for one in instances}
        self._by_unit = {one.unit: key for key, one in self.entries.items()}
        self._draining &= self.entries.keys()
        self._kept &= self.entries.keys()
        self._seen = {unit: self._seen[unit] for unit in self._seen.keys() & self._by_unit.keys()}
        self.health.follow(self.entries)
        self._ask(one.unit for key, one in self.entries.items() if before.get(key) != one)

    def keep_ready(self, instances: Iterable[InstanceKey]) -> None:
        """Count these as ready until their health is known."""
        self._kept.update(self.entries.keys() & set(instances))

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
        self._kept.discard(instance)
        if instance in self.entries:
            self._tell([instance])

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
                self._see(one)
                self.health.unit(one)

    def _see(self, now: UnitState) -> None:
        """Remember a unit's state, and count how often systemd has started it since the last."""
        before = self._seen.get(now.unit)
        if before is not None and now.restarts > before.restarts:
            self.node.counts.restarted(now.restarts - before.restarts)
        self._seen[now.unit] = now
        instance = self._by_unit.get(now.unit)
        if instance in self._draining and now.active_state in _OVER:
            self.ended(instance)

    def addresses(self) -> Mapping[InstanceKey, str]:
        """Return where instances are, without those that have been drained and have stopped."""
        return {key: one.address for key, one in self.entries.items() if not self._is_over(one)}

    def _is_over(self, one: InstanceEntry) -> bool:
        seen = self._seen.get(one.unit)
        is_drained = one.instance in self._draining
        return is_drained and seen is not None and seen.active_state in _OVER

    def units(self) -> Mapping[str, int]:
        """Return how many units of instances are in each state of systemd's, as last heard."""
        return Counter(one.active_state for one in self._seen.values())

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
        self._tell(instances)

    def stay(self, instances: Collection[InstanceKey]) -> None:
        """Have these not drain any more: a stop was begun, and is not wanted now."""
        back = self._draining.intersection(instances)
        self._draining -= back
        self._tell(back)

    def _tell(self, instances: Iterable[InstanceKey]) -> None:
        for one in instances:
            self.changed(one, self.state(one))
