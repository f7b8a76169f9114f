"""Canonical JSON that can be read: one value has one spelling, whatever order it was made in."""

from collections.abc import Callable
from typing import Final

import msgspec

LINE_MAX: Final = 120
"""Columns. What fits on a line stands on one line; a longer value is broken over lines."""


def laid_out(value: msgspec.Struct) -> bytes:
    """Return the value's canonical bytes, with a final newline."""
    plain = msgspec.to_builtins(value, order="deterministic")
    lines: list[str] = []
    _lay(plain, "", lines.append)
    return ("".join(lines) + "\n").encode()


def _lay(value: object, margin: str, write: Callable[[str], None]) -> None:
    flat = msgspec.json.encode(value).decode()
    if len(flat) + len(margin) <= LINE_MAX or not isinstance(value, dict | list | tuple):
        write(flat)
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inner = margin + "  "
    separator = f"{opening}\n{inner}"
    for key, item in value.items() if isinstance(value, dict) else ((None, i) for i in value):
        write(separator if key is None else f"{separator}{msgspec.json.encode(key).decode()}: ")
        _lay(item, inner, write)
        separator = f",\n{inner}"
    write(f"\n{margin}{closing}")
