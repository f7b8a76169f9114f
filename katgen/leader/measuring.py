"""Counts what the API answers."""

import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from aiohttp import web
from aiohttp.typedefs import Middleware

from katgen.leader.metrics import Metrics

UNKNOWN = "unknown"
"""The route of a request that no route takes."""


def measuring(metrics: Metrics) -> Middleware:
    """Return what counts every answer, by the route's template."""

    @web.middleware
    async def measured(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        route, begun = template(request), time.monotonic()
        endless = getattr(request.match_info.route.handler, "is_stream", False)
        with metrics.streaming(route) if endless else nullcontext():
            response = await handler(request)
        is_whole = isinstance(response, web.Response)
        seconds = time.monotonic() - begun if is_whole else None
        metrics.answered(route, request.method, response.status, seconds)
        return response

    return measured


def template(request: web.Request) -> str:
    """Return the route as it is written, names left open: their number has no bound."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else UNKNOWN
