"""`/healthz`, `/readyz`, `/v1alpha1/version`."""

from importlib import metadata
from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.routes.wire import API, answered
from katgen.leader.services import SERVICES


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _ready(request: web.Request) -> web.Response:
    await request.app[SERVICES].store.get("ready")
    return web.Response(text="ok")


async def _version(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    epoch, generation = services.view.mark
    return answered(
        {
            "version": metadata.version("kat"),
            "cluster": services.identity.name,
            "uid": services.identity.uid,
            "generation": generation,
            "epoch": epoch,
        }
    )


ROUTES: Final = (
    web.get("/healthz", _healthy),
    web.get("/readyz", _ready),
    web.get(f"{API}/version", people(_version)),
)
