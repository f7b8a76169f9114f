"""`nodes`, as people see them."""

from typing import Any, Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.documents import NO_NAMESPACE, ObjectKey, Stored, shown
from katgen.leader.errors import MissingError
from katgen.leader.routes.wire import API, answered, listed
from katgen.leader.selectors import selector
from katgen.leader.services import SERVICES, Services
from katgen.names import NodeName

_KIND: Final = "Node"


async def _list(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    snapshot = await services.objects.snapshot()
    fits = selector(request.query.get("labelSelector", ""))
    found = [
        _with_status(services, one)
        for key, one in snapshot.objects.items()
        if key.kind == _KIND and fits(one.document["metadata"].get("labels") or {})
    ]
    return listed(_KIND, found, snapshot.revision)


async def _get(request: web.Request) -> web.Response:
    services, name = request.app[SERVICES], request.match_info["name"]
    found = await services.objects.get(ObjectKey(_KIND, NO_NAMESPACE, name))
    if found is None:
        raise MissingError(f"there is no Node {name}")
    return answered(_with_status(services, found))


def _with_status(services: Services, stored: Stored) -> dict[str, Any]:
    document = shown(stored)
    now = services.view.node_status(NodeName(stored.key.name))
    return {**document, "status": {**document.get("status", {}), **now}}


ROUTES: Final = (
    web.get(f"{API}/nodes", people(_list)),
    web.get(f"{API}/nodes/{{name}}", people(_get)),
)
