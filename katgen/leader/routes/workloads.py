"""Workloads with what belongs to them: create, replace, scale, restart, roll back."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from katgen.errors import Problem
from katgen.leader import history
from katgen.leader.auth import people
from katgen.leader.documents import Incoming, ObjectKey, Stored, Wire, incoming, key_of
from katgen.leader.draft import COMPANIONS, companions
from katgen.leader.errors import InputError, MissingError, TakenError
from katgen.leader.history import Version
from katgen.leader.routes.wire import NAMESPACED, documents, is_dry, listed, small, written
from katgen.leader.services import SERVICES, Services
from katgen.parse import Parsed
from katgen.wire.specs import as_document

RESTARTED_AT: Final = "kat/restarted-at"
"""An annotation: another value is another revision, and replaces every instance."""
_KINDS: Final = frozenset({"Workload", *COMPANIONS, "Config", "Secret"})
_TRIES: Final = 5


class _Scale(msgspec.Struct):
    replicas: int


class _Rollback(msgspec.Struct):
    to: int = 0


async def _create(request: web.Request) -> web.Response:
    given, key = await _directory(request)
    applied = await request.app[SERVICES].objects.apply(
        given, expected={key: 0}, dry=is_dry(request)
    )
    return written(request, applied)


async def _replace(request: web.Request) -> web.Response:
    """Make the workload what the body has: a whole directory, or one document of it."""
    given, key = await _directory(request)
    is_whole = request.content_type != "application/json" or len(given.parsed.documents) > 1
    drop = companions(key) if is_whole else ()
    applied = await request.app[SERVICES].objects.apply(given, drop=drop, dry=is_dry(request))
    return written(request, applied)


async def _directory(request: web.Request) -> tuple[Incoming, ObjectKey]:
    """Return a body with exactly one Workload, all of it in the path's namespace."""
    namespace, name = request.match_info["ns"], request.match_info.get("name")
    given = await documents(request, namespace)
    problems = [*given.parsed.problems, *_strangers(given.parsed, namespace)]
    keys = [key_of(one.value) for one in given.parsed.documents]
    found = [key for key in keys if key is not None and key.kind == "Workload"]
    if problems:
        raise InputError("the objects have problems", problems=problems)
    if len(found) != 1:
        raise InputError(f"the body has {len(found)} Workloads; send exactly one")
    if name is not None and found[0].name != name:
        raise InputError(f"the body is of {found[0].name}, and the address of {name}")
    return given, found[0]


def _strangers(parsed: Parsed, namespace: str) -> Iterator[Problem]:
    for document in parsed.documents:
        key = key_of(document.value)
        if key is None:
            continue  # validation says why
        if key.kind not in _KINDS:
            hint = "`apply` takes every kind"
            yield Problem(document.at(("kind",)), "is no part of a workload", hint)
        elif key.namespace != namespace:
            what = f"the address names the namespace {namespace}"
            yield Problem(document.at(("metadata", "namespace")), what, "correct one of them")


async def _scale(request: web.Request) -> web.Response:
    wanted = (await small(request, _Scale)).replicas

    def scaled(document: Wire) -> None:
        if document["spec"]["type"] != "Service":
            raise InputError(f"a {document['spec']['type']} has no replicas; a Service has")
        document["spec"]["replicas"] = wanted

    return await _edited(request, scaled)


async def _restart(request: web.Request) -> web.Response:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")

    def restarted(document: Wire) -> None:
        annotations = document["metadata"].setdefault("annotations", {})
        annotations[RESTARTED_AT] = moment.replace("+00:00", "Z")

    return await _edited(request, restarted)


async def _edited(request: web.Request, edit: Callable[[Wire], None]) -> web.Response:
    """Write the workload as a user's edit of what is stored would."""
    services, key = request.app[SERVICES], _key(request)
    for _ in range(_TRIES):
        stored = await _stored(services, key)
        document = deepcopy(dict(stored.document))
        edit(document)
        given = _incoming([document])
        try:
            applied = await services.objects.apply(
                given, expected={key: stored.revision}, dry=is_dry(request)
            )
        except TakenError:
            continue  # somebody else wrote in between; the edit is made to what they wrote
        return written(request, applied)
    raise TakenError(f"somebody else keeps changing {key}; try again")


async def _rollback(request: web.Request) -> web.Response:
    wanted = (await small(request, _Rollback)).to
    services, key = request.app[SERVICES], _key(request)
    stored = await _stored(services, key)
    version = _chosen(await _versions(services, key), wanted, key)
    restored = [deepcopy(one) for kind, one in version.objects.items() if kind in _RESTORED]
    for document in restored:
        if document["kind"] == "Workload":
            _keep_replicas(document, stored.document)
    there = {document["kind"] for document in restored}
    drop = [one for one in companions(key) if one.kind in _RESTORED and one.kind not in there]
    applied = await services.objects.apply(
        _incoming(restored), expected={key: stored.revision}, drop=drop, dry=is_dry(request)
    )
    return written(request, applied)


_RESTORED: Final = frozenset({"Workload", "JobDefinition", "BuildDefinition"})
"""What rolls instances; the virtual address stays as it is."""


def _keep_replicas(document: Wire, current: Mapping[str, Any]) -> None:
    """Leave the number of instances as it is: it is no part of a revision."""
    document["spec"].pop("replicas", None)
    if "replicas" in current["spec"] and document["spec"]["type"] == "Service":
        document["spec"]["replicas"] = current["spec"]["replicas"]


def _chosen(versions: tuple[Version, ...], wanted: int, key: ObjectKey) -> Version:
    found = [one for one in versions if wanted in {0, one.n}]
    if not found:
        known = ", ".join(str(one.n) for one in versions) or "none"
        raise MissingError(f"{key} has no such earlier revision; there are: {known}")
    return found[-1]


async def _history(request: web.Request) -> web.Response:
    services, key = request.app[SERVICES], _key(request)
    await _stored(services, key)
    return listed("Revision", reversed(await _versions(services, key)))


async def _versions(services: Services, key: ObjectKey) -> tuple[Version, ...]:
    """Return what a rollback may go to: what nodes have run, and is not what is stored."""
    now = history.current(key.workload, (await services.objects.snapshot()).objects)
    return await history.past(services.store, key.workload, now)


def _key(request: web.Request) -> ObjectKey:
    return ObjectKey("Workload", request.match_info["ns"], request.match_info["name"])


async def _stored(services: Services, key: ObjectKey) -> Stored:
    found = await services.objects.get(key)
    if found is None:
        raise MissingError(f"there is no {key}")
    return found


def _incoming(values: list[Wire]) -> Incoming:
    made = tuple(as_document(value, f"{value['kind']}") for value in values)
    given = incoming(Parsed(made))
    return Incoming(given.parsed, {})


_ONE: Final = f"{NAMESPACED}/workloads/{{name}}"
ROUTES: Final = (
    web.post(f"{NAMESPACED}/workloads", people(_create)),
    web.put(f"{NAMESPACED}/workloads", people(_replace)),
    web.put(_ONE, people(_replace)),
    web.post(f"{_ONE}/scale", people(_scale)),
    web.post(f"{_ONE}/restart", people(_restart)),
    web.post(f"{_ONE}/rollback", people(_rollback)),
    web.get(f"{_ONE}/history", people(_history)),
)
