"""Fields whose behaviour is not built: any value but the default is refused, never ignored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pydantic.fields import FieldInfo

from katgen.errors import Problem
from katgen.model.shape import object_in
from katgen.model.spec import Spec
from katgen.parse import Document
from katgen.parse.path import Step


@dataclass(frozen=True, slots=True)
class _Watched:
    """A field to look at: not built, not built for some values, or with such fields inside."""

    key: str
    default: object
    what: str
    values: frozenset[str]
    by_leader: bool


def unbuilt(document: Document, model: Spec, path: tuple[Step, ...] = ()) -> Iterator[Problem]:
    """Return every use, at `path` or below, of what is not supported yet."""
    watched = _watched(type(model))
    given = model.model_fields_set
    for name in (name for name in watched if name in given):
        value = getattr(model, name)
        here = (*path, watched[name].key)
        refused = _refusal(watched[name], value)
        if refused is not None:
            yield Problem(document.at(here), *refused)
        elif isinstance(value, Spec):
            yield from unbuilt(document, value, here)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Spec):
                    yield from unbuilt(document, item, (*here, index))


def _refusal(watched: _Watched, value: object) -> tuple[str, str] | None:
    if watched.by_leader and value != watched.default:
        return "is the leader's to set", "remove it"
    if watched.what and value != watched.default:
        return f"not supported yet: {watched.what}", "remove it"
    if isinstance(value, str) and value in watched.values:
        return f"not supported yet: {value}", "choose another value, or remove it"
    return None


@cache
def _watched(model: type[Spec]) -> Mapping[str, _Watched]:
    every = {name: _watch(info) for name, info in model.model_fields.items()}
    return {name: watch for name, watch in every.items() if watch is not None}


def _watch(info: FieldInfo) -> _Watched | None:
    extra = info.json_schema_extra
    marks = extra if isinstance(extra, dict) else {}
    what, values = str(marks.get("x-kat-later", "")), marks.get("x-kat-later-values")
    inner = object_in(info.annotation)
    by_leader = bool(marks.get("x-kat-by-leader"))
    if not (what or values or by_leader or (inner and _watched(inner))):
        return None
    known = frozenset(map(str, values)) if isinstance(values, list) else frozenset[str]()
    default = info.get_default(call_default_factory=True)
    return _Watched(str(info.alias), default, what, known, by_leader)
