"""Nodes as the files describe them → the planner's inventory."""

from collections.abc import Iterable

from katgen import validate
from katgen.errors import SpecError
from katgen.model import node as model
from katgen.names import NodeName
from katgen.parse import Parsed
from katgen.planned import Inventory, Node, Taint

LOCAL = Node(name=NodeName("local"))
"""The node that is implied where none is described: ready, without limits, without GPU."""


def validate_nodes(parsed: Parsed) -> Inventory:
    """Return the inventory of the Nodes among the documents. Raises SpecError with all problems."""
    checked = validate.check(parsed)
    if checked.problems:
        raise SpecError(checked.problems)
    return inventory(checked.nodes)


def inventory(nodes: Iterable[model.Node]) -> Inventory:
    """Return the inventory of validated Nodes; without any, of the one node `local`."""
    known = sorted(map(_node, nodes), key=lambda node: node.name) or [LOCAL]
    return Inventory(nodes={node.name: node for node in known})


def _node(written: model.Node) -> Node:
    spec, status = written.spec, written.status
    address = str(spec.advertise_address or "")
    return Node(
        name=NodeName(written.metadata.name),
        labels=dict(sorted(written.metadata.labels.items())),
        taints=tuple(Taint(t.key, t.effect, t.value) for t in spec.taints),
        unschedulable=spec.unschedulable,
        ready=status.condition == "Ready",
        allocatable={**_amounts(status.capacity), **_amounts(status.allocatable)},
        gateway=address,
        interface=status.overlay_network.interface or "",
        endpoint=status.overlay_network.endpoint or "",
        behind_nat=spec.behind_nat,
        public_key=status.overlay_network.public_key or "",
        podman_version=status.versions.podman,
        systemd_version=status.versions.systemd,
    )


def _amounts(capacity: model.Capacity | None) -> dict[str, int]:
    if capacity is None:
        return {}
    machine = {"cpu": capacity.cpu, "memory": capacity.memory}
    given = {name: amount for name, amount in machine.items() if amount is not None}
    return {**given, **dict(sorted(capacity.custom_resources.items()))}
