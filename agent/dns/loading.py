"""Zones and endpoint states from disk into the table. What is damaged leaves what was there."""

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import Final

from agent.dns.answers import Withdrawn
from agent.dns.stamps import Stamp, stamp
from agent.dns.table import Table
from agent.dns.zonefile import ZoneError, reading

ZONES: Final = "/var/lib/kat/dns"
STATES: Final = ("/run/kat/endpoints", "/var/lib/kat/endpoints")
"""The agent's own, and what it last saved; the first that is there counts."""
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SIZE_MAX: Final = 256 * 1024 * 1024
_UNREAD: Final = Stamp(-1, -1, -1)
"""Of a file that could not be read, whatever it holds: each look tries it again."""

Say = Callable[[str], None]


class Loading:
    """Knows which files the table is made of; `say` is told what is wrong with a file, once."""

    def __init__(self, root: Path, domain: str, table: Table, say: Say) -> None:
        self._zones: Final = root / ZONES.lstrip("/")
        self._states: Final = tuple(root / folder.lstrip("/") for folder in STATES)
        self._domain: Final = domain
        self._table: Final = table
        self._say: Final = say
        self._zone_stamps: dict[str, Stamp] = {}
        self._state_stamps: dict[str, tuple[Path, Stamp] | None] = {}
        self._taking: Final = asyncio.Lock()

    async def take_zones(self) -> int:
        """Take up every zone that is new, changed or gone; return how many. Others go on between.

        One look after the other: of two at once, the one that read the older file might end last.
        """
        async with self._taking:
            return await self._take_zones()

    async def _take_zones(self) -> int:
        """Take states first: an instance that is not ready is in no answer of a new zone."""
        try:
            found = {path.name: path for path in self._zones.iterdir() if path.suffix == ".zone"}
        except FileNotFoundError:
            found = {}
        except OSError as err:
            self._say(f"{err}, the zones stay as they are")
            return 0
        self.take_states(map(self._namespace, found))
        changed = 0
        for name, path in sorted(found.items()):
            changed += await self._take_zone(name, path)
        for name in self._zone_stamps.keys() - found.keys():
            del self._zone_stamps[name]
            self._table.drop(self._namespace(name))
            changed += 1
        return changed

    async def _take_zone(self, name: str, path: Path) -> bool:
        seen, before = stamp(path), self._zone_stamps.get(name)
        if seen is None or before == seen:
            return False
        self._zone_stamps[name] = seen
        try:
            steps = reading(f"{ZONES}/{name}", _text(path, seen), self._domain)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    zone = end.value
                    break
                await asyncio.sleep(0)
        except (ZoneError, OSError, ValueError) as err:
            self._table.doubt(self._namespace(name))
            if isinstance(err, OSError):
                self._zone_stamps[name] = _UNREAD
            if self._zone_stamps[name] != before:
                self._say(f"{err}, serving what it was before")
            return False
        for _ in self._table.taking(zone):
            await asyncio.sleep(0)
        return True

    def take_states(self, namespaces: Iterable[str] = ()) -> int:
        """Take up changed endpoint states of these and of known namespaces; return of how many."""
        changed = 0
        for namespace in {*namespaces, *self._state_stamps}:
            if _NAMESPACE.fullmatch(namespace):
                changed += self._take_state(namespace)
        return changed

    def _take_state(self, namespace: str) -> bool:
        seen, before = self._newest(namespace), self._state_stamps.get(namespace)
        if namespace in self._state_stamps and before == seen:
            return False
        self._state_stamps[namespace] = seen
        try:
            withdrawn = _withdrawn(_text(*seen)) if seen else {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
            where = seen[0] if seen else namespace
            if isinstance(err, OSError) and seen:
                self._state_stamps[namespace] = (seen[0], _UNREAD)
            if self._state_stamps[namespace] != before:
                self._say(f"{where}: {err!r}, its names stay as they are")
            return False
        return self._table.withdraw(namespace, withdrawn) > 0

    def _newest(self, namespace: str) -> tuple[Path, Stamp] | None:
        for folder in self._states:
            path = folder / f"{namespace}.json"
            if (seen := stamp(path)) is not None:
                return path, seen
        return None

    def _namespace(self, file: str) -> str:
        return file.removesuffix(f".{self._domain}.zone")


def _text(path: Path, seen: Stamp) -> str:
    if seen.size > _SIZE_MAX:
        raise ValueError(f"{path} has {seen.size} bytes")
    return path.read_text(encoding="utf-8")


def _withdrawn(text: str) -> Withdrawn:
    """Read `{"format":1,"withdrawn":{"<workload>":["10.100.0.10",…]}}`."""
    found = json.loads(text)
    if found["format"] != 1:
        raise ValueError("its format is not known")
    return {
        workload.encode(): frozenset(inet_pton(AF_INET, one) for one in addresses)
        for workload, addresses in found["withdrawn"].items()
    }
