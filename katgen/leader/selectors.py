"""Selectors of the query: labels in Kubernetes' whole grammar, and fields by their paths.

`tier=front,stage!=test,zone in (a, b),owner notin (x),app,!old` for labels; `spec.type=Job` for
fields. A label that is not there is different from every value, as in Kubernetes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from katgen.leader.errors import InputError

TEXT_MAX: Final = 4096
TERMS_MAX: Final = 64
_SPLIT: Final = re.compile(r",(?![^(]*\))")
_TERM: Final = re.compile(r"\s*(!?)\s*([\w./-]+)\s*(?:(==|=|!=)\s*([\w./:@-]*))?\s*", re.ASCII)
_SET: Final = re.compile(r"\s*([\w./-]+)\s+(in|notin)\s*\(([\w./:@,\s-]*)\)\s*", re.ASCII)
_FIELD: Final = re.compile(r"\s*([\w.]+)\s*(==|=|!=)\s*([^,=!\s]*)\s*", re.ASCII)

Fits = Callable[[Mapping[str, str]], bool]

_NAMED: Final = {"metadata.name": "metadata.name"}
_OWNED: Final = {**_NAMED, "metadata.namespace": "metadata.namespace"}
FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Workload": {**_OWNED, "spec.type": "spec.type", "status.state": "status.state"},
    "VirtualLoadBalancer": _OWNED,
    "JobDefinition": _OWNED,
    "BuildDefinition": _OWNED,
    "Config": _OWNED,
    "Secret": _OWNED,
    "Namespace": _NAMED,
    "Node": {
        **_NAMED,
        **{
            path: path
            for path in (
                "spec.advertiseAddress", "spec.unschedulable", "status.condition", "status.sync",
            )
        },
    },
    "Instance": {
        **_OWNED,
        **{one: one for one in ("workload", "node", "state", "endpoint", "revision")},
        "spec.node": "node",
        "status.state": "state",
    },
    "Event": {
        **{one: one for one in ("namespace", "kind", "name", "reason", "node")},
        "metadata.namespace": "namespace",
        "metadata.name": "name",
    },
    "Generation": {"generation": "generation"},
}  # fmt: skip
"""What a fieldSelector may name, by kind, and where it stands in the object."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects are meant: those of a namespace ('' for all) that both selectors take."""

    namespace: str = ""
    labels: Fits | None = None
    fields: Callable[[Mapping[str, Any]], bool] | None = None
    known: Callable[[Mapping[str, Any]], bool] | None = None
    """The fields that are known of an object of which only the name is."""

    @property
    def is_narrow(self) -> bool:
        """Whether a selector leaves anything out."""
        return self.labels is not None or self.fields is not None

    def takes(self, document: Mapping[str, Any]) -> bool:
        """Whether an object is meant, its namespace aside."""
        if self.labels is not None and not self.labels(_labels(document)):
            return False
        return self.fields is None or self.fields(document)

    def may_take(self, document: Mapping[str, Any]) -> bool:
        """Whether an object of which only the name is known may be meant."""
        return self.known is None or self.known(document)


def selection(
    kind: str, namespace: str, query: Mapping[str, str], also: Mapping[str, str]
) -> Selection:
    """Return what a query selects among the objects of a kind, and `also` by exact fields.

    Raises InputError.
    """
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    terms = [*_fields(kind, fields), *(_Field(path, text, True) for path, text in also.items())]  # noqa: FBT003 -- a field's own value
    by_name = [one for one in terms if one.path in _OWNED]
    return Selection(
        namespace,
        selector(labels) if labels.strip() else None,
        _every(terms) if terms else None,
        _every(by_name) if by_name else None,
    )


def selector(text: str) -> Fits:
    """Return what tells whether labels fit. Raises InputError."""
    terms = [_term(part) for part in _parts(text, "labelSelector")]
    return lambda labels: all(term(labels) for term in terms)


def _parts(text: str, name: str) -> list[str]:
    parts = _SPLIT.split(text[: TEXT_MAX + 1]) if text.strip() else []
    if len(text) > TEXT_MAX or len(parts) > TERMS_MAX:
        raise _bad(f"{name} is too long; the most is {TERMS_MAX} terms, {TEXT_MAX} characters")
    return parts


def _term(text: str) -> Fits:
    if found := _SET.fullmatch(text):
        key, word, values = found[1], found[2], {one.strip() for one in found[3].split(",")}
        return lambda labels: (labels.get(key) in values) == (word == "in")
    match = _TERM.fullmatch(text)
    if match is None or (match[1] and match[3]):
        raise _bad(
            f"labelSelector: {text[:60]!r} is none; write key=value, key!=value, "
            "key in (a, b), key notin (a, b), key or !key"
        )
    negated, key, operator, value = match.groups()
    if operator is None:
        return lambda labels: (key in labels) != bool(negated)
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


@dataclass(frozen=True, slots=True)
class _Field:
    path: str
    value: str
    is_equal: bool

    def fits(self, document: Mapping[str, Any]) -> bool:
        return (_at(document, self.path) == self.value) == self.is_equal


def _fields(kind: str, text: str) -> Iterator[_Field]:
    known = FIELDS.get(kind, _NAMED)
    for part in _parts(text, "fieldSelector"):
        match = _FIELD.fullmatch(part)
        if match is None:
            raise _bad(f"fieldSelector: {part[:60]!r} is none; write field=value or field!=value")
        name, operator, value = match.groups()
        if name not in known:
            shown = ", ".join(sorted(known))
            raise _bad(f"fieldSelector: {kind} is not selected by {name[:60]!r}, but by {shown}")
        yield _Field(known[name], value, operator != "!=")


def _every(terms: list[_Field]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda document: all(term.fits(document) for term in terms)


def _at(document: Mapping[str, Any], path: str) -> str:
    found: Any = document
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found is None else str(found)


def _labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    return (document.get("metadata") or {}).get("labels") or {}


def _bad(what: str) -> InputError:
    return InputError(what, status=HTTPStatus.BAD_REQUEST)
