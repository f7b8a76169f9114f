"""Checks by network: GET and connect. Each makes one connection and says '' or why it is unhealthy.

Plain sockets: a hundred checks in every second are to cost next to nothing. The kernel's route to
the instance gives them the node's own address; no proxy is asked, and no redirect is followed.
"""

import asyncio
import errno
import os
import re
import socket
from contextlib import ExitStack, suppress
from typing import Final

from agent.ports import UnfitError

READ_BYTES: Final = 16 << 10
"""Of an answer; the rest is not waited for."""
_CLOSE_S: Final = 0.1
"""How long a server that has answered is given to end its answer, whatever is left of the probe's
timeout: one that writes on when we are gone complains in its log."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?:[ \r][^\n]*)?\n")
_HEALTHY: Final = range(200, 400)
_PATH: Final = re.compile(r"/[!-~]*")
_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""This machine's want, which says nothing about who was to be asked."""


async def tcp(address: str, port: int, timeout_s: float) -> str:
    """Connect, and close. Raises UnfitError if that says nothing about the other side."""
    try:
        async with asyncio.timeout(timeout_s):
            (await _connection(address, port)).close()
    except TimeoutError:
        return f"no connection within {timeout_s:g} s"
    except OSError as err:
        return _why(err)
    return ""


async def http(where: tuple[str, int], path: str, timeout_s: float, agent: str) -> str:
    """GET a path: statuses 200 to 399 are healthy. `agent` is the User-Agent. Raises UnfitError."""
    if not _PATH.fullmatch(path):
        return "its path cannot be asked for"
    address, port = where
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nUser-Agent: {agent}\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    with ExitStack() as open_ones:
        try:
            async with asyncio.timeout(timeout_s):
                connection = open_ones.enter_context(await _connection(address, port))
                said = await _asked(connection, request.encode())
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except OSError as err:
            return _why(err)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_S):
                await _read_on(connection, READ_BYTES - len(said))
    return _judged(said)


async def _asked(connection: socket.socket, request: bytes) -> bytes:
    """Return what is said to a request, to the end of the first line."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, request)
    said = b""
    while b"\n" not in said and len(said) < READ_BYTES:
        piece = await loop.sock_recv(connection, READ_BYTES - len(said))
        if not piece:
            break
        said += piece
    return said


def _judged(said: bytes) -> str:
    status = _STATUS.match(said)
    if status is None:
        return "the answer is not HTTP/1" if said else "the connection was closed without an answer"
    return "" if int(status[1]) in _HEALTHY else f"status {int(status[1])}"


async def _read_on(connection: socket.socket, room: int) -> None:
    loop = asyncio.get_running_loop()
    while room > 0 and (piece := await loop.sock_recv(connection, room)):
        room -= len(piece)


async def _connection(address: str, port: int) -> socket.socket:
    """Return a connection. Raises OSError, UnfitError."""
    connection: socket.socket | None = None
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException as err:
        if connection is not None:
            connection.close()
        if isinstance(err, OSError) and err.errno in _OURS:
            raise UnfitError(f"no check of {address}:{port} can be made: {_why(err)}") from err
        raise
    return connection


def _why(err: OSError) -> str:
    """Return the kernel's words: asyncio puts the address in their place."""
    return os.strerror(err.errno).lower() if err.errno else str(err)
