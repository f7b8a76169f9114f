"""`events`."""

from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.routes.listing import listing, watchable
from katgen.leader.routes.wire import API


async def _events(request: web.Request) -> web.StreamResponse:
    """List what happened; `workload` is a name, whatever the kind."""
    namespace, name = request.query.get("namespace", ""), request.query.get("workload", "")
    return await listing(request, "Event", namespace, {"name": name} if name else {})


ROUTES: Final = (web.get(f"{API}/events", watchable(people(_events))),)
