"""Traefik has no Debian package: its dynamic file is held against the shape that its manual gives.

https://doc.traefik.io/traefik/routing/routers/ and …/services/, for the keys that KAT writes. Keys
that Traefik knows and KAT does not write are refused, so that a new one is looked up first.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import yaml

from tests.oracles.cell import Cell
from tests.oracles.complaint import Complaint

Schema = Mapping[str, object]
TEXT: Schema = {"type": "string", "minLength": 1}
TEXTS: Schema = {"type": "array", "items": TEXT, "minItems": 1}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    """Return the schema of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _named(schema: Schema) -> Schema:
    return {"type": "object", "minProperties": 1, "additionalProperties": schema}


SERVER = _object({"url": {"type": "string", "pattern": r"^https?://[^/\s]+$"}})
BALANCER = _object(
    {"servers": {"type": "array", "items": SERVER, "minItems": 1}},
    {"passHostHeader": {"type": "boolean"}},
)
ROUTER = _object(
    {"rule": TEXT, "service": TEXT},
    {
        "entryPoints": TEXTS,
        "middlewares": TEXTS,
        "priority": {"type": "integer", "minimum": 0},
        "tls": _object({}, {"certResolver": TEXT}),
    },
)
CERTIFICATE = _object({"certFile": TEXT, "keyFile": TEXT})
SCHEMA = _object(
    {},
    {
        "http": _object(
            {"routers": _named(ROUTER), "services": _named(_object({"loadBalancer": BALANCER}))}
        ),
        "tls": _object({"certificates": {"type": "array", "items": CERTIFICATE, "minItems": 1}}),
    },
)
MATCHER = re.compile(r"(?:Host|HostRegexp|Path|PathPrefix)\(`[^`]+`\)")
JOINED = re.compile(r"M (?:&&|\|\|) M|\(M\)")


def judge(_: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Complain of what Traefik's file provider would not read, and of routers that lead nowhere."""
    return [
        Complaint("traefik", path, text)
        for path, content in files.items()
        for text in _faults(path, content)
    ]


def _faults(path: str, content: bytes) -> list[str]:
    try:
        document = json.loads(content) if path.endswith(".json") else yaml.safe_load(content)
    except (ValueError, yaml.YAMLError) as err:
        return [str(err)]
    checker = jsonschema.Draft202012Validator(SCHEMA)
    faults = [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)]
    return faults or _meaning(document.get("http") or {})


def _meaning(http: Mapping[str, Any]) -> list[str]:
    services = http.get("services", {})
    faults = []
    for name, router in http.get("routers", {}).items():
        if router["service"] not in services:
            faults.append(f"router {name} leads to the unknown service {router['service']}")
        if not is_rule(router["rule"]):
            faults.append(f"router {name} has a rule that is none: {router['rule']}")
    return faults


def is_rule(text: str) -> bool:
    """Whether a text is matchers joined by && and ||, with brackets."""
    rest, shorter = "", MATCHER.sub("M", text)
    while rest != shorter:
        rest, shorter = shorter, JOINED.sub("M", shorter)
    return rest == "M"
