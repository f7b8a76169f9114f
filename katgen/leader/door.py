"""Where the API listens. Whoever is silent there is shown out, before they are all that fits in."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

_SHUTDOWN_S: Final = 2.0
"""For answers under way; agents and readers of logs connect again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a stranger may take: for TLS, then until a whole request's head is there.

    Between two requests of a connection it is the same.
    """

    handshake_s: float = 10.0
    head_s: float = 10.0


@asynccontextmanager
async def listening(
    app: web.Application,
    address: str,
    port: int,
    context: ssl.SSLContext,
    patience: Patience = Patience(),
) -> AsyncIterator[int]:
    """Answer with an application, at all addresses if none is given; yield the port.

    Raises OSError.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
        keepalive_timeout=patience.head_s,  # aiohttp counts from the first byte on, too
    )
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("aiohttp has set up nothing")
    try:
        server = await asyncio.get_running_loop().create_server(
            runner.server,
            address or None,
            port,
            ssl=context,
            ssl_handshake_timeout=patience.handshake_s,
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
    finally:
        await runner.cleanup()
