"""The agents' connections: one WebSocket per node, requests and their answers matched by id.

Nothing here waits for an agent without a deadline, and no agent can make another one wait: what is
for a slow one queues up to a bound, and then its connection ends.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

import msgspec
from aiohttp import WSMsgType

from katgen.errors import KatError
from katgen.leader.agents.received import bounded
from katgen.leader.services import NotConnectedError
from katgen.names import NodeName
from katgen.protocol import (
    Cancel,
    Commit,
    EndpointRecords,
    EndpointsTaken,
    Failed,
    Heartbeat,
    Hello,
    LogEnd,
    Propose,
    Pulled,
    Report,
    SignedRecord,
    ToAgent,
    ToLeader,
    UsageAnswer,
    Verdict,
)

_LOG: Final = logging.getLogger(__name__)
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[ToLeader]] = msgspec.json.Decoder(ToLeader)
QUEUED_MAX: Final = 256
"""Messages that wait for a slow agent or a slow reader."""
HELLO_TIMEOUT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 10.0
_LAST: Final = (Verdict, Pulled, Failed, LogEnd, UsageAnswer)
"""These end a request."""


class Frame(Protocol):
    """A frame of a WebSocket, as aiohttp has it."""

    @property
    def type(self) -> WSMsgType:
        """Which kind."""

    @property
    def data(self) -> Any:  # noqa: ANN401 -- aiohttp's
        """Text of a text frame."""


class Socket(Protocol):
    """What is needed of `aiohttp.web.WebSocketResponse`."""

    async def send_str(self, data: str) -> None:
        """Send a text frame."""

    async def receive(self) -> Frame:
        """Return the next frame."""

    async def close(self) -> object:
        """End the connection."""


class Listener(Protocol):
    """Who hears what agents say of their own accord (`katgen.leader.agents.hearing.Hearing`)."""

    def arrived(self, hello: Hello) -> None:
        """Take note that a node has a session."""

    def left(self, node: NodeName) -> None:
        """Take note that a node has none any more."""

    def heard(self, node: NodeName, message: Report | Heartbeat) -> None:
        """Take in a report."""

    def record(self) -> SignedRecord | None:
        """Return what must run, if anything has been committed."""


class Endpoints(Protocol):
    """Who hears what agents say of endpoints (`katgen.leader.endpoints.known.Endpoints`)."""

    def arrived(self, node: NodeName) -> None:
        """Take note that a node has a session."""

    def left(self, node: NodeName) -> None:
        """Take note that a node has none any more."""

    def told(self, node: NodeName, said: EndpointRecords) -> None:
        """Take in what a node says of its own instances."""

    def taken(self, node: NodeName, number: int) -> None:
        """Take in that news hold on a node."""


class _TooSlowError(KatError):
    """An agent does not take what it is sent."""


@dataclass(eq=False, slots=True)
class _Session:
    """One connection. `waiting` are the requests that have no last answer yet."""

    node: NodeName
    socket: Socket
    outgoing: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUED_MAX))
    waiting: dict[str, asyncio.Queue[ToLeader | None]] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: ToAgent) -> None:
        """Queue a message; an agent that takes nothing any more loses its session."""
        try:
            self.outgoing.put_nowait(_ENCODER.encode(message).decode())
        except asyncio.QueueFull:
            self.ended.set()

    def answer(self, key: str, message: ToLeader) -> None:
        """Hand an answer to whoever waits; nobody may."""
        queue = self.waiting.get(key)
        if queue is None:
            return
        try:
            queue.put_nowait(message)
        except asyncio.QueueFull:  # who reads logs too slowly must ask again
            self.abandon(key)

    def abandon(self, key: str) -> None:
        """Tell whoever waits for an answer that none will come."""
        queue = self.waiting.pop(key, None)
        if queue is None:
            return
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)

    def end(self) -> None:
        """Tell everybody who waits."""
        self.ended.set()
        for key in [*self.waiting]:
            self.abandon(key)


class Sessions:
    """All sessions. A newer one of the same node replaces the older."""

    def __init__(self) -> None:
        self._sessions: dict[NodeName, _Session] = {}
        self._ids = count(1)
        self.listener: Listener | None = None
        self.endpoints: Endpoints | None = None

    def connected(self) -> frozenset[NodeName]:
        """Return the nodes that have a session."""
        return frozenset(self._sessions)

    async def serve(self, node: NodeName, ws: Socket) -> None:
        """Talk with an agent until its connection ends."""
        session = _Session(node, ws)
        hello = await self._greeting(session)
        if hello is None:
            await ws.close()
            return
        older = self._sessions.get(node)
        if older is not None:
            _LOG.info("a newer session replaces the old one", extra={"fields": {"node": node}})
            older.end()
        self._sessions[node] = session
        # Nothing is awaited since then, so that the record is the first that the agent hears.
        self._welcome(session, hello)
        try:
            await self._converse(session)
        finally:
            session.end()
            if self._sessions.get(node) is session:
                del self._sessions[node]
                if self.listener is not None:
                    self.listener.left(node)
                if self.endpoints is not None:
                    self.endpoints.left(node)
            with suppress(Exception):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await ws.close()

    async def _greeting(self, session: _Session) -> Hello | None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await _receive(session.socket)
        except TimeoutError:
            first = None
        if not isinstance(first, Hello) or first.node != session.node:
            _LOG.warning(
                "an agent began without a hello of its own",
                extra={"fields": {"node": session.node}},
            )
            return None
        return first

    def _welcome(self, session: _Session, hello: Hello) -> None:
        if self.listener is None:
            return
        signed = self.listener.record()
        if signed is not None:
            session.put(Commit(signed))
        self.listener.arrived(hello)
        if self.endpoints is not None:
            self.endpoints.arrived(hello.node)

    async def _converse(self, session: _Session) -> None:
        tasks = {
            asyncio.create_task(self._send(session), name=f"send to {session.node}"),
            asyncio.create_task(self._receive(session), name=f"receive from {session.node}"),
            asyncio.create_task(session.ended.wait(), name=f"end of {session.node}"),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                _LOG.info("a session ended: %s", result, extra={"fields": {"node": session.node}})

    async def _send(self, session: _Session) -> None:
        while True:
            text = await session.outgoing.get()
            try:
                # Not wait_for: in Python 3.11 it can swallow a cancellation, and this never ends.
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await session.socket.send_str(text)
            except TimeoutError as err:
                raise _TooSlowError("the agent takes nothing") from err

    async def _receive(self, session: _Session) -> None:
        while True:
            message = await _receive(session.socket)
            if message is None:
                return
            self._take(session, message)

    def _take(self, session: _Session, message: ToLeader) -> None:
        match message:
            case Hello():
                pass  # known from the beginning of the session
            case Report() | Heartbeat():
                if isinstance(message, Report) and message.node != session.node:
                    return
                if self.listener is not None:
                    self.listener.heard(session.node, message)
            case Verdict():
                session.answer(_proposal(message.generation), message)
            case EndpointRecords() | EndpointsTaken():
                self._take_endpoints(session.node, message)
            case _:
                session.answer(message.id, message)

    def _take_endpoints(self, node: NodeName, message: EndpointRecords | EndpointsTaken) -> None:
        if self.endpoints is None:
            return
        if isinstance(message, EndpointRecords):
            self.endpoints.told(node, message)
        else:
            self.endpoints.taken(node, message.number)

    # -- what the rest of the leader asks

    def tell(self, node: NodeName, message: ToAgent) -> None:
        """Send a message that has no answer; without a session it is lost."""
        session = self._sessions.get(node)
        if session is not None:
            session.put(message)

    async def ask(self, node: NodeName, message: ToAgent, timeout_s: float) -> ToLeader:
        """Send a request and return its last answer. Raises NotConnectedError, TimeoutError.

        A request's id is given here.
        """
        answers = self.stream(node, message)
        try:
            async with asyncio.timeout(timeout_s):
                async for answer in answers:
                    if isinstance(answer, _LAST):
                        return answer
        finally:
            await _closed(answers)
        raise NotConnectedError(f"node {node} is gone")

    async def stream(self, node: NodeName, request: ToAgent) -> AsyncIterator[ToLeader]:
        """Send a request and yield its answers to the last. Raises NotConnectedError.

        Closing the iterator tells the agent that nobody waits any more.
        """
        session = self._sessions.get(node)
        if session is None:
            raise NotConnectedError(f"node {node} is not connected")
        key, message = self._numbered(request)
        queue: asyncio.Queue[ToLeader | None] = asyncio.Queue(QUEUED_MAX)
        session.waiting[key] = queue
        session.put(message)
        is_over = False
        try:
            while not is_over:
                answer = await queue.get()
                if answer is None:
                    is_over = True
                    raise NotConnectedError(f"node {node} is gone")
                is_over = isinstance(answer, _LAST)
                yield answer
        finally:
            session.waiting.pop(key, None)
            if not is_over and not isinstance(request, Propose):
                session.put(Cancel(key))

    def _numbered(self, request: ToAgent) -> tuple[str, ToAgent]:
        if isinstance(request, Propose):
            return _proposal(request.generation), request
        key = str(next(self._ids))
        return key, msgspec.structs.replace(request, id=key)

    async def reported(self, node: NodeName, report: Report) -> SignedRecord | None:
        """Take in a report that came without a session; return what must run, if anything."""
        if self.listener is None:
            return None
        said = bounded(report)
        if isinstance(said, Report):
            self.listener.heard(node, said)
        return self.listener.record()


def _proposal(generation: int) -> str:
    return f"proposal {generation}"


async def _receive(socket: Socket) -> ToLeader | None:
    """Return the next message, None at the end. What a newer agent may say is left out."""
    while True:
        frame = await socket.receive()
        if frame.type is not WSMsgType.TEXT:
            return None
        try:
            return bounded(_DECODER.decode(frame.data))
        except (msgspec.MsgspecError, UnicodeError) as err:
            _LOG.warning("a message that this leader does not know, ignoring: %s", err)


async def _closed(answers: AsyncIterator[ToLeader]) -> None:
    close: Callable[[], Awaitable[None]] | None = getattr(answers, "aclose", None)
    if close is not None:
        await close()
