"""Values of a plan that its types cannot tell from damage, and that every reader relies on.

A parent plan is a file, and its values end in units, packet rules and zones. So each is held to
what the planner writes, and a node to what a Node document may say.
"""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final

from pydantic import ValidationError

from katgen import ipam
from katgen.inventory import inventory
from katgen.model.node import Node as NodeDocument
from katgen.model.spec import API_VERSION
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.planned import Inventory, Node, Resting, Retired, WorkloadPlan
from katgen.quantity import cpu_text, memory_text
from katgen.revision import LENGTH

Misfit = tuple[str, str]
"""Path and fault."""

_SHOWN: Final = 40
_INCARNATIONS: Final = range(1, 2**31)
_GPUS: Final = range(4096)
_RUNS: Final = range(10**9)
_UID_BASES: Final = range(ipam.UID_BASE, ipam.UID_END, ipam.UID_RANGE)
_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS: Final = re.compile(rf"{_OCTET}(\.{_OCTET}){{3}}")
_NETWORK: Final = re.compile(rf"{_ADDRESS.pattern}/(3[0-2]|[12]?[0-9])")
_REVISION: Final = re.compile(rf"[0-9a-f]{{{LENGTH}}}")
_OWNER: Final = re.compile(r"[-a-z0-9]+(/[-a-z0-9]+){1,2}")
_FIELDS: Final = {
    "name": "name",
    "labels": "labels",
    "taints": "taints",
    "advertiseAddress": "gateway",
    "publicKey": "publicKey",
    "endpoint": "endpoint",
    "interface": "interface",
    "podman": "podmanVersion",
    "systemd": "systemdVersion",
    "capacity": "allocatable",
}
"""Of a Node document → of a plan's node."""


def of_workloads(workloads: Mapping[WorkloadKey, WorkloadPlan]) -> Iterator[Misfit]:
    """Yield what is wrong with the decisions."""
    for key, planned in workloads.items():
        at = f"workloads.{key}"
        if not _REVISION.fullmatch(planned.revision):
            yield f"{at}.revision", _not(planned.revision, "a revision")
        if planned.virtual_address and not _ADDRESS.fullmatch(planned.virtual_address):
            yield f"{at}.virtualAddress", _not(planned.virtual_address, "an IPv4 address")
        yield from _kept(at, planned)
        yield from _placements(f"{at}.placements", planned)


def of_retired(retired: Mapping[WorkloadKey, Retired]) -> Iterator[Misfit]:
    """Yield what is wrong with what outlives deleted workloads."""
    for key, one in retired.items():
        yield from _kept(f"retired.{key}", one)


def of_earlier(earlier: Mapping[WorkloadKey, Mapping[str, object]]) -> Iterator[Misfit]:
    """Yield the names of earlier revisions that are none."""
    for key, known in earlier.items():
        for revision in known:
            if not _REVISION.fullmatch(revision):
                yield f"earlier.{key}", _not(revision, "a revision")


def of_subnets(subnets: Mapping[NodeName, str]) -> Iterator[Misfit]:
    """Yield the subnets that are none."""
    for name, subnet in subnets.items():
        if not _is_network(subnet):
            yield f"subnets.{name}", _not(subnet, "an IPv4 network")


def of_resting(resting: Mapping[str, Resting]) -> Iterator[Misfit]:
    """Yield what is wrong with addresses and subnets that rest."""
    for resource, one in resting.items():
        at = f"resting.{resource[:_SHOWN]}"
        if not _is_resource(resource):
            yield at, _not(resource, "an IPv4 address or network")
        if one.resource != resource:
            yield f"{at}.resource", f"{one.resource[:_SHOWN]!r} is another one"
        if not _OWNER.fullmatch(one.owner):
            yield f"{at}.owner", _not(one.owner, "an owner")


def of_inventory(facts: Inventory) -> Iterator[Misfit]:
    """Yield what no Node document and no agent could have said."""
    for name, node in facts.nodes.items():
        for path, what in _node(node):
            yield f"inventory.nodes.{name}{path}", what
    for resource in sorted(facts.rested):
        if not _is_resource(resource):
            yield "inventory.rested", _not(resource, "an IPv4 address or network")
    for key, runs in facts.finished.items():
        for run in sorted(runs):
            if run not in _RUNS:
                yield f"inventory.finished.{key}", f"{run} is not the number of a run"
    yield from _of_available(facts.available)


def _of_available(available: Mapping[WorkloadKey, frozenset[InstanceKey]]) -> Iterator[Misfit]:
    for key, ready in available.items():
        for one in sorted(ready):
            if not one.startswith(f"{key}/"):
                yield f"inventory.available.{key}", _not(one, "one of its instances")


def _placements(path: str, planned: WorkloadPlan) -> Iterator[Misfit]:
    for place, one in enumerate(planned.placements):
        if one.revision != planned.revision and not _REVISION.fullmatch(one.revision):
            yield f"{path}[{place}].revision", _not(one.revision, "a revision")
        if not _ADDRESS.fullmatch(one.address):
            yield f"{path}[{place}].address", _not(one.address, "an IPv4 address")
        if one.incarnation not in _INCARNATIONS:
            yield f"{path}[{place}].incarnation", f"{one.incarnation} is not an incarnation"
        for gpu in one.gpus:
            if gpu not in _GPUS:
                yield f"{path}[{place}].gpus", f"{gpu} is not the number of a device"


def _kept(at: str, holder: WorkloadPlan | Retired) -> Iterator[Misfit]:
    """Yield what is wrong with that which a workload keeps through a deletion."""
    if holder.next_incarnation not in _INCARNATIONS:
        yield f"{at}.nextIncarnation", f"{holder.next_incarnation} is not an incarnation"
    if holder.uid_base and holder.uid_base not in _UID_BASES:
        yield f"{at}.uidBase", f"{holder.uid_base} does not begin a range of uids"


def _node(node: Node) -> Iterator[Misfit]:
    """Yield field and fault of a node that no Node document describes."""
    try:
        written = NodeDocument.model_validate(_document(node))
    except ValidationError as err:
        for one in err.errors(include_url=False, include_input=False, include_context=False):
            names = (_FIELDS[part] for part in one["loc"] if part in _FIELDS)
            field = next(names, "")
            yield f".{field}" if field else "", one["msg"].removeprefix("Value error, ")
    else:
        if inventory([written]).nodes.get(node.name) != node:
            yield "", "the node is not spelled as KAT spells it"


def _document(node: Node) -> dict[str, Any]:
    """Return the document that describes a node."""
    amounts = dict(node.allocatable)
    capacity: dict[str, Any] = {
        name: show(amounts.pop(name))
        for name, show in (("cpu", cpu_text), ("memory", memory_text))
        if name in amounts
    }
    capacity["customResources"] = {name: str(amount) for name, amount in amounts.items()}
    return {
        "apiVersion": API_VERSION,
        "kind": "Node",
        "metadata": {"name": node.name, "labels": dict(node.labels)},
        "spec": {
            "advertiseAddress": node.gateway or None,
            "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in node.taints],
            "unschedulable": node.unschedulable,
            "behindNAT": node.behind_nat,
        },
        "status": {
            "condition": "Ready" if node.ready else "NotReady",
            "capacity": capacity,
            "overlayNetwork": {
                "publicKey": node.public_key or None,
                "endpoint": node.endpoint or None,
                "interface": node.interface or None,
            },
            "versions": {"podman": node.podman_version, "systemd": node.systemd_version},
        },
    }


def _is_resource(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None or _is_network(text)


def _is_network(text: str) -> bool:
    """Whether it is a network with its prefix, host bits zero."""
    if not _NETWORK.fullmatch(text):
        return False
    return str(IPv4Network(text, strict=False)) == text


def _not(text: str, what: str) -> str:
    return f"{text[:_SHOWN]!r} is not {what}"
