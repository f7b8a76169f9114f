"""Whether a zone file is one that KAT's name server reads: RFC 1035 §5, fully qualified."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

_LINE: Final = re.compile(r"(?P<name>\S+) (?P<ttl>\d+) IN (?P<type>[A-Z]+) (?P<data>\S.*)")
_NAME: Final = re.compile(r"(?:[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+")
_FIELDS: Final = {
    "A": ("address",),
    "AAAA": ("address",),
    "NS": ("name",),
    "CNAME": ("name",),
    "PTR": ("name",),
    "SRV": ("number", "number", "number", "name"),
    "SOA": ("name", "name", "number", "number", "number", "number", "number"),
}
_NUMBER_MAX: Final = 2**32 - 1
_NAME_MAX: Final = 254


def faults(text: str, origin: str) -> Iterator[str]:
    """Yield what is wrong, with the line's number. `origin` is the zone's name, no final dot."""
    first = True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(";"):
            continue
        problem = _fault_of(line, origin, first=first)
        if problem:
            yield f"line {number}: {problem}"
        first = False
    if first:
        yield "the zone is empty: it has no SOA"


def _fault_of(line: str, origin: str, *, first: bool) -> str:
    found = _LINE.fullmatch(line.rstrip())
    if found is None:
        return "no record of the form `name TTL IN TYPE data`"
    name, kind = found["name"], found["type"]
    if not _is_name(name) or not f".{name}".endswith(f".{origin}."):
        return f"{name} is no name in {origin}"
    if first is not (kind == "SOA"):
        return "the first record, and no other, is the SOA"
    if kind not in _FIELDS:
        return f"records of type {kind} are not served"
    data = found["data"].split()
    wanted = _FIELDS[kind]
    if len(data) != len(wanted) or not all(map(_is, wanted, data)):
        return f"{found['data']} is no data of {kind}"
    return ""


def _is_name(text: str) -> bool:
    return len(text) <= _NAME_MAX and _NAME.fullmatch(text) is not None


def _is(what: str, text: str) -> bool:
    if what == "name":
        return _is_name(text)
    if what == "number":
        return text.isdecimal() and int(text) <= _NUMBER_MAX
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
