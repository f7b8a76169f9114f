"""libyaml's events → values, each with its place.

Composed here without recursion: libyaml's own composer recurses in C, and a file of `[[[[…` would
end the process.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from yaml import YAMLError
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from katgen.errors import Problem, Source
from katgen.parse.path import Step, shown
from katgen.parse.scalar import scalar
from katgen.parse.syntax import Mark, mark_of, told

Value: TypeAlias = "str | float | bool | list[Value] | dict[str, Value] | None"

DEPTH_MAX: Final = 64
NODES_MAX: Final = 50_000
"""Of one document; a workload has about 150."""
PROBLEMS_MAX: Final = 100
"""Of one file's syntax: a file with more is not YAML, and nobody reads them."""

_WRITE_OUT = "write the value out"


class TooMuchError(Exception):
    """A limit is reached and recorded as a problem; the rest of the file is not read."""


@dataclass(slots=True)
class Place:
    """Where a value begins, and for each part of it where its key and its value begin.

    A part that was refused has a place, but no value.
    """

    mark: Mark
    inside: Mapping[Step, "tuple[Mark, Place]"]


_NOTHING: Final[Mapping[Step, tuple[Mark, Place]]] = MappingProxyType({})


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being read.

    `key` is the next value's; None means that a key comes next. A `dropped` key's value is read and
    not kept.
    """

    mark: Mark
    value: "list[Value] | dict[str, Value]"
    key: Step | None
    key_mark: Mark | None = None
    dropped: bool = False
    inside: dict[Step, tuple[Mark, Place]] = field(default_factory=dict)


class Composer:
    """Reads one file, chunk by chunk.

    `documents` are those of the last chunk; `problems` those of the whole file.
    """

    def __init__(self, file: str) -> None:
        self.documents: list[tuple[Value, Place]] = []
        self.problems: list[Problem] = []
        self._file = file
        self._first_line = 1
        self._nodes = 0
        self._open: list[_Open] = []
        self._steps: dict[type[Event], Callable[[Any], None]] = {
            ScalarEvent: self._scalar,
            MappingStartEvent: self._mapping,
            SequenceStartEvent: self._sequence,
            MappingEndEvent: self._close,
            SequenceEndEvent: self._close,
            AliasEvent: self._alias,
        }

    def compose(self, chunk: str, first_line: int) -> list[tuple[Value, Place]]:
        """Return the documents of a chunk. Raises TooMuchError."""
        self._first_line, self._open, self.documents = first_line, [], []
        self._nodes = 0
        parser = CParser(chunk)
        try:
            while (event := parser.get_event()) is not None:
                step = self._steps.get(type(event))
                if step is not None:
                    step(event)
        except YAMLError as err:
            self._open = []
            self._complain(*told(err, chunk))
        finally:
            parser.dispose()
        return self.documents

    def _complain(self, mark: Mark, what: str, hint: str) -> None:
        path = [frame.key for frame in self._open if frame.key is not None]
        at = Source(self._file, self._first_line + mark.line, mark.column + 1, shown(path))
        self.problems.append(Problem(at, what, hint))
        if len(self.problems) >= PROBLEMS_MAX:
            self._stop(mark, "too many problems; the rest of the file is not read")

    def _stop(self, mark: Mark, what: str, hint: str = "") -> None:
        at = Source(self._file, self._first_line + mark.line, mark.column + 1)
        self.problems.append(Problem(at, what, hint))
        raise TooMuchError

    def _count(self, event: NodeEvent) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self._stop(mark_of(event), f"more than {NODES_MAX} values in one document", "split it")

    def _check_bare(self, event: ScalarEvent | CollectionStartEvent) -> None:
        if event.anchor is not None:
            self._complain(mark_of(event), "an anchor (&) is not taken", _WRITE_OUT)
        if event.tag is not None:
            self._complain(mark_of(event), "a tag (!) is not taken", "remove it")

    def _scalar(self, event: ScalarEvent) -> None:
        self._count(event)
        self._check_bare(event)
        plain = event.implicit[0]
        if plain and event.value == "<<" and self._open and self._open[-1].key is None:
            self._complain(mark_of(event), "a merge key (<<) is not taken", "write the keys out")
            self._refused(mark_of(event))
        else:
            value = scalar(event.value) if plain else event.value
            self._arrive(value, Place(mark_of(event), _NOTHING))

    def _mapping(self, event: MappingStartEvent) -> None:
        self._begin(event, _Open(mark_of(event), {}, None))

    def _sequence(self, event: SequenceStartEvent) -> None:
        self._begin(event, _Open(mark_of(event), [], 0))

    def _begin(self, event: CollectionStartEvent, opened: _Open) -> None:
        self._count(event)
        self._check_bare(event)
        if len(self._open) >= DEPTH_MAX:
            self._stop(mark_of(event), f"nested more than {DEPTH_MAX} levels deep", "flatten it")
        self._open.append(opened)

    def _close(self, _event: Event) -> None:
        closed = self._open.pop()
        self._arrive(closed.value, Place(closed.mark, closed.inside))

    def _alias(self, event: AliasEvent) -> None:
        self._count(event)
        self._complain(mark_of(event), "an alias (*) is not taken", _WRITE_OUT)
        self._refused(mark_of(event))

    def _arrive(self, value: Value, place: Place) -> None:
        """Put a complete value where it belongs: a key, a part of what is open, or a document."""
        if not self._open:
            self.documents.append((value, place))
        elif self._open[-1].key is None:
            self._take_key(value, place.mark)
        else:
            if value is None and not _has_refused(self._open):
                self._complain(place.mark, "has no value", "write one, or remove the key")
            self._take_value(value, place)

    def _refused(self, mark: Mark) -> None:
        """Put nothing, where a refused key or value stood."""
        if not self._open:
            return
        frame = self._open[-1]
        if frame.key is None:
            frame.key, frame.key_mark, frame.dropped = "", mark, True
        else:
            self._take_value(None, Place(mark, _NOTHING))

    def _take_key(self, value: Value, mark: Mark) -> None:
        frame = self._open[-1]
        if not isinstance(value, str):
            if not _has_refused(self._open[:-1]):
                self._complain(mark, "a key must be text", _key_hint(value))
            frame.key, frame.key_mark, frame.dropped = "", mark, True
            return
        frame.key, frame.key_mark, frame.dropped = value, mark, False
        if value in frame.inside:
            first = frame.inside[value][0]
            line = self._first_line + first.line
            self._complain(mark, "this key stands twice", f"the first is in line {line}; keep one")
            frame.dropped = True

    def _take_value(self, value: Value, place: Place) -> None:
        frame = self._open[-1]
        key = frame.key
        if isinstance(frame.value, list) and isinstance(key, int):
            frame.value.append(value)
            frame.inside[key] = (place.mark, place)
            frame.key = key + 1
            return
        if not frame.dropped and isinstance(frame.value, dict) and isinstance(key, str):
            frame.inside[key] = (frame.key_mark or place.mark, place)
            if value is not None:
                frame.value[key] = value
        frame.key = None


def _has_refused(frames: Iterable[_Open]) -> bool:
    """Whether something is read that is not kept, so that complaints in it would only repeat."""
    return any(frame.dropped or frame.key is None for frame in frames)


def _key_hint(value: Value) -> str:
    if isinstance(value, list | dict):
        return "put a value that begins with '{' or '[' in quotes"
    return "put it in quotes"
