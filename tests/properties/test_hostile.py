"""Any text is refused by the model and by the encoder alike, or arrives as it was written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from katgen.errors import EncodeError
from katgen.model import text
from katgen.model.spec import Metadata
from katgen.render import unitfile
from katgen.render.unitfile import Variables
from tests.properties import reader
from tests.properties.hostile import texts
from tests.properties.reader import Unit

VALUES = 15_000
"""Of each place: together more than 100,000."""


@dataclass(frozen=True)
class Place:
    """A place for text: what the model takes, how it is written, and what is read there.

    `shape` is a rule of the model's beyond what the grammars force.
    """

    accepts: Callable[[str], object]
    write: Callable[[str, Variables], Sequence[tuple[str, str]]]
    read: Callable[[Unit], str]
    shape: Callable[[str], bool] = lambda _: True


def taken_by(kind: Any, wrap: Callable[[str], object] = str) -> Callable[[str], object]:  # noqa: ANN401 -- an annotated type
    """Return a check that raises ValidationError unless a field of this type takes the text."""
    adapter = TypeAdapter(kind)
    return lambda value: adapter.validate_python(wrap(value))


def health(words: Callable[[str], tuple[str, ...]], at: int) -> Place:
    """Return the place of one word of a health check."""
    return Place(
        taken_by(text.HealthCommand, words),
        lambda value, v: [("Container", f"HealthCmd={unitfile.health_command(words(value), v)}")],
        lambda unit: reader.health_command(unit.plain("HealthCmd"))[at],
    )


def is_path(value: str) -> bool:
    return value.startswith("/") and not {".", ".."} & set(value.split("/"))


def mounted(unit: Unit) -> str:
    """Return the mounted path if the unit also waits for it."""
    ((source, _),) = unit.mounts()
    assert unit.mounts_for() == [source]
    return source


PLACES = {
    "a variable": Place(
        taken_by(text.EnvValue),
        lambda value, v: [("Container", unitfile.environment("A", value, v))],
        lambda unit: unit.environment()["A"],
    ),
    "a label": Place(
        taken_by(text.LabelValue),
        lambda value, v: [("Container", unitfile.label("a", value, v))],
        lambda unit: unit.pairs("Label")[0][1],
    ),
    "an argument": Place(
        taken_by(text.ExecWord),
        lambda value, v: [("Container", unitfile.arguments(["first", value, "last"], v)[0])],
        lambda unit: unit.arguments("Exec")[1],
    ),
    "a program": Place(
        taken_by(text.Command, lambda value: (value,)),
        lambda value, v: [("Container", unitfile.entrypoint(value, v))],
        lambda unit: reader.entrypoint(unit.plain("Entrypoint"))[0],
    ),
    "a health check alone": health(lambda value: (value,), 0),
    "a health check's program": health(lambda value: (value, "a b"), 0),
    "a health check's argument": health(lambda value: ("a", value), 1),
    "a description": Place(
        lambda value: Metadata(name="web", annotations={text.DESCRIPTION: value}),
        lambda value, _: [("Unit", unitfile.description(value))],
        lambda unit: unit.description().removesuffix(" (kat.shop.web.0-1)"),
    ),
    "a mounted path": Place(
        taken_by(text.AbsolutePath),
        lambda value, v: [
            ("Container", unitfile.bind_mount(value, "/t", read_only=False, variables=v)),
            ("Unit", unitfile.requires_mounts_for(value)),
        ],
        mounted,
        is_path,
    ),
    "a mount's path inside": Place(
        taken_by(text.MountPath),
        lambda value, v: [
            ("Container", unitfile.bind_mount("/s", value, read_only=True, variables=v))
        ],
        lambda unit: unit.mounts()[0][1],
        is_path,
    ),
    "a working directory": Place(
        taken_by(text.WorkingDir),
        lambda value, v: [("Container", f"WorkingDir={unitfile.raw(value, v)}")],
        lambda unit: unit.plain("WorkingDir"),
        is_path,
    ),
    "a device": Place(
        taken_by(text.DevicePath),
        lambda value, v: [("Container", unitfile.device(value, v))],
        lambda unit: unit.arguments("AddDevice")[0],
        is_path,
    ),
}
PLACES["a part of a volume"] = Place(
    taken_by(text.SubPath),
    lambda value, v: [
        ("Container", unitfile.bind_mount(f"/v/{value}", "/t", read_only=False, variables=v)),
        ("Unit", unitfile.requires_mounts_for(f"/v/{value}")),
    ],
    lambda unit: mounted(unit).removeprefix("/v/"),
    lambda value: (
        is_path(f"/{value}") and not value.startswith("/") and value.count("/") < text.MAX_DEPTH
    ),
)
PATHS = {"a mounted path", "a mount's path inside", "a working directory", "a device"}


def accepts(one: Place, value: str) -> bool:
    try:
        one.accepts(value)
    except ValidationError:
        return False
    return True


def written(one: Place, value: str) -> str | None:
    """Return the unit, or None if the encoder refuses."""
    variables = Variables()
    try:
        lines = [*one.write(value, variables), *(("Service", x) for x in variables.lines())]
    except EncodeError:
        return None
    return "".join(f"[{section}]\n{line}\n" for section, line in lines)


@pytest.mark.parametrize("name", PLACES)
def test_text_is_refused_by_both_or_arrives_unchanged(name: str) -> None:
    one = PLACES[name]
    arrived = 0
    for text_ in texts(len(name), VALUES):
        value = f"/{text_}" if name in PATHS else text_
        unit = written(one, value) if one.shape(value) else None
        assert accepts(one, value) == (unit is not None), ascii(value)
        if unit is not None:
            assert one.read(Unit(unit)) == value, ascii(value)
            arrived += 1
    assert arrived > VALUES // 4
