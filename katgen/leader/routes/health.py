"""`/healthz` and `/readyz`, which are for anybody and tell no secret; `/v1alpha1/version`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib import metadata
from typing import Final

import msgspec
from aiohttp import web

from katgen.errors import KatError
from katgen.leader.auth import people
from katgen.leader.routes.wire import API, answered, flag
from katgen.leader.services import SERVICES, Services

STORE_S: Final = 2.0
"""A store that takes longer does not answer."""
_Look = Callable[[Services], Awaitable[bool]]


class Check(msgspec.Struct, frozen=True):
    """Something that a ready leader has; `ms` is how long it took to find out."""

    name: str
    is_ok: bool = msgspec.field(name="ok")
    ms: float


class Health(msgspec.Struct, frozen=True):
    """Whether all checks are well."""

    is_ok: bool = msgspec.field(name="ok")
    checks: tuple[Check, ...] = ()


async def _healthy(request: web.Request) -> web.Response:
    return _told(request, Health(is_ok=True))


async def _ready(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    checks = tuple([await _check(services, name, look) for name, look in _CHECKS.items()])
    return _told(request, Health(all(one.is_ok for one in checks), checks))


async def _check(services: Services, name: str, look: _Look) -> Check:
    begun = time.monotonic()
    is_ok = await look(services)
    return Check(name, is_ok, round((time.monotonic() - begun) * 1000, 3))


async def _store_answers(services: Services) -> bool:
    try:
        async with asyncio.timeout(STORE_S):
            await services.store.get("ready")
    except (KatError, TimeoutError):  # why, the journal says: here anybody may ask
        return False
    return True


async def _plan_is_loaded(services: Services) -> bool:
    return services.is_loaded()


_CHECKS: Final[Mapping[str, _Look]] = {"store": _store_answers, "plan": _plan_is_loaded}


def _told(request: web.Request, health: Health) -> web.Response:
    status = HTTPStatus.OK if health.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
    if request.query.get("verbose") == "" or flag(request, "verbose"):  # `?verbose` as well
        return answered(health, status)
    failed = ", ".join(one.name for one in health.checks if not one.is_ok)
    return web.Response(text=f"not ready: {failed}" if failed else "ok", status=status)


class ClusterVersion(msgspec.Struct, frozen=True):
    """Which KAT this is, of which cluster, and the last committed plan."""

    version: str
    cluster: str
    uid: str
    generation: int
    epoch: int


async def _version(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    epoch, generation = services.view.mark
    return answered(
        ClusterVersion(
            version=metadata.version("kat"),
            cluster=services.identity.name,
            uid=services.identity.uid,
            generation=generation,
            epoch=epoch,
        )
    )


ROUTES: Final = (
    web.get("/healthz", _healthy),
    web.get("/readyz", _ready),
    web.get(f"{API}/version", people(_version)),
)
