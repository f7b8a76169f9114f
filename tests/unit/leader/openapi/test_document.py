"""The OpenAPI document says what the routes do, and nothing else."""

import json
import re

import jsonschema_rs
import pytest
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.definitions import OPENAPI_31

from katgen.cli.generate import DIRECTORY
from katgen.leader.openapi import document as openapi
from katgen.leader.routes import ROUTES
from tests.environment import REPOSITORY
from tests.unit.leader.api import api

DOCUMENT = openapi.document()
DOCUMENTED = {
    f"{method.upper()} {path}"
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
}


def registered() -> set[str]:
    """Return every route, one for each word that a variable of its path may be."""
    found = set()
    for route in ROUTES:
        plain = re.sub(r"\{(\w+):\[0-9\]\+\}", r"{\1}", route.path)
        choice = re.search(r"\{kinds:([a-z|]+)\}", plain)
        words = choice[1].split("|") if choice else [""]
        found |= {
            f"{route.method} {plain.replace(choice[0], word) if choice else plain}"
            for word in words
        }
    return found


def test_every_route_is_documented_and_every_documented_route_is_there() -> None:
    assert registered() == DOCUMENTED


def test_it_is_openapi_3_1() -> None:
    jsonschema_rs.Draft202012Validator(OPENAPI_31).validate(json.loads(openapi.text()))


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one_of_draft_2020_12(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(openapi.text())["components"]["schemas"][name])


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    text = openapi.text()
    led = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    told = set(re.findall(r"Each line is a (\w+)\.", text))
    assert led | told == DOCUMENT["components"]["schemas"].keys()


def test_no_operation_has_the_name_of_another() -> None:
    names = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)


def test_the_committed_document_is_up_to_date() -> None:
    path = REPOSITORY / DIRECTORY / "openapi.json"
    assert path.read_text(encoding="utf-8") == openapi.text()


async def test_anybody_gets_it() -> None:
    async with api() as client:
        answer = await client.client.get("/openapi.json")
        assert answer.content_type == "application/json"
        assert (await answer.json())["openapi"] == "3.1.0"
