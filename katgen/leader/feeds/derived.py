"""What the leader only has in memory (instances, nodes as they are, plans, events), as news.

Nothing is noted while nobody asks: what is there is compared with what was there the last time.
Versions are of this process: after a restart of the leader they are gone.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from katgen.leader.feeds.ring import GoneError, News, Ring, Row, Wire

NEWS_MAX: Final = 12_288
BYTES_MAX: Final = 16 << 20
_VERSION: Final = re.compile(r"([0-9a-f]{8})-(\d{1,12})", re.ASCII)
_STORED: Final = re.compile(r"\d{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Thing:
    """Something to show. Those with equal `value` are no news; `order` sorts lists."""

    namespace: str
    order: tuple[Any, ...]
    value: object
    show: Callable[[], Wire]


Look = Callable[[], Awaitable[Mapping[str, Thing]]]


class DerivedFeed:
    """`look` returns what is there now, by key.

    `is_volatile`: what is shown may be other things than `value` says, which is no news.
    """

    def __init__(self, kind: str, look: Look, *, is_volatile: bool = False) -> None:
        self._kind, self._look, self._is_volatile = kind, look, is_volatile
        self.ring = Ring(NEWS_MAX, BYTES_MAX)
        self._rows: dict[str, Row] = {}
        self._things: Mapping[str, Thing] | None = None
        self._looking = asyncio.Lock()
        self._start, self._count = secrets.token_hex(4), 0

    async def refresh(self, _: str = "") -> None:
        """Take in what is there now."""
        async with self._looking:
            now = await self._look()
            before = self._things
            if now is before:
                return
            self._things = now
            if before is None:
                self._rows = {key: _row(key, thing) for key, thing in now.items()}
            else:
                self._compare(before, now)

    def _compare(self, before: Mapping[str, Thing], now: Mapping[str, Thing]) -> None:
        news = []
        for key, thing in now.items():
            old = before.get(key)
            if old is None or (old.value is not thing.value and old.value != thing.value):
                row = _row(key, thing)
                news.append(self._news(self._rows.get(key), row))
                self._rows[key] = row
            elif self._is_volatile:
                self._rows[key] = _row(key, thing)
        gone = sorted(before.keys() - now.keys())
        news += [self._news(self._rows.pop(key), None) for key in gone]
        if news:
            self.ring.add(news)

    def _news(self, before: Row | None, after: Row | None) -> News:
        self._count += 1
        return News(self._kind, (self._count, 0), self._written(self._count), before, after)

    def _written(self, count: int) -> str:
        return f"{self._start}-{count}"

    def version(self, _: str) -> str:
        """Return where a watch begins that has seen all of this."""
        return self._written(self._count)

    def rows(self, _: str, namespace: str = "") -> list[Row]:
        """Return what was there at the last look, in its order."""
        every = self._rows.values()
        mine = [row for row in every if row.namespace == namespace] if namespace else every
        return sorted(mine, key=lambda row: row.order)

    def page(self, kind: str, namespace: str, after: str, limit: int) -> tuple[list[Row], int]:
        """Return some of the rows after a key, and how many more there are. Raises ValueError."""
        rows = self.rows(kind, namespace)
        first = [row.key for row in rows].index(after) + 1 if after else 0
        shown = rows[first : first + limit]
        return shown, len(rows) - first - len(shown)

    async def number(self, version: str) -> int:
        """Return the number of the first news after a version. Raises GoneError, ValueError."""
        match = _VERSION.fullmatch(version)
        if match is None and not _STORED.fullmatch(version):
            raise ValueError(version)
        if match is None or match[1] != self._start:
            raise GoneError("this version is not of this leader")
        if int(match[2]) > self._count:
            raise GoneError("this version is not known here")
        return self.ring.after((int(match[2]), 0))


def _row(key: str, thing: Thing) -> Row:
    return Row(key, thing.namespace, thing.show(), thing.order)
