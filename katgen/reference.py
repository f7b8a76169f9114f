"""The reference page of each kind, from the model that validates it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import get_origin

from pydantic.fields import FieldInfo

from katgen.model.kinds import KINDS
from katgen.model.shape import fields, object_in
from katgen.model.spec import Spec
from katgen.model.wording import wording

_MADE = "<!-- Made by `make generate`; edit katgen/model/ instead. -->"
_HEAD = "| field | type | default | meaning |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class _Section:
    """An object of a kind: where it stands first, and its model."""

    path: str
    model: type[Spec]


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    return {f"{kind}.md": page(kind) for kind in KINDS} | {"README.md": _index()}


def page(kind: str) -> str:
    """Return the page of a kind. KeyError if there is no such kind."""
    root = KINDS[kind]
    sections = {model: _Section(path, model) for path, model in _objects(root)}
    text = f"{_MADE}\n\n# {kind}\n\n{_prose(root)}\n\n{_table(root, sections)}"
    return text + "".join(
        f"\n## {section.path}\n\n{_prose(section.model)}\n\n{_table(section.model, sections)}"
        for section in sections.values()
    )


def _index() -> str:
    rows = "".join(
        f"| [{kind}]({kind}.md) | {_prose(model).splitlines()[0]} |\n"
        for kind, model in KINDS.items()
    )
    return (
        f"{_MADE}\n\n# Reference\n\nWhat `.kat` files can say, kind by kind. `schema/` has a JSON "
        f"Schema of each, for editors;\n[katcall](katcall.md) has the commands.\n\n"
        f"| kind | what it is |\n|---|---|\n{rows}"
    )


def _objects(model: type[Spec]) -> Iterator[tuple[str, type[Spec]]]:
    """Return every object below a model once, with its path, outer ones first."""
    seen = {model}
    queue = [("", model)]
    for path, outer in queue:
        for key, info in fields(outer).items():
            inner = object_in(info.annotation)
            if inner is not None and inner not in seen:
                seen.add(inner)
                many = "[]" if get_origin(info.annotation) is tuple else ""
                queue.append((f"{path}.{key}{many}".removeprefix("."), inner))
    yield from sorted(queue[1:])


def _prose(model: type[Spec]) -> str:
    return cleandoc(model.__doc__ or "")


def _table(model: type[Spec], sections: Mapping[type[Spec], _Section]) -> str:
    rows = (
        f"| `{key}` | {_type(info, sections)} | {_default(info)} | {_meaning(info)} |\n"
        for key, info in fields(model).items()
    )
    return _HEAD + "".join(rows)


def _type(info: FieldInfo, sections: Mapping[type[Spec], _Section]) -> str:
    words = wording(info.annotation, info.metadata)
    inner = object_in(info.annotation)
    if inner is None:
        return words
    anchor = re.sub(r"[^a-z0-9 _-]", "", sections[inner].path.lower())
    return words.replace("object", f"[object](#{anchor})")


def _default(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    if info.is_required() or (isinstance(extra, dict) and "x-kat-required" in extra):
        return "**required**"
    default = info.get_default(call_default_factory=True)
    if isinstance(default, str | int):
        return f"`{json.dumps(default)}`" if default == "" else f"`{_shown(default)}`"
    return ""


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _meaning(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    marks = extra if isinstance(extra, dict) else {}
    values = marks.get("x-kat-later-values")
    remark = ""
    if isinstance(values, list) and values:
        remark = " *Not supported yet: " + ", ".join(f"`{value}`" for value in values) + ".*"
    elif marks.get("x-kat-later"):
        remark = " *Not supported yet.*"
    elif marks.get("x-kat-by-leader"):
        remark = " *The leader's to set.*"
    return f"{info.description}{remark}".replace("|", "\\|")
