"""`namespaces`, `clusterconfiguration`, `plans`."""

from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.documents import NO_NAMESPACE, ObjectKey, Stored, shown
from katgen.leader.errors import MissingError
from katgen.leader.objects import Snapshot
from katgen.leader.routes.objects import only
from katgen.leader.routes.wire import API, answered, documents, listed, selected, whole, written
from katgen.leader.services import SERVICES
from katgen.model.spec import API_VERSION

_KIND: Final = "Namespace"


async def _namespaces(request: web.Request) -> web.Response:
    snapshot = await request.app[SERVICES].objects.snapshot()
    found = selected(request, _all(snapshot).values())
    return listed(_KIND, found, snapshot.revision)


async def _namespace(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    found = _all(await request.app[SERVICES].objects.snapshot()).get(name)
    if found is None:
        raise MissingError(f"there is no Namespace {name}")
    return answered(shown(found))


def _all(snapshot: Snapshot) -> dict[str, Stored]:
    """Return the namespaces that are written, and those that objects merely name."""
    found = {}
    for key in snapshot.objects:
        name = key.namespace
        if name != NO_NAMESPACE:
            document = {"apiVersion": API_VERSION, "kind": _KIND, "metadata": {"name": name}}
            found[name] = Stored(ObjectKey(_KIND, NO_NAMESPACE, name), document, 0)
    found |= {key.name: one for key, one in snapshot.objects.items() if key.kind == _KIND}
    return dict(sorted(found.items()))


def _key(request: web.Request) -> ObjectKey:
    return ObjectKey(_KIND, NO_NAMESPACE, request.match_info["name"])


async def _put(request: web.Request) -> web.Response:
    given = only(await documents(request, ""), _key(request))
    return written(request, await request.app[SERVICES].objects.apply(given))


async def _delete(request: web.Request) -> web.Response:
    key, revision = _key(request), whole(request, "resourceVersion", 0)
    expected = {key: revision} if revision else {}
    applied = await request.app[SERVICES].objects.delete([key], expected=expected)
    return written(request, applied)


async def _configuration(request: web.Request) -> web.Response:
    for one in await request.app[SERVICES].objects.all():
        if one.key.kind == "ClusterConfiguration":
            return answered(shown(one))
    raise MissingError("there is no ClusterConfiguration")


async def _plans(request: web.Request) -> web.Response:
    return listed("Generation", await request.app[SERVICES].chronicle.generations())


ROUTES: Final = (
    web.get(f"{API}/namespaces", people(_namespaces)),
    web.get(f"{API}/namespaces/{{name}}", people(_namespace)),
    web.put(f"{API}/namespaces/{{name}}", people(_put)),
    web.delete(f"{API}/namespaces/{{name}}", people(_delete)),
    web.get(f"{API}/clusterconfiguration", people(_configuration)),
    web.get(f"{API}/plans", people(_plans)),
)
