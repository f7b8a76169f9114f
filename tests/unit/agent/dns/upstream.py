"""A server for names outside, which counts what it is asked and says what a test has it say."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rrset

TRIES = 50
Say = Callable[[dns.message.Message, str], dns.message.Message | bytes | None]


def says(*addresses: str, code: int = 0) -> Say:
    """Answer every question with these addresses."""

    def say(query: dns.message.Message, _: str) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(code)  # type: ignore[arg-type]  # a number is as good
        if addresses:
            response.answer = [
                dns.rrset.from_text(query.question[0].name, 60, "IN", "A", *addresses)
            ]
        return response

    return say


def is_silent(_: dns.message.Message, __: str) -> None:
    """Answer nothing."""


@dataclass(slots=True)
class Upstream(asyncio.DatagramProtocol):
    """`asked` are the messages that came, and by which transport."""

    say: Say
    asked: list[tuple[dns.message.Message, str]] = field(default_factory=list)
    sources: list[tuple[str, int]] = field(default_factory=list)
    port: int = 0
    _transport: asyncio.DatagramTransport | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self.sources.append(addr)
        response = self.respond(data, "udp")
        if response is not None:
            self._transport.sendto(response, addr)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2))
        response = self.respond(await reader.readexactly(size), "tcp")
        if response is not None:
            writer.write(len(response).to_bytes(2) + response)
        writer.close()

    async def heard(self, count: int) -> None:
        """Wait until so many messages came."""
        async with asyncio.timeout(10):
            while len(self.asked) < count:
                self.came.clear()
                await self.came.wait()

    def respond(self, data: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(data)
        self.asked.append((query, transport))
        self.came.set()
        response = self.say(query, transport)
        return response.to_wire() if isinstance(response, dns.message.Message) else response


@asynccontextmanager
async def upstream(say: Say, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Upstream]:
    """Listen on both transports of one port."""
    for _ in range(TRIES):  # a port that is free for one may be taken for the other
        made, ends = await _listening(say, address, port)
        if made is not None:
            break
    assert made is not None, "no port is free on both transports"
    try:
        yield made
    finally:
        for end in ends:
            end.close()


async def _listening(
    say: Say, address: str, port: int
) -> tuple[Upstream | None, tuple[asyncio.DatagramTransport | asyncio.Server, ...]]:
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Upstream(say), local_addr=(address, port)
    )
    try:
        return made, (transport, await asyncio.start_server(made.converse, address, made.port))
    except OSError:
        transport.close()
        return None, ()
