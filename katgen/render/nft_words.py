"""Encoders: values → the grammar of nft(8). Nothing but what passes here reaches a file of it.

nft has no quoting for names of chains and sets, so a name is refused unless it is plain. Addresses
are the matter of `ipv4`.
"""

import re
from collections.abc import Sequence

from katgen.errors import EncodeError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,126}")
_COMMENT = re.compile(r"[ -~]*")


def name(text: str) -> str:
    """Return a chain's or set's name as it is. EncodeError if nft would not read it as one word."""
    if _NAME.fullmatch(text) is None:
        raise EncodeError(f"{text[:80]!r} cannot be the name of an nft object")
    return text


def comment(text: str) -> str:
    """Return a line of comment. EncodeError for what could end the line."""
    if _COMMENT.fullmatch(text) is None:
        raise EncodeError(f"{text[:80]!r} cannot stand in a comment of an nft file")
    return f"# {text}"


def element_lines(where: str, elements: Sequence[str]) -> str:
    """Return the command that adds elements, or nothing if there are none: nft wants at least one.

    `where` is family, table and object.
    """
    if not elements:
        return ""
    return f"add element {where} {{\n\t{_BETWEEN.join(elements)} }}\n"


_BETWEEN = ",\n\t"
