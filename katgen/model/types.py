"""Field types: what a value may be, in code, in files, in the schema and in words."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from katgen import quantity
from katgen.model.closed import CAPABILITIES, SIGNALS

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Shape:
    """Text of one shape. `what` and `example` name it in errors and in the reference.

    Of a closed list `known` has the words, so that an error can name the one that was meant.
    """

    pattern: str
    what: str
    example: str
    longest: int = 1024
    known: tuple[str, ...] = ()

    def check(self, text: str) -> str:
        """Return the text. Raises ValueError if it has another shape."""
        if len(text) <= self.longest and re.fullmatch(self.pattern, text):
            return text
        shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        raise ValueError(f"{shown!r} is not {self.what}; {self._hint(shown)}")

    def _hint(self, text: str) -> str:
        folded = text.upper().replace("-", "_").removeprefix("CAP_")
        near = get_close_matches(folded, self.known, n=1)
        return f"did you mean {near[0]!r}?" if near else f"write it as {self.example}"

    def __get_pydantic_core_schema__(
        self, source: type[str], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | {
            "pattern": f"^({self.pattern})$",
            "maxLength": self.longest,
            "examples": [self.example],
        }


@dataclass(frozen=True, slots=True)
class BothSpellings:
    """Of a Literal: takes values in proto3's spelling too (`DaemonService` as `DAEMON_SERVICE`)."""

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401 -- any Literal
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        known = {proto_spelling(name): name for name in get_args(source)}

        def read(value: object) -> object:
            return known.get(value, value) if isinstance(value, str) else value

        return core_schema.no_info_before_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        names = schema.pop("enum", None) or [schema.pop("const")]
        both = [*names, *(proto_spelling(name) for name in names)]
        return schema | {"enum": list(dict.fromkeys(both))}


def proto_spelling(name: str) -> str:
    """Return a value as proto3 spells it: `ClientIP` → `CLIENT_IP`, `host-root` → `HOST_ROOT`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").upper()


@dataclass(frozen=True, slots=True)
class Quantity:
    """A whole number in code, one of Kubernetes' quantities in files."""

    read: Callable[[str], int]
    show: Callable[[int], str]
    example: str
    least: int = 0

    def __get_pydantic_core_schema__(
        self, _source: type[int], _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._take,
            serialization=core_schema.plain_serializer_function_ser_schema(
                self.show, return_schema=core_schema.str_schema()
            ),
        )

    def __get_pydantic_json_schema__(
        self, _core: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "anyOf": [
                {"type": "string", "pattern": f"^({quantity.PATTERN})$"},
                {"type": "number", "exclusiveMinimum" if self.least else "minimum": 0},
            ],
            "examples": [self.example],
        }

    def _take(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"expected a quantity; write it as {self.example}")  # noqa: TRY004 -- pydantic collects ValueError
        read = self.read(str(value))
        if read < self.least:
            raise ValueError(f"0 limits nothing; leave it out, or write it as {self.example}")
        return read


BOTH: Final = BothSpellings()

Cpu = Annotated[int, Quantity(quantity.cpu_milli, quantity.cpu_text, "250m")]
"""Thousandths of a CPU in code."""
Memory = Annotated[int, Quantity(quantity.memory_bytes, quantity.memory_text, "128Mi")]
"""Bytes in code."""
PositiveCpu = Annotated[int, Quantity(quantity.cpu_milli, quantity.cpu_text, "250m", least=1)]
PositiveMemory = Annotated[
    int, Quantity(quantity.memory_bytes, quantity.memory_text, "128Mi", least=1)
]
"""Of limits: systemd and Linux take 0 for no limit, or not at all."""
WholeQuantity = Annotated[int, Quantity(quantity.memory_bytes, str, "1")]
"""A count in code; Kubernetes writes `nvidia.com/gpu: "1"`."""

Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
PositiveSeconds = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
UserId = Annotated[int, Field(strict=True, ge=0, le=65535)]
"""Inside a container; its range on the node has as many."""
Weight = Annotated[int, Field(strict=True, ge=1, le=100)]

Protocol = Annotated[Literal["TCP", "UDP"], BOTH]
Effect = Annotated[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"], BOTH]
Operator = Annotated[Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"], BOTH]

_GIT_REF = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_HOST_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_REGISTRY_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_IMAGE_PART = r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
_URL_PART = r"[A-Za-z0-9._~!$&'()*+,;=:@%-]+"

ImageRef = Annotated[
    str,
    Shape(
        rf"(({_REGISTRY_HOST}(\.{_REGISTRY_HOST})*|\[[0-9A-Fa-f:]+\])(:[0-9]+)?/)?"
        rf"{_IMAGE_PART}(/{_IMAGE_PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?",
        "an image reference",
        "docker.io/library/nginx:1.27",
    ),
]
"""The grammar of github.com/distribution/reference, with digests of SHA-256 only."""
GitBranch = Annotated[str, Shape(_GIT_REF, "a branch's name", "main", 255)]
GitTag = Annotated[str, Shape(_GIT_REF, "a tag's name", "v1.2.0", 255)]
GitCommit = Annotated[
    str, Shape(r"[0-9a-f]{40}([0-9a-f]{24})?", "a full commit id", "40 hexadecimal digits", 64)
]
OctalMode = Annotated[str, Shape(r"0?[0-7]{3}", "a file's mode", '"0400", in quotes', 4)]
Capability = Annotated[
    str,
    Shape(
        f"ALL|(CAP_)?({'|'.join(CAPABILITIES)})",
        "a capability",
        "NET_BIND_SERVICE",
        known=("ALL", *CAPABILITIES),
    ),
]
Signal = Annotated[
    str,
    Shape(
        rf"{'|'.join(SIGNALS)}|SIGRTMIN(\+([1-9]|1[0-5]))?|SIGRTMAX(-([1-9]|1[0-4]))?",
        "a signal",
        "SIGTERM",
        known=(*SIGNALS, "SIGRTMIN+15", "SIGRTMAX-14"),
    ),
]
"""Real-time signals as far as Podman names them."""
HttpPath = Annotated[str, Shape(r"/[\x21-\x7e]*", "a path in ASCII", "/healthz", 2048)]
UrlPath = Annotated[
    str, Shape(rf"/({_URL_PART}(/{_URL_PART})*/?)?", "a path of a URL, without '//'", "/api/", 2048)
]
HostPattern = Annotated[
    str,
    Shape(
        rf"(\*\.)?{_HOST_LABEL}(\.{_HOST_LABEL})*",
        "a host's name",
        "shop.example.org or *.example.org",
        253,
    ),
]
TimeZone = Annotated[
    str, Shape(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone", "Europe/Berlin", 64)
]
BuildStage = Annotated[str, Shape(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a stage's name", "release", 128)]
Platform = Annotated[
    str, Shape(r"linux/[a-z0-9]+(/v[0-9]+)?", "a platform", "linux/amd64 or linux/arm/v7", 64)
]
Registry = Annotated[
    str,
    Shape(
        r"[A-Za-z0-9][A-Za-z0-9._/:-]*", "a registry, with a path", "registry.example.org/shop", 512
    ),
]
WireguardKey = Annotated[
    str,
    Shape(
        r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=",
        "a WireGuard public key",
        "44 characters of base64",
        44,
    ),
]
