"""Requests beside a session, over one more connection to the leader: few, and none while idle.

http.client in a thread: aiohttp would add 9 MB to a process that asks twice for each plan.
"""

import asyncio
import http.client
import socket
import ssl
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from agent.ports import LeaderError

CONNECT_S: Final = 10
"""For a connection, and for the leader to go on with an answer."""
REQUEST_S: Final = 60
ANSWER_BYTES: Final = 64 << 20
_SHOWN: Final = 300
_CHUNK: Final = 1 << 16


class Https:
    """One request at a time; the connection is kept for the next one."""

    def __init__(self, base: str, tls: ssl.SSLContext) -> None:
        self._base, self._tls = base, tls
        self._turn = asyncio.Lock()
        self._kept: http.client.HTTPSConnection | None = None

    async def ask(self, method: str, what: str, body: bytes | None = None) -> bytes:
        """Return an answer's body. Raises LeaderError.

        A leader closes what is idle, so where a kept connection has gone a new one is tried: every
        request of an agent may come twice.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(REQUEST_S):
                    status, data = await self._asked(method, what, body)
            except (http.client.HTTPException, OSError, TimeoutError) as err:
                self.close()
                raise LeaderError(f"{self._base}/{what}: {text_of(err)}") from err
            except BaseException:
                self.close()
                raise
        if status != http.client.OK:
            shown = data.decode(errors="replace")[:_SHOWN]
            raise LeaderError(f"{self._base}/{what}: {status} {shown}")
        return data

    def close(self) -> None:
        """Disconnect. A thread that still waits for an answer ends."""
        kept, self._kept = self._kept, None
        if kept is not None and kept.sock is not None:
            with suppress(OSError):  # the socket's own shutdown: TLS's is not for two threads
                socket.socket.shutdown(kept.sock, socket.SHUT_RDWR)
            kept.close()

    async def _asked(self, method: str, what: str, body: bytes | None) -> tuple[int, bytes]:
        url = f"{urlsplit(self._base).path}/{what}"
        if self._kept is not None:
            with suppress(ConnectionError):
                return await asyncio.to_thread(_ask, self._kept, method, url, body)
            self.close()
        at = urlsplit(self._base)
        self._kept = http.client.HTTPSConnection(
            at.hostname or "", at.port, timeout=CONNECT_S, context=self._tls
        )
        return await asyncio.to_thread(_ask, self._kept, method, url, body)


def _ask(
    connection: http.client.HTTPSConnection, method: str, url: str, body: bytes | None
) -> tuple[int, bytes]:
    """Return an answer's status and body, whole. Raises OSError, HTTPException."""
    connection.request(method, url, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    chunks, length = [], 0
    while chunk := answer.read(_CHUNK):
        length += len(chunk)
        if length > ANSWER_BYTES:
            raise http.client.HTTPException(f"longer than {ANSWER_BYTES >> 20} MiB")
        chunks.append(chunk)
    return answer.status, b"".join(chunks)


def text_of(err: BaseException) -> str:
    """Return what an error says; some say nothing but their name."""
    return str(err) or type(err).__name__
