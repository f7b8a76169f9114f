"""Checks by network, of real servers on this machine."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from agent.health import network
from agent.ports import UnfitError

HOST = "127.0.0.1"
SOON_S = 5
LATE_S = 0.2


class Server:
    """Answers every connection with the same bytes, then closes it; without any it hangs.

    After `late_s`; one that `holds` a connection leaves it to the other side to close it.
    """

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.port = 0
        self.late_s = 0.0
        self.holds = False
        self.ended: list[asyncio.Future[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ended.append(asyncio.get_running_loop().create_future())
        mine = self.ended[-1]
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(self.late_s)
            writer.write(self.answer or b"")
            if self.answer is None or self.holds:
                await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        mine.set_result(None)


@asynccontextmanager
async def serving(answer: bytes | None) -> AsyncIterator[Server]:
    made = Server(answer)
    server = await asyncio.start_server(made.serve, HOST, 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*made.ended)


async def ask(port: int, path: str = "/healthz", timeout_s: float = SOON_S) -> str:
    return await network.http((HOST, port), path, timeout_s, "kat-probe/1.2")


async def closed_port() -> int:
    async with serving(b"") as server:
        return server.port


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nfine", ""),
        (b"HTTP/1.0 204\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", ""),
        (b"HTTP/1.1 399 x\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "status 400"),
        (b"HTTP/1.1 503 No\r\n\r\n", "status 503"),
        (b"HTTP/1.1 199 x\r\n\r\n", "status 199"),
        (b"SSH-2.0-x\r\n", "the answer is not HTTP/1"),
        (b"HTTP/1.1 2000 x\r\n", "the answer is not HTTP/1"),
        (b"HTTP/1.1 200 OK", "the answer is not HTTP/1"),
        (b"", "the connection was closed without an answer"),
    ],
)
async def test_statuses_from_200_to_399_are_healthy_and_nothing_else(
    answer: bytes, said: str
) -> None:
    async with serving(answer) as server:
        assert await ask(server.port) == said


async def test_the_request_names_the_port_and_who_asks() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        await ask(server.port, "/a?b=c")
        assert server.asked == [
            b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: kat-probe/1.2\r\n"
            b"Accept: */*\r\nConnection: close\r\n\r\n" % server.port
        ]


async def test_who_never_ends_a_line_is_read_for_16_kib_and_no_more() -> None:
    async with serving(b"HTTP/1.1 200 " + b"x" * 1_000_000 + b"\n") as server:
        assert await ask(server.port) == "the answer is not HTTP/1"


async def test_an_endless_body_does_not_matter() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000) as server:
        assert await ask(server.port) == ""


async def test_who_does_not_answer_costs_the_timeout() -> None:
    async with serving(None) as server:
        assert await ask(server.port, timeout_s=0.05) == "no answer within 0.05 s"


async def test_an_answer_at_the_last_moment_counts_though_the_server_keeps_the_connection() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine") as server:
        server.late_s, server.holds = LATE_S, True
        assert await ask(server.port, timeout_s=LATE_S + 0.05) == ""


async def test_a_path_that_would_write_another_header_is_not_asked_for() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        assert await ask(server.port, "/\r\nX: y") == "its path cannot be asked for"
        assert server.asked == []


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        assert await ask(server.port) == ""


async def test_a_port_that_takes_a_connection_is_healthy() -> None:
    async with serving(b"") as server:
        assert await network.tcp(HOST, server.port, SOON_S) == ""


async def test_a_closed_port_says_so() -> None:
    port = await closed_port()
    assert await network.tcp(HOST, port, SOON_S) == "connection refused"
    assert await ask(port) == "connection refused"


async def test_who_takes_no_connections_costs_the_timeout() -> None:
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        where = full.getsockname()
        with socket.create_connection(where):
            said = await network.tcp(HOST, where[1], 0.05)
    assert said == "no connection within 0.05 s"


async def test_want_of_this_machine_says_nothing_about_the_other_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", none_left)
    with pytest.raises(UnfitError, match="too many open files"):
        await network.tcp(HOST, 1, SOON_S)
