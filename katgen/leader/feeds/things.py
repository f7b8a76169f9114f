"""What can be seen of a cluster besides its stored objects: one look for each kind."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from katgen.leader.answers import Instance
from katgen.leader.documents import NO_NAMESPACE, ObjectKey, Stored, Wire, shown
from katgen.leader.feeds.derived import Thing
from katgen.leader.feeds.objects import ObjectsFeed
from katgen.leader.services import Services
from katgen.model.spec import API_VERSION
from katgen.names import NodeName

_HEARTBEAT: Final = "lastHeartbeatTime"
Things = Mapping[str, Thing]


class Looks:
    """Each method is a look; `objects` has what is stored."""

    def __init__(self, services: Services, objects: ObjectsFeed) -> None:
        self._services, self._objects = services, objects
        self._plans: tuple[object, Things] = ((), {})

    async def instances(self) -> Things:
        """Return instances (answers.Instance) with the labels of their workloads."""
        found = {}
        for one in self._services.view.instances():
            namespace, workload, identity = one.key.split("/", 2)
            stored = self._objects.objects.get(ObjectKey("Workload", namespace, workload))
            labels = stored.document["metadata"].get("labels") if stored else None
            order = (namespace, workload, *_numbers(identity))
            found[str(one.key)] = Thing(
                namespace,
                order,
                (one, labels),
                partial(instance, one, labels),
            )
        return found

    async def nodes(self) -> Things:
        """Return nodes with their status; that one was heard of again is no news."""
        found = {}
        for stored in self._of("Node"):
            name = stored.key.name
            status = self._services.view.node_status(NodeName(name))
            lasting = {key: value for key, value in status.items() if key != _HEARTBEAT}
            found[name] = Thing(
                "",
                (name,),
                (stored.revision, lasting),
                partial(node, stored, status),
            )
        return found

    async def namespaces(self) -> Things:
        """Return those that are written, and those that objects merely name."""
        written = {one.key.name: one for one in self._of("Namespace")}
        found = {}
        for name in {*written, *self._objects.spaces} - {NO_NAMESPACE}:
            stored = written.get(name) or implied(name)
            found[name] = Thing(
                "",
                (name,),
                stored,
                partial(shown, stored),
            )
        return found

    async def plans(self) -> Things:
        """Return the committed plans that are remembered, newest first."""
        mark = self._services.view.mark
        if self._plans[0] != mark:
            made = await self._services.chronicle.generations()
            self._plans = (
                mark,
                {
                    str(one.generation): Thing("", (-one.generation,), one, _plain(one))
                    for one in made
                },
            )
        return self._plans[1]

    async def events(self) -> Things:
        """Return what happened, in the order in which it last did."""
        found = {}
        for number, one in enumerate(await self._services.chronicle.events()):
            about = (one.namespace, one.kind, one.name, one.reason, one.node, one.message)
            found["\n".join(about)] = Thing(one.namespace, (one.last, number), one, _plain(one))
        return found

    def _of(self, kind: str) -> list[Stored]:
        rows = self._objects.rows(kind)
        keys = (ObjectKey(kind, NO_NAMESPACE, row.key.partition("/")[2]) for row in rows)
        return [self._objects.objects[key] for key in keys]


def _plain(value: object) -> Callable[[], Wire]:
    return partial(msgspec.to_builtins, value)


def _numbers(identity: str) -> tuple[tuple[int, str], ...]:
    """Sort 10 after 9, and numbers before names."""
    return tuple((int(part) if part.isdecimal() else 1 << 62, part) for part in identity.split("-"))


def implied(name: str) -> Stored:
    """Return a namespace that nobody has written, but objects name."""
    document = {"apiVersion": API_VERSION, "kind": "Namespace", "metadata": {"name": name}}
    return Stored(ObjectKey("Namespace", NO_NAMESPACE, name), document, 0)


def node(stored: Stored, status: Mapping[str, Any]) -> Wire:
    """Return a node with its status."""
    document = shown(stored)
    return {**document, "status": {**document.get("status", {}), **status}}


def instance(one: Instance, labels: Mapping[str, str] | None = None) -> Wire:
    """Return an instance as an object, named `<workload>/<id>`."""
    namespace, _, name = one.key.partition("/")
    metadata: Wire = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = dict(labels)
    return {
        "kind": "Instance",
        "metadata": metadata,
        "workload": name.partition("/")[0],
        "node": one.node,
        "address": one.address,
        "revision": one.revision,
        "unit": one.unit,
        "state": one.state,
        "restarts": one.restarts,
        "exitCode": one.exit_code,
        "since": one.since,
        "image": one.image,
        "health": one.health,
        "lines": one.lines,
        "endpoint": one.endpoint,
    }
