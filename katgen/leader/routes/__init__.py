"""Every route of the API, one file per noun. Whoever may use a route stands where it is named."""

from typing import Final

from aiohttp import web

from katgen.leader.routes import (
    agents,
    apply,
    cluster,
    events,
    health,
    instances,
    journals,
    metrics,
    nodes,
    objects,
    openapi,
    workloads,
)

ROUTES: Final[tuple[web.RouteDef, ...]] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
    *agents.ROUTES,
    *apply.ROUTES,
    *cluster.ROUTES,
    *events.ROUTES,
    *instances.ROUTES,
    *journals.ROUTES,
    *nodes.ROUTES,
    *workloads.ROUTES,
    *objects.ROUTES,
)
