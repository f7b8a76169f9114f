"""Whether each instance on this node is healthy (spec §6.3), told as soon as it changes.

Ready is an instance whose unit runs, whose readiness probe, if it has one, says so, and whose
liveness probe does not say that it is dead. Runs of Jobs are never ready: nothing sends them
traffic. Liveness by command is Podman's (the unit has it); all other checks are made here.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.health import probes
from agent.health.checks import Checks
from agent.health.probes import LIVENESS, READINESS, State
from agent.health.restarts import Hooks, Identity, Restarts
from agent.ports import NodePorts, UnfitError, UnitState
from katgen.bundle import InstanceEntry, Probe
from katgen.names import InstanceKey
from katgen.protocol import UNHEALTHY

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """A unit from one start to its end. `started` is by the clock of boot times."""

    identity: Identity
    started: float
    states: dict[str, State]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass(slots=True)
class _Own:
    """An instance; `ended` is the run that was last ended by a restart of ours."""

    entry: InstanceEntry
    run: _Run | None = None
    ended: Identity | None = None
    is_ready: bool = False
    is_told: bool = False


class Health:
    """The own instances. Give it units' states; it makes the checks, and restarts what is dead.

    `noted` is given a reason (`protocol.NOTE_REASONS`) and a text for people whenever a probe has
    failed for good, and an instance has been restarted or could not be.
    """

    def __init__(
        self,
        node: NodePorts,
        changed: Callable[[InstanceKey, bool], None],
        noted: Callable[[InstanceKey, str, str], None] = lambda _instance, _reason, _text: None,
    ) -> None:
        self._node, self._changed, self._noted = node, changed, noted
        self._checks = Checks(node.systemd)
        hooks = Hooks(self._dead_run, self._revived, noted)
        self._restarts = Restarts(node.systemd, hooks)
        self._own: dict[InstanceKey, _Own] = {}
        self._by_unit: dict[str, _Own] = {}
        self._ready: frozenset[InstanceKey] = frozenset()
        self._group: asyncio.TaskGroup | None = None
        self._said = ""

    # --- what others tell and ask -----------------------------------------------------------------

    def follow(self, instances: Mapping[InstanceKey, InstanceEntry]) -> None:
        """Take over what this node runs: after every apply, and at the start.

        Of those that are gone nothing is said any more.
        """
        wanted = {key: entry for key, entry in instances.items() if not entry.is_run}
        for gone in self._own.keys() - wanted.keys():
            self._stop(self._own.pop(gone))
            self._restarts.forget(gone)
        for key, entry in wanted.items():
            own = self._own.setdefault(key, _Own(entry))
            if own.entry != entry:
                self._take_over(own, entry)
        self._by_unit = {own.entry.unit: own for own in self._own.values()}
        self._ready &= self._own.keys()

    def unit(self, state: UnitState) -> None:
        """Take in a unit's state, whenever it is known anew. Units that are not followed are fine.

        Before the first state of its unit an instance is not ready. States are those that
        `Systemd.states` returns: by their `since` and `main_pid` a restart is seen, even if nobody
        saw the unit down.
        """
        own = self._by_unit.get(state.unit)
        if own is None:
            return
        is_up = state.active_state in ("active", "reloading") and state.sub_state == "running"
        identity = (state.since, state.main_pid)
        if own.run is not None and (not is_up or own.run.identity != identity):
            self._stop(own)
        if is_up and own.run is None and own.ended != identity:
            age = max(0.0, self._node.clock.now() - state.since) if state.since else 0.0
            states = {one.purpose: probes.begin(one) for one in _ours(own.entry)}
            own.run = _Run(identity, self._node.clock.boottime() - age, states)
            self._start(own, _ours(own.entry))
        self._tell(own)

    def ready(self) -> frozenset[InstanceKey]:
        """Return the instances that are ready now."""
        return self._ready

    def restarts(self) -> Mapping[InstanceKey, int]:
        """Return how often each was restarted because it was not alive; systemd counts its own."""
        return self._restarts.counts

    def revived(self) -> int:
        """Return how many such restarts there were, also of instances that are gone."""
        return self._restarts.gone + sum(self._restarts.counts.values())

    async def run(self) -> None:
        """Make checks until cancelled. It may be run again: what is known stays known."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for own in self._own.values():
                    self._start(own, _ours(own.entry))
                await self._restarts.run()
        finally:
            self._group = None

    # --- probes -----------------------------------------------------------------------------------

    def _take_over(self, own: _Own, entry: InstanceEntry) -> None:
        """Go on with another entry: what the former probes found holds until the new ones know."""
        own.entry = entry
        if own.run is None:
            return
        run = own.run
        states = {}
        for probe in _ours(entry):
            was = run.states.get(probe.purpose)
            is_good = own.is_ready if was is None and probe.purpose == READINESS else True
            states[probe.purpose] = State(is_good=was.is_good if was else is_good)
        self._stop(own)
        own.run = _Run(run.identity, run.started, states)
        self._start(own, _ours(entry))
        self._tell(own)

    def _start(self, own: _Own, which: Iterable[Probe]) -> None:
        """Begin the checks of a run; before `run` has been called there are none."""
        if self._group is not None and own.run is not None:
            own.run.tasks = [
                self._group.create_task(
                    self._watch(own, own.run, probe), name=f"{probe.purpose} {own.entry.instance}"
                )
                for probe in which
            ]

    def _stop(self, own: _Own) -> None:
        run, own.run = own.run, None
        for task in run.tasks if run else ():
            task.cancel()

    async def _watch(self, own: _Own, run: _Run, probe: Probe) -> None:
        """Check for ever; no check begins before the one before has ended."""
        clock, share = self._node.clock, random.random()  # noqa: S311 -- spreads load, guards nothing
        now = clock.boottime()
        due = now + probes.first_wait_s(probe, now - run.started, share)
        is_first = True
        while True:
            await clock.sleep(max(0.0, due - clock.boottime()))
            await self._check(own, run, probe)
            now = clock.boottime()
            if is_first:
                due, is_first = probes.second_due(probe, due, now, share), False
            else:
                due = probes.next_due(probe, due, now)

    async def _check(self, own: _Own, run: _Run, probe: Probe) -> None:
        """Make one check. That this machine cannot make it turns nothing."""
        try:
            why = await self._counted(own.entry, probe)
        except UnfitError as err:
            if str(err) != self._said:
                _log.warning("%s: %s, ignoring", own.entry.unit, err)
            self._said = str(err)
            return
        before = run.states[probe.purpose]
        state = run.states[probe.purpose] = probes.take(probe, before, healthy=not why)
        if probes.has_failed(before, state):
            text = f"{probe.purpose} probe failed: {why}"
            _log.info("%s: %s", own.entry.unit, text)
            self._noted(own.entry.instance, UNHEALTHY, text)
        if probe.purpose == LIVENESS and not state.is_good:
            self._restarts.add(own.entry, why)
        self._tell(own)

    async def _counted(self, entry: InstanceEntry, probe: Probe) -> str:
        clock, counts = self._node.clock, self._node.counts
        begun = clock.boottime()
        try:
            why = await self._checks.check(entry, probe)
        except UnfitError:
            counts.probed(probe, "unknown", clock.boottime() - begun)
            raise
        counts.probed(probe, "bad" if why else "good", clock.boottime() - begun)
        return why

    # --- what follows -----------------------------------------------------------------------------

    def _tell(self, own: _Own) -> None:
        """Say it if an instance has become another, or if it is certain for the first time."""
        run = own.run
        is_ready = run is not None and all(state.is_good for state in run.states.values())
        readiness = run.states.get(READINESS) if run else None
        is_certain = is_ready or run is None or readiness is None or readiness.is_sure
        if is_ready == own.is_ready and (own.is_told or not is_certain):
            return
        own.is_ready, own.is_told = is_ready, own.is_told or is_certain
        key = own.entry.instance
        self._ready = self._ready | {key} if is_ready else self._ready - {key}
        self._changed(key, is_ready)

    def _dead_run(self, instance: InstanceKey) -> Identity | None:
        own = self._own.get(instance)
        run = own.run if own else None
        state = run.states.get(LIVENESS) if run else None
        return run.identity if run and state and not state.is_good else None

    def _revived(self, instance: InstanceKey, run: Identity) -> bool:
        """Forget a run that has been ended; its next begins when its unit's state is known."""
        own = self._own.get(instance)
        if own is None:
            return False
        own.ended = run
        if own.run is not None and own.run.identity == run:
            self._stop(own)
            self._tell(own)
        return True


def _ours(entry: InstanceEntry) -> tuple[Probe, ...]:
    return tuple(p for p in entry.probes if p.purpose == READINESS or p.kind != "exec")
