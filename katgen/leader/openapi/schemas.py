"""The schemas of the OpenAPI document, from the types that validate and that answer."""

import json
from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, Final

import msgspec

from katgen import exposition
from katgen.leader import answers, history
from katgen.leader.openapi import shapes
from katgen.leader.openapi.operations import Json
from katgen.leader.routes import health, journals
from katgen.model.kinds import KINDS
from katgen.protocol import BundleAnswer, Report, SignedRecord
from katgen.schedule.explain import Explanation
from katgen.schema import schema

REF: Final = "#/components/schemas/"
SENT: Final = "Sent"
"""Ends the name of a kind as it is sent: with what `get` printed, which is dropped."""
_TYPES: Final = (
    *(answers.Preview, answers.Progress, answers.Written, answers.Generation, answers.Event),
    *(answers.InstanceUsage, answers.WorkloadStatus, history.Version, exposition.Families),
    *(health.Health, health.ClusterVersion, journals.Line, Explanation),
    *(BundleAnswer, Report, SignedRecord),
    *(shapes.Problem, shapes.ListMetadata, shapes.Instance, shapes.WatchLine),
    *(shapes.Scale, shapes.Rollback),
)
_LISTED: Final = (
    *(kind for kind in KINDS if kind != "ClusterConfiguration"),
    "Instance",
    "Event",
    "Generation",
    "Revision",
    "Usage",
)
_ITEMS: Final = {"Usage": "InstanceUsage", "Revision": "Version"}
_DROPPED: Final[Mapping[str, Json]] = {
    "uid": {},
    "generation": {},
    "creationTimestamp": {},
    "resourceVersion": {
        "description": "Refused if the object has another one by now; empty is any.",
        "anyOf": [
            {"type": "string", "pattern": "^[0-9]*$", "maxLength": 19},
            {"type": "integer", "minimum": 0},
            {"type": "null"},
        ],
    },
}


def schemas() -> dict[str, Json]:
    """Return every schema by its name."""
    _, made = msgspec.json.schema_components(_TYPES, ref_template=REF + "{name}")
    found: dict[str, Json] = {name: _tidy(one) for name, one in made.items()}
    parts: dict[str, Json] = {}
    for kind in KINDS:
        parts |= _of_kind(kind)
    found |= _renamed(parts, found.keys() & parts.keys())
    found |= {f"{kind}List": _list(kind) for kind in _LISTED}
    return dict(sorted({**found, **_UNIONS}.items()))


def ref(name: str) -> Json:
    """Return a reference to a schema."""
    return {"$ref": f"{REF}{name}"}


_UNIONS: Final[Mapping[str, Json]] = {
    "Applied": {"anyOf": [ref("Written"), ref("Preview")]},
    "MaybeRecord": {"anyOf": [ref("SignedRecord"), {"type": "null"}]},
    "Objects": {
        "description": "One object, or a list of some.",
        "anyOf": [
            *(ref(f"{kind}{SENT}") for kind in KINDS),
            {
                "type": "object",
                "properties": {
                    "kind": {"const": "List"},
                    "items": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"anyOf": [ref(f"{kind}{SENT}") for kind in KINDS]},
                    },
                },
                "required": ["kind", "items"],
            },
        ],
    },
}


def _of_kind(kind: str) -> dict[str, Json]:
    """Return a kind as it is shown and as it is sent, and what they hold."""
    whole = _moved(schema(kind))
    parts: dict[str, Json] = whole.pop("$defs", {})
    for name in ("$schema", "$id"):
        del whole[name]
    sent = deepcopy(whole)
    metadata = whole["properties"]["metadata"]["$ref"].removeprefix(REF)
    parts[f"{metadata}{SENT}"] = _sent_metadata(parts[metadata])
    sent["properties"]["metadata"] = ref(f"{metadata}{SENT}")
    sent["properties"]["status"] = {"description": "Dropped: it is the leader's to say."}
    if kind == "Node":
        del parts["NodeStatus"]["additionalProperties"]
    return {**parts, kind: _shown(kind, whole), f"{kind}{SENT}": sent}


def _sent_metadata(metadata: Json) -> Json:
    return {**metadata, "properties": {**metadata["properties"], **_DROPPED}}


def _shown(kind: str, whole: Json) -> Json:
    shown = deepcopy(whole)
    if kind == "Workload":
        shown["properties"]["status"] = ref("WorkloadStatus")
    if kind == "Secret":
        del shown["properties"]["data"]
        shown["properties"]["keys"] = {
            "description": "Of its values, which nobody is shown.",
            "type": "array",
            "items": {"type": "string"},
        }
    if kind == "Node":  # besides what its agent measured, what the leader knows of it
        shown["properties"]["status"] = ref("NodeStatus")
    return shown


def _list(kind: str) -> Json:
    return {
        "type": "object",
        "properties": {
            "kind": {"const": f"{kind}List"},
            "metadata": ref("ListMetadata"),
            "items": {"type": "array", "items": ref(_ITEMS.get(kind, kind))},
        },
        "required": ["kind", "metadata", "items"],
    }


def _moved(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Return a schema whose references lead to the document's components."""
    if isinstance(value, list):
        return [_moved(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: one.replace("#/$defs/", REF) if key == "$ref" else _moved(one)
        for key, one in value.items()
    }


def _renamed(parts: Mapping[str, Json], taken: Collection[str]) -> dict[str, Json]:
    """Return the model's schemas, with `Model` before names that others have."""
    text = json.dumps(parts)
    for name in taken:
        text = text.replace(f'"{REF}{name}"', f'"{REF}Model{name}"')
    made: dict[str, Json] = json.loads(text)
    return {f"Model{name}" if name in taken else name: one for name, one in made.items()}


def _tidy(one: Json) -> Json:
    """Return a schema with its description as prose, without an indent."""
    made: Json = msgspec.to_builtins(one)
    if "description" in made:
        made["description"] = " ".join(str(made["description"]).split())
    return made
