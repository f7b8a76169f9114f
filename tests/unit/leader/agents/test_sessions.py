"""Connections of agents, over a WebSocket of aiohttp where that matters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from katgen.leader.agents import sessions as module
from katgen.leader.agents.sessions import Sessions
from katgen.leader.services import NotConnectedError
from katgen.names import NodeName
from katgen.protocol import (
    Abort,
    Hello,
    LogEnd,
    LogLine,
    LogLines,
    ReadLogs,
    ReadUsage,
    UsageAnswer,
)
from tests.fakes.agents import DEADLINE_S, FACTS, Frame, Wire

A = NodeName("a")
HELLO = msgspec.json.encode(Hello(A, "boot", FACTS, 0, 0)).decode()


@asynccontextmanager
async def connected(sessions: Sessions) -> AsyncIterator[ClientWebSocketResponse]:
    """Open a session of node `a` over HTTP."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await sessions.serve(A, ws)
        return ws

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestClient(TestServer(app)) as client, client.ws_connect("/") as ws:
        await ws.send_str(HELLO)
        async with asyncio.timeout(DEADLINE_S):
            while not sessions.connected():  # noqa: ASYNC110 -- a session tells nobody here
                await asyncio.sleep(0)
        yield ws


async def test_answers_find_their_requests_in_any_order() -> None:
    sessions = Sessions()
    async with connected(sessions) as ws:
        first = asyncio.create_task(sessions.ask(A, ReadUsage(""), DEADLINE_S))
        second = asyncio.create_task(sessions.ask(A, ReadUsage(""), DEADLINE_S))
        ids = [(await ws.receive_json())["id"] for _ in range(2)]
        for one in reversed(ids):
            answer = UsageAnswer(one, float(one), ())
            await ws.send_str(msgspec.json.encode(answer).decode())
        assert await first == UsageAnswer(ids[0], float(ids[0]), ())
        assert await second == UsageAnswer(ids[1], float(ids[1]), ())


async def test_a_message_of_a_newer_agent_is_left_out() -> None:
    sessions = Sessions()
    async with connected(sessions) as ws:
        asking = asyncio.create_task(sessions.ask(A, ReadUsage(""), DEADLINE_S))
        request = await ws.receive_json()
        await ws.send_str('{"type": "from-the-future"}')
        await ws.send_str(msgspec.json.encode(UsageAnswer(request["id"], 1, ())).decode())
        assert await asking == UsageAnswer(request["id"], 1, ())


async def test_a_stream_ends_with_its_last_message() -> None:
    sessions = Sessions()
    line = LogLine(1.0, "kat.x.service", "hello")
    async with connected(sessions) as ws:
        lines = sessions.stream(A, ReadLogs("", ("kat.x.service",)))
        reading = asyncio.ensure_future(anext(lines))
        request = await ws.receive_json()
        for message in (LogLines(request["id"], (line,)), LogEnd(request["id"])):
            await ws.send_str(msgspec.json.encode(message).decode())
        assert [await reading, *[one async for one in lines]] == [
            LogLines(request["id"], (line,)),
            LogEnd(request["id"]),
        ]


async def test_whoever_stops_reading_a_stream_cancels_it() -> None:
    sessions = Sessions()
    async with connected(sessions) as ws:
        asking = asyncio.create_task(sessions.ask(A, ReadUsage(""), 0))
        with pytest.raises(TimeoutError):
            await asking
        request = await ws.receive_json()
        assert await ws.receive_json() == {"type": "cancel", "id": request["id"]}


async def test_who_waits_is_told_when_the_node_is_gone() -> None:
    sessions = Sessions()
    async with connected(sessions) as ws:
        asking = asyncio.create_task(sessions.ask(A, ReadUsage(""), DEADLINE_S))
        await ws.receive_json()
        await ws.close()
        with pytest.raises(NotConnectedError, match="node a is gone"):
            await asking
        assert sessions.connected() == frozenset()


async def test_a_node_without_a_session_cannot_be_asked() -> None:
    with pytest.raises(NotConnectedError, match="node a is not connected"):
        await Sessions().ask(A, ReadUsage(""), 1)


async def opened(sessions: Sessions, wire: Wire, hello: str = HELLO) -> "asyncio.Task[None]":
    wire.to_leader.put_nowait(Frame(WSMsgType.TEXT, hello))
    serving = asyncio.create_task(sessions.serve(A, wire))
    for _ in range(10):
        await asyncio.sleep(0)
    return serving


async def test_a_newer_session_replaces_the_older() -> None:
    sessions, old, new = Sessions(), Wire(), Wire()
    first = await opened(sessions, old)
    second = await opened(sessions, new)
    async with asyncio.timeout(DEADLINE_S):
        await first
    assert sessions.connected() == {A}
    sessions.tell(A, Abort(7))
    async with asyncio.timeout(DEADLINE_S):
        assert await new.to_agent.get() == '{"type":"abort","generation":7}'
    second.cancel()


async def test_another_node_s_hello_opens_no_session() -> None:
    sessions, wire = Sessions(), Wire()
    hello = msgspec.json.encode(Hello(NodeName("b"), "boot", FACTS, 0, 0)).decode()
    serving = await opened(sessions, wire, hello)
    async with asyncio.timeout(DEADLINE_S):
        await serving
    assert sessions.connected() == frozenset()


async def test_an_agent_that_takes_nothing_loses_its_session() -> None:
    sessions, wire = Sessions(), Wire()
    wire.is_clogged = True
    serving = await opened(sessions, wire)
    for number in range(module.QUEUED_MAX + 2):
        sessions.tell(A, Abort(number))
    async with asyncio.timeout(DEADLINE_S):
        await serving
    assert sessions.connected() == frozenset()
