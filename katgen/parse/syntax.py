"""libyaml's complaints in words that say what to do."""

from dataclasses import dataclass
from typing import Final, Protocol

from yaml import YAMLError
from yaml.error import MarkedYAMLError
from yaml.events import Event


class Mark(Protocol):
    """A place in a chunk, as libyaml's marks and yaml's own have it."""

    @property
    def line(self) -> int:
        """From 0."""

    @property
    def column(self) -> int:
        """From 0."""


@dataclass(frozen=True, slots=True)
class _At:
    line: int = 0
    column: int = 0


_START: Final = _At()
"""Stands in for a mark that yaml's stubs call optional; libyaml gives one with all it says."""

_INDENTED = (
    "the indentation fits no line above",
    "align the line with the keys that it belongs to",
)
_TAB = ("a tab cannot indent YAML", "use spaces")
_QUOTE = ("the quote is not closed", "close it before the document ends")
_NO_CONTENT = "did not find expected node content"
_TOLD: Final = {
    "mapping values are not allowed in this context": (
        "a ':' stands where no key can be",
        "put the text in quotes, or mend the indentation",
    ),
    "did not find expected key": _INDENTED,
    "did not find expected '-' indicator": _INDENTED,
    "did not find expected ',' or '}'": ("the '{' is not closed", "add ',' or '}'"),
    "did not find expected ',' or ']'": ("the '[' is not closed", "add ',' or ']'"),
    "found unexpected end of stream": _QUOTE,
    "found unexpected document indicator": _QUOTE,
    "found unknown escape character": (
        "no such escape after a backslash",
        "double the backslash, or use single quotes",
    ),
    "found invalid Unicode character escape code": (
        "no such character",
        "write the character itself",
    ),
    _NO_CONTENT: (
        "a value is missing here",
        "write it, in quotes if it begins with one of , ] }",
    ),
    "could not find expected ':'": ("the line is no key and value", "write `key: value`"),
    "found a tab character where an indentation space is expected": _TAB,
    "found a tab character that violates indentation": _TAB,
}
_PLACED_AT_START: Final = frozenset(
    {
        "the '{' is not closed",
        "the '[' is not closed",
        "the quote is not closed",
        "the line is no key and value",
    }
)
_ODD_CHARACTER = "found character that cannot start any token"


def mark_of(event: Event) -> Mark:
    """Return where an event begins."""
    return event.start_mark or _START


def told(err: YAMLError, chunk: str) -> tuple[Mark, str, str]:
    """Return where the syntax breaks, what is wrong there, and what to do.

    What is never closed is placed where it opens.
    """
    if not isinstance(err, MarkedYAMLError):
        return _START, "this is not YAML", "write the file as text"
    problem, mark = str(err.problem), err.problem_mark or _START
    if problem == _NO_CONTENT and not _rest(chunk, mark).strip():
        lines = chunk.rstrip().split("\n")
        end = _At(len(lines) - 1, len(lines[-1]))
        return end, "the document ends inside brackets", "close every '{' and '['"
    if problem == _ODD_CHARACTER:
        return mark, *_odd_beginning(_rest(chunk, mark)[:1])
    if problem not in _TOLD:
        return mark, f"broken YAML: {problem}", ""
    what, hint = _TOLD[problem]
    return (err.context_mark or mark) if what in _PLACED_AT_START else mark, what, hint


def _rest(chunk: str, mark: Mark) -> str:
    """Return the text from a mark on."""
    lines = chunk.split("\n")[mark.line :]
    return "\n".join(lines)[mark.column :]


def _odd_beginning(character: str) -> tuple[str, str]:
    if character == "\t":
        return _TAB
    return f"text cannot begin with {character!r}", "put the text in quotes"
