"""What lines a file of KAT may have: those that KAT renders, and no other, whoever signed them.

A file is read so strictly that Quadlet, systemd and this module cannot disagree about it: no line
goes on in the next one or begins with a blank, and each is a comment, a section, or `Key=value`.

A KAT that renders a new line needs agents that know it: update agents first.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

PLAIN: Final = r"[A-Za-z0-9_./:=@+,-]"
"""Needs no quotes in any grammar."""
PATH: Final = r"/[A-Za-z0-9_./@+=-]*"
_ESCAPE: Final = r"""\\(?:["\\tnr]|x[01][0-9a-f]|x7f|u(?:00[89][0-9a-f]|20[0-6][0-9a-f]|feff))"""
"""An escape of anything else could stand for a `%` or a `$` that a later reader expands."""
QUOTED: Final = rf'"(?:[^"\\%$]|%%|\$\$|{_ESCAPE})*"'
"""One word in which nothing is expanded."""
QUOTED_PATH: Final = r'"/(?:[^"\\%]|%%|\\["\\]|\\x[0-9a-f]{2})*"'
LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
IP: Final = r"\d{1,3}(?:\.\d{1,3}){3}"
CIDR: Final = rf"{IP}/(?:[89]|[12]\d|3[0-2])"
"""Not all addresses that there are."""
DOMAIN: Final = rf"{LABEL}(?:\.{LABEL})*"
COMMENT: Final = r"#.*"
_STRANGE: Final = re.compile("[\r\0\ud800-\udfff]")
"""systemd ends lines at the first two; the others stand for bytes that are no text."""
_SECTION: Final = re.compile(r"\[([A-Za-z]+)\]")
_SETTING: Final = re.compile(r"([A-Za-z0-9]+)=(.*)")


@dataclass(frozen=True, slots=True)
class Setting:
    """A line `key=value`, and which it is, from 1."""

    number: int
    section: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Shapes:
    """By `Section.Key`, how a value may be; and what may not be missing.

    A named group of a pattern has to be what the file's own path says it is.
    """

    known: Mapping[str, re.Pattern[str]]
    needed: tuple[str, ...] = ()


def shapes(known: Mapping[str, str], needed: str = "") -> Shapes:
    """Return shapes of patterns, of which each stands for a whole value."""
    return Shapes({key: re.compile(value) for key, value in known.items()}, tuple(needed.split()))


def strange_text(text: str) -> str:
    """Return why readers could disagree about where this text's lines end, or ''."""
    if _STRANGE.search(text):
        return "it holds a character that KAT does not write into such a file"
    for number, line in enumerate(text.split("\n"), 1):
        if line.rstrip().endswith("\\"):
            return f"line {number} goes on in the next one"
    return ""


def settings(text: str) -> tuple[list[Setting], list[str]]:
    """Return a unit's settings, and what is wrong with its lines."""
    found: list[Setting] = []
    problem = strange_text(text)
    faults = [problem] if problem else []
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        if header := _SECTION.fullmatch(line):
            section = header[1]
        elif pair := _SETTING.fullmatch(line):
            found.append(Setting(number, section, pair[1], pair[2]))
        else:
            faults.append(f"line {number} is no line that KAT writes")
    return found, faults


def strange_settings(found: list[Setting], shape: Shapes, own: Mapping[str, str]) -> Iterator[str]:
    """Yield what is not of a shape; `own` is what named groups must be."""
    for one in found:
        pattern = shape.known.get(f"{one.section}.{one.key}")
        match = pattern.fullmatch(one.value) if pattern else None
        if match is None:
            yield f"line {one.number}: KAT writes no such {one.key}= into [{one.section}]"
        elif any(own.get(name) != value for name, value in match.groupdict().items() if value):
            yield f"line {one.number}: {one.key}= is that of another unit"
    there = {f"{one.section}.{one.key}" for one in found}
    for name in shape.needed:
        if name not in there:
            yield f"it has no {name.partition('.')[2]}= in [{name.partition('.')[0]}]"


def strange_lines(text: str, known: re.Pattern[str]) -> Iterator[str]:
    """Yield which lines of a file without sections are of no known shape."""
    problem = strange_text(text)
    if problem:
        yield problem
    for number, line in enumerate(text.split("\n"), 1):
        if line and known.fullmatch(line) is None:
            yield f"line {number} is no line that KAT writes"


def either(*patterns: str) -> re.Pattern[str]:
    """Return a pattern that any of these makes."""
    return re.compile("|".join(f"(?:{one})" for one in patterns))


def unquoted(word: str, expanded: str = "%$") -> str:
    r"""Return what a word stands for: no quotes, what is `expanded` single, escapes undone."""
    text = word
    for one in expanded:
        text = text.replace(one * 2, one)
    if not text.startswith('"'):
        return text
    return _ESCAPED.sub(_plain, text[1:-1])


_ESCAPED: Final = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.)")


def _plain(match: re.Match[str]) -> str:
    found = match[1]
    if found[0] in "xu" and len(found) > 1:
        return chr(int(found[1:], 16))
    return {"t": "\t", "n": "\n", "r": "\r"}.get(found, found)


def parts(path: str) -> tuple[str, ...]:
    """Return a path's names; a path with `.` or `..` in it has none that can be compared."""
    return tuple(part for part in path.split("/") if part)


def has_dots(path: str) -> bool:
    """Whether a path leads elsewhere than it says."""
    return not path.startswith("/") or bool({".", ".."} & set(path.split("/")))


def is_below(path: str, roots: tuple[str, ...]) -> bool:
    """Whether a path is one of the roots or below one."""
    inside = parts(path)
    return any(inside[: len(root)] == root for root in map(parts, roots))
