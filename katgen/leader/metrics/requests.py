"""Counts what the API answers."""

import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from aiohttp import web
from aiohttp.typedefs import Middleware

from katgen.leader.metrics.prometheus import Metrics
from katgen.leader.routes.wire import YES

UNKNOWN = "unknown"
"""The route of a request that no route takes."""


def measuring(metrics: Metrics) -> Middleware:
    """Return what counts every answer, by the route's template."""

    @web.middleware
    async def measured(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        route, begun = template(request), time.monotonic()
        with metrics.streaming(route) if _is_endless(request) else nullcontext():
            response = await handler(request)
        is_whole = isinstance(response, web.Response)
        seconds = time.monotonic() - begun if is_whole else None
        metrics.answered(route, request.method, response.status, seconds)
        return response

    return measured


def _is_endless(request: web.Request) -> bool:
    handler = request.match_info.route.handler
    is_watch = getattr(handler, "is_watchable", False) and request.query.get("watch") in YES
    return is_watch or getattr(handler, "is_stream", False)


def template(request: web.Request) -> str:
    """Return the route as it is written, names left open: their number has no bound."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else UNKNOWN
