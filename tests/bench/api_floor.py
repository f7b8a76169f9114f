"""The least that a server of the API could do: aiohttp, TLS, no store, no rules, no rights."""

import asyncio
import ssl
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

BODY: Final = msgspec.json.encode({"kind": "Config", "data": {"text": "x" * 700}})
JSON: Final = "application/json"
PATH: Final = "/v1alpha1/n/{space}/configs"


def serve(folder: Path, port: int, ready: Connection) -> None:
    """Serve with the leader's certificate until it is killed."""
    asyncio.run(_serve(folder, port, ready))


async def _serve(folder: Path, port: int, ready: Connection) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leader/leader.crt", folder / "leader/leader.key")
    runner = web.AppRunner(_app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    ready.send("ready")
    await asyncio.Event().wait()


def _app() -> web.Application:
    watchers: set[web.StreamResponse] = set()

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type=JSON)

    async def put(request: web.Request) -> web.Response:
        shown = await request.json()
        line = msgspec.json.encode({"type": "MODIFIED", "object": shown}) + b"\n"
        for one in tuple(watchers):
            await one.write(line)
        return web.Response(body=BODY, content_type=JSON)

    async def watch(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return await get(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"BOOKMARK","object":{}}\n')
        watchers.add(response)
        try:
            await asyncio.Event().wait()
        finally:
            watchers.discard(response)
        return response

    app = web.Application()
    app.add_routes(
        [web.get(PATH, watch), web.get(f"{PATH}/{{name}}", get), web.put(f"{PATH}/{{name}}", put)]
    )
    return app
