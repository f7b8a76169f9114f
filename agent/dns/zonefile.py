"""Zones as `katgen.render.zone` writes them: RFC 1035 §5, of which only fully qualified records.

`name TTL IN TYPE data`, one a line; the first is the SOA. Anything else is refused with its place.
"""

import re
from collections.abc import Generator, Iterable, Iterator
from socket import AF_INET, inet_pton
from typing import Final, NamedTuple

from agent.dns.wire import NS, SOA, SRV, A, WireError, name_from_text
from katgen.errors import KatError
from katgen.names import is_label

STEP: Final = 256
"""Lines to read before others have their turn."""
_LINE: Final = re.compile(r"(\S+) (\d{1,10}) IN ([A-Z]+) (\S.*?) *")
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+")
_TTL_MAX: Final = 2**31 - 1
_NUMBERS: Final = {SRV: (3, 2**16 - 1), SOA: (5, 2**32 - 1)}
_KINDS: Final = {"A": A, "NS": NS, "SOA": SOA, "SRV": SRV}


class ZoneError(KatError):
    """A zone file that cannot be served: `file:line: what`."""


class Rrset(NamedTuple):
    """The records of one name and type; `data` as on the wire, names in it uncompressed."""

    name: bytes
    type: int
    ttl: int
    data: tuple[bytes, ...]


class Zone(NamedTuple):
    """A zone: its `origin` as on the wire, its SOA, and its records by workload.

    The label that precedes the origin in a name is the workload's (or the node's); the origin's own
    records are under b"".
    """

    namespace: str
    origin: bytes
    soa: Rrset
    workloads: dict[bytes, tuple[Rrset, ...]]


def read_zone(path: str, text: str, domain: str) -> Zone:
    """Read a zone file. Raises ZoneError."""
    steps = reading(path, text, domain)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            zone: Zone = end.value
            return zone


def reading(path: str, text: str, domain: str) -> Generator[None, None, Zone]:
    """Read a zone file in steps, so that answers go on meanwhile. Raises ZoneError.

    The file's name is the zone's; it is one label below the cluster's `domain` (no final dot).
    """
    namespace = namespace_of(path.rpartition("/")[2], domain)
    if not namespace:
        raise ZoneError(f"{path!r}: its name is no namespace's of {domain}")
    if not text.isascii():
        raise ZoneError(f"{path}: it is not ASCII")
    if text and not text.endswith("\n"):
        raise ZoneError(f"{path}: its last line is cut")
    return (yield from _Reader(path, f"{namespace}.{domain}", namespace).read(text.split("\n")))


def namespace_of(file: str, domain: str) -> str:
    """Return whose zone is in a file of this name, "" if nobody's."""
    end = f".{domain}.zone"
    label = file.removesuffix(end)
    return label if file.endswith(end) and is_label(label) else ""


class _Reader:
    """A file while it is read."""

    def __init__(self, path: str, origin: str, namespace: str) -> None:
        self._path = path
        self._namespace = namespace
        self._suffix = f".{origin}."
        try:
            self._origin = name_from_text(f"{origin}.")
        except WireError as err:
            raise ZoneError(f"{path}: {err}") from err
        self._names: dict[str, bytes] = {}
        self._sets: dict[tuple[bytes, int], tuple[int, dict[bytes, None]]] = {}

    def read(self, lines: Iterable[str]) -> Generator[None, None, Zone]:
        for number, line in enumerate(lines, 1):
            if not line or line.startswith(";"):
                continue
            try:
                self._take(line)
            except (WireError, ValueError) as err:
                raise ZoneError(f"{self._path}:{number}: {err}") from err
            if number % STEP == 0:
                yield
        return self._finished()

    def _take(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError("no record of the form `name TTL IN TYPE data`")
        owner, ttl, kind = self._owner(found[1]), int(found[2]), _KINDS.get(found[3], 0)
        if not kind:
            raise ValueError(f"records of type {found[3][:20]} are not served")
        if ttl > _TTL_MAX:
            raise ValueError(f"{ttl} is no TTL")
        if (kind == SOA) is bool(self._sets):
            raise ValueError("the first record, and no other, is the SOA")
        if kind in (SOA, NS) and owner != self._origin:
            raise ValueError("SOA and NS are the zone's own")
        known = self._sets.setdefault((owner, kind), (ttl, {}))
        if known[0] != ttl:
            raise ValueError("records of one name and type have one TTL, RFC 2181 §5.2")
        data = self._data(kind, found[4])
        if data in known[1]:
            raise ValueError("the record is there twice")
        known[1][data] = None

    def _owner(self, text: str) -> bytes:
        if not f".{text}".endswith(self._suffix):
            raise ValueError(f"{text[:80]} is no name in {self._suffix[1:]}")
        return self._name(text)

    def _name(self, text: str) -> bytes:
        wire = self._names.get(text)
        if wire is None:
            if _NAME.fullmatch(text) is None:
                raise ValueError(f"{text[:80]!r} is no fully qualified name")
            wire = self._names[text] = name_from_text(text)
        return wire

    def _data(self, kind: int, text: str) -> bytes:
        if kind == A:
            return _address(text)
        if kind == NS:
            return self._name(text)
        fields = text.split(" ")
        count, largest = _NUMBERS[kind]
        names = fields[:-count] if kind == SOA else fields[count:]
        numbers = fields[-count:] if kind == SOA else fields[:count]
        if len(names) != (2 if kind == SOA else 1) or not all(map(str.isdecimal, numbers)):
            raise ValueError(f"{text[:80]!r} has not the fields that it should")
        size = 4 if kind == SOA else 2
        if any(int(one) > largest for one in numbers):
            raise ValueError(f"{text[:80]!r}: a number is too large")
        written = b"".join(int(one).to_bytes(size) for one in numbers)
        wires = b"".join(map(self._name, names))
        return wires + written if kind == SOA else written + wires

    def _finished(self) -> Zone:
        if not self._sets:
            raise ZoneError(f"{self._path}: the zone is empty: it has no SOA")
        workloads: dict[bytes, list[Rrset]] = {}
        for one in self._rrsets():
            workloads.setdefault(workload_of(one.name, self._origin), []).append(one)
        (soa,) = (one for one in workloads[b""] if one.type == SOA)
        sets = {label: tuple(found) for label, found in workloads.items()}
        return Zone(self._namespace, self._origin, soa, sets)

    def _rrsets(self) -> Iterator[Rrset]:
        for (name, kind), (ttl, data) in self._sets.items():
            yield Rrset(name, kind, ttl, tuple(data))


def _address(text: str) -> bytes:
    try:
        return inet_pton(AF_INET, text)
    except OSError:
        raise ValueError(f"{text[:40]!r} is no IPv4 address") from None


def workload_of(name: bytes, origin: bytes) -> bytes:
    """Return the label of a name that precedes the origin, b"" of the origin itself."""
    label = b""
    while len(name) > len(origin):
        label = name[1 : name[0] + 1]
        name = name[name[0] + 1 :]
    return label
