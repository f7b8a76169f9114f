"""Health checks (spec §3.2)."""

from typing import Annotated, ClassVar

from pydantic import Field

from katgen.model.spec import OneOf, Spec
from katgen.model.text import HealthCommand
from katgen.model.types import HttpPath, Port, Seconds

Period = Annotated[int, Field(strict=True, ge=1, le=86400)]
Timeout = Annotated[int, Field(strict=True, ge=1, le=60)]
"""It is how long a node may be kept waiting for one answer."""
Threshold = Annotated[int, Field(strict=True, ge=1, le=100)]


class HttpCheck(Spec):
    """Healthy if the answer's status is 200 to 399."""

    path: HttpPath = Field(default="/", description="Of the GET request.")
    port: Port = Field(description="Of the container.")


class TcpCheck(Spec):
    """Healthy if the port takes a connection."""

    port: Port = Field(description="Of the container.")


class ExecCheck(Spec):
    """Healthy if the command, run in the container, ends with 0."""

    command: HealthCommand = Field(description="A program and its arguments; no shell.")


class Probe(OneOf):
    """How health is found out: exactly one of `http`, `tcp`, `exec`."""

    one_of: ClassVar = ("http", "tcp", "exec")

    http: HttpCheck | None = Field(default=None, description="A GET request.")
    tcp: TcpCheck | None = Field(default=None, description="A connection.")
    exec: ExecCheck | None = Field(default=None, description="A command in the container.")
    initial_delay_seconds: Seconds = Field(
        default=0, description="Between the start and the first check."
    )
    period_seconds: Period = Field(default=10, description="Between two checks.")
    timeout_seconds: Timeout = Field(default=3, description="A check that takes longer has failed.")
    success_threshold: Threshold = Field(
        default=1, description="Successes in a row that make it healthy."
    )
    failure_threshold: Threshold = Field(
        default=3, description="Failures in a row that make it unhealthy."
    )
