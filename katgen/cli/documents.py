"""Reading the leader's documents, whatever a newer or older leader leaves out or adds."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

Document = Mapping[str, object]


class Listing(msgspec.Struct):
    """Several documents of one kind."""

    items: tuple[dict[str, object], ...] = ()
    metadata: dict[str, object] = {}


def find(document: object, path: str) -> object:
    """Return what stands at a path such as `metadata.name`; None if there is nothing."""
    for part in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(part)
    return document


def text(document: object, path: str) -> str:
    """Return a value as text; '' if there is none."""
    found = find(document, path)
    if isinstance(found, float) and found.is_integer():
        return str(int(found))
    return "" if found is None or isinstance(found, (Mapping, list)) else str(found)


def number(document: object, path: str) -> float:
    """Return a number; 0 if there is none."""
    found = find(document, path)
    return float(found) if isinstance(found, (int, float)) else 0


def mapping(document: object, path: str) -> Document:
    """Return a mapping; an empty one if there is none."""
    found = find(document, path)
    return found if isinstance(found, Mapping) else {}


def members(document: object, path: str) -> Sequence[object]:
    """Return a list; an empty one if there is none."""
    found = find(document, path)
    return found if isinstance(found, list) else []


def name(document: object) -> str:
    """Return a document's own name."""
    return text(document, "metadata.name")


def namespace(document: object) -> str:
    """Return its namespace; '' for what has none."""
    return text(document, "metadata.namespace")


def moment(document: object, path: str) -> float:
    """Return a time, RFC 3339 or Unix seconds, as Unix seconds; 0 if there is none."""
    found = find(document, path)
    if isinstance(found, str):
        return unix(found)
    return number(document, path)


def unix(time: str) -> float:
    """Return an RFC 3339 time as Unix seconds; 0 if it is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0


_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
_FROM = {"d": 2 * 86400, "h": 2 * 3600, "m": 2 * 60}
_BOTH_UP_TO = 10


def age(seconds: float) -> str:
    """Return a duration in at most two units: `45s`, `3m12s`, `5h`, `12d`."""
    whole = max(0, int(seconds))
    for size, unit, part_size, part_unit in _UNITS:
        if whole >= _FROM[unit]:
            count, part = whole // size, whole % size // part_size
            return (
                f"{count}{unit}{part}{part_unit}"
                if part and count < _BOTH_UP_TO
                else f"{count}{unit}"
            )
    return f"{whole}s"


def since(time: float, now: float) -> str:
    """Return how long ago a time is; '' if it is not known."""
    return age(now - time) if time else ""


def joined(parts: Iterable[str]) -> str:
    """Return what is not empty, with commas."""
    return ", ".join(filter(None, parts))
