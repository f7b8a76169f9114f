"""Which node may speak of an instance, and which nodes want to hear of it: from the plan alone."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen.names import InstanceKey, NodeName
from katgen.render.cluster import Rendered
from katgen.render.shared import OPEN

_OPEN: Final = OPEN.removesuffix("*")
_ISOLATED: Final = "isolated/"
Mark = tuple[int, int]
"""(epoch, generation)."""
_NEVER: Final = (0, 0)


def namespace_of(instance: InstanceKey) -> str:
    """Return an instance's namespace."""
    return instance.partition("/")[0]


@dataclass(frozen=True, slots=True)
class _Leaving:
    """An instance that plans from `mark` on do not have.

    `readers` carried its namespace before; until they follow, they may send it traffic.
    """

    owner: NodeName
    mark: Mark
    readers: frozenset[NodeName]


@dataclass(eq=False, slots=True)
class Places:
    """The committed plan, and the instances that it has no more but whose node still may."""

    rendered: Rendered | None = None
    _leaving: dict[InstanceKey, _Leaving] = field(default_factory=dict)

    def may_speak(self, node: NodeName, instance: InstanceKey) -> bool:
        """Whether an instance runs on this node, or is on its way out there."""
        files = self.rendered.nodes.get(node) if self.rendered else None
        if files is not None and instance in files.instances:
            return True
        return instance in self._leaving and self._leaving[instance].owner == node

    def concerns(self, node: NodeName, instance: InstanceKey) -> bool:
        """Whether a node has the services that an instance belongs to, or had until it left."""
        leaving = self._leaving.get(instance)
        if leaving is not None and node in leaving.readers:
            return True
        return self.rendered is not None and _carries(self.rendered, node, namespace_of(instance))

    def owners(self) -> frozenset[NodeName]:
        """Return the nodes that run something."""
        nodes = self.rendered.nodes if self.rendered else {}
        return frozenset(name for name, files in nodes.items() if files.instances)

    def replace(self, rendered: Rendered, mark: Mark) -> Mapping[NodeName, frozenset[str]]:
        """Take over a newer plan; return the namespaces that a node carries and did not before.

        Costs what has changed, but for a look at every node.
        """
        before, self.rendered = self.rendered, rendered
        if before is None:
            return {}
        for name, files in before.nodes.items():
            now = rendered.nodes.get(name)
            if now is None:
                self._leaving = {k: v for k, v in self._leaving.items() if v.owner != name}
            elif now is not files:
                self._leave(name, files.instances.keys() - now.instances.keys(), mark, before)
        opened = _names(rendered.shared, _OPEN) - _names(before.shared, _OPEN)
        found = {}
        for name, files in rendered.nodes.items():
            if files is not before.nodes.get(name):
                found[name] = opened | (_isolated(rendered, name) - _isolated(before, name))
            elif opened:
                found[name] = opened
        return {name: more for name, more in found.items() if more}

    def _leave(
        self, owner: NodeName, instances: Collection[InstanceKey], mark: Mark, before: Rendered
    ) -> None:
        for namespace in {namespace_of(one) for one in instances}:
            readers = frozenset(n for n in before.nodes if _carries(before, n, namespace))
            mine = (one for one in instances if namespace_of(one) == namespace)
            self._leaving.update((one, _Leaving(owner, mark, readers)) for one in mine)

    def is_over(self, applied: Mapping[NodeName, Mark]) -> bool:
        """Whether some node has followed the plan that took instances from it."""
        return any(applied.get(v.owner, _NEVER) >= v.mark for v in self._leaving.values())

    def gone(self, applied: Mapping[NodeName, Mark]) -> tuple[InstanceKey, ...]:
        """Forget instances that left, whose node has followed; return them."""
        over = [k for k, v in self._leaving.items() if applied.get(v.owner, _NEVER) >= v.mark]
        for one in over:
            del self._leaving[one]
        return tuple(over)


def _carries(rendered: Rendered, node: NodeName, namespace: str) -> bool:
    files = rendered.nodes.get(node)
    if files is None:
        return False
    if f"{_OPEN}{namespace}" in rendered.shared:
        return OPEN in files.manifest.shared_sets
    return f"{_ISOLATED}{namespace}" in files.manifest.shared_sets


def _names(sets: Iterable[str], prefix: str) -> frozenset[str]:
    return frozenset(one.removeprefix(prefix) for one in sets if one.startswith(prefix))


def _isolated(rendered: Rendered, node: NodeName) -> frozenset[str]:
    files = rendered.nodes.get(node)
    return _names(files.manifest.shared_sets, _ISOLATED) if files else frozenset()
