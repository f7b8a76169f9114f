"""`/openapi.json`: what the API is. For anybody: it is the same in every cluster."""

import asyncio
from typing import Final

from aiohttp import web

from katgen.leader.routes.wire import JSON


async def _openapi(_: web.Request) -> web.Response:
    from katgen.leader.openapi import document as openapi  # noqa: PLC0415 -- describes these routes, and takes 0.3 s

    return web.Response(text=await asyncio.to_thread(openapi.text), content_type=JSON)


ROUTES: Final = (web.get("/openapi.json", _openapi),)
