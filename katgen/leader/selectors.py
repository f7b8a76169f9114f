"""Label selectors of equality: `tier=front,stage!=test,app`."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from katgen.leader.errors import InputError

_TERM: Final = re.compile(r"\s*(!?)([\w./-]+)\s*(?:(==|=|!=)\s*([\w./:@-]*))?\s*", re.ASCII)

Fits = Callable[[Mapping[str, str]], bool]


def selector(text: str) -> Fits:
    """Return what tells whether labels fit. Raises InputError."""
    terms = [_term(part) for part in text.split(",")] if text.strip() else []
    return lambda labels: all(term(labels) for term in terms)


def _term(text: str) -> Fits:
    match = _TERM.fullmatch(text)
    if match is None or (match[1] and match[3]):
        what = f"labelSelector: {text[:60]!r} is none; write key=value, key!=value, key or !key"
        raise InputError(what, status=HTTPStatus.BAD_REQUEST)
    negated, key, operator, value = match.groups()
    if operator is None:
        return lambda labels: (key in labels) != bool(negated)
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value
