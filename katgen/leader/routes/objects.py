"""Namespaced kinds, one object at a time: get, list, put, delete."""

from typing import Final

from aiohttp import web

from katgen.errors import Problem
from katgen.leader.auth import people
from katgen.leader.documents import Incoming, ObjectKey, key_of
from katgen.leader.errors import InputError, MissingError
from katgen.leader.routes.listing import listing, watchable
from katgen.leader.routes.wire import (
    API,
    NAMESPACED,
    answered,
    documents,
    is_dry,
    seen,
    whole,
    written,
)
from katgen.leader.services import SERVICES

KINDS: Final = {
    "workloads": "Workload",
    "virtualloadbalancers": "VirtualLoadBalancer",
    "jobs": "JobDefinition",
    "builds": "BuildDefinition",
    "configs": "Config",
    "secrets": "Secret",
}
_EVERY: Final = "|".join(KINDS)
_SINGLE: Final = "|".join(plural for plural in KINDS if plural != "workloads")


def key_in(request: web.Request) -> ObjectKey:
    """Return the key that a path names."""
    info = request.match_info
    return ObjectKey(KINDS[info["kinds"]], info["ns"], info["name"])


async def _get(request: web.Request) -> web.Response:
    key = key_in(request)
    found = await request.app[SERVICES].objects.get(key)
    if found is None:
        raise MissingError(f"there is no {key}")
    return answered(seen(request, found))


async def _list(request: web.Request) -> web.StreamResponse:
    info = request.match_info
    return await listing(request, KINDS[info["kinds"]], info.get("ns", ""))


async def _put(request: web.Request) -> web.Response:
    key = key_in(request)
    given = only(await documents(request, key.namespace), key)
    objects = request.app[SERVICES].objects
    return written(request, await objects.apply(given, dry=is_dry(request)))


async def _delete(request: web.Request) -> web.Response:
    key = key_in(request)
    revision = whole(request, "resourceVersion", 0)
    expected = {key: revision} if revision else {}
    objects = request.app[SERVICES].objects
    applied = await objects.delete([key], expected=expected, dry=is_dry(request))
    return written(request, applied)


def only(given: Incoming, key: ObjectKey) -> Incoming:
    """Return a body that is exactly the object of the path. Raises InputError."""
    problems = list(given.parsed.problems)
    for document in given.parsed.documents:
        if key_of(document.value) != key:
            what = f"is not {key}, which the address names"
            problems.append(Problem(document.at(("metadata", "name")), what, "correct one of them"))
    if not problems and len(given.parsed.documents) != 1:
        raise InputError(f"the body holds {len(given.parsed.documents)} objects; send one")
    if problems:
        raise InputError("the body is not what the address names", problems=problems)
    return given


ROUTES: Final = (
    web.get(f"{API}/{{kinds:{_EVERY}}}", watchable(people(_list))),
    web.get(f"{NAMESPACED}/{{kinds:{_EVERY}}}", watchable(people(_list))),
    web.get(f"{NAMESPACED}/{{kinds:{_EVERY}}}/{{name}}", people(_get)),
    web.put(f"{NAMESPACED}/{{kinds:{_SINGLE}}}/{{name}}", people(_put)),
    web.delete(f"{NAMESPACED}/{{kinds:{_EVERY}}}/{{name}}", people(_delete)),
)
