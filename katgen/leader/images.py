"""Which image a workload runs: the text that the user wrote, resolved to a digest and pinned.

A pin is made once for a text, so that instances of one revision never run different images; a
restart with the policy Always asks the registry again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from katgen.model.specs import WorkloadObjects
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Plan, WorkloadPlan

RESTARTED: Final = "kat/restarted-at"
"""Annotation of a Workload that `katcall restart` sets."""
PREFIX: Final = "images/"
PULL_MAX_S: Final = 120


class Pin(msgspec.Struct, frozen=True):
    """A resolution. `digest` is '' for an image that came from no registry.

    `restarted` is the annotation's value at that time.
    """

    image: str
    digest: str
    resolved: str
    restarted: str = ""


@dataclass(frozen=True, slots=True)
class Fetch:
    """An image to make available on a node, for a workload. `policy` is as in `protocol.Pull`."""

    workload: WorkloadKey
    node: NodeName
    image: str
    policy: str
    timeout_s: float


def store_key(workload: WorkloadKey) -> str:
    """Return where a workload's pin is stored."""
    return f"{PREFIX}{workload}"


def with_digest(image: str, digest: str) -> str:
    """Return `name[:tag]@sha256:…`; the text as it is if there is no digest, or one already."""
    return f"{image}@{digest}" if digest and "@" not in image else image


def needs_pin(objects: WorkloadObjects) -> bool:
    """Whether a registry decides what the image's text means."""
    image = objects.workload.spec.source.image
    if image is None or "@" in image:
        return False
    return policy_of(objects) != "Never" and not is_local(image)


def is_local(image: str) -> bool:
    """Whether the host part is `localhost`, which stands for no registry but the node's store."""
    return image.partition("/")[0] == "localhost"


def policy_of(objects: WorkloadObjects) -> str:
    """Return the workload's pull policy."""
    return objects.workload.spec.container.image_pull_policy


def is_valid(pin: Pin | None, objects: WorkloadObjects) -> bool:
    """Whether a pin says what these objects' image is."""
    if pin is None or pin.image != objects.workload.spec.source.image:
        return False
    asked_again = pin.restarted != restarted(objects)
    return not (asked_again and policy_of(objects) == "Always")


def restarted(objects: WorkloadObjects) -> str:
    """Return when the user last asked for a restart, '' if never."""
    return objects.workload.metadata.annotations.get(RESTARTED, "")


def pinned(objects: WorkloadObjects, pin: Pin) -> WorkloadObjects:
    """Return the objects with the image by its digest."""
    spec = objects.workload.spec
    source = spec.source.model_copy(update={"image": pin.resolved})
    updated = spec.model_copy(update={"source": source})
    return replace(objects, workload=objects.workload.model_copy(update={"spec": updated}))


def deadline_s(objects: WorkloadObjects) -> float:
    """Return how long a pull may take."""
    return min(objects.workload.spec.update_strategy.progress_deadline_seconds, PULL_MAX_S)


def resolving_node(
    planned: WorkloadPlan | None, connected: Collection[NodeName]
) -> NodeName | None:
    """Return the node to ask what an image is: one that runs the workload, else the first."""
    if planned is not None:
        for placement in planned.placements:
            if placement.node in connected:
                return placement.node
    return min(connected, default=None)


def fetches(
    before: Plan | None, after: Plan, changed: Iterable[WorkloadKey], connected: frozenset[NodeName]
) -> Iterator[Fetch]:
    """Yield what connected nodes must have before the new instances of a plan can start there."""
    for key in changed:
        planned, objects = after.workloads.get(key), after.specs.workloads.get(key)
        if planned is None or objects is None or objects.workload.spec.source.image is None:
            continue
        image = objects.workload.spec.source.image
        for node in sorted(_nodes_of_new(before, key, planned) & connected):
            yield Fetch(key, node, image, _look(objects, image), deadline_s(objects))


def _look(objects: WorkloadObjects, image: str) -> str:
    """Return how to fetch what is resolved: nothing is asked of a registry that need not be."""
    never = policy_of(objects) == "Never" or is_local(image)
    return "Never" if never else "IfNotPresent"


def _nodes_of_new(
    before: Plan | None, key: WorkloadKey, planned: WorkloadPlan
) -> frozenset[NodeName]:
    old = before.workloads.get(key) if before else None
    known = frozenset(old.placements) if old else frozenset()
    return frozenset(p.node for p in planned.placements if p not in known)


def pins_to_drop(
    pins: Mapping[WorkloadKey, Pin], workloads: Collection[WorkloadKey]
) -> list[WorkloadKey]:
    """Return the workloads that have a pin and are no more."""
    return [key for key in pins if key not in workloads]
