"""What the API answers with, as JSON has it. The loop fills these in; the routes send them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from katgen.diff import Action
from katgen.errors import Problem
from katgen.names import InstanceKey, NodeName


class Trouble(msgspec.Struct, frozen=True):
    """A problem: `at` is its place as text."""

    at: str
    what: str
    hint: str = ""


class Held(msgspec.Struct, frozen=True):
    """A workload that keeps its accepted revision, and why the new one waits.

    `reason` is ImagePullFailed, Refused, Unplaced, Unsupported, NoNode or Waits.
    """

    namespace: str
    name: str
    reason: str
    message: str


class NodePreview(msgspec.Struct, frozen=True):
    """What would happen on a node; `diff` is a unified diff of its files."""

    actions: tuple[Action, ...]
    diff: str


class Preview(msgspec.Struct, frozen=True):
    """The plan that a change would make; `digest` is the root's, the one that would be signed."""

    generation: int
    parent: int
    digest: str
    nodes: Mapping[NodeName, NodePreview]
    unplaced: tuple[Trouble, ...] = ()
    problems: tuple[Trouble, ...] = ()
    held: tuple[Held, ...] = ()


class Rollout(msgspec.Struct, frozen=True):
    """How far a workload is.

    `state` is waiting, pulling, starting, rolling, running, failed or held. `running` counts
    ordinals: while one instance replaces another they are one.
    """

    namespace: str
    name: str
    wanted: int
    running: int
    state: str
    message: str = ""


class HeldBack(msgspec.Struct, frozen=True):
    """Why the plan does not have what is stored; `since` is RFC 3339. `reason` is as in `Held`.

    Or Pulling: as soon as its image is there, the plan has it.
    """

    reason: str
    message: str
    since: str


class WorkloadStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How a workload is. `state` (as in `Rollout`), `revision` and `image` are of what runs.

    `ready` is how many instances get traffic; a Job's never do.
    """

    wanted: int
    running: int
    ready: int
    state: str
    message: str = ""
    revision: str = ""
    image: str = ""
    held_back: HeldBack | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a change is.

    `phase` is received, resolving, proposing, committed, applying, done or failed; the last two
    end the stream.
    """

    phase: str
    generation: int = 0
    workloads: tuple[Rollout, ...] = ()
    message: str = ""


class Instance(msgspec.Struct, frozen=True, rename="camel"):
    """A running copy. `key` is `<ns>/<workload>/<id>`; `since` is Unix seconds.

    `state` is running, starting, failed, stopped, waiting or finished. `endpoint` is ready,
    notready or draining; '' if its node has said nothing of it, or it has no endpoint (a Job).
    """

    key: InstanceKey
    node: NodeName
    address: str
    revision: str
    unit: str
    state: str
    restarts: int = 0
    exit_code: int = 0
    since: float = 0
    image: str = ""
    health: str = ""
    lines: tuple[str, ...] = ()
    endpoint: str = ""


class Generation(msgspec.Struct, frozen=True):
    """A committed plan. `time` is RFC 3339; `changed` are workload keys."""

    generation: int
    time: str
    digest: str
    changed: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True):
    """Something that happened, `count` times from `first` to `last` (RFC 3339)."""

    namespace: str
    kind: str
    name: str
    reason: str
    message: str
    first: str
    last: str
    count: int = 1
    node: str = ""


class InstanceUsage(msgspec.Struct, frozen=True, rename="camel"):
    """What an instance uses: CPU time since its start, by `time` on its node's clock, seconds."""

    namespace: str
    name: str
    node: NodeName
    time: float
    cpu_ns: int
    memory_bytes: int


class Changed(msgspec.Struct, frozen=True):
    """An object that a write named; `result` is created, configured, unchanged or deleted."""

    kind: str
    namespace: str
    name: str
    result: str


class Written(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to a write. `notes` hinder nothing."""

    resource_version: str
    changed: tuple[Changed, ...] = ()
    notes: tuple[Trouble, ...] = ()


Status = Mapping[str, Any]
"""A Node's `status` as documents have it, and besides `sync`, `drift` and `problems`."""


def trouble(problem: Problem) -> Trouble:
    """Return a problem as the API shows it."""
    return Trouble(str(problem.at), problem.what, problem.hint)
