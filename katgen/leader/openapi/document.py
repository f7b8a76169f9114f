"""The OpenAPI 3.1 document: every route, and the types that validate and answer."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from katgen.leader.openapi.operations import (
    ALWAYS,
    OPERATIONS,
    PATH,
    QUERY,
    REFUSALS,
    RENAMED,
    Access,
    Body,
    Json,
    Operation,
)
from katgen.leader.openapi.schemas import SENT, ref, schemas
from katgen.leader.routes.objects import KINDS

PROBLEM: Final = "application/problem+json"
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_ARCHIVE: Final = "application/gzip"
_LINES: Final = "application/x-ndjson"
_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_SECURITY: Final[Mapping[Access, list[Json]]] = {
    Access.ANYBODY: [],
    Access.PEOPLE: [{"bearer": []}, {"mutualTLS": []}],
    Access.KNOWN: [{"bearer": []}, {"mutualTLS": []}],
    Access.AGENTS: [{"mutualTLS": []}],
}


@cache
def text() -> str:
    """Return the document as JSON."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def document() -> Json:
    """Return the document."""
    paths: dict[str, Json] = {}
    for method, path, kind, operation in concrete():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, kind, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KAT",
            "version": "v1alpha1",
            "summary": "The API of a leader of KAT.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas(),
            "responses": {str(one): _refusal(one) for one in REFUSALS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "People's token."},
                "mutualTLS": {
                    "type": "mutualTLS",
                    "description": "A certificate of the cluster's CA, of a person or an agent.",
                },
            },
        },
    }


def concrete() -> Iterator[tuple[str, str, str, Operation]]:
    """Yield method, path, kind ('' if there is none) and operation, a path for each kind."""
    for place, operation in OPERATIONS.items():
        method, _, path = place.partition(" ")
        if "{kinds}" not in path:
            yield method, path, "", operation
            continue
        for plural, kind in KINDS.items():
            one = path.replace("{kinds}", plural)
            if f"{method} {one}" not in OPERATIONS:
                yield method, one, kind, operation


def _operation(method: str, path: str, kind: str, operation: Operation) -> Json:
    made: Json = {
        "summary": operation.summary,
        "operationId": _identity(method, path),
        "tags": [operation.access.value],
        "parameters": [*_in_path(path), *map(_in_query, operation.query)],
        "responses": _responses(kind, operation),
        "security": _SECURITY[operation.access],
    }
    if operation.body is not Body.NOTHING:
        made["requestBody"] = _body(path, kind, operation.body)
    return made


def _identity(method: str, path: str) -> str:
    words = re.findall(r"\w+", path.replace("{", "by_").replace("/v1alpha1", ""))
    return "_".join([method.lower(), *words])


def _in_path(path: str) -> Iterator[Json]:
    for name in _VARIABLE.findall(path):
        text_, schema = PATH[name]
        yield {"name": name, "in": "path", "required": True, "description": text_, "schema": schema}


def _in_query(name: str) -> Json:
    text_, schema = QUERY[name]
    shown = RENAMED.get(name, name)
    return {"name": shown, "in": "query", "description": text_, "schema": schema}


# --- bodies ---------------------------------------------------------------------------------------


def _body(path: str, kind: str, body: Body) -> Json:
    match body:
        case Body.OBJECT:
            content = _documents(ref(f"{kind or _kind_in(path)}{SENT}"))
        case Body.OBJECTS | Body.MAYBE_OBJECTS:
            content = _documents(ref("Objects"))
        case Body.DIGESTS:
            content = {_JSON: {"schema": {"type": "array", "items": {"type": "string"}}}}
        case _:
            content = {_JSON: {"schema": ref(body.value)}}
    return {"required": body is not Body.MAYBE_OBJECTS, "content": content}


def _kind_in(path: str) -> str:
    return "Namespace" if "/namespaces/" in path else "Workload"


def _documents(schema: Json) -> Json:
    archive = {"type": "string", "format": "binary", "description": "tar.gz of `.kat` files."}
    yaml = {"type": "string", "description": "Documents as in `.kat` files."}
    return {_JSON: {"schema": schema}, _YAML: {"schema": yaml}, _ARCHIVE: {"schema": archive}}


# --- answers --------------------------------------------------------------------------------------


def _responses(kind: str, operation: Operation) -> Json:
    made = {"200": {"description": "As asked.", "content": _content(kind, operation)}}
    if operation.form == "text/plain" and operation.access is Access.AGENTS:
        made = {"101": {"description": "The connection is a web socket from here on."}}
    always = (400, 405, 500, 503) if operation.access is Access.ANYBODY else ALWAYS
    for status in sorted({*always, *operation.refusals}):
        made[str(status)] = {"$ref": f"#/components/responses/{status}"}
    if operation.answer == "Health":
        made["503"] = {"description": "Not ready.", "content": _content(kind, operation)}
    return made


def _content(kind: str, operation: Operation) -> Json:
    answer = operation.answer
    if answer.startswith("Kind"):
        answer = kind + answer.removeprefix("Kind")
    form: Json = {"type": "object"} if answer == "object" else ref(answer) if answer else {}
    content: Json = {operation.form: {"schema": form}}
    if operation.form != _JSON:
        content[operation.form] = {"schema": {"type": "string"}}
    if operation.form == "text/plain" and answer:
        content[_JSON] = {"schema": form}
    if operation.form == _LINES:
        content[_LINES]["schema"] = {"type": "string", "description": f"Each line is a {answer}."}
    if "watch" in operation.query:
        each = "Each line is a WatchLine."
        content[_LINES] = {"schema": {"type": "string", "description": each}}
    return content


def _refusal(status: int) -> Json:
    made: Json = {
        "description": REFUSALS[status],
        "content": {PROBLEM: {"schema": ref("Problem")}},
    }
    if status == 429:  # noqa: PLR2004 -- too many requests
        made["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "required": True}}
    if status == 401:  # noqa: PLR2004 -- unauthorized
        made["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}}
    return made
