"""pydantic's complaints → problems in KAT's words.

Nothing of pydantic's text gets through, and no value of a Secret.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from katgen.errors import Problem
from katgen.model.shape import fields, object_at
from katgen.model.spec import Spec
from katgen.model.wording import wording
from katgen.parse import Document
from katgen.parse.path import Step, quoted

_SHOWN: Final = 40
_KEYS_SHOWN: Final = 12
_KEY_ERROR: Final = "[key]"
_ENVELOPE: Final = (("apiVersion",), ("kind",))
"""Looked at before the model is."""
_HUGE: Final = re.compile(r"[-+]?[0-9_]{1000,}")
"""More digits than Python makes a number of (4,300) stay text."""
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
}


def problems(document: Document, model: type[Spec], err: ValidationError) -> Iterator[Problem]:
    """Return the problems of one document."""
    for error in err.errors(include_url=False):
        loc = error["loc"]
        if loc in _ENVELOPE or _is_repeated(document, error, loc):
            continue
        if error["type"] == "missing":
            yield Problem(document.at(loc), "is missing", _wanted(model, loc))
        elif error["type"] == "extra_forbidden":
            yield _unknown(document, model, loc)
        else:
            yield _wrong(document, error, loc)


def _is_repeated(document: Document, error: ErrorDetails, loc: Sequence[Step]) -> bool:
    """Whether the complaint only follows from what the parser, or another one, has told."""
    given = error["input"]
    if error["type"] == "missing":
        return document.has(loc)
    if error["type"] == "too_short":  # pydantic counts only valid items
        return isinstance(given, list | dict) and len(given) > 0
    if isinstance(given, dict):
        return bool(document.keys(loc) - given.keys())
    return given is None  # the parser has refused it


def _wanted(model: type[Spec], loc: Sequence[Step]) -> str:
    """Return what to write for a field that is missing."""
    holder = object_at(model, loc[:-1])
    info = fields(holder).get(str(loc[-1])) if holder else None
    words = wording(info.annotation, info.metadata) if info else ""
    if words.startswith("`"):
        return f"write {words.replace('`', '')}"
    if words[:1].isdigit():
        return f"give a number, {words}"
    words = words.replace("object", "mapping")
    article = "an" if words[:1].lower() in "aeio" else "a"
    return f"give {article} {words}" if words else ""


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the known word that was probably meant, or ''."""
    by_folded = {k.casefold(): k for k in known}
    found = get_close_matches(word[:_SHOWN].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a hint: the nearest known word, or all of them."""
    near = nearest(word, known)
    if near:
        return f"did you mean {near!r}?"
    more = ", …" if len(known) > _KEYS_SHOWN else ""
    return f"known here: {', '.join(known[:_KEYS_SHOWN])}{more}"


def described(value: object, *, secret: bool = False) -> str:
    """Return what a value is, for people; of a secret only its type."""
    match value:
        case bool():
            return "true or false" if secret else str(value).lower()
        case str():
            return "text" if secret else f"the text {quoted(value, _SHOWN)}"
        case int() | float():
            return "a number" if secret else f"the number {str(value)[:_SHOWN]}"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return "nothing"


def _unknown(document: Document, model: type[Spec], loc: Sequence[Step]) -> Problem:
    holder = object_at(model, loc[:-1])
    known = list(fields(holder)) if holder else []
    at = document.at(loc, key=True)
    return Problem(at, "unknown key", did_you_mean(str(loc[-1]), known))


def _wrong(document: Document, error: ErrorDetails, loc: Sequence[Step]) -> Problem:
    is_key = bool(loc) and loc[-1] == _KEY_ERROR
    at = document.at(loc[:-1] if is_key else loc, key=is_key)
    secret = document.value.get("kind") == "Secret"
    what, hint = _told(error, described(error["input"], secret=secret))
    return Problem(at, what, hint)


def _told(error: ErrorDetails, got: str) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "int_type" and _HUGE.fullmatch(str(error["input"])):
        return f"{got} is too large".replace("the text", "the number"), "write a smaller one"
    if kind in _EXPECTED:
        hint = "put it in quotes" if kind == "string_type" and _is_scalar(error["input"]) else ""
        return f"expected {_EXPECTED[kind]}, got {got}", hint
    if kind in _TOLD:
        return _TOLD[kind](context, got, error["input"])
    return f"is not valid: {got}", ""


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float)


_Context = Mapping[str, object]


def _odd_text(_context: _Context, got: str, _input: object) -> tuple[str, str]:
    return f"a character cannot stand in {got}", "write it otherwise, or remove it"


def _value_error(context: _Context, _got: str, _input: object) -> tuple[str, str]:
    what, _, hint = str(context["error"]).partition("; ")
    return what, hint


def _choice(context: _Context, got: str, value: object) -> tuple[str, str]:
    choices = re.findall(r"'([^']*)'", str(context["expected"]))
    near = nearest(value, choices) if isinstance(value, str) else ""
    hint = f"did you mean {near!r}?" if near else ""
    return f"expected one of {', '.join(choices)}; got {got}", hint


def _too_small(context: _Context, got: str, _input: object) -> tuple[str, str]:
    return f"{got} is too small", f"the least is {context['ge']}"


def _too_large(context: _Context, got: str, _input: object) -> tuple[str, str]:
    return f"{got} is too large", f"the most is {context['le']}"


def _too_short(context: _Context, _got: str, _input: object) -> tuple[str, str]:
    return "is empty", f"give at least {context['min_length']}"


def _too_many(context: _Context, _got: str, _input: object) -> tuple[str, str]:
    return "has too many items", f"the most is {context['max_length']}"


def _too_long(context: _Context, _got: str, value: object) -> tuple[str, str]:
    length = len(value) if isinstance(value, str) else 0
    return f"has {length} characters", f"the most is {context['max_length']}"


_TOLD: Final[Mapping[str, Callable[[_Context, str, object], tuple[str, str]]]] = {
    "value_error": _value_error,
    "literal_error": _choice,
    "string_pattern_mismatch": _odd_text,
    "greater_than_equal": _too_small,
    "less_than_equal": _too_large,
    "too_short": _too_short,
    "too_long": _too_many,
    "string_too_long": _too_long,
}
