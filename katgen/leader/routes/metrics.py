"""`/metrics`, for Prometheus; as JSON for whoever asks for it."""

from typing import Final

from aiohttp import hdrs, web

from katgen.exposition import TEXT, families, text
from katgen.leader.auth import known
from katgen.leader.routes.wire import JSON, answered
from katgen.leader.services import SERVICES


async def _metrics(request: web.Request) -> web.Response:
    registry = request.app[SERVICES].metrics.registry
    if JSON in request.headers.get(hdrs.ACCEPT, ""):
        return answered(families(registry))
    return web.Response(body=text(registry), headers={hdrs.CONTENT_TYPE: TEXT})


ROUTES: Final = (web.get("/metrics", known(_metrics)),)
"""Also agents' certificates open it: one of the cluster's nodes may well run Prometheus."""
