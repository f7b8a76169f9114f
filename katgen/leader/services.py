"""What the routes need of the rest of the leader, in one value."""

from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web

from katgen.leader.answers import (
    Event,
    Generation,
    Instance,
    Preview,
    Progress,
    Status,
    WorkloadStatus,
)
from katgen.leader.clock import Clock
from katgen.leader.metrics.prometheus import Metrics
from katgen.leader.objects import Objects, Stored
from katgen.leader.store import Store
from katgen.leader.tokens import Tokens
from katgen.names import NodeName, WorkloadKey
from katgen.protocol import BundleAnswer, Report, SignedRecord, ToAgent, ToLeader
from katgen.schedule.explain import Explanation


class NotConnectedError(Exception):
    """The node has no session now."""


class Planning(Protocol):
    """The loop, as far as routes ask it (`katgen.leader.loop.Loop`)."""

    async def preview(self, documents: Sequence[Stored] | None) -> Preview:
        """Return the plan that this whole set of objects would make; None: what is stored.

        Writes nothing and asks no node to stage anything.
        """

    async def explain(self, workload: WorkloadKey) -> Explanation | None:
        """Say why a workload runs where it does; None if there is no such workload."""

    def changes(self, revision: int) -> AsyncIterator[Progress]:
        """Yield how far the change of this store revision is, whenever that changes, to its end."""


class View(Protocol):
    """The cluster as the leader sees it now (`katgen.leader.cluster.Cluster`)."""

    @property
    def mark(self) -> tuple[int, int]:
        """Return (epoch, generation) of the last committed plan; zeros if there is none."""

    def instances(self) -> Sequence[Instance]:
        """Return every placed instance with what its node reported of it."""

    def wrote(self, revision: int, request: str) -> None:
        """Remember which request wrote a revision."""

    def workload_status(self, key: WorkloadKey) -> WorkloadStatus:
        """Return how a stored workload is."""

    def workload_statuses(
        self, keys: Sequence[WorkloadKey]
    ) -> Mapping[WorkloadKey, WorkloadStatus]:
        """Return how these stored workloads are."""

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next news after this call."""

    def node_status(self, node: NodeName) -> Status:
        """Return the status of a node, which may never have reported."""

    def bundle(self, node: NodeName, generation: int) -> BundleAnswer | None:
        """Return a node's part of a proposed or committed plan; None if it is neither."""

    def contents(self, node: NodeName, digests: Collection[str]) -> Mapping[str, bytes]:
        """Return files by digest, of the node's own bundles only; unknown digests are left out."""


class Chronicle(Protocol):
    """What happened (`katgen.leader.events`)."""

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next event after this call."""

    async def events(self, namespace: str = "", name: str = "") -> Sequence[Event]:
        """Return events in order of time, of one namespace and one object if these are given."""

    async def generations(self) -> Sequence[Generation]:
        """Return the committed plans that are remembered, newest first."""


class Agents(Protocol):
    """The agents' connections (`katgen.leader.agents.sessions.Sessions`)."""

    async def serve(self, node: NodeName, ws: web.WebSocketResponse) -> None:
        """Talk with an agent until its connection ends."""

    def connected(self) -> frozenset[NodeName]:
        """Return the nodes that have a session."""

    async def ask(self, node: NodeName, message: ToAgent, timeout_s: float) -> ToLeader:
        """Send a request and return its answer. Raises NotConnectedError, TimeoutError."""

    def stream(self, node: NodeName, request: ToAgent) -> AsyncIterator[ToLeader]:
        """Send a request and yield its answers to the last. Raises NotConnectedError.

        Closing the iterator tells the agent that nobody waits any more.
        """

    async def reported(self, node: NodeName, report: Report) -> SignedRecord | None:
        """Take in a report that came without a session; return what must run, if anything."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster this is, from `cluster.json`."""

    uid: str
    name: str
    api_port: int


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that routes use. `is_loaded`: it is known what was committed."""

    identity: Identity
    store: Store
    objects: Objects
    tokens: Tokens
    planning: Planning
    view: View
    chronicle: Chronicle
    agents: Agents
    clock: Clock
    metrics: Metrics = field(default_factory=Metrics)
    is_loaded: Callable[[], bool] = lambda: True


SERVICES: Final = web.AppKey("services", Services)
