"""`.kat` text → documents in which every value knows its place.

A subset of YAML 1.2: `no`, `on`, `22:22` and dates are text. Refused, each with its place: anchors,
aliases, tags, merge keys, directives, duplicate keys, keys that are not text, keys without a value.
Documents of a file are read apart, so that broken syntax in one hides nothing in the others.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from katgen.errors import Problem, Source
from katgen.parse.compose import Composer, Place, TooMuchError, Value
from katgen.parse.decode import chunks, decode
from katgen.parse.path import Path, Step, shown
from katgen.parse.quick import values

__all__ = ["DOCUMENTS_MAX", "Document", "Parsed", "Value", "parse"]

DOCUMENTS_MAX: Final = 10_000
"""Of one file."""

_OBJECT = "write apiVersion, kind, metadata, …"


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: a mapping. `chunk` is the text around it, from which places are found."""

    file: str
    value: dict[str, Value]
    chunk: str
    first_line: int
    number: int

    def at(self, path: Path = (), *, key: bool = False) -> Source:
        """Return where the value at `path` stands, or its key.

        What is not there is placed at the innermost part that is.
        """
        place = _places(self.chunk)[self.number]
        mark = place.mark
        for step in path:
            found = place.inside.get(step)
            if found is None:
                break
            mark, place = found
            if not key:
                mark = place.mark
        return Source(self.file, self.first_line + mark.line, mark.column + 1, shown(path))

    def has(self, path: Path) -> bool:
        """Whether something stands at `path`, even if it was refused."""
        return self._place(path) is not None

    def keys(self, path: Path) -> frozenset[Step]:
        """Return what stands inside the value at `path`, even if it was refused."""
        place = self._place(path)
        return frozenset(place.inside) if place else frozenset()

    def _place(self, path: Path) -> Place | None:
        place = _places(self.chunk)[self.number]
        for step in path:
            found = place.inside.get(step)
            if found is None:
                return None
            place = found[1]
        return place


@lru_cache(maxsize=4)
def _places(chunk: str) -> tuple[Place, ...]:
    composer = Composer("")
    with suppress(TooMuchError):
        composer.compose(chunk, 1)
    return tuple(place for _, place in composer.documents)


@dataclass(frozen=True, slots=True)
class Parsed:
    """All documents of all files in their order, and all problems."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse(files: Iterable[tuple[str, bytes]]) -> Parsed:
    """Read (shown name, content) pairs; `-` names standard input.

    Raises nothing: problems are in the result, beside every document that could be read.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for file, content in files:
        found, faults = _file(file, content)
        documents += found
        problems += faults
    return Parsed(tuple(documents), tuple(problems))


def _file(file: str, content: bytes) -> tuple[list[Document], list[Problem]]:
    text, problems = decode(file, content)
    parts = [*chunks(text)]
    if len(parts) > DOCUMENTS_MAX:
        what = f"holds {len(parts)} documents; the most is {DOCUMENTS_MAX}"
        return [], [Problem(Source(file), what, "split it")]
    composer = Composer(file)
    documents: list[Document] = []
    with suppress(TooMuchError):  # it is among the composer's problems
        for chunk, first_line in parts:
            found = values(chunk)
            if found is None:
                found = [value for value, _ in composer.compose(chunk, first_line)]
            for number, value in enumerate(found):
                document = Document(file, {}, chunk, first_line, number)
                if isinstance(value, dict):
                    documents.append(replace(document, value=value))
                elif value is not None:
                    problems.append(Problem(document.at(), "is no object", _OBJECT))
    problems += composer.problems
    if not documents and not problems:
        problems.append(Problem(Source(file), "holds no object", "write one, or leave it out"))
    return documents, problems
