"""A table that goes on for as long as there is news: `katcall get -w`."""

from collections.abc import Iterator, Sequence
from typing import Final

import click

from katgen.cli.follow import Key, News
from katgen.cli.output import visible
from katgen.cli.tables import Column, Scene, styled_row

_EVENT: Final = "EVENT"
_TYPES: Final = max(map(len, ("ADDED", "MODIFIED", "DELETED")))


class Sheet:
    """Prints rows below each other; columns only get wider.

    A row that says what the last one of the same object said is left out, its age aside.
    `has_types`: each row begins with what became of the object; else what is gone is marked.
    """

    def __init__(self, columns: Sequence[Column], *, has_types: bool = False) -> None:
        self._columns, self._has_types = columns, has_types
        self._widths: list[int] = []
        self._said: dict[Key, tuple[str, ...]] = {}

    def lines(self, news: Sequence[News], scene: Scene) -> Iterator[str]:
        """Yield styled lines; the heading comes before the first row."""
        rows = [(one, self._cells(one, scene)) for one in news]
        new = [(one, cells) for one, cells in rows if self._is_new(one, cells)]
        if not new:
            return
        head = [_EVENT, *(one.head for one in self._columns)][not self._has_types :]
        is_first = not self._widths
        before = self._widths or [0, *(one.room for one in self._columns)][not self._has_types :]
        columns = zip(head, *(cells for _, cells in new), strict=True)
        self._widths = [
            max(width, *map(len, column)) for width, column in zip(before, columns, strict=True)
        ]
        if is_first:
            yield styled_row(head, self._widths, is_head=True)
        for one, cells in new:
            line = styled_row(cells, self._widths)
            is_marked = one.type == "DELETED" and not self._has_types
            yield f"{line}  {click.style('(deleted)', dim=True)}" if is_marked else line

    def _cells(self, one: News, scene: Scene) -> list[str]:
        cells = [visible(column.cell(one.document, scene)) for column in self._columns]
        return [f"{one.type:<{_TYPES}}", *cells] if self._has_types else cells

    def _is_new(self, one: News, cells: Sequence[str]) -> bool:
        """Note what a row says; whether it is other than before."""
        if one.type == "DELETED":
            self._said.pop(one.key, None)
            return True
        own = cells[1:] if self._has_types else cells
        said = tuple(
            cell for cell, column in zip(own, self._columns, strict=True) if not column.is_age
        )
        is_new = self._said.get(one.key) != said
        self._said[one.key] = said
        return is_new
