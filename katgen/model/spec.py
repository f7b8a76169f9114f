"""What every kind shares: the envelope, metadata, and the marks that fields carry."""

from typing import Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from katgen.model.text import (
    DESCRIPTION,
    MAX_LABELS,
    LabelKey,
    LabelValue,
    Name,
    NamespaceName,
    check_description,
    check_total,
)

API_VERSION: Final = "kat/v1alpha1"


class Spec(BaseModel):
    """Frozen; unknown keys are refused; keys are camelCase in files and snake_case in code."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, hide_input_in_errors=True
    )


def later(what: str, *values: str) -> dict[str, Any]:
    """Mark a field whose behaviour is not built: any value but the default is "not supported yet".

    With `values`, only these are.
    """
    return {"json_schema_extra": {"x-kat-later": what, "x-kat-later-values": list(values)}}


def by_leader() -> dict[str, Any]:
    """Mark a field that the leader sets and a user cannot."""
    return {"json_schema_extra": {"x-kat-by-leader": True}}


class OneOf(Spec):
    """Has exactly one of the fields that `one_of` names."""

    one_of: ClassVar[tuple[str, ...]]

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Self:
        given = [name for name in self.one_of if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(map(to_camel, given)) or "none"
            choices = ", ".join(map(to_camel, self.one_of))
            raise ValueError(f"{got} given; give exactly one of {choices}")
        return self


class Metadata(Spec):
    """Names an object."""

    name: Name = Field(
        description="A DNS label: at most 63 lower-case letters, digits and `-`. "
        "Objects with the same namespace and name belong together."
    )
    namespace: NamespaceName = Field(default="default", description="The group it belongs to.")
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, description="For selectors and affinities; also on the container."
    )
    annotations: dict[LabelKey, LabelValue] = Field(
        default={},
        description=f"Anything else. `{DESCRIPTION}` becomes the description of the units.",
    )
    uid: str = Field(default="", description="Never used twice.", **by_leader())
    generation: int = Field(default=0, description="Counts the changes of the spec.", **by_leader())
    resource_version: str = Field(
        default="", description="Changes with every write.", **by_leader()
    )
    creation_timestamp: str = Field(default="", description="RFC 3339.", **by_leader())

    @model_validator(mode="after")
    def _fits_a_unit(self) -> Self:
        check_total((f"{k}={v}" for k, v in self.labels.items()), MAX_LABELS, "labels")
        check_description(self.annotations.get(DESCRIPTION, ""))
        return self


class ClusterWideMetadata(Metadata):
    """Names an object that belongs to no namespace."""

    namespace: NamespaceName = Field(
        default="default", description="Not to be given: this kind belongs to no namespace."
    )

    @model_validator(mode="after")
    def _has_no_namespace(self) -> Self:
        if "namespace" in self.model_fields_set:
            raise ValueError("this kind belongs to no namespace; remove metadata.namespace")
        return self


class Document(Spec):
    """The envelope of every kind."""

    api_version: Literal["kat/v1alpha1"] = Field(
        default=API_VERSION,
        description="Of this form of the files.",
        json_schema_extra={"x-kat-required": True},
    )
    kind: str = Field(description="Which of the kinds; it decides what the object is.")
    metadata: Metadata = Field(description="Its names.")
