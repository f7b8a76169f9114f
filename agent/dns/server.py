"""The sockets: questions over UDP and TCP, and the agent's word that endpoint states changed."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from agent.dns.clients import Clients
from agent.dns.forward import Forwarder, Reply
from agent.dns.respond import Responder, refusal

IDLE_S: Final = 10
"""How long a connection may say nothing, or take nothing: RFC 7766 §6.2.3 leaves it to us."""
LAST_S: Final = 0.1
"""The same once the process is to end: a question that has set out still gets its answer."""
CONNECTIONS_MAX: Final = 256
OF_ONE_MAX: Final = 32
"""Connections of one address."""
_BATCH: Final = 256
"""Questions to answer before others have their turn."""
_UDP_BUFFER: Final = 4096
_TCP_QUESTION_MAX: Final = 4096
_NEWS_BUFFER: Final = 256


class Server:
    """Answers `clients` on sockets that systemd holds; others hear that they are refused."""

    def __init__(self, responder: Responder, forwarder: Forwarder, clients: Clients) -> None:
        self._responder: Final = responder
        self._forwarder: Final = forwarder
        self.clients = clients
        self._connections: Counter[str] = Counter()
        self._conversations: Final[set[asyncio.Task[None]]] = set()
        self._waits: Final[set[asyncio.Timeout]] = set()
        self._patience_s = float(IDLE_S)

    def drain(self, channel: socket.socket) -> None:
        """Answer what has arrived over UDP, up to a batch."""
        receive, send, quick = channel.recvfrom, channel.sendto, self._responder.quick
        for _ in range(_BATCH):
            try:
                data, source = receive(_UDP_BUFFER)
            except BlockingIOError:
                return
            is_client = self.clients.has(source[0])
            response = quick(data) if is_client else refusal(data)
            if response is None:
                if is_client:
                    self._answer(data, source, partial(_send, channel, source), over_tcp=False)
                continue
            try:
                send(response, source)
            except OSError:  # its buffer is full, or nobody can be there: as if it were lost
                continue

    def _answer(
        self, data: bytes, source: tuple[str, int], reply: Reply, *, over_tcp: bool
    ) -> bool:
        """Answer a message, now or later; False if it deserves no answer."""
        response = self._responder.full(data, over_tcp=over_tcp)
        if response is None:
            return False
        if isinstance(response, bytes):
            reply(response)
        else:
            self._forwarder.ask(response, source, reply)
        return True

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection, one after the other, RFC 7766."""
        source = writer.get_extra_info("peername") or ("", 0)
        client = source[0]
        if not self._has_place(client):
            writer.transport.abort()
            return
        self._connections[client] += 1
        task = asyncio.current_task()
        if task:
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)
        try:
            while await self._next(reader, writer, source):
                pass
        except (TimeoutError, OSError, EOFError):
            writer.transport.abort()
        finally:
            self._connections[client] -= 1
            if not self._connections[client]:
                del self._connections[client]
            writer.close()

    def _has_place(self, client: str) -> bool:
        is_free = self._connections.total() < CONNECTIONS_MAX
        return is_free and self._connections[client] < OF_ONE_MAX and self.clients.has(client)

    async def _next(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: tuple[str, int],
    ) -> bool:
        """Answer one question of a connection; False if there is to be no other."""
        data = await self._question(reader)
        if data is None:
            return False
        said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if not self._answer(data, source, partial(_settle, said), over_tcp=True):
            return False
        response = await said
        writer.write(len(response).to_bytes(2) + response)
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
        return True

    async def _question(self, reader: asyncio.StreamReader) -> bytes | None:
        """Read a question; None if it is longer than any. TimeoutError if it does not come."""
        async with asyncio.timeout(self._patience_s) as wait:
            self._waits.add(wait)
            try:
                size = int.from_bytes(await reader.readexactly(2))
                return await reader.readexactly(size) if size <= _TCP_QUESTION_MAX else None
            finally:
                self._waits.discard(wait)

    async def finish(self, timeout_s: float) -> None:
        """Answer what connections still ask, and wait for them to be over."""
        self._patience_s = LAST_S
        until = asyncio.get_running_loop().time() + LAST_S
        for wait in self._waits:
            wait.reschedule(until)
        if self._conversations:
            await asyncio.wait(self._conversations, timeout=timeout_s)


def _send(channel: socket.socket, source: tuple[str, int], response: bytes) -> None:
    try:
        channel.sendto(response, source)
    except OSError:  # the client asks again, if it is still there
        return


def _settle(said: asyncio.Future[bytes], response: bytes) -> None:
    if not said.done():  # the connection may have gone meanwhile
        said.set_result(response)


def heard(channel: socket.socket, take: Callable[[set[str]], object]) -> None:
    """Take the agent's datagrams, each of which names a namespace, all at once."""
    namespaces = set()
    try:
        while True:
            namespaces.add(channel.recv(_NEWS_BUFFER).decode("ascii", "replace"))
    except BlockingIOError:
        take(namespaces)
