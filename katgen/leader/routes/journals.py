"""What instances wrote: their units' journals, through the agents of their nodes."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
from aiohttp import web

from katgen.leader.answers import Instance
from katgen.leader.auth import people
from katgen.leader.documents import ObjectKey
from katgen.leader.errors import MissingError
from katgen.leader.routes.wire import NAMESPACED, flag, lines, stream, whole
from katgen.leader.services import SERVICES, NotConnectedError, Services
from katgen.names import NodeName
from katgen.protocol import Failed, LogLines, ReadLogs

_LOG: Final = logging.getLogger(__name__)
_WAITING: Final = 64
"""Answers of agents that a slow reader may leave waiting."""
_EVERYTHING: Final = -1
_TIME_MAX: Final = 2.0**33


class Line(msgspec.Struct, frozen=True):
    """An entry of a journal; `instance` is `<workload>/<id>`, '' for a remark of the leader's."""

    time: float
    instance: str
    text: str


async def _logs(request: web.Request) -> web.StreamResponse:
    services, info = request.app[SERVICES], request.match_info
    key = ObjectKey("Workload", info["ns"], info["name"])
    mine = [one for one in services.view.instances() if one.key.startswith(f"{key.workload}/")]
    if not mine and await services.objects.get(key) is None:
        raise MissingError(f"there is no {key}")
    wanted = request.query.get("instance", "")
    chosen = [one for one in mine if not wanted or f"/{one.key}".endswith(f"/{wanted}")]
    if wanted and not chosen:
        raise MissingError(f"{key} has no instance {wanted}")
    return await lines(request, _read(services, chosen, _asked(request)))


def _asked(request: web.Request) -> ReadLogs:
    since = float(whole(request, "since", 0))
    tail = whole(request, "tail", _EVERYTHING)
    now = request.app[SERVICES].clock.now()
    return ReadLogs(
        id="",
        units=(),
        follow=flag(request, "follow"),
        since=now - since if since else 0,
        lines=tail,
        everything=flag(request, "everything"),
    )


async def _read(
    services: Services, instances: Sequence[Instance], asked: ReadLogs
) -> AsyncIterator[Line]:
    """Yield what all nodes say as it comes; a node that cannot be asked says so."""
    by_node: dict[NodeName, dict[str, str]] = defaultdict(dict)
    for one in instances:
        by_node[one.node][one.unit] = one.key.partition("/")[2]
    queue: asyncio.Queue[Line | None] = asyncio.Queue(_WAITING)
    pumps = [
        asyncio.create_task(_pump(services, node, units, asked, queue), name=f"journal of {node}")
        for node, units in by_node.items()
    ]
    left = len(pumps)
    try:
        while left:
            line = await queue.get()
            if line is None:
                left -= 1
            else:
                yield line
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    services: Services,
    node: NodeName,
    units: Mapping[str, str],
    asked: ReadLogs,
    queue: asyncio.Queue[Line | None],
) -> None:
    request = msgspec.structs.replace(asked, units=tuple(sorted(units)))
    answers: Any = services.agents.stream(node, request)
    try:
        async with aclosing(answers):
            async for answer in answers:
                if isinstance(answer, LogLines):
                    for one in answer.lines:
                        if one.unit in units:  # the instances of others are not an agent's to quote
                            time = min(max(one.time, 0.0), _TIME_MAX)
                            await queue.put(Line(time, units[one.unit], one.text))
                elif isinstance(answer, Failed):
                    await queue.put(Line(0, "", f"node {node}: {answer.text}"))
    except NotConnectedError as err:
        await queue.put(Line(0, "", str(err)))
    except Exception:  # noqa: BLE001 -- the reader must hear of the end, whatever it was
        _LOG.exception("reading journals of %s failed", node)
        await queue.put(Line(0, "", f"node {node}: a fault in KAT; the leader's journal says more"))
    await queue.put(None)


ROUTES: Final = (web.get(f"{NAMESPACED}/workloads/{{name}}/logs", stream(people(_logs))),)
