"""The models, looked at from outside: which keys an object has, and what stands under them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from katgen.model.spec import Spec


@cache
def fields(model: type[Spec]) -> Mapping[str, FieldInfo]:
    """Return the fields by the key that files use, in the order of the model."""
    return {str(info.alias): info for info in model.model_fields.values()}


@cache
def attributes(model: type[Spec]) -> Mapping[str, str]:
    """Return the key that files use, by attribute."""
    return {name: str(info.alias) for name, info in model.model_fields.items()}


def object_in(annotation: Any) -> type[Spec] | None:  # noqa: ANN401 -- any annotation
    """Return the object that a field holds: itself, or in a list."""
    return next(_objects(annotation), None)


def _objects(annotation: Any) -> Iterator[type[Spec]]:  # noqa: ANN401 -- any annotation
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for part in get_args(annotation):
        yield from _objects(part)


def object_at(model: type[Spec], path: Sequence[str | int]) -> type[Spec] | None:
    """Return the object that stands at a path, or None if there is none."""
    found: type[Spec] | None = model
    for step in path:
        if isinstance(step, int):
            continue
        info = fields(found).get(step) if found else None
        found = object_in(info.annotation) if info else None
    return found


def bare(annotation: Any) -> Any:  # noqa: ANN401 -- any annotation
    """Return an annotation without its metadata."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
