"""What agents ask: each of its own node alone."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from aiohttp import web

from katgen.leader.auth import agents, node_of
from katgen.leader.errors import InputError, MissingError
from katgen.leader.routes.wire import API, answered, small, stream, whole
from katgen.leader.services import SERVICES
from katgen.protocol import Report

PING_S: Final = 10.0
"""An agent whose machine vanished is noticed after this and half of it again."""
MESSAGE_BYTES: Final = 4 << 20
DIGESTS: Final = 1000
"""Of one request."""
ANSWER_BYTES: Final = 16 << 20
"""Of contents; an agent takes 64 MiB at most."""


async def _session(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=MESSAGE_BYTES)
    await socket.prepare(request)
    try:
        await request.app[SERVICES].agents.serve(node_of(request), socket)
    finally:
        await socket.close()
    return socket


async def _status(request: web.Request) -> web.Response:
    report = await small(request, Report)
    if report.node != node_of(request):
        raise InputError("the report is of another node")
    return answered(await request.app[SERVICES].agents.reported(report.node, report))


async def _bundle(request: web.Request) -> web.Response:
    generation = whole(request, "generation", 0)
    found = request.app[SERVICES].view.bundle(node_of(request), generation)
    if found is None:
        raise MissingError(f"generation {generation} is neither proposed nor committed")
    return answered(found)


async def _contents(request: web.Request) -> web.Response:
    digests = await small(request, list[str])
    if len(digests) > DIGESTS:
        raise InputError(f"{len(digests)} digests are too many; the most is {DIGESTS}")
    found = request.app[SERVICES].view.contents(node_of(request), digests)
    body = msgspec.msgpack.encode(dict(fitting(found)))
    return web.Response(body=body, content_type="application/msgpack")


def fitting(contents: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield files up to the size of an answer, one at least; agents ask again for the others."""
    size = 0
    for digest, content in contents.items():
        size += len(content)
        if size > ANSWER_BYTES and size != len(content):
            return
        yield digest, content


_NODE: Final = f"{API}/nodes/{{node}}"
ROUTES: Final = (
    web.get(f"{_NODE}/session", stream(agents(_session))),
    web.post(f"{_NODE}/status", agents(_status)),
    web.get(f"{_NODE}/bundle", agents(_bundle)),
    web.post(f"{_NODE}/contents", agents(_contents)),
)
