"""What the leader is told of this node's instances, and what it says of draining ones.

Apart from all effects on this node: a leader that takes nothing any more holds none of them up.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from agent.endpoints.records import Records
from agent.ports import LeaderError, Session
from katgen.names import InstanceKey
from katgen.protocol import EndpointKnown, EndpointRecords, EndpointsTaken, Note

NOTES_MAX: Final = 100
"""How many notes wait for a leader; of more, the newest."""


@dataclass(slots=True)
class EndpointSession:
    """Messages about endpoints; all own records go first in every session."""

    records: Records
    _session: Session | None = None
    _is_full: bool = False
    _unsent: set[InstanceKey] = field(default_factory=set)
    _notes: deque[Note] = field(default_factory=lambda: deque(maxlen=NOTES_MAX))
    _taken: int = 0
    _awaited: set[InstanceKey] = field(default_factory=set)
    _known: dict[InstanceKey, tuple[str, int]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def connected(self, session: Session) -> None:
        """Say everything: the node has introduced itself."""
        self._session, self._is_full, self._taken = session, True, 0
        self._unsent.clear()
        self._news.set()

    @property
    def is_open(self) -> bool:
        """Whether there is a leader to tell."""
        return self._session is not None

    @property
    def answers(self) -> int:
        """Return how many answers of the leader are kept for who waits for them."""
        return len(self._known)

    def gone(self) -> None:
        """Stop telling: the session has ended, and nobody waits for an answer."""
        self._session = None
        self._known.clear()
        self._heard.set()

    def tell(self, instances: Collection[InstanceKey]) -> None:
        """Have the leader hear of these own instances."""
        if self._session is not None and instances:
            self._unsent.update(instances)
            self._news.set()

    def note(self, instance: InstanceKey, reason: str, text: str) -> None:
        """Have people hear what became of an own instance's health; with no leader, later."""
        self._notes.append(Note(instance, reason, text))
        self._news.set()

    def taken(self, number: int) -> None:
        """Have the leader hear that its news, up to this one, hold here."""
        if self._session is not None:
            self._taken = max(self._taken, number)
            self._news.set()

    async def run(self) -> None:
        """Send what there is to say, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            with suppress(LeaderError):  # the session's own reader sees it too
                await self._send()

    async def _send(self) -> None:
        session, is_full, taken = self._session, self._is_full, self._taken
        if session is None:
            return
        names = self.records.own if is_full else sorted(self._unsent & self.records.own.keys())
        told, notes = tuple(self.records.own[one] for one in names), tuple(self._notes)
        self._unsent.clear()
        self._is_full, self._taken = False, 0
        if told or notes or is_full:
            await session.send(EndpointRecords(told, full=is_full, notes=notes))
            self._forget(notes)
        if taken:
            await session.send(EndpointsTaken(taken))

    def _forget(self, notes: Collection[Note]) -> None:
        """Forget what has been told; newer ones may have pushed some of it out meanwhile."""
        told = {id(one) for one in notes}
        while self._notes and id(self._notes[0]) in told:
            self._notes.popleft()

    # --- draining ---------------------------------------------------------------------------------

    def known(self, said: EndpointKnown) -> None:
        """Take in that everybody who is connected knows of a draining instance; late is never."""
        if said.instance in self._awaited:
            self._known[said.instance] = (said.boot, said.sequence)
            self._heard.set()

    def expect(self, instances: Collection[InstanceKey]) -> None:
        """Take in from now on what is said of these; `until_known` follows, and ends it."""
        self._awaited.update(instances)

    async def until_known(self, instances: Collection[InstanceKey]) -> None:
        """Wait until everybody knows that these drain; at once if there is no leader to ask."""
        try:
            while self._session is not None and not all(map(self._is_known, instances)):
                self._heard.clear()
                await self._heard.wait()
        finally:
            self._awaited.difference_update(instances)
            for one in instances:
                self._known.pop(one, None)

    def _is_known(self, instance: InstanceKey) -> bool:
        record = self.records.own.get(instance)
        return record is None or self._known.get(instance) == (record.boot, record.sequence)
