"""What every kind shares: the envelope, metadata, and the field types that tables, schema and errors are made from."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from katgen import quantity
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


def later(what: str) -> dict[str, Any]:
    """Mark a field whose behaviour is not built: any value but the default is "not supported yet"."""
    return {"json_schema_extra": {"x-kat-later": what}}


def spelled(*names: str) -> BeforeValidator:
    """Accept each name also in proto3's spelling (`DaemonService` as `DAEMON_SERVICE`)."""
    by_spelling = {_proto_spelling(name): name for name in names}
    return BeforeValidator(
        lambda value: by_spelling.get(value, value) if isinstance(value, str) else value
    )


def _proto_spelling(name: str) -> str:
    return (
        "".join(
            f"_{c}" if c.isupper() and i and not name[i - 1].isupper() else c.upper()
            for i, c in enumerate(name)
        )
        .upper()
        .replace("-", "_")
    )


def _quantity_type(parse: Callable[[str], int], show: Callable[[int], str], example: str) -> Any:  # noqa: ANN401 -- an annotation, used as one
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"expected a quantity such as {example}")  # noqa: TRY004 -- pydantic collects ValueError
        return parse(str(value))

    return Annotated[
        int,
        BeforeValidator(read),
        PlainSerializer(show, return_type=str),
        WithJsonSchema({"type": ["string", "number"], "examples": [example]}),
    ]


Cpu = Annotated[int, *_quantity_type(quantity.cpu_milli, quantity.cpu_text, "250m").__metadata__]
"""Thousandths of a CPU in code; a quantity in files."""
Memory = Annotated[
    int, *_quantity_type(quantity.memory_bytes, quantity.memory_text, "128Mi").__metadata__
]
"""Bytes in code; a quantity in files."""
WholeQuantity = Annotated[int, *_quantity_type(quantity.memory_bytes, str, "1").__metadata__]
"""A count in code; a quantity in files, as Kubernetes writes `nvidia.com/gpu: "1"`."""
Int = StrictInt
Flag = StrictBool
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class Metadata(Spec):
    """Names an object. `uid`, `generation`, `resourceVersion`, `creationTimestamp` are the leader's to set."""

    name: Name
    namespace: NamespaceName = "default"
    labels: dict[LabelKey, LabelValue] = Field(default={})
    annotations: dict[LabelKey, LabelValue] = Field(default={})
    uid: str = Field(default="", **later("set by the leader"))
    generation: int = Field(default=0, **later("set by the leader"))
    resource_version: str = Field(default="", **later("set by the leader"))
    creation_timestamp: str = Field(default="", **later("set by the leader"))

    @model_validator(mode="after")
    def _fits_a_unit(self) -> Self:
        check_total((f"{k}={v}" for k, v in self.labels.items()), MAX_LABELS, "labels")
        check_description(self.annotations.get(DESCRIPTION, ""))
        return self


class Document(Spec):
    """The envelope of every kind."""

    api_version: str = API_VERSION
    kind: str
    metadata: Metadata
