"""What happened, for people: events with reasons, counted and not repeated, and committed plans."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from katgen.errors import KatError
from katgen.leader.answers import Event, Generation
from katgen.leader.clock import Clock, shown_time
from katgen.leader.instances import state
from katgen.leader.store import Store, StoreError, Transaction
from katgen.names import WorkloadKey, split_key
from katgen.planned import Plan
from katgen.protocol import Report, UnitReport

_LOG: Final = logging.getLogger(__name__)
PREFIX: Final = "events/"
GENERATIONS: Final = "generations/"
EVENTS_MAX: Final = 10_000
GENERATIONS_MAX: Final = 256
MESSAGE_MAX: Final = 1024
NAME_MAX: Final = 256
CHANGED_MAX: Final = 1000
"""Workloads that are remembered of one committed plan."""
_PAUSE_S: Final = 0.2
_RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to an object; `namespace` is '' for what belongs to none."""

    namespace: str
    kind: str
    name: str
    reason: str
    message: str
    node: str = ""


def of_workload(key: WorkloadKey, reason: str, message: str, node: str = "") -> Happening:
    """Return what happened to a workload."""
    return Happening(*_workload(key), reason, message[:MESSAGE_MAX], node)


def _workload(key: WorkloadKey) -> tuple[str, str, str]:
    namespace, name = split_key(key)
    return namespace, "Workload", name


@dataclass(eq=False, slots=True)
class Chronicle:
    """Events in memory, written behind: losing the last ones to a crash is no harm."""

    store: Store
    clock: Clock
    _events: dict[str, Event] = field(default_factory=dict)
    _ids: dict[Happening, str] = field(default_factory=dict)
    _unwritten: set[str] = field(default_factory=set)
    _dropped: set[str] = field(default_factory=set)
    _last: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self) -> None:
        """Read what is stored."""
        listing = await self.store.list(PREFIX)
        for item in listing.items:
            event = msgspec.json.decode(item.value, type=Event)
            identity = item.key.removeprefix(PREFIX)
            self._events[identity] = event
            self._ids[_happening(event)] = identity
            self._last = max(self._last, int(identity))

    def record(self, *happenings: Happening) -> None:
        """Take note; what happened before counts up."""
        for one in happenings:
            self._record(one)
        if happenings:
            self._news.set()
            self._changed.set()
            self._changed = asyncio.Event()

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next event after this call."""
        return self._changed.wait()

    def _record(self, given: Happening) -> None:
        happening = _cut(given)
        now = self.clock.now()
        moment = shown_time(now)
        identity = self._ids.get(happening)
        if identity is not None:
            old = self._events.pop(identity)
            event = msgspec.structs.replace(old, count=old.count + 1, last=moment)
            self._forget(identity)
        else:
            one = happening
            event = Event(
                one.namespace, one.kind, one.name, one.reason, one.message,
                moment, moment, node=one.node,
            )  # fmt: skip
        # In the order of the last occurrence: what goes on happening is kept longest.
        self._last = max(self._last + 1, int(now * 1000))
        identity = f"{self._last:016d}"
        self._events[identity], self._ids[happening] = event, identity
        self._unwritten.add(identity)
        while len(self._events) > EVENTS_MAX:
            oldest = next(iter(self._events))
            del self._ids[_happening(self._events.pop(oldest))]
            self._forget(oldest)

    def _forget(self, identity: str) -> None:
        self._unwritten.discard(identity)
        self._dropped.add(identity)

    @property
    def count(self) -> int:
        """How many events are kept."""
        return len(self._events)

    async def events(self, namespace: str = "", name: str = "") -> Sequence[Event]:
        """Return events in order of time, of one namespace and one object if these are given."""
        return tuple(
            event
            for event in self._events.values()
            if (not namespace or event.namespace == namespace) and (not name or event.name == name)
        )

    async def generations(self) -> Sequence[Generation]:
        """Return the committed plans that are remembered, newest first."""
        listing = await self.store.list(GENERATIONS)
        found = [msgspec.json.decode(item.value, type=Generation) for item in listing.items]
        return tuple(reversed(found))

    async def run(self) -> None:
        """Write what is new, for ever."""
        while True:
            await self._news.wait()
            await self.clock.sleep(_PAUSE_S)
            self._news.clear()
            try:
                await self.flush()
            except StoreError as err:
                _LOG.warning("events cannot be written, retrying in 5 s: %s", err)
                await self.clock.sleep(_RETRY_S)
                self._news.set()
            except KatError as err:  # whatever an agent made of its words, the leader goes on
                _LOG.warning("events cannot be written, ignoring: %s", err)
                self._unwritten.clear()

    async def flush(self) -> None:
        """Write what is new. Raises StoreError; then nothing is lost."""
        unwritten, dropped = set(self._unwritten), set(self._dropped)
        if not unwritten and not dropped:
            return
        puts = {f"{PREFIX}{one}": msgspec.json.encode(self._events[one]) for one in unwritten}
        deletes = tuple(f"{PREFIX}{one}" for one in sorted(dropped))
        await self.store.commit(Transaction(puts, deletes))
        self._unwritten -= unwritten
        self._dropped -= dropped


def _cut(one: Happening) -> Happening:
    """Return what happened in few enough words: some are an agent's."""
    return replace(
        one,
        reason=one.reason[:NAME_MAX],
        message=one.message[:MESSAGE_MAX],
        node=one.node[:NAME_MAX],
    )


def _happening(event: Event) -> Happening:
    return Happening(
        event.namespace, event.kind, event.name, event.reason, event.message, event.node
    )


def generation_write(made: Generation) -> Transaction:
    """Return the writes that remember a committed plan, and forget one long past."""
    kept = msgspec.structs.replace(made, changed=made.changed[:CHANGED_MAX])
    puts = {f"{GENERATIONS}{made.generation:08d}": msgspec.json.encode(kept)}
    old = made.generation - GENERATIONS_MAX
    return Transaction(puts, (f"{GENERATIONS}{old:08d}",) if old > 0 else ())


_TOLD: Final = {"running": "Started", "failed": "Failed", "finished": "Finished"}


def of_report(plan: Plan, before: Report | None, report: Report) -> Iterator[Happening]:
    """Yield what is new in a report. In a node's first one, only failures are news."""
    old = {unit.unit: unit for unit in before.units} if before else {}
    for unit in report.units:
        key = WorkloadKey(unit.instance.rpartition("/")[0])
        objects = plan.specs.workloads.get(key)
        if not unit.instance or objects is None:
            continue
        is_job = objects.job is not None
        now, then = state(unit, is_job=is_job), state(old.get(unit.unit), is_job=is_job)
        reason = _TOLD.get(now)
        known = before is not None or now == "failed"
        if reason is not None and now != then and known:
            yield of_workload(key, reason, _words(unit, now), report.node)
        elif unit.restarts > _restarts(old.get(unit.unit), unit):
            yield of_workload(key, "Restarted", f"{unit.instance} ended and was started again",
                              report.node)  # fmt: skip


def _restarts(old: UnitReport | None, unit: UnitReport) -> int:
    return old.restarts if old is not None else unit.restarts


def _words(unit: UnitReport, now: str) -> str:
    if now != "failed":
        return f"{unit.instance} {'runs' if now == 'running' else 'ran to its end'}"
    tail = f": {unit.lines[-1]}" if unit.lines else ""
    return f"{unit.instance} failed ({unit.result}, exit code {unit.exit_code}){tail}"
