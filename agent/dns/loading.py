"""Zones and endpoint states from disk into the table. What is damaged leaves what was there."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import Final

from agent.dns.answers import Withdrawn
from agent.dns.stamps import Stamp, read, stamp
from agent.dns.table import Table
from agent.dns.zonefile import ZoneError, namespace_of, reading
from katgen.names import is_label

ZONES: Final = "/var/lib/kat/dns"
STATES: Final = ("/run/kat/endpoints", "/var/lib/kat/endpoints")
"""The agent's own, and what it last saved; the first that is there counts."""
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
        self._gone: set[str] = set()
        self._fault = ""
        self._taking: Final = asyncio.Lock()

    async def take_zones(self, *, drops: bool = False) -> int:
        """Take up every zone that is new or changed; return how many. Others go on between.

        With `drops` also forget those whose file is gone: only who deletes one on purpose says so.
        One look after the other: of two at once, the one that read the older file might end last.
        """
        async with self._taking:
            return await self._take_zones(drops=drops)

    async def _take_zones(self, *, drops: bool) -> int:
        """Take states first: an instance that is not ready is in no answer of a new zone."""
        found = self._found()
        self.take_states(map(self._namespace, found))
        changed = 0
        for name, path in sorted(found.items()):
            changed += await self._take_zone(name, path)
        self._table.knows_zones = self._has_zones(self._zone_stamps)
        if not self._fault:
            changed += self._leave(self._zone_stamps.keys() - found.keys(), drops=drops)
        return changed

    def _found(self) -> dict[str, Path]:
        """Return the files that are there; that there are none any more is a fault, told once."""
        fault, found = "", dict[str, Path]()
        try:
            found = {path.name: path for path in self._zones.iterdir() if path.suffix == ".zone"}
        except OSError as err:
            fault = str(err)
        if not (fault or self._has_zones(found)) and self._has_zones(self._zone_stamps):
            fault = f"{ZONES} is empty"
        if fault and fault != self._fault:
            self._say(f"{fault}, the zones stay as they are")
        self._fault = fault
        return found

    def _leave(self, gone: set[str], *, drops: bool) -> int:
        """Forget files that are gone, or say that their zones stay; return how many zones left."""
        staying = set[str]() if drops else {name for name in gone if self._namespace(name)}
        for name in gone - staying:
            del self._zone_stamps[name]
            self._table.drop(self._namespace(name))
        for name in sorted(staying - self._gone):
            self._say(f"{ZONES}/{name} is gone, serving what it was until told to reload")
        self._gone = staying
        return len(gone) - len(staying)

    async def _take_zone(self, name: str, path: Path) -> bool:
        seen, before = stamp(path) or _UNREAD, self._zone_stamps.get(name)
        if before == seen != _UNREAD:
            return False
        self._zone_stamps[name] = seen
        try:
            steps = reading(f"{ZONES}/{name}", read(path), self._domain)
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
            if is_label(namespace):
                changed += self._take_state(namespace)
        return changed

    def _take_state(self, namespace: str) -> bool:
        seen, before = self._newest(namespace), self._state_stamps.get(namespace)
        if namespace in self._state_stamps and before == seen:
            return False
        self._state_stamps[namespace] = seen
        try:
            withdrawn = _withdrawn(read(seen[0])) if seen else {}
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

    def _has_zones(self, files: Iterable[str]) -> bool:
        return any(map(self._namespace, files))

    def _namespace(self, file: str) -> str:
        return namespace_of(file, self._domain)


def _withdrawn(text: str) -> Withdrawn:
    """Read `{"format":1,"withdrawn":{"<workload>":["10.100.0.10",…]}}`."""
    found = json.loads(text)
    if found["format"] != 1:
        raise ValueError("its format is not known")
    return {
        workload.encode(): frozenset(inet_pton(AF_INET, one) for one in addresses)
        for workload, addresses in found["withdrawn"].items()
    }
