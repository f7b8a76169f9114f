"""What each type is called, for the reference, and the patterns of text, for the schema."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from katgen.model import network, text
from katgen.model.spec import Spec
from katgen.model.types import Quantity, Shape

_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_ENDLESS: Final = 1_000_000
"""From here on a bound keeps out nonsense only."""
_NAMED: Final[tuple[tuple[Any, str, str], ...]] = (
    (text.Name, "DNS label", _LABEL),
    (text.NamespaceName, "DNS label", _LABEL),
    (text.DnsLabel, "DNS label", _LABEL),
    (text.NodeLabel, "DNS label", _LABEL),
    (text.PortLabel, "DNS label", r"^[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?$"),
    (text.LabelKey, "label key", r"^[A-Za-z0-9]([A-Za-z0-9_./-]{0,251}[A-Za-z0-9])?$"),
    (text.EnvName, "variable name", r"^[A-Za-z_][A-Za-z0-9_.-]{0,252}$"),
    (text.AbsolutePath, "absolute path", "^/"),
    (text.MountPath, "absolute path", "^/"),
    (text.WorkingDir, "absolute path", "^/"),
    (text.DevicePath, "absolute path", "^/"),
    (text.ShortPath, "absolute path", "^/"),
    (text.SubPath, "relative path", ""),
    (text.DockerfilePath, "relative path", ""),
    (text.ContextPath, "relative path", ""),
    (text.GitUrl, "URL", ""),
    (text.FileName, "file name", ""),
    (network.Endpoint, "host and port", ""),
    (network.LinkName, "link name", r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}$"),
)
_BY_CHECK: Final[Mapping[object, tuple[str, str]]] = {
    get_args(alias)[-1].func: (name, pattern) for alias, name, pattern in _NAMED
}
_PLAIN: Final[Mapping[object, str]] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    IPv4Network: "IPv4 network",
    IPv4Address: "IPv4 address",
}


def pattern_of(check: object) -> str:
    """Return the pattern that texts have which pass a check of `katgen.model.text`, or ''."""
    return _BY_CHECK.get(check, ("", ""))[1]


def wording(annotation: Any, metadata: Sequence[object] = ()) -> str:  # noqa: ANN401 -- any annotation
    """Return what a field's type is called: `list of DNS label`, `1 to 65535`, `TCP or UDP`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return wording(arguments[0], (*arguments[1:], *metadata))
    if origin in {Union, UnionType}:
        return wording(next(part for part in arguments if part is not NoneType), metadata)
    if origin in _GENERIC:
        return _GENERIC[origin](arguments)
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return "object"
    return _by_metadata(metadata) or _PLAIN[annotation]


_GENERIC: Final[Mapping[object, Callable[[tuple[Any, ...]], str]]] = {
    Literal: lambda values: " or ".join(f"`{value}`" for value in values),
    tuple: lambda items: f"list of {wording(items[0])}",
    dict: lambda parts: f"map of {wording(parts[0])} to {wording(parts[1])}",
}


def _by_metadata(metadata: Sequence[object]) -> str:
    flat = [*_flat(metadata)]
    for mark in flat:
        if isinstance(mark, Shape):
            return mark.what.removeprefix("an ").removeprefix("a ")
        if isinstance(mark, Quantity):
            return "quantity"
        if isinstance(mark, AfterValidator) and mark.func in _BY_CHECK:
            return _BY_CHECK[mark.func][0]
    return _range(flat)


def _flat(metadata: Sequence[object]) -> Iterator[object]:
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            yield from mark.metadata
        else:
            yield mark


def _range(metadata: Sequence[object]) -> str:
    least = next((mark.ge for mark in metadata if isinstance(mark, Ge)), None)
    most = next((mark.le for mark in metadata if isinstance(mark, Le)), None)
    if not isinstance(least, int) or not isinstance(most, int):
        return ""
    if most < _ENDLESS:
        return f"{least} to {most}"
    return f"{least} or more" if least > -_ENDLESS else "whole number"
