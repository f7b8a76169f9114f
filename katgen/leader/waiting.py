"""A leader whose etcd is not there yet: it waits, says so, and answers nobody until then.

To systemd it is ready meanwhile, and says what it waits for: neither the boot of its host nor
systemd's patience depends on an etcd elsewhere.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from katgen.leader import door
from katgen.leader.notify import READY, WATCHDOG, notify, watchdog_s
from katgen.leader.store import Store, StoreError

RETRY_S: Final = 1.0
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """Why a leader waits."""

    why: str

    async def answer(self, request: web.Request) -> web.Response:
        """Answer any request; whoever asks for `/healthz` hears that the process lives."""
        if request.path == "/healthz":
            return web.Response(text="ok")
        status = HTTPStatus.SERVICE_UNAVAILABLE
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status,
            "detail": f"the leader waits for its store: {self.why}",
        }
        return web.Response(
            body=msgspec.json.encode(problem),
            status=status,
            content_type="application/problem+json",
            headers={"Retry-After": "1"},
        )


async def awaited(
    opening: Callable[[], Awaitable[Store]], address: str, port: int, context: ssl.SSLContext
) -> Store:
    """Return the store, however long it takes. Raises what is no matter of time."""
    try:
        return await opening()
    except StoreError as err:
        waiting = Waiting(str(err))
    _LOG.warning("waiting for the store: %s", waiting.why)
    async with _telling(waiting, address, port, context):
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                store = await opening()
            except StoreError as err:
                if str(err) != waiting.why:
                    _LOG.warning("still waiting for the store: %s", err)
                waiting.why = str(err)
                _notify(waiting)
            else:
                _LOG.info("the store is there")
                notify("STATUS=")
                return store


@contextlib.asynccontextmanager
async def _telling(
    waiting: Waiting, address: str, port: int, context: ssl.SSLContext
) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", waiting.answer)
    async with door.listening(app, address, port, context):
        _notify(waiting, READY)
        living = asyncio.create_task(_living(), name="watchdog")
        try:
            yield
        finally:
            living.cancel()


def _notify(waiting: Waiting, *lines: str) -> None:
    notify(*lines, f"STATUS=Waiting for the store: {waiting.why}"[:500].replace("\n", " "))


async def _living() -> None:
    interval = watchdog_s() / 3
    while interval:
        notify(WATCHDOG)
        await asyncio.sleep(interval)
