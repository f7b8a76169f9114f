"""`nodes`, as people see them."""

from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.documents import NO_NAMESPACE, ObjectKey
from katgen.leader.errors import MissingError
from katgen.leader.feeds.things import node
from katgen.leader.routes.listing import listing, watchable
from katgen.leader.routes.wire import API, answered
from katgen.leader.services import SERVICES
from katgen.names import NodeName

_KIND: Final = "Node"


async def _list(request: web.Request) -> web.StreamResponse:
    return await listing(request, _KIND)


async def _get(request: web.Request) -> web.Response:
    services, name = request.app[SERVICES], request.match_info["name"]
    found = await services.objects.get(ObjectKey(_KIND, NO_NAMESPACE, name))
    if found is None:
        raise MissingError(f"there is no Node {name}")
    return answered(node(found, services.view.node_status(NodeName(name))))


ROUTES: Final = (
    web.get(f"{API}/nodes", watchable(people(_list))),
    web.get(f"{API}/nodes/{{name}}", people(_get)),
)
