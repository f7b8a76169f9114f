"""The fast way through YAML in which nothing is wrong: values without places.

It takes half the time of composing with places. Whatever is out of the ordinary is left to
`compose`, which says what and where; a property test holds the two equal.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from yaml import YAMLError
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from katgen.parse.compose import DEPTH_MAX, NODES_MAX, Value
from katgen.parse.scalar import scalar

CHUNK_MAX: Final = NODES_MAX
"""Characters; only a longer chunk can hold too many values, and `compose` counts them."""


class _OddError(Exception):
    """Something that only `compose` can name."""


def values(chunk: str) -> list[Value] | None:
    """Return the documents of a chunk, or None if there is anything to complain about."""
    if len(chunk) > CHUNK_MAX:
        return None
    parser = CParser(chunk)
    items: list[Any] = []
    outer: list[list[Any]] = []
    try:
        for event in iter(parser.get_event, None):
            if type(event) is ScalarEvent:
                items.append(_scalar(event))
            elif (close := _CLOSE.get(type(event))) is not None:
                value, items = close(items), outer.pop()
                items.append(value)
            elif type(event) in _OPEN:
                _check_open(event, len(outer))
                outer.append(items)
                items = []
    except (YAMLError, _OddError):
        return None
    finally:
        parser.dispose()
    return items


def _scalar(event: ScalarEvent) -> Value:
    if event.anchor is not None or event.tag is not None:
        raise _OddError
    return scalar(event.value) if event.implicit[0] else event.value


def _check_open(event: Any, depth: int) -> None:  # noqa: ANN401 -- yaml's events share no type with these fields
    if type(event) is AliasEvent or event.anchor is not None or event.tag is not None:
        raise _OddError
    if depth >= DEPTH_MAX:
        raise _OddError


def _mapping(items: list[Any]) -> dict[str, Value]:
    """Return the mapping of a flat list of keys and values."""
    keys = items[::2]
    if not all(type(key) is str for key in keys):
        raise _OddError
    mapping = dict(zip(keys, _sequence(items[1::2]), strict=True))
    if len(mapping) < len(keys) or "<<" in mapping:
        raise _OddError
    return mapping


def _sequence(items: list[Any]) -> list[Value]:
    if None in items:
        raise _OddError
    return items


_CLOSE: Final[Mapping[type[Event], Callable[[list[Any]], Value]]] = {
    MappingEndEvent: _mapping,
    SequenceEndEvent: _sequence,
}
_OPEN: Final = frozenset({MappingStartEvent, SequenceStartEvent, AliasEvent})
