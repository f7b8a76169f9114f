"""The API over a store in memory, with what it asks of the loop written out."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from katgen.leader import history
from katgen.leader.answers import Event, Generation, Instance, Preview, Progress, WorkloadStatus
from katgen.leader.app import Manners, make_app
from katgen.leader.desired import wanted
from katgen.leader.documents import Stored
from katgen.leader.feeds.watches import FEEDS, Feeds
from katgen.leader.objects import Objects
from katgen.leader.services import Identity, NotConnectedError, Services
from katgen.leader.store import Store, Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.leader.tokens import Tokens, make_token
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.protocol import (
    BundleAnswer,
    LogEnd,
    LogLine,
    LogLines,
    ReadLogs,
    Report,
    SignedRecord,
    ToAgent,
    ToLeader,
    Usage,
    UsageAnswer,
)
from katgen.schedule.explain import Explanation
from tests.unit.leader.given import BOX, StandingClock

UID = "3f6c1a52-0000-4000-8000-000000000000"
N1 = NodeName("n1")
PREVIEW = Preview(generation=2, parent=1, digest="abc", nodes={})
RECORD = SignedRecord("{}", "signature", "key")
WEB = Instance(
    key=InstanceKey("default/web/0-1"),
    node=N1,
    address="10.100.0.10",
    revision="r1",
    unit="kat.default.web.0-1.service",
    state="running",
)


@dataclass
class Told:
    """What the loop, the sessions and the chronicle would say; and what they were asked."""

    previewed: list[Sequence[Stored] | None] = field(default_factory=list)
    progress: Sequence[Progress] = (Progress("committed", 2), Progress("done", 2))
    instances_: Sequence[Instance] = (WEB,)
    connected_: frozenset[NodeName] = frozenset({N1})
    asked: list[ToAgent] = field(default_factory=list)
    mark: tuple[int, int] = (1, 7)
    statuses: dict[WorkloadKey, WorkloadStatus] = field(default_factory=dict)
    happened: Sequence[Event] = (Event("shop", "Workload", "web", "Started", "", "t", "t"),)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def preview(self, documents: Sequence[Stored] | None) -> Preview:
        self.previewed.append(documents)
        return PREVIEW

    async def explain(self, workload: WorkloadKey) -> Explanation | None:
        return Explanation(workload, 1, (), ()) if workload == "default/web" else None

    async def changes(self, revision: int) -> AsyncIterator[Progress]:
        assert revision > 0
        for one in self.progress:
            yield one

    def instances(self) -> Sequence[Instance]:
        return self.instances_

    def wrote(self, revision: int, request: str) -> None:
        pass

    def workload_status(self, key: WorkloadKey) -> WorkloadStatus:
        return WorkloadStatus(1, 1, 1, "running", revision="r1", image=f"{key}@sha256:d")

    def workload_statuses(
        self, keys: Sequence[WorkloadKey]
    ) -> Mapping[WorkloadKey, WorkloadStatus]:
        return {key: self.statuses.get(key) or self.workload_status(key) for key in keys}

    def changed(self) -> Coroutine[Any, Any, object]:
        return self.news.wait()

    def notify(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def node_status(self, node: NodeName) -> Mapping[str, Any]:
        return {"condition": "Ready", "sync": f"in sync: {node}"}

    def bundle(self, node: NodeName, generation: int) -> BundleAnswer | None:  # noqa: ARG002 -- the port's signature
        return None

    def contents(self, node: NodeName, digests: Collection[str]) -> Mapping[str, bytes]:
        return {digest: node.encode() for digest in digests if digest != "unknown"}

    async def events(self, namespace: str = "", name: str = "") -> Sequence[Event]:
        return [
            one
            for one in self.happened
            if (not namespace or one.namespace == namespace) and (not name or one.name == name)
        ]

    async def generations(self) -> Sequence[Generation]:
        return [Generation(7, "t", "abc")]

    async def serve(self, node: NodeName, ws: web.WebSocketResponse) -> None:
        await ws.send_str(f"hello {node}")

    def connected(self) -> frozenset[NodeName]:
        return self.connected_

    async def ask(self, node: NodeName, message: ToAgent, timeout_s: float) -> ToLeader:  # noqa: ARG002 -- the port's signature
        if node not in self.connected_:
            raise NotConnectedError(f"node {node} is not connected")
        return UsageAnswer("1", 12.5, (Usage(WEB.unit, 1000, 2048), Usage("sshd.service", 1, 1)))

    async def stream(self, node: NodeName, request: ToAgent) -> AsyncIterator[ToLeader]:
        self.asked.append(request)
        if node not in self.connected_:
            raise NotConnectedError(f"node {node} is not connected")
        assert isinstance(request, ReadLogs)
        yield LogLines("1", tuple(LogLine(1.5, unit, "hello") for unit in request.units))
        yield LogEnd("1")

    async def reported(self, node: NodeName, report: Report) -> SignedRecord | None:
        assert node == report.node
        return RECORD


@dataclass
class Api:
    """A client with an admin's token."""

    client: TestClient[web.Request, web.Application]
    told: Told
    objects: Objects
    store: Store
    token: str

    @property
    def feeds(self) -> Feeds:
        """What its application follows the store with."""
        app = self.client.app
        assert app is not None
        return app[FEEDS]

    async def ask(self, method: str, path: str, **rest: Any) -> ClientResponse:  # noqa: ANN401 -- aiohttp's own keywords
        headers = {"Authorization": f"Bearer {self.token}", **rest.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **rest)

    async def get(self, path: str) -> Any:  # noqa: ANN401 -- JSON
        answer = await self.ask("GET", path)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def write(self, method: str, path: str, text: str) -> ClientResponse:
        """Send YAML."""
        headers = {"Content-Type": "application/yaml"}
        return await self.ask(method, path, data=text.encode(), headers=headers)

    async def commit(self) -> None:
        """Have a plan carry out what is stored, as far as the store is to know."""
        want = wanted(await self.objects.all())
        carried = history.Carried(want, 7, 0.0)
        kept = await history.kept(self.store, carried, want.specs.workloads)
        await self.store.commit(Transaction(kept.puts, tuple(kept.deletes)))

    async def refused(self, method: str, path: str, text: str = "") -> tuple[int, str, list[str]]:
        """Return status, detail and problems of a refusal."""
        answer = await self.write(method, path, text)
        assert answer.content_type == "application/problem+json", await answer.text()
        body = await answer.json()
        problems = [f"{one['at']}: {one['what']}" for one in body["problems"]]
        return body["status"], body["detail"], problems


@asynccontextmanager
async def api(
    told: Told | None = None, *, store: Store | None = None, manners: Manners | None = None
) -> AsyncIterator[Api]:
    """Serve the API over a store, which is closed at the end if it was made here."""
    told = told or Told()
    made, clock = store or MemoryStore(), StandingClock()
    new = make_token("admin", "admin", "t")
    await made.commit(Transaction(puts={new.path: new.value}))
    objects = Objects(made, BOX, clock)
    services = Services(
        identity=Identity(UID, "kat", 9115),
        store=made,
        objects=objects,
        tokens=Tokens(made),
        planning=told,
        view=told,
        chronicle=told,
        agents=told,
        clock=clock,
    )
    app = make_app(services, manners)
    async with TestClient(TestServer(app)) as client:
        yield Api(client, told, objects, made, new.text)
    if store is None:
        await made.close()
