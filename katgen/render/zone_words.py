"""Encoders: names and addresses → RFC 1035 master files."""

import re

from katgen.errors import EncodeError
from katgen.names import DNS_NAME_MAX, LABEL_MAX, is_label

_OCTETS = frozenset(str(value) for value in range(256))
_NAME = re.compile(r"([a-z0-9_-]{1,63}\.)+")


def label(text: str, longest: int = LABEL_MAX) -> str:
    """Return one label as it is. EncodeError if it is none, or longer than `longest`."""
    if not is_label(text) or len(text) > longest:
        raise EncodeError(f"{text[:80]!r} is not a DNS label of at most {longest} characters")
    return text


def name(*parts: str) -> str:
    """Return the parts joined and fully qualified. EncodeError if DNS cannot carry the name."""
    joined = ".".join(parts).rstrip(".") + "."
    if len(joined) > DNS_NAME_MAX + 1:
        raise EncodeError(
            f"the name {joined[:80]}… has {len(joined) - 1} characters; DNS carries {DNS_NAME_MAX}"
        )
    if _NAME.fullmatch(joined) is None:
        raise EncodeError(f"{joined[:80]!r} is not a DNS name")
    return joined


def address(text: str) -> str:
    """Return a dotted IPv4 address as it is. EncodeError if it is none."""
    octets = text.split(".")
    if len(octets) != 4 or not _OCTETS.issuperset(octets):  # noqa: PLR2004 -- IPv4
        raise EncodeError(f"{text[:40]!r} is not an IPv4 address")
    return text
