"""A leader's loop with everything around it in memory, and agents that say what a test wants."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import msgspec
from aiohttp import WSMsgType

from katgen.bundle import Manifest
from katgen.leader.agents.hearing import LoopPorts
from katgen.leader.agents.sessions import Sessions
from katgen.leader.cluster import Cluster
from katgen.leader.endpoints.known import Endpoints
from katgen.leader.events import Chronicle
from katgen.leader.loop import Loop
from katgen.leader.objects import Objects
from katgen.leader.secrets import SecretBox
from katgen.leader.signing import Signer, make_signer
from katgen.leader.store import Store, Transaction
from katgen.leader.store.memory import MemoryStore
from katgen.names import NodeName
from katgen.parse import parse
from katgen.protocol import (
    Commit,
    CommitRecord,
    EndpointRecord,
    EndpointRecords,
    Facts,
    Failed,
    Hello,
    Propose,
    Pull,
    Pulled,
    Report,
    ToAgent,
    ToLeader,
    UnitReport,
    Verdict,
    Versions,
)

DEADLINE_S = 5.0
UID = "11111111-2222-3333-4444-555555555555"
DIGEST = f"sha256:{'d' * 64}"
FACTS = Facts(
    cpu_millis=4000,
    memory_bytes=8 * 1024**3,
    interface="eth0",
    versions=Versions(systemd="257", podman="5.4.2"),
)
_TO_AGENT: msgspec.json.Decoder[ToAgent] = msgspec.json.Decoder(ToAgent)


class TurnedClock:
    """Stands, until a test turns it."""

    def __init__(self) -> None:
        self._now = 1_800_000_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._count), done))
        await done

    def turn(self, seconds: float) -> None:
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)


@dataclass(frozen=True)
class Frame:
    type: WSMsgType
    data: str = ""


class Wire:
    """The leader's end of a WebSocket."""

    def __init__(self) -> None:
        self.to_agent: asyncio.Queue[str | None] = asyncio.Queue()
        self.to_leader: asyncio.Queue[Frame] = asyncio.Queue()
        self.is_clogged = False

    async def send_str(self, data: str) -> None:
        if self.is_clogged:
            await asyncio.Event().wait()
        self.to_agent.put_nowait(data)

    async def receive(self) -> Frame:
        return await self.to_leader.get()

    async def close(self) -> None:
        self.to_agent.put_nowait(None)


@dataclass(eq=False)
class FakeAgent:
    """Pulls, verifies, applies and reports, all at once and well, unless a test says otherwise."""

    sessions: Sessions
    cluster: Cluster
    node: NodeName
    wire: Wire = field(default_factory=Wire)
    heard: list[ToAgent] = field(default_factory=list)
    pulls: dict[str, str] = field(default_factory=dict)
    """Answers to a Pull by image: a digest, or `! ` and an error; `...` is silence."""
    verdict: Callable[[Propose], Verdict | None] = lambda p: Verdict(p.generation, "ok")
    unit: Callable[[UnitReport], UnitReport] = lambda unit: unit
    """What becomes of each unit that is started."""
    is_ready: Callable[[str], bool] = lambda _: True
    """Whether an instance of it is ready, once it runs."""
    is_mute: bool = False
    """Says nothing of its own accord of who is ready."""
    facts: Facts = FACTS
    generation: int = 0
    _sequence: int = 0
    is_deaf: bool = False
    """Hears, and does not follow."""
    _task: asyncio.Task[None] | None = None

    def say(self, message: ToLeader) -> None:
        self.wire.to_leader.put_nowait(Frame(WSMsgType.TEXT, msgspec.json.encode(message).decode()))

    def hang_up(self) -> None:
        self.wire.to_leader.put_nowait(Frame(WSMsgType.CLOSED))

    async def converse(self) -> None:
        self.say(Hello(self.node, "boot", self.facts, 1, self.generation))
        while (text := await self.wire.to_agent.get()) is not None:
            message = _TO_AGENT.decode(text)
            self.heard.append(message)
            if not self.is_deaf:
                self.answer(message)

    def answer(self, message: ToAgent) -> None:
        match message:
            case Pull():
                told = self.pulls.get(message.image, DIGEST)
                if told.startswith("! "):
                    self.say(Failed(message.id, told.removeprefix("! ")))
                elif told != "...":
                    self.say(Pulled(message.id, told))
            case Propose():
                verdict = self.verdict(message)
                if verdict is not None:
                    self.say(verdict)
            case Commit():
                self.generation = record_of(message).generation
                self.report()

    def report(self) -> None:
        """Report every instance of the bundle that was committed last."""
        units = self.units()
        self.say(Report(self.node, "boot", 1, self.generation, "in sync", units=units))
        if not self.is_mute:
            self.tell_states(units)

    def tell_states(self, units: tuple[UnitReport, ...] | None = None) -> None:
        """Say of every instance whether it is ready."""
        self._sequence += 1
        told = ((u.instance, self._is_up(u)) for u in (self.units() if units is None else units))
        records = (
            EndpointRecord(instance, "boot", self._sequence, "ready" if is_up else "notready")
            for instance, is_up in told
        )
        self.say(EndpointRecords(tuple(records), full=True))

    def _is_up(self, unit: UnitReport) -> bool:
        return unit.active_state == "active" and self.is_ready(unit.instance)

    def units(self) -> tuple[UnitReport, ...]:
        found = self.manifest()
        return tuple(
            self.unit(
                UnitReport(
                    one.unit, one.instance, active_state="active", sub_state="running", since=1.0
                )
            )
            for one in (found.instances if found else ())
        )

    def manifest(self) -> Manifest | None:
        answer = self.cluster.bundle(self.node, self.generation)
        return msgspec.json.decode(answer.manifest.content, type=Manifest) if answer else None

    def asked(self, kind: type[ToAgent]) -> list[ToAgent]:
        return [one for one in self.heard if isinstance(one, kind)]

    def generations(self) -> list[int]:
        """Return the generations that it was told to run, in order."""
        return [record_of(one).generation for one in self.heard if isinstance(one, Commit)]


def record_of(message: Commit) -> CommitRecord:
    return msgspec.json.decode(message.signed.record, type=CommitRecord)


@dataclass(eq=False)
class Box:
    """A running loop. `restarted` gives another one on the same store."""

    store: Store
    clock: TurnedClock
    signer: Signer
    sessions: Sessions = field(default_factory=Sessions)
    cluster: Cluster = field(default_factory=Cluster)
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.objects = Objects(self.store, SecretBox(bytes(32)), self.clock)
        self.chronicle = Chronicle(self.store, self.clock)
        self.loop = Loop(
            LoopPorts(
                self.store,
                self.signer,
                self.sessions,
                self.clock,
                self.cluster,
                self.chronicle,
                UID,
            )
        )

        self.endpoints = Endpoints(self.sessions.tell, self.cluster, self.clock, self.chronicle)
        self.sessions.endpoints = self.endpoints

    async def run(self) -> None:
        """Run what a leader runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.loop.run(), name="loop")
            group.create_task(self.endpoints.run(), name="endpoints")

    async def stop(self) -> None:
        """Stop the loop wherever it is, as a crash does."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    async def apply(self, *texts: str) -> int:
        """Write objects, and return the revision."""
        parsed = parse([("test.kat", "\n---\n".join(texts).encode())])
        return (await self.objects.apply(parsed)).revision

    async def add_node(self, name: str) -> None:
        document = {
            "apiVersion": "kat/v1alpha1",
            "kind": "Node",
            "metadata": {"name": name, "uid": name},
            "spec": {"advertiseAddress": f"192.0.2.{ord(name[-1]) - 96}"},
        }
        key = f"objects/Node/-/{name}"
        await self.store.commit(Transaction({key: msgspec.json.encode(document)}))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something is true of the cluster."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():
                    await self.cluster.changed()
        except TimeoutError:
            raise AssertionError("it did not happen in time") from None

    async def turn(self, seconds: float) -> None:
        """Turn the clock once everybody who is about to wait does wait."""
        for _ in range(50):
            await asyncio.sleep(0)
        self.clock.turn(seconds)

    async def settled(self, revision: int) -> None:
        """Wait until a change has been acted on."""
        await self.until(lambda: self.cluster.considered >= revision)

    @asynccontextmanager
    async def agent(self, name: str = "a", **given: object) -> AsyncIterator[FakeAgent]:
        """Connect an agent, and wait until the leader knows it."""
        agent = FakeAgent(self.sessions, self.cluster, NodeName(name))
        for key, value in given.items():
            setattr(agent, key, value)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self.sessions.serve(agent.node, agent.wire))
            talking = group.create_task(agent.converse())
            await self.until(lambda: agent.node in self.cluster.connected)
            try:
                yield agent
            finally:
                agent.hang_up()
                await serving
                talking.cancel()


@asynccontextmanager
async def leader(
    store: Store | None = None, nodes: Iterator[str] | tuple[str, ...] = ("a",)
) -> AsyncIterator[Box]:
    """Run a loop; a new store gets these nodes."""
    box = Box(store or MemoryStore(), TurnedClock(), make_signer())
    if store is None:
        for name in nodes:
            await box.add_node(name)
    box.task = asyncio.create_task(box.run())
    try:
        yield box
    finally:
        await box.stop()
        if store is None:
            await box.store.close()
