"""Arbitrary objects of every kind, drawn from the kind's own JSON Schema."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from hypothesis import strategies as st
from pydantic import ValidationError

from katgen.model.kinds import KINDS
from katgen.model.spec import Document
from katgen.schema import schema

Json = Any
Schema = Mapping[str, Any]
_SHORT: Final = 40
_BY_NAME: Final[Mapping[str, tuple[str, ...]]] = {
    # What no schema says: texts with a check that is no pattern.
    "clusterCIDR": ("10.0.0.0/16",),
    "serviceCIDR": ("10.1.0.0/16",),
    "externalCIDR": ("203.0.113.0/24",),
    "overlaySubnet": ("10.0.1.0/24",),
    "clusterDomain": ("kat.cluster.local", "a.b"),
    "advertiseAddress": ("192.0.2.1",),
    "upstreamDNS": ("192.0.2.53", "192.0.2.54"),
    "schedule": ("0 3 * * *", "@daily"),
    "timeZone": ("Europe/Berlin",),
    "url": ("https://git.example.org/shop/web.git",),
    "subPath": ("", "a/b"),
    "buildContext": (".", "web"),
    "dockerfilePath": ("Dockerfile", "web/Dockerfile"),
    "endpoint": ("192.0.2.1:51820", "[2001:db8::1]:51820"),
    "interface": ("eth0",),
    "key": ("disk", "a.b/c"),
    "command": ("/bin/true", "echo"),
    "mountPath": ("/data", "/a/b"),
    "workingDir": ("/srv",),
    "devices": ("/dev/fuse",),
    "hostPath": ("/etc/x",),
}


def objects(kind: str) -> st.SearchStrategy[Document]:
    """Return objects of a kind that the model takes."""
    whole = schema(kind)
    return _value("", whole, whole.get("$defs", {})).filter(_is_taken(kind)).map(_model(kind))


def _model(kind: str) -> Callable[[Json], Document]:
    return KINDS[kind].model_validate


def _is_taken(kind: str) -> Callable[[Json], bool]:
    def taken(given: Json) -> bool:
        try:
            KINDS[kind].model_validate(given)
        except ValidationError:
            return False
        return True

    return taken


def _value(name: str, one: Schema, known: Mapping[str, Schema]) -> st.SearchStrategy[Json]:
    if "$ref" in one:
        inner = known[one["$ref"].rpartition("/")[2]]
        return st.deferred(lambda: _value(name, inner, known))
    if "anyOf" in one:  # a quantity; as a number it is another document, and the same object
        return st.sampled_from(("1", "250m", "64Mi", "3"))
    if "const" in one or "enum" in one:
        return st.sampled_from(one.get("enum") or [one["const"]])
    if one["type"] == "object":
        return _object(one, known)
    if one["type"] == "array":
        items = _value(name, one["items"], known)
        return st.lists(items, min_size=one.get("minItems", 0), max_size=2)
    return _scalar(name, one)


def _scalar(name: str, one: Schema) -> st.SearchStrategy[Json]:
    if one["type"] == "integer":
        return st.integers(one.get("minimum", 0), one.get("maximum", 2**31 - 1))
    return st.booleans() if one["type"] == "boolean" else _text(name, one)


def _text(name: str, one: Schema) -> st.SearchStrategy[str]:
    if name in _BY_NAME:
        return st.sampled_from(_BY_NAME[name])
    pattern: str = one.get("pattern", "")
    if pattern == "^/":
        return st.sampled_from(("/", "/a", "/srv/a b"))
    if pattern:
        found = st.from_regex(pattern, fullmatch=True)
        return found.filter(lambda text: len(text) <= one.get("maxLength", _SHORT))
    return st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)


def _object(one: Schema, known: Mapping[str, Schema]) -> st.SearchStrategy[dict[str, Json]]:
    if "properties" not in one:
        values = _value("", one.get("additionalProperties", {"type": "string"}), known)
        return st.dictionaries(st.sampled_from(("disk", "a.b", "A-1")), values, max_size=2)
    made = {name: _value(name, inner, known) for name, inner in one["properties"].items()}
    choices = [one["required"][0] for one in one.get("oneOf", ())]
    required = {name: made[name] for name in one.get("required", ())}
    optional = {name: made[name] for name in made.keys() - required.keys() - {*choices}}
    given = st.fixed_dictionaries(required, optional=dict(sorted(optional.items())))
    if not choices:
        return given
    chosen = st.one_of(*(st.fixed_dictionaries({name: made[name]}) for name in choices))
    return st.builds(lambda some, choice: {**some, **choice}, given, chosen)
