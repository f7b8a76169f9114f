"""`kat.proto`: the model in proto3's words, for programs that are not ours.

A number, once given, stands for ever: `proto-numbers.json` beside this module has them all, and
`grown` only adds to it. What has left the model is `reserved`. JSON of these messages is the JSON
of the model, but for enumerations, which proto3 spells in its own way; the model takes both.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from inspect import cleandoc
from ipaddress import IPv4Address, IPv4Network
from textwrap import wrap
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel, to_pascal
from pydantic.fields import FieldInfo

from katgen.model.cluster import ClusterSpec
from katgen.model.kinds import KINDS
from katgen.model.shape import bare, object_in
from katgen.model.spec import Metadata, OneOf, Spec
from katgen.model.types import Quantity, proto_spelling

PACKAGE: Final = "kat.v1alpha1"
Numbers = Mapping[str, Mapping[str, int]]
"""Of fields by message and name, and of values by enumeration and name, both as kat.proto has it.

Nested enumerations are named `Message.Enumeration`.
"""
_WIDTH: Final = 95
_NAMES: Final[Mapping[type[Spec], str]] = {ClusterSpec: "ClusterConfigurationSpec"}
_OUTER_ENUMS: Final[Mapping[tuple[str, ...], str]] = {
    ("Service", "Job", "DaemonService"): "WorkloadType",
}
"""Enumerations beside the messages; others are nested, since their values have no prefix."""
_SCALARS: Final[Mapping[type, str]] = {
    str: "string",
    bool: "bool",
    int: "int32",  # 64 bits would be strings in JSON
    IPv4Address: "string",
    IPv4Network: "string",
}


_ZEROS: Final[Mapping[str, object]] = {"string": "", "bool": False, "int32": 0}


class _Form(Enum):
    ONE = ""
    MANY = "repeated "
    MAP = "map"


@dataclass(frozen=True, slots=True)
class _Type:
    """What a field holds: the name of a scalar or message, or an enumeration's values."""

    name: str = ""
    values: tuple[str, ...] = ()
    form: _Form = _Form.ONE
    is_message: bool = False


# --- numbers --------------------------------------------------------------------------------------


def grown(numbers: Numbers) -> dict[str, dict[str, int]]:
    """Return the numbers with those of what is new, in the order of the model, after the old."""
    made = {name: dict(given) for name, given in numbers.items()}
    for name, model in messages().items():
        _number(made.setdefault(name, {}), model.model_fields)
        for enum, values in _enums(name, model).items():
            _number(made.setdefault(enum, {}), map(proto_spelling, values))
    return {
        name: dict(sorted(given.items(), key=lambda one: one[1])) for name, given in made.items()
    }


def _number(known: dict[str, int], names: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            known[name] = max(known.values(), default=0) + 1


# --- the text -------------------------------------------------------------------------------------


def proto(numbers: Numbers) -> str:
    """Return kat.proto. KeyError if a field has no number: `grown` gives it one."""
    blocks = [_HEAD]
    for values, name in _OUTER_ENUMS.items():
        blocks.append("\n".join(_enum(name, name, values, numbers[name], "")))
    blocks += ["\n".join(_message(name, model, numbers)) for name, model in messages().items()]
    gone = [name for name in numbers if "." not in name and name not in {*messages(), *_outer()}]
    blocks += [f"// {name} is no more; its name is not used again." for name in gone]
    return "\n\n".join(blocks) + "\n"


_HEAD: Final = f"""\
// Made by `make generate`; edit katgen/model/ instead.
// JSON of these messages is what KAT's API and .kat files have.

syntax = "proto3";

package {PACKAGE};"""


def messages() -> dict[str, type[Spec]]:
    """Return the models by their message's name: kinds first, then what they hold."""
    found: dict[str, type[Spec]] = {}
    queue: list[type[Spec]] = [*KINDS.values()]
    while queue:
        model = queue.pop(0)
        name = _name(model)
        if name in found:
            continue
        found[name] = Metadata if issubclass(model, Metadata) else model
        inner = (object_in(info.annotation) for info in model.model_fields.values())
        queue += [one for one in inner if one is not None]
    return found


def _name(model: type[Spec]) -> str:
    return "ObjectMeta" if issubclass(model, Metadata) else _NAMES.get(model, model.__name__)


def _outer() -> set[str]:
    return set(_OUTER_ENUMS.values())


def _message(name: str, model: type[Spec], numbers: Numbers) -> Iterator[str]:
    known = numbers[name]
    yield from _comment(cleandoc(model.__doc__ or "").partition("\n\n")[0])
    yield f"message {name} {{"
    for enum, values in _enums(name, model).items():
        if enum not in _outer():
            yield from _enum(enum, enum.rpartition(".")[2], values, numbers[enum], "  ")
            yield ""
    yield from _gone(known, model.model_fields, "  ")
    ordered = sorted(model.model_fields.items(), key=lambda one: known[one[0]])
    choices = model.one_of if issubclass(model, OneOf) else ()
    for field, info in ordered:
        if field not in choices:
            yield from _field(name, field, info, known[field])
    if choices:
        yield "  oneof one {"
        for field, info in ordered:
            if field in choices:
                yield from (f"  {line}" for line in _field(name, field, info, known[field]))
        yield "  }"
    yield "}"


def _field(message: str, field: str, info: FieldInfo, number: int) -> Iterator[str]:
    yield from _comment(info.description or "", "  ")
    of = _type_of(info)
    name = _enum_name(message, field, of.values) if of.values else of.name
    shown = name.rpartition(".")[2]
    label = f"{of.form.value}{shown}" if of.form is not _Form.MAP else f"map<string, {shown}>"
    if of.form is _Form.ONE and not of.is_message and not _in_choice(message, field):
        label = f"optional {label}" if _needs_presence(info) else label
    alias = str(info.alias)
    json_name = f' [json_name = "{alias}"]' if alias != to_camel(field) else ""
    yield f"  {label} {field} = {number}{json_name};"


def _comment(text: str, indent: str = "") -> Iterator[str]:
    for line in wrap(" ".join(text.split()), _WIDTH - len(indent)):
        yield f"{indent}// {line}"


def _in_choice(message: str, field: str) -> bool:
    model = messages()[message]
    return issubclass(model, OneOf) and field in model.one_of


def _needs_presence(info: FieldInfo) -> bool:
    """Whether leaving it out means something else than zero, or zero is to be told from it."""
    if not info.is_required():
        return bool(info.default) or info.default is None
    zero = _ZEROS.get(_type_of(info).name)
    marks = (None, *info.metadata)
    marked = Annotated[info.annotation, *marks]  # type: ignore[name-defined]  # a type made here
    try:
        TypeAdapter(marked).validate_python(zero)
    except ValidationError:
        return False
    return True


def _gone(known: Mapping[str, int], now: Container[str], indent: str) -> Iterator[str]:
    gone = sorted((number, name) for name, number in known.items() if name not in now)
    if gone:
        yield f"{indent}reserved {', '.join(str(number) for number, _ in gone)};"
        names = ", ".join(f'"{name}"' for _, name in gone)
        yield f"{indent}reserved {names};"


# --- enumerations ---------------------------------------------------------------------------------


def _enums(message: str, model: type[Spec]) -> dict[str, tuple[str, ...]]:
    found = {}
    for field, info in model.model_fields.items():
        values = _type_of(info).values
        if values:
            found[_enum_name(message, field, values)] = values
    return found


def _enum_name(message: str, field: str, values: tuple[str, ...]) -> str:
    return _OUTER_ENUMS.get(values) or f"{message}.{to_pascal(field)}"


def _enum(
    known_as: str, name: str, values: tuple[str, ...], numbers: Mapping[str, int], indent: str
) -> Iterator[str]:
    spelled = {proto_spelling(value) for value in values}
    yield f"{indent}enum {name} {{"
    yield from _gone(numbers, spelled, f"{indent}  ")
    yield f"{indent}  {_zero(known_as)} = 0;"
    for value in sorted(spelled, key=numbers.__getitem__):
        yield f"{indent}  {value} = {numbers[value]};"
    yield f"{indent}}}"


def _zero(name: str) -> str:
    return f"{proto_spelling(name.rpartition('.')[2])}_UNSPECIFIED"


# --- types ----------------------------------------------------------------------------------------


def _type_of(info: FieldInfo) -> _Type:
    if any(isinstance(mark, Quantity) for mark in info.metadata):
        return _Type("string")
    return _type(info.annotation)


def _type(annotation: Any) -> _Type:  # noqa: ANN401 -- any annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_quantity = any(isinstance(mark, Quantity) for mark in arguments[1:])
        return _Type("string") if is_quantity else _type(arguments[0])
    if origin in {Union, UnionType}:
        return _type(next(part for part in arguments if part is not NoneType))
    if origin is tuple:
        return _in_form(_type(arguments[0]), _Form.MANY)
    if origin is dict:
        return _in_form(_type(arguments[1]), _Form.MAP)
    return _single(annotation, origin, arguments)


def _in_form(inner: _Type, form: _Form) -> _Type:
    return _Type(inner.name, inner.values, form, inner.is_message)


def _single(annotation: Any, origin: Any, arguments: tuple[str, ...]) -> _Type:  # noqa: ANN401 -- as above
    if origin is Literal:
        is_envelope = arguments[0] in {*KINDS, "kat/v1alpha1"}
        return _Type("string") if is_envelope else _Type(values=arguments)
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return _Type(_name(annotation), is_message=True)
    return _Type(_SCALARS[bare(annotation)])
