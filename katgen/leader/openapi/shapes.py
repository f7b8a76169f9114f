"""Shapes of the API that no type elsewhere has: for the OpenAPI document alone."""

from collections.abc import Mapping
from typing import Any

import msgspec

from katgen.leader.answers import Trouble


class Problem(msgspec.Struct, frozen=True, rename="camel"):
    """Why a request was refused, RFC 9457; `problems` are all of them, each with its place."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    problems: tuple[Trouble, ...]


class ListMetadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Of a list. `continue` gets the next page; it is left out with the last."""

    resource_version: str = ""
    next_page: str = msgspec.field(default="", name="continue")
    remaining_item_count: int = 0


class InstanceMetadata(msgspec.Struct, frozen=True):
    """Names an instance: `<workload>/<id>`. The labels are the workload's."""

    name: str
    namespace: str
    labels: Mapping[str, str] = {}


class Instance(msgspec.Struct, frozen=True, rename="camel"):
    """A running copy of a workload; `since` is Unix seconds."""

    kind: str
    metadata: InstanceMetadata
    workload: str
    node: str
    address: str
    revision: str
    unit: str
    state: str
    restarts: int
    exit_code: int
    since: float
    image: str
    health: str
    lines: tuple[str, ...]
    endpoint: str


class WatchLine(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK, or ERROR with a problem."""

    type: str
    object: Mapping[str, Any]
    resource_version: str = ""


class Scale(msgspec.Struct, frozen=True):
    """How many instances there shall be."""

    replicas: int


class Rollback(msgspec.Struct, frozen=True):
    """Which revision of `history` to go back to; 0 is the one before."""

    to: int = 0
