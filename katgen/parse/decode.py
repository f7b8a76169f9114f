"""Bytes of a file → text that YAML can carry, and its cut into documents."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from katgen.errors import Problem, Source

FILE_MAX: Final = 4 * 1024 * 1024
_SHOWN = 5
_START = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%[A-Z].*", re.MULTILINE)
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)"
)
_ORDINARY: Final = bytes([*b"\t\n", *range(0x20, 0x7F)])
"""Most files have no other bytes, and need no search."""
_MARKS: Final = {
    b"\xef\xbb\xbf": "begins with a byte order mark",
    b"\xff\xfe": "is UTF-16",
    b"\xfe\xff": "is UTF-16",
}


def decode(file: str, content: bytes) -> tuple[str, list[Problem]]:
    """Return the text, or '' and why there is none. Directives are blanked and reported."""
    if len(content) > FILE_MAX:
        what = f"has {len(content)} bytes; the most is {FILE_MAX}"
        return "", [Problem(Source(file), what, "split it")]
    for mark, what in _MARKS.items():
        if content.startswith(mark):
            return "", [Problem(Source(file), what, "save it as UTF-8 without a byte order mark")]
    try:
        text = content.decode()
    except UnicodeDecodeError as err:
        return "", [_not_text(file, content, err.start)]
    if content.translate(None, _ORDINARY):
        odd = _unprintable(file, text)
        if odd:
            return "", odd
    return _without_directives(file, text) if "%" in text else (text, [])


def chunks(text: str) -> Iterator[tuple[str, int]]:
    """Cut a text at its `---` lines: (chunk, the line it begins with)."""
    starts = [0, *(m.start() for m in _START.finditer(text) if m.start()), len(text)]
    line = 1
    for begin, end in pairwise(starts):
        chunk = text[begin:end]
        yield chunk, line
        line += chunk.count("\n")


def _not_text(file: str, content: bytes, position: int) -> Problem:
    if b"\0" in content:
        return Problem(Source(file), "is not text", "KAT reads YAML files; leave this one out")
    at = _place(file, content[:position].decode())
    what = f"byte 0x{content[position]:02x} is not UTF-8"
    return Problem(at, what, "save the file as UTF-8")


def _unprintable(file: str, text: str) -> list[Problem]:
    found = list(zip(range(_SHOWN), _UNPRINTABLE.finditer(text), strict=False))
    if "\0" in (match[0] for _, match in found):
        return [Problem(Source(file), "is not text", "KAT reads YAML files; leave this one out")]
    return [_odd(file, text, match) for _, match in found]


def _odd(file: str, text: str, match: re.Match[str]) -> Problem:
    at = _place(file, text[: match.start()])
    if match[0] == "\r":
        return Problem(at, "a carriage return without a line feed", "end lines with a line feed")
    code = ord(match[0])
    escape = f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 -- YAML's \x has two digits
    what = f"YAML cannot carry the character U+{code:04X} as it is"
    return Problem(at, what, f'write "{escape}" inside double quotes')


def _without_directives(file: str, text: str) -> tuple[str, list[Problem]]:
    problems = [
        Problem(_place(file, text[: match.start()]), "a directive (%) is not taken", "remove it")
        for match in _DIRECTIVE.finditer(text)
    ]
    return (_DIRECTIVE.sub("", text) if problems else text), problems


def _place(file: str, before: str) -> Source:
    return Source(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
