"""All or nothing: apply, what it would do, and how far it is."""

from typing import Final

from aiohttp import web

from katgen.leader.auth import people
from katgen.leader.documents import Incoming
from katgen.leader.errors import InputError
from katgen.leader.routes.wire import API, answered, documents, flag, is_dry, lines, stream, written
from katgen.leader.services import SERVICES


async def _apply(request: web.Request) -> web.Response:
    given = await _given(request)
    if is_dry(request):
        return await _previewed(request, given)
    return written(request, await request.app[SERVICES].objects.apply(given))


async def _plan(request: web.Request) -> web.Response:
    """Show what a change would do, or without a body what is pending."""
    if not request.body_exists:
        flag(request, "force")  # which changes nothing here, and is to be right all the same
        return answered(await request.app[SERVICES].planning.preview(None))
    return await _previewed(request, await _given(request))


async def _given(request: web.Request) -> Incoming:
    is_forced = flag(request, "force")
    given = await documents(request, request.query.get("namespace", ""))
    return Incoming(given.parsed, {}) if is_forced else given


async def _previewed(request: web.Request, given: Incoming) -> web.Response:
    services = request.app[SERVICES]
    applied = await services.objects.apply(given, dry=True)
    return answered(await services.planning.preview(applied.after))


@stream
async def _changes(request: web.Request) -> web.StreamResponse:
    text = request.match_info["revision"]
    if len(text) > 15:  # noqa: PLR2004 -- 2⁵³
        raise InputError("there is no such resourceVersion")
    return await lines(request, request.app[SERVICES].planning.changes(int(text)))


ROUTES: Final = (
    web.post(f"{API}/apply", people(_apply)),
    web.post(f"{API}/plan", people(_plan, is_read=True)),
    web.get(f"{API}/changes/{{revision:[0-9]+}}", stream(people(_changes))),
)
