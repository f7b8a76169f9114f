"""Encoders: names → RFC 1035 master files. Only lower-case letters, digits, `-` and `_` occur.

A name is made of a checked host and checked labels, and its length is checked for each host once,
so that a record costs one formatting.
"""

import re
from collections.abc import Iterable, Sequence

from katgen.errors import EncodeError
from katgen.names import DNS_NAME_MAX, LABEL_MAX

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABELS = re.compile(r"(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\n)*")
_NAME = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+")


def label(text: str, longest: int = LABEL_MAX) -> str:
    """Return one label as it is. EncodeError if it is none, or longer than `longest`."""
    if len(text) > longest or _LABEL.fullmatch(text) is None:
        raise EncodeError(f"{text[:80]!r} is not a DNS label of at most {longest} characters")
    return text


def labels(texts: Sequence[str]) -> Sequence[str]:
    """Return the labels as they are: `label` of each, at a fraction of the cost."""
    joined = "\n".join((*texts, ""))
    if joined.count("\n") != len(texts) or _LABELS.fullmatch(joined) is None:
        for text in texts:
            label(text)
    return texts


def name(text: str) -> str:
    """Return a name without final dot fully qualified. EncodeError if DNS cannot carry it."""
    if _NAME.fullmatch(f"{text}.") is None or len(text) > DNS_NAME_MAX:
        raise EncodeError(f"{text[:80]!r} is not a DNS name of at most {DNS_NAME_MAX} characters")
    return f"{text}."


def room_for(host: str, prefixes: Iterable[str]) -> None:
    """Raise EncodeError if one of the names `<prefix>.<host>` is longer than DNS carries.

    `host` is fully qualified; its final dot does not count.
    """
    longest = max(prefixes, key=len, default="")
    length = len(longest) + len(host)
    if length > DNS_NAME_MAX:
        raise EncodeError(
            f"the name {longest[:40]}….{host[:40]}… has {length} characters; "
            f"DNS carries {DNS_NAME_MAX}"
        )
