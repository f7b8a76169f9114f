"""A plan, who is ready, what nodes have applied → which rollouts take their next step. Pure.

What a step does is the planner's to say (`katgen.plan`); here is decided whether one is due, and
what the planner is told of readiness.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from katgen import names
from katgen.endpoints import READY, States
from katgen.leader import rollout_words
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan.rolling import is_rolling, rolls
from katgen.planned import Placement, Plan, WorkloadPlan
from katgen.protocol import Report

PATIENCE_S: Final = 30.0
"""How long a step waits for a node that does not follow and has no instance of the workload."""
_NOBODY: Final[frozenset[InstanceKey]] = frozenset()


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at a moment, on the leader's monotonic clock.

    `spoken` are the nodes that have told of all their instances since the leader began; `lost` have
    had no session for too long.
    """

    endpoints: States
    reports: Mapping[NodeName, Report]
    connected: Collection[NodeName]
    spoken: Collection[NodeName]
    lost: Collection[NodeName]
    now: float


NOTHING_SEEN: Final = Look({}, {}, (), (), (), 0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a rollout gets on. Its last step is of `generation`, committed at `at`.

    That step changed files on the nodes `touched`; None: on any. `moved` is when there was progress
    last, `ready` the new instances that have been ready by then. `stalled` says what it waits for
    if it has waited too long.
    """

    generation: int
    at: float
    touched: frozenset[NodeName] | None
    moved: float
    ready: frozenset[InstanceKey] = _NOBODY
    stalled: str = ""


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
    due: set[WorkloadKey] = set()
    for key in sorted({*paces, *aim.changed}):
        planned = plan.workloads.get(key)
        if planned is None or not planned.placements or not _rolls(aim.specs.workloads.get(key)):
            continue
        pace = paces.get(key)
        before = plan.inventory.available.get(key) if pace else None
        now = ready_ones(key, planned, look, before)
        waits = pace is not None and bool(waited_for(pace, planned, look))
        if before is None:
            before = now
        if key in aim.changed:
            available[key] = now & before if waits else now
        elif waits or key in aim.held or not _may_step(planned, pace):
            available[key] = before
        else:
            available[key] = now
            due |= {key} if now != plan.inventory.available.get(key) else set()
    return Step(available, frozenset(due))


def _may_step(planned: WorkloadPlan, pace: Pace | None) -> bool:
    return pace is not None and not pace.stalled and is_rolling(planned)


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


def waited_for(pace: Pace, planned: WorkloadPlan, look: Look) -> list[NodeName]:
    """Return the nodes that have to apply the last step before there is another.

    They send traffic to what they know: an old instance must not go before everyone knows the new
    one. For a node that does not follow and has none of the instances, patience has an end.
    """
    behind = (node for node in look.connected if _is_behind(node, pace, look))
    own = {one.node for one in planned.placements}
    is_fresh = look.now - pace.at < PATIENCE_S
    return sorted(n for n in behind if is_fresh or n in own or _is_applying(n, look))


def _is_behind(node: NodeName, pace: Pace, look: Look) -> bool:
    if pace.touched is not None and node not in pace.touched:
        return False
    report = look.reports.get(node)
    if report is None or report.generation < pace.generation:
        return True
    return report.generation == pace.generation and report.sync == "applying"


def _is_applying(node: NodeName, look: Look) -> bool:
    report = look.reports.get(node)
    return report is not None and report.sync == "applying"


# --- progress ------------------------------------------------------------------------------------


def begun(plan: Plan, now: float) -> Paces:
    """Return the rollouts that a leader finds in the stored plan when it begins."""
    return {
        key: _paced(key, planned, Pace(plan.generation, now, None, now), plan)
        for key, planned in plan.workloads.items()
        if is_rolling(planned) and _rolls(plan.specs.workloads.get(key))
    }


def committed(paces: Paces, before: Plan | None, plan: Plan, made: Pace) -> Paces:
    """Return the rollouts after a commit; `made` is the pace of those that it begins or advances.

    A plan that is the first of a workload begins none.
    """
    known = before.workloads if before else {}
    found = {key: pace for key, pace in paces.items() if key in plan.workloads}
    for key in plan.inventory.available:
        planned, old = plan.workloads.get(key), known.get(key)
        if planned is None or old is None or planned == old:
            continue
        if is_rolling(planned) or planned.revision != old.revision or key in paces:
            found[key] = _paced(key, planned, _joined(paces.get(key), made), plan)
    return found


def _joined(old: Pace | None, made: Pace) -> Pace:
    """Return a pace that also waits for the nodes that the step before may not have reached."""
    if old is None:
        return made
    if old.touched is None or made.touched is None:
        return replace(made, touched=None)
    return replace(made, touched=old.touched | made.touched)


def _paced(key: WorkloadKey, planned: WorkloadPlan, made: Pace, plan: Plan) -> Pace:
    available = plan.inventory.available.get(key, _NOBODY)
    return replace(made, ready=frozenset(new_of(key, planned)) & available)


def new_of(key: WorkloadKey, planned: WorkloadPlan) -> Iterator[InstanceKey]:
    """Yield the instances of the workload's own revision."""
    for one in planned.placements:
        if one.revision == planned.revision:
            yield name_of(key, one)


def followed(paces: Paces, plan: Plan, look: Look) -> Paces:
    """Return how rollouts get on: those that are over are left out, and deadlines have passed.

    A rollout that stands still goes on as soon as another new instance is ready.
    """
    found: dict[WorkloadKey, Pace] = {}
    for key, pace in paces.items():
        planned, objects = plan.workloads.get(key), plan.specs.workloads.get(key)
        if planned is None or objects is None or not rolls(objects):
            continue
        now = ready_ones(key, planned, look, plan.inventory.available.get(key, _NOBODY))
        new = frozenset(new_of(key, planned))
        if len(new) == len(planned.placements) and new <= now and not planned.unplaced:
            continue
        fresh = (now & new) - pace.ready
        if fresh:
            found[key] = replace(pace, moved=look.now, ready=pace.ready | fresh, stalled="")
        elif not pace.stalled and look.now >= deadline(pace, objects):
            found[key] = replace(pace, stalled=_why(key, plan, pace, look))
        else:
            found[key] = pace
    return found


def _why(key: WorkloadKey, plan: Plan, pace: Pace, look: Look) -> str:
    """Return why a rollout stands still, and what it waits for."""
    planned = plan.workloads[key]
    waits = waited_for(pace, planned, look)
    return rollout_words.stalled(
        rollout_words.Subject(key, planned, plan.specs.workloads[key], look.endpoints),
        round(look.now - pace.moved),
        f"node {waits[0]} has not applied plan {pace.generation}" if waits else "",
    )


def deadline(pace: Pace, objects: WorkloadObjects) -> float:
    """Return the moment when a rollout without progress has failed."""
    return pace.moved + objects.workload.spec.update_strategy.progress_deadline_seconds


def next_moment(paces: Paces, specs: Specs, since: float) -> float | None:
    """Return when time alone changes what was seen last (`since`): a deadline, an end of patience.

    It may be over by now.
    """
    moments = [
        moment
        for key, pace in paces.items()
        if not pace.stalled and key in specs.workloads
        for moment in (deadline(pace, specs.workloads[key]), pace.at + PATIENCE_S)
        if moment > since
    ]
    return min(moments, default=None)


def any_rolling(keys: Iterable[WorkloadKey], plan: Plan | None) -> bool:
    """Whether any of these workloads is in the middle of a rollout."""
    workloads = plan.workloads if plan else {}
    return any(is_rolling(workloads[key]) for key in keys if key in workloads)
