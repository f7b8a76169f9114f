"""News of endpoints on their way to nodes: batched, one batch at a time, and acknowledged.

A node that is slow gets the last state of each instance, not all that came between: what waits for
it is bounded by the number of instances.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from katgen.names import InstanceKey, NodeName
from katgen.protocol import EndpointNews, EndpointRecord

RECORDS_MAX: Final = 5000
"""Of one message."""
ANSWER_S: Final = 5.0
"""How long news wait for the answer to those before, and a stop for everybody to know of it."""


@dataclass(eq=False, slots=True)
class Subscriber:
    """One connected node: what it is to hear, and what it has not answered yet."""

    is_full: bool = False
    pending: dict[InstanceKey, EndpointRecord] = field(default_factory=dict)
    _number: int = 0
    _sent: dict[int, tuple[EndpointRecord, ...]] = field(default_factory=dict)
    _sent_at: float = float("-inf")

    def news(self, now: float) -> EndpointNews | None:
        """Return what to send now, if anything."""
        if not (self.pending or self.is_full) or self.wait_s(now) > 0:
            return None
        names = list(self.pending)[:RECORDS_MAX]
        records = tuple(self.pending.pop(one) for one in names)
        full, self.is_full = self.is_full and not self.pending, False
        self._number += 1
        self._sent[self._number], self._sent_at = records, now
        return EndpointNews(self._number, records, full)

    def wait_s(self, now: float) -> float:
        """Return how long news have to wait, if the answer does not come before."""
        if not self._sent:
            return 0.0
        return max(0.0, self._sent_at + ANSWER_S - now)

    def forget_sent(self, now: float) -> None:
        """Count on no answer any more that has not come in time."""
        if self._sent and not self.wait_s(now):
            self._sent.clear()

    def taken(self, number: int) -> tuple[EndpointRecord, ...]:
        """Return what a node has taken with this answer: all news up to this number."""
        numbers = [one for one in self._sent if one <= number]
        return tuple(record for one in numbers for record in self._sent.pop(one))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A draining record, by its owner, and who has not taken it yet."""

    owner: NodeName
    record: EndpointRecord
    waiting: set[NodeName]
    until: float


@dataclass(eq=False, slots=True)
class Draining:
    """Who waits for everybody to know of a draining instance; `known` is called once they do."""

    known: Callable[[NodeName, EndpointRecord], None]
    _asked: dict[InstanceKey, _Asked] = field(default_factory=dict)

    def ask(
        self, owner: NodeName, record: EndpointRecord, nodes: Iterable[NodeName], now: float
    ) -> None:
        """Wait for these nodes; no longer than `ANSWER_S`, as the owner does."""
        asked = _Asked(owner, record, set(nodes), now + ANSWER_S)
        self._asked[record.instance] = asked
        self._tell_if_known(asked)

    def taken(self, node: NodeName, records: Iterable[EndpointRecord]) -> None:
        """Take in that a node follows these records."""
        for one in records:
            asked = self._asked.get(one.instance)
            if asked is not None and asked.record == one:
                asked.waiting.discard(node)
                self._tell_if_known(asked)

    def left(self, node: NodeName) -> None:
        """Wait for a node no more: it is not connected."""
        for asked in [*self._asked.values()]:
            asked.waiting.discard(node)
            self._tell_if_known(asked)

    def forget(self, now: float) -> None:
        """Forget those that were not answered in time; their owners do not wait any more either."""
        self._asked = {key: one for key, one in self._asked.items() if one.until > now}

    def _tell_if_known(self, asked: _Asked) -> None:
        if not asked.waiting and self._asked.pop(asked.record.instance, None) is not None:
            self.known(asked.owner, asked.record)
