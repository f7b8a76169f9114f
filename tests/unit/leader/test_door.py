"""Strangers at the API's port who say nothing, or not enough."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from katgen.leader.door import Patience, listening
from katgen.leader.pki import issue_server, make_ca

HASTY = Patience(handshake_s=0.3, head_s=0.3)
DEADLINE_S = 5.0


@dataclass
class Door:
    port: int
    trust: ssl.SSLContext

    async def closes(self, said: bytes, *, is_tls: bool = True) -> bool:
        """Connect, say something, and tell whether the connection ends by itself."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trust if is_tls else None
        )
        writer.write(said)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read() == b""
        except ConnectionError:
            return True
        finally:
            writer.close()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    ca = make_ca("shop")
    pair = issue_server(ca, ["localhost"], ["127.0.0.1"])
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    trust = ssl.create_default_context(cadata=ca.pair.certificate.decode())
    async with listening(web.Application(), "127.0.0.1", 0, context, HASTY) as port:
        yield Door(port, trust)


async def test_who_does_not_even_begin_tls_is_shown_out(door: Door) -> None:
    assert await door.closes(b"", is_tls=False)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_who_sends_no_whole_head_is_shown_out(door: Door, said: bytes) -> None:
    assert await door.closes(said)


async def test_a_request_is_answered(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=door.trust)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()) == b"HTTP/1.1 404 Not Found\r\n"
    writer.close()
