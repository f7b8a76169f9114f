"""Who has said what of which instance, and what news change in that. No I/O.

A record counts if it is of another boot than the one known, or of the same boot and newer. What no
record speaks of is new: not ready, and never was.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from katgen.endpoints import DRAINING, NEW, NOT_READY, READY, STATES
from katgen.names import InstanceKey
from katgen.protocol import EndpointRecord

EARLY_MAX: Final = 10_000
"""Records of others' instances that this node's services do not have (yet)."""


class Memory(msgspec.Struct, frozen=True):
    """What the agent remembers over a restart of its own; `boot` is the machine's at that time."""

    format: int
    boot: str
    own: tuple[EndpointRecord, ...]
    others: tuple[EndpointRecord, ...]


@dataclass(slots=True)
class Records:
    """The last record of each instance. Methods return the instances whose state is another now.

    `states` is all that is known, by instance; it is not to be changed from outside. `said` and
    `heard` count changes of own records and of others'.
    """

    boot: str
    own: dict[InstanceKey, EndpointRecord] = field(default_factory=dict)
    states: dict[InstanceKey, str] = field(default_factory=dict)
    said: int = 0
    heard: int = 0
    _others: dict[InstanceKey, EndpointRecord] = field(default_factory=dict)
    _sequence: int = 0

    def recall(self, memory: Memory) -> None:
        """Take over what was remembered: all of others, of this node's own what is of this boot."""
        for one in memory.others:
            self._put(self._others, one)
        for one in memory.own:
            if one.boot == self.boot:
                self._put(self.own, one)
                self._sequence = max(self._sequence, one.sequence)

    def memory(self) -> Memory:
        """Return what is to be remembered."""
        return Memory(1, self.boot, tuple(self.own.values()), tuple(self._others.values()))

    def say(self, instance: InstanceKey, state: str, now_s: float) -> Collection[InstanceKey]:
        """Record the state of an own instance; the same again makes no record.

        Sequences follow the time since boot, so that they grow even if all memory is lost.
        """
        known = self.own.get(instance)
        if known is not None and known.state == state:
            return ()
        self._sequence = max(self._sequence + 1, int(now_s * 1000))
        if self._others.pop(instance, None) is not None:
            self.heard += 1
        is_new = state != READY and (known is None or known.is_new)
        record = EndpointRecord(instance, self.boot, self._sequence, state, is_new)
        return self._put(self.own, record)

    def hear(
        self, news: Iterable[EndpointRecord], candidates: Collection[InstanceKey], *, full: bool
    ) -> Collection[InstanceKey]:
        """Take in what others say of theirs; `full`: what they do not speak of is forgotten.

        `candidates` are all that this node's services have. News may come before the plan that has
        the instance: that it is ready is then remembered, the rest says no more than silence.
        """
        records = tuple(news)
        gone = self._others.keys() - {one.instance for one in records} if full else ()
        changed = {one for name in tuple(gone) for one in self._drop(self._others, name)}
        for one in records:
            is_wanted = one.instance in candidates or one.state == READY
            if one.instance in self.own or one.state not in STATES:
                continue
            if not is_wanted:
                changed.update(self._drop(self._others, one.instance))
            elif _is_newer(one, self._others.get(one.instance)):
                changed.update(self._put(self._others, one))
        self._bound(candidates)
        return changed

    def _bound(self, candidates: Collection[InstanceKey]) -> None:
        surplus = len(self._others) - len(candidates) - EARLY_MAX
        if surplus > 0:
            early = [one for one in self._others if one not in candidates]
            for one in early[:surplus]:
                self._drop(self._others, one)

    def disown(self, kept: Collection[InstanceKey]) -> Collection[InstanceKey]:
        """Forget own instances but these."""
        gone = [one for one in self.own if one not in kept]
        return {one for name in gone for one in self._drop(self.own, name)}

    def forget(self, instances: Iterable[InstanceKey]) -> Collection[InstanceKey]:
        """Forget what others said of instances that are no candidates any more."""
        return {one for name in instances for one in self._drop(self._others, name)}

    def _put(
        self, where: dict[InstanceKey, EndpointRecord], one: EndpointRecord
    ) -> Collection[InstanceKey]:
        where[one.instance] = one
        self._count(where)
        before = self.states.get(one.instance)
        now = self.states[one.instance] = _state_of(one)
        return (one.instance,) if before != now else ()

    def _drop(
        self, where: dict[InstanceKey, EndpointRecord], name: InstanceKey
    ) -> Collection[InstanceKey]:
        if where.pop(name, None) is None:
            return ()
        self._count(where)
        return (name,) if self.states.pop(name, NEW) != NEW else ()

    def _count(self, where: dict[InstanceKey, EndpointRecord]) -> None:
        if where is self.own:
            self.said += 1
        else:
            self.heard += 1


def _is_newer(one: EndpointRecord, known: EndpointRecord | None) -> bool:
    return known is None or known.boot != one.boot or known.sequence < one.sequence


def _state_of(record: EndpointRecord) -> str:
    return NEW if record.is_new and record.state == NOT_READY else record.state


def own_state(*, is_ready: bool, is_draining: bool) -> str:
    """Return the state to record; an instance that drains does so to its end."""
    if is_draining:
        return DRAINING
    return READY if is_ready else NOT_READY


def changed_namespaces(instances: Iterable[InstanceKey]) -> frozenset[str]:
    """Return the namespaces of instances."""
    return frozenset(one.partition("/")[0] for one in instances)


States = Mapping[InstanceKey, str]
