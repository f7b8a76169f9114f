"""`events`."""

from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.routes.wire import API, listed
from katgen.leader.services import SERVICES


async def _events(request: web.Request) -> web.Response:
    namespace, name = request.query.get("namespace", ""), request.query.get("workload", "")
    return listed("Event", await request.app[SERVICES].chronicle.events(namespace, name))


ROUTES: Final = (web.get(f"{API}/events", people(_events)),)
