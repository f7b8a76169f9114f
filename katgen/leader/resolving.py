"""Images' texts → pins: what is stored, what a dry run has looked up, what nodes answer."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen.leader.agents.fetcher import Fetched, Fetcher
from katgen.leader.clock import Clock
from katgen.leader.desired import Wanted
from katgen.leader.holds import Fault, Reason
from katgen.leader.images import (
    Fetch,
    Pin,
    deadline_s,
    is_valid,
    policy_of,
    resolving_node,
    restarted,
    with_digest,
)
from katgen.leader.publisher import Publisher
from katgen.model.specs import WorkloadObjects
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Plan

FRESH_S: Final = 600.0
"""How long what a dry run found counts: the change that follows gets the same digests."""
NO_NODE: Final = Fault(Reason.NO_NODE, "no node is connected that could say what its image is")


@dataclass(frozen=True, slots=True)
class Requests:
    """What to ask, and for which workloads nobody can be asked."""

    fetches: tuple[Fetch, ...] = ()
    nodeless: tuple[WorkloadKey, ...] = ()


def requests(
    want: Wanted, keys: Collection[WorkloadKey], plan: Plan | None, connected: Collection[NodeName]
) -> Requests:
    """Return what to ask about the images of workloads."""
    found: list[Fetch] = []
    nodeless: list[WorkloadKey] = []
    for key in sorted(keys):
        objects = want.specs.workloads[key]
        node = resolving_node(plan.workloads.get(key) if plan else None, connected)
        if node is None:
            nodeless.append(key)
        else:
            image = objects.workload.spec.source.image or ""
            found.append(Fetch(key, node, image, policy_of(objects), deadline_s(objects)))
    return Requests(tuple(found), tuple(nodeless))


@dataclass(eq=False, slots=True)
class Resolver:
    """`pins` are the stored ones."""

    publisher: Publisher
    clock: Clock
    pins: dict[WorkloadKey, Pin] = field(default_factory=dict)
    _looked_up: dict[WorkloadKey, tuple[Pin, float]] = field(default_factory=dict)

    async def remember(self, pins: Mapping[WorkloadKey, Pin]) -> None:
        """Store pins. Raises StoreError."""
        if pins:
            await self.publisher.pin(pins)
            self.pins |= pins

    def looked_up(self, want: Wanted, keys: Iterable[WorkloadKey]) -> dict[WorkloadKey, Pin]:
        """Return what a dry run has found for workloads, if it is fresh and still asked for."""
        now, found = self.clock.monotonic(), {}
        for key in keys:
            pin, at = self._looked_up.get(key, (None, 0.0))
            if pin is not None and now - at < FRESH_S and is_valid(pin, want.specs.workloads[key]):
                found[key] = pin
        return found

    async def look_up(
        self, want: Wanted, asked: Requests, trial: Fetcher
    ) -> dict[WorkloadKey, Fault]:
        """Ask for a dry run; return why what is not known is not."""
        trial.start(asked.fetches)
        await trial.settle(
            asked.fetches, max((one.timeout_s for one in asked.fetches), default=0) + 10
        )
        faults = dict.fromkeys(asked.nodeless, NO_NODE)
        for one in trial.done():
            pin = pin_from(one, want)
            if pin is not None:
                self._looked_up[one.fetch.workload] = (pin, self.clock.monotonic())
            else:
                text = one.error or NO_NODE.message
                faults[one.fetch.workload] = Fault(Reason.IMAGE_PULL_FAILED, text)
        await trial.close()
        return faults


def pin_from(fetched: Fetched, want: Wanted) -> Pin | None:
    """Return the pin that an answer makes; None if it failed or is not asked for any more."""
    objects = asked_for(fetched.fetch, want)
    if objects is None or fetched.error or fetched.is_gone:
        return None
    image = fetched.fetch.image
    return Pin(image, fetched.digest, with_digest(image, fetched.digest), restarted(objects))


def asked_for(fetch: Fetch, want: Wanted) -> WorkloadObjects | None:
    """Return the objects of which a fetch is to resolve the image, None if they are others now."""
    objects = want.specs.workloads.get(fetch.workload)
    if objects is None or objects.workload.spec.source.image != fetch.image:
        return None
    return objects


def is_asked_for(fetch: Fetch, want: Wanted, pins: Mapping[WorkloadKey, Pin]) -> bool:
    """Whether a fetch's image is the one that its workload wants, as text or by its digest."""
    objects = want.specs.workloads.get(fetch.workload)
    if objects is None:
        return False
    pin = pins.get(fetch.workload)
    pinned = pin.resolved if pin is not None and is_valid(pin, objects) else ""
    return fetch.image in {objects.workload.spec.source.image, pinned}


def fault_of(fetched: Fetched) -> Fault | None:
    """Return the fault of a fetch that failed, in the registry's words."""
    return Fault(Reason.IMAGE_PULL_FAILED, fetched.error) if fetched.error else None
