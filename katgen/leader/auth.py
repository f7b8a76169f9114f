"""Who asks: people by bearer token or certificate, agents by certificate."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from katgen.leader.documents import NO_NAMESPACE, ObjectKey
from katgen.leader.errors import DeniedError, MissingError
from katgen.leader.limits import TURNSTILE
from katgen.leader.services import SERVICES, Services
from katgen.names import NodeName

ADMIN: Final = "admin"
_NODE: Final = "node"
_USER: Final = "user"
_BEARER: Final = "bearer"
_AUDIT: Final = logging.getLogger("katgen.leader.audit")
_READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `role` is `admin` or `node`; of a node, `name` is the node's."""

    role: str
    name: str


CALLER: Final = web.RequestKey("caller", Caller)
REQUEST_ID: Final = web.RequestKey("request_id", str)
CHANGED: Final = web.RequestKey("changed", str)
"""What a write did, for the audit."""


def people(answer: Answer, *, is_read: bool = False) -> Answer:
    """Return a route that only people with the role `admin` reach; writes are logged.

    `is_read`: the route changes nothing, whatever its method.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await _caller(request)
        if caller.role != ADMIN:
            raise MissingError("there is nothing here for you")
        _count(request, caller)
        request[CALLER] = caller
        if is_read or request.method in _READS:
            return await answer(request)
        return await _audited(answer, request)

    return guarded


def known(answer: Answer) -> Answer:
    """Return a route that people with the role `admin` and every node's agent reach, to read."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await _caller(request)
        if caller.role not in {ADMIN, _NODE}:
            raise MissingError("there is nothing here for you")
        _count(request, caller)
        request[CALLER] = caller
        return await answer(request)

    return guarded


def agents(answer: Answer) -> Answer:
    """Return a route that only the agent of the node in its path reaches."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await _caller(request)
        if caller.role != _NODE:
            raise DeniedError("only a node's agent may do this", status=HTTPStatus.FORBIDDEN)
        if caller.name != request.match_info["node"]:
            raise MissingError("there is nothing here for you")
        _count(request, caller)
        request[CALLER] = caller
        return await answer(request)

    return guarded


def node_of(request: web.Request) -> NodeName:
    """Return the node whose agent asks."""
    return NodeName(request[CALLER].name)


async def judge_again(request: web.Request) -> None:
    """Raise DeniedError if who began a long answer may not go on reading it."""
    if await _found(request) != request[CALLER]:
        raise DeniedError("the token or certificate is not known here any more")


def _count(request: web.Request, caller: Caller) -> None:
    turnstile = request.app[TURNSTILE]
    if caller.role == _NODE:
        turnstile.agent(caller.name)
    else:
        turnstile.person(caller.name)


async def _caller(request: web.Request) -> Caller:
    """Return who asks. Raises DeniedError, LimitedError.

    A token that is not in memory counts as a stranger's before the store is asked for it: what
    strangers make up must cost the store no more than their limit, also while it is away.
    """
    turnstile, address = request.app[TURNSTILE], request.remote or ""
    is_strange = _is_strange(request)
    counted_as = turnstile.stranger(address) if is_strange else ""
    found = await _found(request)
    if found is None:
        if not is_strange:
            turnstile.stranger(address)
        raise DeniedError("the token or certificate is missing, or not known here")
    if is_strange:
        turnstile.forgive(counted_as)
    return found


def _is_strange(request: web.Request) -> bool:
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    return bool(given) and not request.app[SERVICES].tokens.is_remembered(_token(given))


async def _found(request: web.Request) -> Caller | None:
    services = request.app[SERVICES]
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    return await (_by_token(services, given) if given else _by_certificate(services, request))


async def _by_token(services: Services, given: list[str]) -> Caller | None:
    token = await services.tokens.find(_token(given))
    return Caller(token.role, token.name) if token else None


def _token(given: list[str]) -> str:
    """Return the one bearer token, '' if there is none."""
    scheme, _, text = given[0].partition(" ")
    return text.strip() if len(given) == 1 and scheme.lower() == _BEARER else ""


async def _by_certificate(services: Services, request: web.Request) -> Caller | None:
    """Judge a certificate that TLS has verified to be of the cluster's CA."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    uris = [text for kind, text in (certificate or {}).get("subjectAltName", ()) if kind == "URI"]
    if len(uris) != 1:
        return None
    found = caller_in(uris[0], services.identity.uid)
    if found is None or found.role != _NODE:
        return found
    # A node that was removed is nobody, however long its certificate lives.
    node = await services.objects.get(ObjectKey("Node", NO_NAMESPACE, found.name))
    return found if node else None


def caller_in(uri: str, cluster: str) -> Caller | None:
    """Return whom a certificate's URI names, if it is of this cluster."""
    parts = urlsplit(uri)
    kind, _, name = parts.path.removeprefix("/").partition("/")
    is_ours = parts.scheme == "kat" and parts.netloc == cluster and name and "/" not in name
    if not is_ours or kind not in {_NODE, _USER}:
        return None
    return Caller(_NODE if kind == _NODE else ADMIN, name)


async def _audited(answer: Answer, request: web.Request) -> web.StreamResponse:
    status: int | str = "failed"
    try:
        response = await answer(request)
        status = response.status
    except Exception as err:
        status = getattr(err, "status", status)
        raise
    else:
        return response
    finally:
        fields = {
            "request": request.get(REQUEST_ID, ""),
            "caller": request[CALLER].name,
            "verb": request.method,
            "path": request.path,
            "status": int(status) if isinstance(status, int) else status,
            "changed": request.get(CHANGED, ""),
        }
        _AUDIT.info("audit", extra={"fields": fields})
