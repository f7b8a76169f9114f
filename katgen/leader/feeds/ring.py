"""News in the order in which they happened, the latest of them in memory, for all who watch.

A watcher is a number: the news that it gets next. Nothing is queued for anybody; who is slower than
the ring is long has to list again. Every object is encoded once, however many want to see it.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from katgen.errors import KatError

NEWS_MAX: Final = 16_384
BYTES_MAX: Final = 48 << 20
PAUSE_S: Final = 0.02
"""Between two calls of everybody: what happens meanwhile goes out together."""
_SPARE: Final = 8
"""The oldest eighth goes at once: moving a list for each would cost more."""

Mark = tuple[int, int]
"""A place in the order: a revision, and a place within it."""
Topic = tuple[str, str]
"""A kind, and a namespace or '' for all."""
Wire = dict[str, Any]


class GoneError(KatError):
    """The news after a mark are not remembered: list again."""


@dataclass(eq=False, slots=True)
class Row:
    """An object as it is shown. `is_partial`: only its name is known. `order` sorts lists."""

    key: str
    namespace: str
    _document: Wire | None
    order: tuple[Any, ...] = ()
    is_partial: bool = False
    _encoded: bytes = b""

    @property
    def document(self) -> Wire:
        """Return it as values, which nobody may change."""
        if self._document is None:
            return msgspec.json.decode(self._encoded, type=Wire)
        return self._document

    @property
    def encoded(self) -> bytes:
        """Return it as JSON."""
        if not self._encoded:
            self._encoded = msgspec.json.encode(self._document)
        return self._encoded

    def fold(self) -> None:
        """Keep only the JSON, a third of the size: it is the past, and seldom looked at."""
        self._encoded, self._document = self.encoded, None


@dataclass(eq=False, slots=True)
class News:
    """What became of one object. `version` is what a watcher resumes from who has seen it.

    `before` is None if it was not there, `after` if it is gone.
    """

    kind: str
    mark: Mark
    version: str
    before: Row | None
    after: Row | None
    gone_at: str = ""
    """The resourceVersion of the object that a DELETED shows; '' leaves it as it was."""
    _lines: dict[str, bytes] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        """Return what names it."""
        found = self.after or self.before
        if found is None:
            raise ValueError("news of nothing")
        return found

    def line(self, what: str) -> bytes:
        """Return the line of a watch that says ADDED, MODIFIED or DELETED."""
        found = self._lines.get(what)
        if found is None:
            shown = self._last() if what == "DELETED" else self.row.encoded
            found = self._lines[what] = line(what, shown, self.version)
        return found

    def _last(self) -> bytes:
        """Return the object as it was last seen."""
        row = self.before if self.before is not None and not self.before.is_partial else self.row
        if not self.gone_at:
            return row.encoded
        metadata = {**row.document["metadata"], "resourceVersion": self.gone_at}
        return msgspec.json.encode({**row.document, "metadata": metadata})


def line(what: str, shown: bytes, version: str = "") -> bytes:
    """Return one line of a watch; `version` is where to resume from, once one can."""
    place = b',"resourceVersion":' + msgspec.json.encode(version) if version else b""
    return b'{"type":"%b","object":%b%b}\n' % (what.encode(), shown, place)


class Ring:
    """News by their number, which only grows. Belongs to one event loop.

    `floor`: everything after this mark is here. `life` is another one once the ring was emptied.
    """

    def __init__(self, news_max: int = NEWS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._news: list[News] = []
        self._news_max, self._bytes_max = news_max, bytes_max
        self._size = 0
        self.first = 0
        self.floor: Mark = (0, 0)
        self.life = 0
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {}
        self._due: set[Topic] = set()
        self._quiet: tuple[int, int] = (0, 0)
        self._called = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def end(self) -> int:
        """The number of the news that comes next."""
        return self.first + len(self._news)

    @property
    def last(self) -> News | None:
        """The latest news that is here."""
        return self._news[-1] if self._news else None

    def restart(self, floor: Mark) -> None:
        """Forget everything; whoever watches has to list again."""
        self.first = self.end
        self._news.clear()
        self._size, self.floor = 0, floor
        self.life += 1
        self._call(self._waiting)

    def add(self, news: Iterable[News]) -> None:
        """Append, and tell soon whom it concerns; now and then everybody, lest they fall behind."""
        due: set[Topic] = set()
        for one in news:
            self._news.append(one)
            self._size += _size(one)
            if one.before is not None:
                one.before.fold()
            self._quiet = (self._quiet[0] + 1, self._quiet[1] + _size(one))
            due |= {(one.kind, ""), (one.kind, one.row.namespace)}
        if len(self._news) > self._news_max or self._size > self._bytes_max:
            self._forget()
        if self._quiet[0] > self._news_max // 16 or self._quiet[1] > self._bytes_max // 16:
            self._quiet = (0, 0)
            due |= self._waiting.keys()
        self._call(due)

    def prepend(self, news: Sequence[News], floor: Mark) -> None:
        """Put in what happened before the first, as much as there is room for."""
        room, size = self._news_max - len(self._news), self._bytes_max - self._size
        kept = len(news)
        while kept and room > 0 and size >= _size(news[kept - 1]):
            kept, room, size = kept - 1, room - 1, size - _size(news[kept - 1])
        self._news[:0] = news[kept:]
        self._size = self._bytes_max - size
        self.first -= len(news) - kept
        self.floor = news[kept - 1].mark if kept else floor

    def _forget(self) -> None:
        count = size = 0
        goal = self._news_max - self._news_max // _SPARE
        limit = self._bytes_max - self._bytes_max // _SPARE
        while len(self._news) - count > 1 and (
            len(self._news) - count > goal or self._size - size > limit
        ):
            size += _size(self._news[count])
            count += 1
        self.floor = self._news[count - 1].mark if count else self.floor
        del self._news[:count]
        self.first += count
        self._size -= size

    def after(self, mark: Mark) -> int:
        """Return the number of the first news after a mark. Raises GoneError."""
        if mark < self.floor:
            raise GoneError("what happened since is not remembered any more")
        return self.first + bisect_right(self._news, mark, key=lambda one: one.mark)

    def since(self, number: int, most: int) -> Sequence[News]:
        """Return some news from a number on. Raises GoneError."""
        start = number - self.first
        if start < 0:
            raise GoneError("this watch was slower than what happened")
        return self._news[start : start + most]

    # -- waiting

    def _call(self, topics: Iterable[Topic]) -> None:
        """Wake who waits for these: at once, or after the pause that began with the last time."""
        self._due.update(topics)
        if self._timer is None and self._due:
            loop = asyncio.get_running_loop()
            delay = self._called + PAUSE_S - loop.time()
            self._timer = loop.call_later(max(0.0, delay), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._called = asyncio.get_running_loop().time()
        due, self._due = self._due, set()
        for topic in due:
            for one in self._waiting.pop(topic, ()):
                if not one.done():
                    one.set_result(None)

    def waiting(self, kind: str, namespace: str) -> "asyncio.Future[None]":
        """Return what is done with the next news of a topic; who waits no more cancels it."""
        future = asyncio.get_running_loop().create_future()
        topic = (kind, namespace)
        self._waiting.setdefault(topic, set()).add(future)
        future.add_done_callback(lambda one: self._left(topic, one))
        return future

    def _left(self, topic: Topic, future: "asyncio.Future[None]") -> None:
        others = self._waiting.get(topic)
        if others is not None:
            others.discard(future)
            if not others:
                del self._waiting[topic]


def _size(news: News) -> int:
    return len(news.after.encoded) if news.after else 64
