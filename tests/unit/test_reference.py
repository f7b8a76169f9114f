import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from katgen.cli.generate import DIRECTORY, model_files
from katgen.model.kinds import KINDS
from katgen.reference import page
from katgen.schema import schema
from tests.environment import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.kat"))
WEB = {
    "apiVersion": "kat/v1alpha1",
    "kind": "Workload",
    "metadata": {"name": "web"},
    "spec": {"type": "Service", "source": {"image": "nginx"}},
}


def complaint(**spec: object) -> str:
    changed = {**WEB, "spec": {"type": "Service", "source": {"image": "nginx"}, **spec}}
    try:
        Draft202012Validator(schema("Workload")).validate(changed)
    except ValidationError as err:
        return f"{err.json_path}: {err.validator}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_schemas_of_draft_2020_12(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))
    assert schema(kind)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema(kind)["$id"] == f"urn:kat:v1alpha1:{kind}"
    assert schema(kind)["required"][:3] == ["apiVersion", "kind", "metadata"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_example_passes_its_schema(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        Draft202012Validator(schema(document["kind"])).validate(document)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ""),
        ({"type": "DAEMON_SERVICE"}, ""),
        ({"replicas": 100_001}, "$.spec.replicas: maximum"),
        ({"type": "Pod"}, "$.spec.type: enum"),
        ({"image": "nginx"}, "$.spec: additionalProperties"),
        ({"source": {}}, "$.spec.source: oneOf"),
        ({"source": {"image": "a b"}}, "$.spec.source.image: pattern"),
        ({"container": {"env": [{"name": "A"}]}}, "$.spec.container.env[0]: oneOf"),
        ({"container": {"resources": {"limits": {"cpu": 1.5}}}}, ""),
        (
            {"container": {"resources": {"limits": {"cpu": "many"}}}},
            "$.spec.container.resources.limits.cpu: anyOf",
        ),
        ({"singleton": None}, "$.spec.singleton: type"),
    ],
)
def test_a_schema_takes_and_refuses_what_validation_does(
    spec: dict[str, object], expected: str
) -> None:
    assert complaint(**spec) == expected


def test_a_schema_says_what_is_not_supported_yet() -> None:
    properties = schema("Workload")["$defs"]["WorkloadSpec"]["properties"]
    assert properties["singleton"]["x-kat-later"] == "singleton"
    assert properties["isolation"]["x-kat-later-values"] == ["rootless"]
    assert "x-kat-later" not in properties["replicas"]


def test_a_page_has_a_row_for_every_field() -> None:
    rows = page("VirtualLoadBalancer").splitlines()
    assert "| `port` | 1 to 65535 | **required** | On the virtual address. |" in rows
    assert "| `external` | true or false | `false` | Also an address from externalCIDR. " in (
        "\n".join(rows)
    )
    assert "## spec.ingress[].tls" in rows


def test_generated_files_are_up_to_date() -> None:
    made = model_files()
    written = {name: (REPOSITORY / DIRECTORY / name).read_text(encoding="utf-8") for name in made}
    assert written == made
    assert json.loads(made["schema/Secret.json"])["title"] == "Secret"
