"""A watch of a leader that goes on over lost connections and restarts of the leader.

Nobody is told a thing twice, and of nothing too little: where the leader cannot say what happened
meanwhile (410), everything is listed anew and held against what was there.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec

from katgen.cli.connection import Leader, Request, Wait
from katgen.cli.documents import Document, find, text
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError
from katgen.cli.output import remark

SILENCE_S: Final = 75.0
"""A leader sends a bookmark every 30 s; after two that did not come it is not there."""
PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_BOOKMARK: Final = "BOOKMARK"
_ERROR: Final = "ERROR"
_MET: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT})
"""Refusals that are none the next time."""
Key = tuple[str, ...]
_KEY: Final = (
    "metadata.namespace", "metadata.name", "generation",
    "namespace", "kind", "name", "reason", "node", "message",
)  # fmt: skip
"""What no two objects of a kind have in common. Events have no name of their own."""
_TIDINGS: Final = ("status", "lastHeartbeatTime")
"""What changes all the time, and is no news."""


class Line(msgspec.Struct, rename="camel"):
    """One line of a watch."""

    type: str
    shown: dict[str, object] = msgspec.field(name="object", default_factory=dict)
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """What became of an object: ADDED, MODIFIED or DELETED. `document` is its last state."""

    type: str
    document: Document
    key: Key


class _GoneError(Exception):
    """The leader cannot say what happened meanwhile."""


@dataclass
class Follower:
    """One watch, begun again as often as it must be. `asked` is the list that is watched."""

    leader: Leader
    asked: Request
    _known: dict[Key, Document] = field(default_factory=dict)
    _version: str = ""
    _has_begun: bool = False
    _failures: int = 0
    _is_told: bool = False

    def news(self) -> Iterator[Sequence[News]]:
        """Yield first all that is there, as one; then what happens, for ever.

        Raises LeaderError if it cannot begin, or may not go on.
        """
        while True:
            try:
                yield from self._once()
            except (_GoneError, TimeoutError):
                pass
            except LeaderError as err:
                if not self._can_wait(err):
                    raise
                self._say(err)
            time.sleep(PAUSES_S[min(self._failures, len(PAUSES_S) - 1)])
            self._failures += 1

    def _once(self) -> Iterator[Sequence[News]]:
        """Yield news until the leader ends the watch."""
        first: list[Document] | None = None if self._version else []
        for line in self._lines():
            self._failures, self._is_told = 0, False
            if line.type == _ERROR:
                self._version = ""
                raise _GoneError
            if first is not None and line.type != _BOOKMARK:
                first.append(line.shown)
                continue
            self._version = line.resource_version or self._version
            if first is not None:
                listed, first = first, None
                yield from self._listed(listed)
            elif line.type != _BOOKMARK and (news := self._taken(line)):
                yield [news]

    def _lines(self) -> Iterator[Line]:
        query = {**self.asked.query, "watch": "1"}
        if self._version:
            query["resourceVersion"] = self._version
        request = Request(self.asked.path, query=query)
        try:
            yield from self.leader.lines(request, Line, Wait(silence_s=SILENCE_S))
        except LeaderError as err:
            if err.status != HTTPStatus.GONE or not self._version:
                raise
            self._version = ""
            raise _GoneError from err

    def _listed(self, documents: Sequence[Document]) -> Iterator[Sequence[News]]:
        """Yield what is other than what is known; the first time even if that is nothing."""
        now = {_key(one): one for one in documents}
        news = [
            News("MODIFIED" if key in self._known else "ADDED", one, key)
            for key, one in now.items()
            if key not in self._known or _lasting(one) != _lasting(self._known[key])
        ]
        news += [News("DELETED", one, key) for key, one in self._known.items() if key not in now]
        self._known = now
        if news or not self._has_begun:
            self._has_begun = True
            yield news

    def _taken(self, line: Line) -> News | None:
        """Note a line; None if it says what is known: another leader tells all statuses anew."""
        key = _key(line.shown)
        known = self._known.pop(key, None)
        if line.type != "DELETED":
            self._known[key] = line.shown
            if known is not None and _lasting(known) == _lasting(line.shown):
                return None
        return News(line.type, line.shown, key)

    def _can_wait(self, err: LeaderError) -> bool:
        """Whether it may be better soon. What never worked is not waited for."""
        return self._has_begun and (err.exit is Exit.UNREACHABLE or err.status in _MET)

    def _say(self, err: LeaderError) -> None:
        if not self._is_told:
            self._is_told = True
            remark(f"{err.problems[0].what}; asking again")


def _key(document: Document) -> Key:
    return tuple(text(document, path) for path in _KEY)


def _lasting(document: Document) -> Document:
    group, name = _TIDINGS
    status = find(document, group)
    if not isinstance(status, dict):
        return document
    return {**document, group: {key: value for key, value in status.items() if key != name}}
