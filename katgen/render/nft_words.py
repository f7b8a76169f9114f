"""Encoders: values → the grammar of nft(8). Nothing but what passes here reaches a file of it.

nft has no quoting for names of chains and sets, so a name is refused unless it is plain. Addresses
and networks are checked although the plan made them: the file is loaded as root.
"""

import re
from collections.abc import Sequence

from katgen.errors import EncodeError

_OCTETS = frozenset(str(value) for value in range(256))
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,126}")
_COMMENT = re.compile(r"[ -~]*")


def address(text: str) -> str:
    """Return a dotted IPv4 address as it is. EncodeError if it is none."""
    octets = text.split(".")
    if len(octets) != 4 or not _OCTETS.issuperset(octets):  # noqa: PLR2004 -- IPv4
        raise EncodeError(f"{text[:40]!r} is not an IPv4 address; nft would read a name or a rule")
    return text


def network(text: str) -> str:
    """Return `address/prefix` as it is. EncodeError if it is none."""
    base, _, prefix = text.partition("/")
    address(base)
    if not prefix.isascii() or not prefix.isdigit() or int(prefix) > 32:  # noqa: PLR2004 -- IPv4
        raise EncodeError(f"{text[:40]!r} is not an IPv4 network")
    return text


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
