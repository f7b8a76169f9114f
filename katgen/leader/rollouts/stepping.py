"""A plan, who is ready, what nodes have applied → which rollouts take their next step. Pure.

What a step does is the planner's to say (`katgen.plan`); here is decided whether one is due, and
what the planner is told of readiness.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen import names
from katgen.endpoints import READY, States
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan.rolling import is_rolling, rolls
from katgen.planned import Placement, Plan, WorkloadPlan
from katgen.protocol import Report

PATIENCE_S: Final = 30.0
"""How long a step waits for a connected node that does not follow and has none of its instances."""
_NOBODY: Final[frozenset[InstanceKey]] = frozenset()


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at a moment, on the leader's monotonic clock.

    `spoken` are the nodes that have told of all their instances in their session; `lost` have had
    none for too long. `missing` are the nodes that the planner is told are lost: also those of the
    leader before, until this one has heard of them.
    """

    endpoints: States
    reports: Mapping[NodeName, Report]
    connected: Collection[NodeName]
    spoken: Collection[NodeName]
    lost: Collection[NodeName]
    now: float
    missing: frozenset[NodeName] = frozenset()


NOTHING_SEEN: Final = Look({}, {}, (), (), (), 0.0)


@dataclass(frozen=True, slots=True)
class Stall:
    """Why a rollout stands still, in words, and what there was when it came to that.

    `ready` are the new instances that were ready, `waits` whether nodes had not applied the step.
    """

    text: str
    ready: frozenset[InstanceKey] = _NOBODY
    waits: bool = False
    missing: frozenset[NodeName] = frozenset()


@dataclass(frozen=True, slots=True)
class Pace:
    """How a rollout gets on. Its last step is of `generation`, committed at `at`.

    That step changed files on the nodes `touched`; None: on any. `moved` is when there was progress
    last, `ready` the new instances that have been ready by then. `stall` is there if it has waited
    too long; its time does not run while it `is_held` back. `lost` are the nodes that were when the
    planner was asked about it last.
    """

    generation: int
    at: float
    touched: frozenset[NodeName] | None
    moved: float
    ready: frozenset[InstanceKey] = _NOBODY
    stall: Stall | None = None
    is_held: bool = False
    lost: frozenset[NodeName] = frozenset()


Paces = Mapping[WorkloadKey, Pace]


@dataclass(frozen=True, slots=True)
class Step:
    """What the planner is told: `available` is the inventory's; `due` are to take a step."""

    available: Mapping[WorkloadKey, frozenset[InstanceKey]] = field(default_factory=dict)
    due: frozenset[WorkloadKey] = frozenset()


NO_STEP: Final = Step()


@dataclass(frozen=True, slots=True)
class Aim:
    """What is planned for: `changed` differ from what stands; `held` take no step."""

    specs: Specs
    changed: Collection[WorkloadKey]
    held: Collection[WorkloadKey] = frozenset()


def next_step(plan: Plan, aim: Aim, paces: Paces, look: Look) -> Step:
    """Return what the next plan knows of readiness. Costs what changes or rolls.

    A change of objects waits for nothing. Before the nodes have applied the last step, it counts on
    no instance that was not ready at that step: they may not know it yet.
    """
    available: dict[WorkloadKey, frozenset[InstanceKey]] = {}
    due = set(_unplaced(plan, aim, paces) if look.missing != plan.inventory.lost else ())
    for key in sorted({*paces, *aim.changed}):
        planned = plan.workloads.get(key)
        if planned is None or not planned.placements or not _rolls(aim.specs.workloads.get(key)):
            continue
        pace = paces.get(key)
        before = plan.inventory.available.get(key) if pace else None
        now = ready_ones(key, planned, look, before)
        waits = pace is not None and bool(waited_for(pace, key, plan, look))
        if before is None:
            before = now
        if key in aim.changed:
            available[key] = now & before if waits else now
        elif pace is None or waits or key in aim.held or pace.stall is not None:
            available[key] = before
        else:
            is_next = is_due(key, pace, plan, look, now)
            available[key] = now if is_next else before
            due |= {key} if is_next else set()
    return Step(available, frozenset(due))


def _unplaced(plan: Plan, aim: Aim, paces: Paces) -> Iterator[WorkloadKey]:
    """Yield who may find a place when nodes come back, and is in no rollout."""
    for key, planned in plan.workloads.items():
        is_free = key not in aim.held and key not in aim.changed and key not in paces
        if planned.unplaced and is_free and key in aim.specs.workloads:
            yield key


def is_due(
    key: WorkloadKey, pace: Pace, plan: Plan, look: Look, now: frozenset[InstanceKey]
) -> bool:
    """Whether the planner may decide otherwise than last time, with these instances ready."""
    planned = plan.workloads[key]
    is_news = now != plan.inventory.available.get(key) or look.missing != pace.lost
    return is_news and (is_rolling(planned) or bool(planned.unplaced))


def _rolls(objects: WorkloadObjects | None) -> bool:
    return objects is not None and rolls(objects)


def ready_ones(
    key: WorkloadKey,
    planned: WorkloadPlan,
    look: Look,
    before: frozenset[InstanceKey] | None = None,
) -> frozenset[InstanceKey]:
    """Return the instances of a workload that are ready.

    Of a node that has no session, or has not spoken, is taken what was known at the last step
    (`before`), or else that its instances are ready: they go on without a leader, and to take them
    for dead would have the planner replace them all at once. Of a lost node nothing is ready.
    """
    found = ((name_of(key, one), one.node) for one in planned.placements)
    return frozenset(name for name, node in found if _is_ready(name, node, look, before))


def _is_ready(
    name: InstanceKey, node: NodeName, look: Look, before: frozenset[InstanceKey] | None
) -> bool:
    if node in look.lost:
        return False
    if node in look.connected and node in look.spoken:
        return look.endpoints.get(name) == READY
    return (before is None or name in before) and look.endpoints.get(name, READY) == READY


def name_of(key: WorkloadKey, placement: Placement) -> InstanceKey:
    """Return an instance's name."""
    return names.instance(key, placement.ordinal, placement.incarnation)


def waited_for(pace: Pace, key: WorkloadKey, plan: Plan, look: Look) -> list[NodeName]:
    """Return the nodes that have to apply the last step before there is another.

    They send traffic to what they know, also without a session: an old instance must not go before
    everyone knows the new one. A node that does not come back is lost in the end; for one that is
    there, does not follow and has none of the instances, patience has an end.
    """
    every = plan.inventory.nodes
    touched = every if pace.touched is None else (n for n in pace.touched if n in every)
    behind = (n for n in touched if n not in look.lost and _is_behind(n, pace, look))
    own = {one.node for one in plan.workloads[key].placements}
    is_fresh = look.now - pace.at < PATIENCE_S
    return sorted(
        n
        for n in behind
        if is_fresh or n in own or n not in look.connected or _is_applying(n, look)
    )


def _is_behind(node: NodeName, pace: Pace, look: Look) -> bool:
    """Whether a node has not applied a step; a new leader also wants to hear who is ready there."""
    report = look.reports.get(node)
    if report is None or (pace.touched is None and node not in look.spoken):
        return True
    if report.generation < pace.generation:
        return True
    return report.generation == pace.generation and report.sync == "applying"


def _is_applying(node: NodeName, look: Look) -> bool:
    report = look.reports.get(node)
    return report is not None and report.sync == "applying"


def new_of(key: WorkloadKey, planned: WorkloadPlan) -> Iterator[InstanceKey]:
    """Yield the instances of the workload's own revision."""
    for one in planned.placements:
        if one.revision == planned.revision:
            yield name_of(key, one)


def any_rolling(keys: Iterable[WorkloadKey], plan: Plan | None) -> bool:
    """Whether any of these workloads is in the middle of a rollout."""
    workloads = plan.workloads if plan else {}
    return any(is_rolling(workloads[key]) for key in keys if key in workloads)
