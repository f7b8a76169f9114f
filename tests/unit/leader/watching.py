"""A client that watches: what it was told, and what that makes of the objects."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse

from tests.unit.leader.api import Api

DEADLINE_S = 10.0
Line = dict[str, Any]


@dataclass
class Watcher:
    """`version` is where it would resume; `seen` are the objects by namespace and name."""

    answer: ClientResponse
    lines: list[Line] = field(default_factory=list)
    seen: dict[str, Line] = field(default_factory=dict)
    version: str = ""

    async def next(self) -> Line | None:
        """Return the next line; None at the end."""
        async with asyncio.timeout(DEADLINE_S):
            text = await self.answer.content.readline()
        if not text:
            return None
        line: Line = json.loads(text)
        self.lines.append(line)
        self.version = line.get("resourceVersion", self.version)
        name = name_of(line)
        if line["type"] in {"ADDED", "MODIFIED"}:
            self.seen[name] = line["object"]
        elif line["type"] == "DELETED":
            self.seen.pop(name, None)
        return line

    async def until(self, is_last: Callable[[Line], bool]) -> list[Line]:
        """Return the lines up to one."""
        found = []
        while line := await self.next():
            found.append(line)
            if is_last(line):
                return found
        raise AssertionError(f"the watch ended with {self.lines[-3:]}")

    async def told(self, count: int) -> list[str]:
        """Return the next lines as `ADDED web`, bookmarks left out."""
        found: list[str] = []
        while len(found) < count:
            line = await self.next()
            assert line is not None, self.lines[-3:]
            if line["type"] != "BOOKMARK":
                found.append(f"{line['type']} {line['object']['metadata']['name']}")
        return found


def name_of(line: Line) -> str:
    metadata = line["object"].get("metadata", {})
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def is_bookmark(line: Line) -> bool:
    return bool(line["type"] == "BOOKMARK")


@asynccontextmanager
async def watching(kat: Api, path: str, **query: str) -> AsyncIterator[Watcher]:
    """Watch for as long as it is needed."""
    asked = {"watch": "1", **query}
    answer = await kat.ask("GET", path, params=asked)
    try:
        assert answer.status == 200, await answer.text()
        yield Watcher(answer)
    finally:
        answer.close()
