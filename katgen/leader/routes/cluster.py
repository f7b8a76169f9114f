"""`namespaces`, `clusterconfiguration`, `plans`."""

from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.documents import NO_NAMESPACE, ObjectKey, shown
from katgen.leader.errors import MissingError
from katgen.leader.feeds.watches import FEEDS
from katgen.leader.routes.listing import listing, watchable
from katgen.leader.routes.objects import only
from katgen.leader.routes.wire import API, answered, documents, is_dry, whole, written
from katgen.leader.services import SERVICES

_KIND: Final = "Namespace"


async def _namespaces(request: web.Request) -> web.StreamResponse:
    """List the namespaces that are written, and those that objects merely name."""
    return await listing(request, _KIND)


async def _namespace(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    feed = await request.app[FEEDS].current(_KIND)
    found = next((row for row in feed.rows(_KIND) if row.key == name), None)
    if found is None:
        raise MissingError(f"there is no Namespace {name}")
    return answered(found.document)


def _key(request: web.Request) -> ObjectKey:
    return ObjectKey(_KIND, NO_NAMESPACE, request.match_info["name"])


async def _put(request: web.Request) -> web.Response:
    given = only(await documents(request, ""), _key(request))
    objects = request.app[SERVICES].objects
    return written(request, await objects.apply(given, dry=is_dry(request)))


async def _delete(request: web.Request) -> web.Response:
    key, revision = _key(request), whole(request, "resourceVersion", 0)
    expected = {key: revision} if revision else {}
    objects = request.app[SERVICES].objects
    applied = await objects.delete([key], expected=expected, dry=is_dry(request))
    return written(request, applied)


async def _configuration(request: web.Request) -> web.Response:
    for one in await request.app[SERVICES].objects.all():
        if one.key.kind == "ClusterConfiguration":
            return answered(shown(one))
    raise MissingError("there is no ClusterConfiguration")


async def _plans(request: web.Request) -> web.StreamResponse:
    return await listing(request, "Generation")


ROUTES: Final = (
    web.get(f"{API}/namespaces", watchable(people(_namespaces))),
    web.get(f"{API}/namespaces/{{name}}", people(_namespace)),
    web.put(f"{API}/namespaces/{{name}}", people(_put)),
    web.delete(f"{API}/namespaces/{{name}}", people(_delete)),
    web.get(f"{API}/clusterconfiguration", people(_configuration)),
    web.get(f"{API}/plans", watchable(people(_plans))),
)
