"""The API: routes, and what holds for all of them."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web

from katgen.errors import Problem
from katgen.leader.answers import trouble
from katgen.leader.auth import REQUEST_ID
from katgen.leader.errors import LimitedError, RequestError
from katgen.leader.feeds.watches import FEEDS, Feeds
from katgen.leader.limits import TURNSTILE, Limits, Turnstile
from katgen.leader.metrics.requests import measuring
from katgen.leader.routes import ROUTES
from katgen.leader.routes.listing import PACE, Pace
from katgen.leader.routes.wire import UNPACKING, flag
from katgen.leader.services import SERVICES, NotConnectedError, Services
from katgen.leader.store import StoreError, TooLargeError

ANSWER_S: Final = 120.0
"""For an answer that is no stream."""
SMALL_BODY_BYTES: Final = 4 << 20
"""Of what is no upload: reports, lists of digests."""
UPLOADS: Final = 2
"""At one time: each may take a few hundred MiB."""
_LOG: Final = logging.getLogger(__name__)
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_PROBLEM: Final = "application/problem+json"
_BEGUN: Final = web.RequestKey("begun", bool)
"""Set once the head of the answer is sent."""
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Manners:
    """What clients may ask for, and how watches are kept."""

    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)


def make_app(services: Services, manners: Manners | None = None) -> web.Application:
    """Return the API over these services."""
    manners = manners or Manners()
    app = web.Application(
        middlewares=[measuring(services.metrics), _numbered, _explained, _bounded],
        client_max_size=SMALL_BODY_BYTES,
    )
    app[SERVICES] = services
    app[UNPACKING] = asyncio.Semaphore(UPLOADS)
    app[TURNSTILE], app[PACE] = Turnstile(manners.limits), manners.pace
    app[FEEDS] = Feeds(services)
    app.cleanup_ctx.append(_followed)
    app.on_shutdown.append(_watches_end)
    app.on_response_prepare.append(_begun)
    app.add_routes(ROUTES)
    return app


async def _followed(app: web.Application) -> AsyncIterator[None]:
    """Follow the store for as long as the application runs; writes live on that, too."""
    feeds, services = app[FEEDS], app[SERVICES]
    following = (
        asyncio.create_task(feeds.run(), name="follow the store"),
        asyncio.create_task(services.tokens.run(), name="follow the tokens"),
    )
    services.objects.follow(feeds.objects)
    yield
    for task in following:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watches_end(app: web.Application) -> None:
    app[FEEDS].close()


@web.middleware
async def _numbered(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Give each request an id, and log how it went."""
    request[REQUEST_ID] = secrets.token_hex(8)
    begun = time.monotonic()
    status = 0
    try:
        response = await handler(request)
        status = response.status
        if not response.prepared:
            response.headers["X-Request-Id"] = request[REQUEST_ID]
        return response
    finally:
        if request.path not in _QUIET:
            fields = {
                "request": request[REQUEST_ID],
                "verb": request.method,
                "path": request.path,
                "status": status or "cut",
                "ms": round((time.monotonic() - begun) * 1000),
                "from": request.remote or "",
            }
            _LOG.info("request", extra={"fields": fields})


@web.middleware
async def _explained(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Turn errors into problems, RFC 9457. What is not expected is logged, and not told."""
    try:
        return await handler(request)
    except ConnectionError:  # whoever asked has gone
        raise
    except Exception as err:
        if request.get(_BEGUN):  # what was promised cannot be taken back: the connection ends
            _LOG.warning("an answer was cut", exc_info=err, extra={"fields": _about(request)})
            raise
        return _refusal(request, err)


def _refusal(request: web.Request, err: Exception) -> web.Response:
    match err:
        case web.HTTPException():
            return _problem(request, HTTPStatus(err.status), err.reason, headers=_allow(err))
        case LimitedError():
            headers: dict[str, str] = {hdrs.RETRY_AFTER: str(err.retry_s)}
            return _problem(request, err.status, err.detail, headers=headers)
        case RequestError():
            return _problem(request, err.status, err.detail, err.problems)
        case NotConnectedError() | TooLargeError() | TimeoutError():
            status, detail = _known(err)
            return _problem(request, status, detail)
        case StoreError():
            _LOG.error("the store: %s", err, extra={"fields": _about(request)})
            return _problem(request, HTTPStatus.SERVICE_UNAVAILABLE, f"the store: {err}")
        case _:
            _LOG.error("a fault in KAT", exc_info=err, extra={"fields": _about(request)})
            detail = "a fault in KAT; the leader's journal says more"
            return _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _known(err: NotConnectedError | TooLargeError | TimeoutError) -> tuple[HTTPStatus, str]:
    match err:
        case NotConnectedError():
            return HTTPStatus.SERVICE_UNAVAILABLE, str(err)
        case TooLargeError():
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(err)
        case TimeoutError():
            return HTTPStatus.GATEWAY_TIMEOUT, "this took too long"


async def _begun(request: web.BaseRequest, _: web.StreamResponse) -> None:
    request[_BEGUN] = True


@web.middleware
async def _bounded(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Give every answer a deadline; streams end with their reader, and have their own."""
    found = request.match_info.route.handler
    is_watch = getattr(found, "is_watchable", False) and flag(request, "watch")
    if is_watch or getattr(found, "is_stream", False):
        return await handler(request)
    async with asyncio.timeout(ANSWER_S):
        return await handler(request)


def _allow(err: web.HTTPException) -> dict[str, str]:
    allowed = err.headers.get(hdrs.ALLOW)
    return {hdrs.ALLOW: allowed} if allowed else {}


def _about(request: web.Request) -> dict[str, str]:
    return {"request": request[REQUEST_ID], "verb": request.method, "path": request.path}


def _problem(
    request: web.Request,
    status: HTTPStatus,
    detail: str,
    problems: Iterable[Problem] = (),
    *,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "detail": detail,
        "requestId": request[REQUEST_ID],
        "problems": [trouble(one) for one in problems],
    }
    response = web.Response(
        body=msgspec.json.encode(body), status=status, content_type=_PROBLEM, headers=headers
    )
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT}:
        response.force_close()  # the rest of the body is not read
    return response
