"""`instances`, what they use, and why they are where they are."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from katgen.leader.answers import Instance, InstanceUsage
from katgen.leader.auth import people
from katgen.leader.documents import ObjectKey
from katgen.leader.errors import MissingError, TakenError
from katgen.leader.routes.listing import listing, watchable
from katgen.leader.routes.wire import API, NAMESPACED, answered, listed
from katgen.leader.services import SERVICES, NotConnectedError, Services
from katgen.names import NodeName, key, split_key
from katgen.protocol import ReadUsage, UsageAnswer

_USAGE_S: Final = 5.0


async def _list(request: web.Request) -> web.StreamResponse:
    return await listing(request, "Instance", request.match_info.get("ns", ""))


async def _explain(request: web.Request) -> web.Response:
    workload = key(request.match_info["ns"], request.match_info["name"])
    found = await request.app[SERVICES].planning.explain(workload)
    if found is None:
        stored = ObjectKey("Workload", *split_key(workload))
        if await request.app[SERVICES].objects.get(stored) is None:
            raise MissingError(f"there is no {stored}")
        raise TakenError(f"no plan has {stored} yet; `events` says what it waits for")
    return answered(found)


async def _usage(request: web.Request) -> web.Response:
    """Ask every connected agent; those that do not answer in time are left out."""
    services = request.app[SERVICES]
    by_unit = {(one.node, one.unit): one for one in services.view.instances()}
    nodes = sorted({node for node, _ in by_unit} & services.agents.connected())
    found = await asyncio.gather(*(_usage_of(services, node, by_unit) for node in nodes))
    return listed("Usage", [one for some in found for one in some])


async def _usage_of(
    services: Services, node: NodeName, by_unit: Mapping[tuple[NodeName, str], Instance]
) -> list[InstanceUsage]:
    try:
        answer = await services.agents.ask(node, ReadUsage(id=""), _USAGE_S)
    except (NotConnectedError, TimeoutError):
        return []
    if not isinstance(answer, UsageAnswer):
        return []
    measured = ((by_unit.get((node, one.unit)), one) for one in answer.units)
    return [
        InstanceUsage(
            namespace=instance.key.partition("/")[0],
            name=instance.key.partition("/")[2],
            node=node,
            time=answer.time,
            cpu_ns=one.cpu_ns,
            memory_bytes=one.memory_bytes,
        )
        for instance, one in measured
        if instance is not None
    ]


ROUTES: Final = (
    web.get(f"{API}/instances", watchable(people(_list))),
    web.get(f"{NAMESPACED}/instances", watchable(people(_list))),
    web.get(f"{API}/explain/{{ns}}/{{name}}", people(_explain)),
    web.get(f"{API}/usage", people(_usage)),
)
