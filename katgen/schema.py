"""The JSON Schema of each kind, from the model that validates it (draft 2020-12).

It takes whatever `validate` takes of one object, both spellings of enumerations for one. What no
schema can say (rules across objects, sizes in bytes) is left to `validate`.
"""

from typing import Any, Final

from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from katgen.model.kinds import KINDS
from katgen.model.spec import OneOf
from katgen.model.wording import pattern_of

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind. KeyError if there is no such kind."""
    made = KINDS[kind].model_json_schema(by_alias=True, schema_generator=_Generator)
    del made["properties"]["apiVersion"]["x-kat-required"]
    made["required"] = ["apiVersion", *made["required"]]
    return {"$schema": DRAFT, "$id": f"urn:kat:v1alpha1:{kind}", **made, "title": kind}


class _Generator(GenerateJsonSchema):
    """pydantic's, without null (files cannot say it), without its titles, with "exactly one"."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if not isinstance(made.get("default"), str | int | list):
            made.pop("default", None)  # an object's is the sum of its fields'
        return made

    def function_after_schema(
        self, schema: core_schema.AfterValidatorFunctionSchema
    ) -> JsonSchemaValue:
        made = super().function_after_schema(schema)
        pattern = pattern_of(schema["function"]["function"])
        return made | {"pattern": pattern} if pattern else made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 -- pydantic decides the signature
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title", None)
        model = schema["cls"]
        if issubclass(model, OneOf):
            made["oneOf"] = [{"required": [to_camel(name)]} for name in model.one_of]
        for field in made.get("properties", {}).values():
            if not field.get("x-kat-later-values", True):
                del field["x-kat-later-values"]
            if not field.get("x-kat-later", True):
                del field["x-kat-later"]
        return made
