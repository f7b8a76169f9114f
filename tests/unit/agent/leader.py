"""A leader in a test: says what the test has it say, and hears what the agent sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent import state
from agent.loop import Agent
from agent.ports import LeaderError
from agent.state import NodeConfig
from katgen.bundle import Artifact
from katgen.names import NodeName
from katgen.protocol import Commit, Propose, Report, SignedRecord, ToAgent, ToLeader
from tests.fakes import FakeNode
from tests.unit.agent.cluster import Cluster, FakeSession

CONFIG = NodeConfig(NodeName("a"), "https://192.0.2.11:9115", "cluster-1", "192.0.2.11")
DEADLINE_S = 5


@dataclass(slots=True)
class TalkingSession(FakeSession):
    said: "asyncio.Queue[ToAgent | LeaderError | None]" = field(default_factory=asyncio.Queue)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, message: ToLeader) -> None:
        async with self.heard:
            self.sent.append(message)
            self.heard.notify_all()

    async def messages(self) -> AsyncIterator[ToAgent]:
        while (message := await self.said.get()) is not None:
            if isinstance(message, LeaderError):
                raise message
            yield message


@dataclass(slots=True)
class FakeLeader:
    """`down`: nobody answers. Every session has the bundles and contents of all generations."""

    cluster: Cluster = field(default_factory=Cluster)
    session_: TalkingSession = field(default_factory=TalkingSession)
    down: bool = False
    connections: int = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[TalkingSession]:
        self.connections += 1
        if self.down:
            raise LeaderError("https://192.0.2.11:9115: Connection refused")
        yield self.session_

    def plan(self, generation: int, *files: Artifact) -> Propose:
        """Make a generation and return its proposal."""
        answer = self.cluster.answer(generation, *files)
        self.session_.answers = {**self.session_.answers, generation: answer}
        self.session_.files = self.cluster.contents
        return Propose(generation, answer.root, answer.size, 2)

    def record(self, generation: int, epoch: int = 1) -> SignedRecord:
        answer = self.session_.answers[generation]
        return self.cluster.sign(self.cluster.record(answer, epoch))

    def say(self, message: ToAgent | LeaderError | None) -> None:
        self.session_.said.put_nowait(message)

    def commit(self, generation: int) -> None:
        self.say(Commit(self.record(generation)))

    @property
    def reports(self) -> list[Report]:
        return [one for one in self.session_.sent if isinstance(one, Report)]


@dataclass(slots=True)
class Running:
    """An agent that lives on a fake machine."""

    node: FakeNode
    leader: FakeLeader
    stopping: asyncio.Event
    task: "asyncio.Task[None]"
    agent: Agent

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let time pass, a little at a time, until something is so. TimeoutError if never."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():
                if self.task.done():
                    self.task.result()
                    raise AssertionError("the agent has ended")
                await self.node.clock.advance(0.1)

    async def pass_time(self, seconds: float) -> None:
        await self.node.clock.advance(seconds)

    def applied(self) -> int:
        """Return the generation that is in place."""
        found = state.load(self.node.files, state.APPLIED, state.Applied)
        is_done = self.node.files.stat(state.JOURNAL) is None
        return found.generation if found and is_done else 0

    def sync(self) -> str:
        """Return what the leader heard last."""
        return self.leader.reports[-1].sync if self.leader.reports else ""

    async def stop(self) -> None:
        self.stopping.set()
        await asyncio.wait_for(self.task, DEADLINE_S)


@asynccontextmanager
async def running(
    node: FakeNode | None = None, leader: FakeLeader | None = None
) -> AsyncIterator[Running]:
    """Run an agent during the block; it is stopped as by SIGTERM."""
    machine, other = node or FakeNode(), leader or FakeLeader()
    if machine.files.stat(state.TRUST) is None:
        state.save(machine.files, state.TRUST, other.cluster.trust)
    stopping = asyncio.Event()
    agent = Agent(machine.ports, CONFIG, other)
    task = asyncio.create_task(agent.run(stopping), name="agent")
    made = Running(machine, other, stopping, task, agent)
    try:
        yield made
    finally:
        if task.done():
            task.result()
        else:
            await made.stop()
