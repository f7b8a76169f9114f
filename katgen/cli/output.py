"""Text for people and JSON for programs; colours only where they can be seen."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import IO, Any

import click
import msgspec

from katgen.errors import Problem


class Form(StrEnum):
    """How results are printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != ord("\t")
}


def visible(text: str) -> str:
    """Return one line in which no control character reaches the terminal."""
    return text.translate(_CONTROLS)


def has_colour(stream: IO[Any]) -> bool:
    """Whether to colour what goes there: a terminal, and no NO_COLOR (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def say(text: str = "", **style: Any) -> None:  # noqa: ANN401 -- click.style's own keywords
    """Print a line on standard output, in `style` if it takes colours."""
    _write(text, sys.stdout, style)


def remark(text: str = "", **style: Any) -> None:  # noqa: ANN401 -- click.style's own keywords
    """Print a line on standard error."""
    _write(text, sys.stderr, style)


def _write(text: str, stream: IO[str], style: Mapping[str, Any]) -> None:
    coloured = has_colour(stream)
    click.echo(click.style(text, **style) if style and coloured else text, stream, color=coloured)


def print_json(value: object) -> None:
    """Print a value as JSON, indented, keys in the value's own order, with a final newline."""
    encoded = msgspec.json.encode(value)
    click.echo(msgspec.json.format(encoded, indent=2))


def print_yaml(value: object) -> None:
    """Print a value as YAML, keys in the value's own order."""
    import yaml  # noqa: PLC0415 -- few commands print it

    click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def print_problems(problems: Sequence[Problem], form: Form) -> None:
    """Print all problems: one to a line and their number on standard error, or JSON."""
    if form is Form.JSON:
        print_json({"problems": [problem_fields(problem) for problem in problems]})
        return
    for problem in problems:
        place = str(problem.at)
        coloured = has_colour(sys.stderr) and place
        line = visible(str(problem))
        if coloured:
            line = click.style(visible(place), bold=True) + line.removeprefix(visible(place))
        remark(line)
    remark(counted(len(problems), "problem"), fg="red")


def print_notes(notes: Iterable[Problem]) -> None:
    """Print remarks that stop nothing."""
    for note in notes:
        remark(f"note: {visible(str(note))}")


def problem_fields(problem: Problem) -> Mapping[str, str | int]:
    """Return a problem as JSON shows it."""
    at = problem.at
    return {
        "file": at.file,
        "line": at.line,
        "column": at.column,
        "path": at.path,
        "what": problem.what,
        "hint": problem.hint,
    }


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 file`, `2 files`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns, two blanks between them."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
