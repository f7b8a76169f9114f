"""The agent's small server, asked by people, by programs, and by who means no good."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest

from agent.observed.http import CONNECTIONS, Answer, Asked, Door, serve

DEADLINE_S = 5
HASTY_S = 0.3


@dataclass
class Server:
    port: int
    asked: list[Asked] = field(default_factory=list)

    async def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.path == "/fault":
            raise ZeroDivisionError
        if asked.path == "/big":
            return Answer(HTTPStatus.OK, b"x" * (8 << 20))
        return Answer(HTTPStatus.OK, b"fine")

    async def say(self, text: bytes) -> bytes:
        """Connect, say something, and return all that comes until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(text)
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def server(patience_s: float = DEADLINE_S) -> AsyncIterator[Server]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.setblocking(False)  # noqa: FBT003 -- socket's signature
        made = Server(listening.getsockname()[1])
        serving = asyncio.create_task(serve(Door(listening, patience_s=patience_s), made.answer))
        try:
            yield made
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_a_request_is_answered_and_the_connection_ends() -> None:
    async with server() as one:
        said = await one.say(b"GET /metrics?a=1&a=2&b HTTP/1.1\r\nAccept: text/plain\r\n\r\n")
        head, _, body = said.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert (lines[0], body) == (b"HTTP/1.1 200 OK", b"fine")
        assert {b"Content-Length: 4", b"Connection: close"} <= set(lines)
        assert one.asked == [Asked("/metrics", {"a": "1", "b": ""}, "text/plain")]


async def test_who_asks_for_the_head_gets_no_body() -> None:
    async with server() as one:
        said = await one.say(b"HEAD / HTTP/1.1\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 4\r\n" in said
        assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"hello\r\n\r\n", b"400 Bad Request"),
        (b"GET / SPDY/3\r\n\r\n", b"400 Bad Request"),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /?" + b"a=1&" * 20 + b" HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
    ],
)
async def test_what_is_no_question_is_refused(said: bytes, status: bytes) -> None:
    async with server() as one:
        assert (await one.say(said)).startswith(b"HTTP/1.1 " + status + b"\r\n")
        assert one.asked == []


async def test_a_head_without_end_is_refused() -> None:
    async with server() as one:
        await one.say(b"GET / HTTP/1.1\r\nX: " + b"x" * (1 << 20))
        assert one.asked == []
        assert (await one.say(b"GET / HTTP/1.1\r\n\r\n")).endswith(b"fine")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
async def test_who_says_too_little_is_shown_out(said: bytes) -> None:
    async with server(HASTY_S) as one:
        assert await one.say(said) == b""


async def test_who_takes_no_answer_makes_room_for_others() -> None:
    async with server(HASTY_S) as one:
        loop = asyncio.get_running_loop()
        deaf = [socket.socket() for _ in range(CONNECTIONS)]
        for client in deaf:
            client.setblocking(False)  # noqa: FBT003 -- socket's signature
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(client, ("127.0.0.1", one.port))
            await loop.sock_sendall(client, b"GET /big HTTP/1.1\r\n\r\n")
        assert (await one.say(b"GET / HTTP/1.1\r\n\r\n")).endswith(b"fine")
        assert [asked.path for asked in one.asked] == ["/big"] * CONNECTIONS + ["/"]
        for client in deaf:
            client.close()


async def test_more_than_there_are_places_wait_and_are_answered() -> None:
    async with server(HASTY_S) as one:
        silent = [
            await asyncio.open_connection("127.0.0.1", one.port) for _ in range(3 * CONNECTIONS)
        ]
        assert (await one.say(b"GET / HTTP/1.1\r\n\r\n")).endswith(b"fine")
        for _, writer in silent:
            writer.close()


async def test_a_fault_in_one_answer_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as one:
        assert await one.say(b"GET /fault HTTP/1.1\r\n\r\n") == b""
        assert (await one.say(b"GET / HTTP/1.1\r\n\r\n")).endswith(b"fine")
        assert "a question to the agent fails" in caplog.text
