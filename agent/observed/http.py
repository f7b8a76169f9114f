"""A server for three questions, in as little as that takes: aiohttp would add 9 MB to the agent.

One GET or HEAD for each connection, which ends with the answer (RFC 9112 §9.6). Whoever connects
costs a place among a few, for a few seconds: who comes when all are taken waits in the kernel.
"""

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

CONNECTIONS: Final = 8
"""At a time, of one listener."""
PATIENCE_S: Final = 10.0
"""For all of a connection: TLS, the request, and that the answer is taken."""
PACE_S: Final = 0.02
"""Between two strangers: a handshake takes a millisecond or two of the agent's one thread."""
HEAD_BYTES: Final = 8192
_RETRY_S: Final = 1.0
_METHODS: Final = frozenset({"GET", "HEAD"})
_WORDS: Final = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `query` has the first value of each name, `accept` is lower case."""

    path: str
    query: Mapping[str, str]
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    status: HTTPStatus
    body: bytes
    type: str = "text/plain; charset=utf-8"


class BadRequestError(Exception):
    """What came is no request that is answered here; the answer is the argument."""

    def __init__(self, status: HTTPStatus) -> None:
        self.answer = Answer(status, status.phrase.lower().encode())
        super().__init__(status.phrase)


@dataclass(frozen=True, slots=True)
class Door:
    """Where it listens: an open socket, and what tells how to make TLS of a connection."""

    listening: socket.socket
    tls: Callable[[], ssl.SSLContext] | None = None
    patience_s: float = PATIENCE_S


Answering = Callable[[Asked], Awaitable[Answer]]


async def serve(door: Door, answer: Answering) -> None:
    """Answer for ever."""
    loop, room, guests = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTIONS), 0
    async with asyncio.TaskGroup() as group:
        while True:
            await room.acquire()
            guests += 1
            if door.tls is not None and guests % CONNECTIONS == 0:
                gc.collect()  # asyncio leaves 256 KiB of buffer in a cycle behind each of them
            try:
                connection, _ = await loop.sock_accept(door.listening)
            except OSError as err:  # out of descriptors, or one that has left already
                _log.debug("no connection: %s, retrying", err)
                room.release()
                await asyncio.sleep(_RETRY_S)
                continue
            task = group.create_task(_guest(door, connection, answer), name="a scrape")
            task.add_done_callback(lambda _: room.release())
            if door.tls is not None:
                await asyncio.sleep(PACE_S)


async def _guest(door: Door, connection: socket.socket, answer: Answering) -> None:
    """Answer one connection, whatever it is about."""
    try:
        async with asyncio.timeout(door.patience_s):
            await _talk(door, connection, answer)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):  # theirs, and over
        return
    except Exception:  # noqa: BLE001 -- a fault in an answer must not end the others
        _log.exception("a question to the agent fails")


async def _talk(door: Door, connection: socket.socket, answer: Answering) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=HEAD_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        context = door.tls() if door.tls else None
    except BaseException:
        connection.close()
        raise
    # From here on the socket is the transport's, which closes it.
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    try:
        writer.write(await _answered(reader, answer))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    finally:
        transport.abort()


async def _answered(reader: asyncio.StreamReader, answer: Answering) -> bytes:
    method = "GET"
    try:
        head = (await _head(reader)).split("\r\n")
        method, asked = _asked(head)
        given = await answer(asked)
    except BadRequestError as err:
        given = err.answer
    return _bytes(given, is_head=method == "HEAD")


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    except asyncio.LimitOverrunError as err:
        raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from err
    except UnicodeDecodeError as err:
        raise BadRequestError(HTTPStatus.BAD_REQUEST) from err


def _asked(head: list[str]) -> tuple[str, Asked]:
    """Return method and request. Raises BadRequestError."""
    words = head[0].split(" ")
    if len(words) != _WORDS or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    if words[0] not in _METHODS:
        raise BadRequestError(HTTPStatus.METHOD_NOT_ALLOWED)
    path, _, query = words[1].partition("?")
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=16)
    except ValueError as err:
        raise BadRequestError(HTTPStatus.BAD_REQUEST) from err
    fields = (line.partition(":") for line in head[1:])
    accept = ",".join(value.strip() for name, _, value in fields if name.lower() == "accept")
    first = {name: found[0] for name, found in values.items()}
    return words[0], Asked(path, first, accept.lower())


def _bytes(given: Answer, *, is_head: bool) -> bytes:
    status = given.status
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {given.type}",
        f"Content-Length: {len(given.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        head.append("Allow: GET, HEAD")
    return "\r\n".join((*head, "", "")).encode() + (b"" if is_head else given.body)
