"""How rollouts get on: when each took its last step, what it waits for, and when it stands still.

Pure. Only this is in memory alone; a leader that begins again finds its rollouts in the plan.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from katgen.endpoints import READY
from katgen.leader.rollouts import words
from katgen.leader.rollouts.stepping import (
    PATIENCE_S,
    Look,
    Pace,
    Paces,
    Stall,
    is_due,
    new_of,
    ready_ones,
    waited_for,
)
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan.rolling import is_rolling, rolls
from katgen.planned import Plan, WorkloadPlan


def begun(plan: Plan, now: float) -> Paces:
    """Return the rollouts that a leader finds in the stored plan when it begins."""
    made = Pace(plan.generation, now, None, now, lost=plan.inventory.lost)
    return {
        key: _paced(key, planned, made, plan)
        for key, planned in plan.workloads.items()
        if is_rolling(planned) and rolls(plan.specs.workloads[key])
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
    available = plan.inventory.available.get(key, frozenset())
    return replace(made, ready=frozenset(new_of(key, planned)) & available)


def weighed(paces: Paces, keys: Collection[WorkloadKey], lost: frozenset[NodeName]) -> Paces:
    """Return the rollouts after the planner has been asked about some, with these nodes lost."""
    return {k: replace(pace, lost=lost) if k in keys else pace for k, pace in paces.items()}


@dataclass(frozen=True, slots=True)
class _Moment:
    """A rollout as it is now. `new` are the instances of the new revision that are ready."""

    key: WorkloadKey
    pace: Pace
    plan: Plan
    look: Look
    ready: frozenset[InstanceKey]
    new: frozenset[InstanceKey]
    behind: Sequence[NodeName]


def followed(
    paces: Paces, plan: Plan, look: Look, held: Collection[WorkloadKey] = frozenset()
) -> Paces:
    """Return how rollouts get on: those that are over are left out, and deadlines have passed.

    One that stands still goes on once what it waited for is there. The deadline of one that is held
    back begins anew when it is let go.
    """
    found: dict[WorkloadKey, Pace] = {}
    for key, pace in paces.items():
        planned, objects = plan.workloads.get(key), plan.specs.workloads.get(key)
        if planned is None or objects is None or not rolls(objects):
            continue
        ready = ready_ones(key, planned, look, plan.inventory.available.get(key, frozenset()))
        new = frozenset(new_of(key, planned))
        if len(new) == len(planned.placements) and new <= ready and not planned.unplaced:
            continue
        behind = waited_for(pace, key, plan, look)
        of = _Moment(key, pace, plan, look, ready, new & ready, behind)
        found[key] = _followed(of, is_held=key in held)
    return found


def _followed(of: _Moment, *, is_held: bool) -> Pace:
    pace, now = of.pace, of.look.now
    going = replace(pace, moved=now, stall=None, is_held=is_held)
    if fresh := of.new - pace.ready:
        return replace(going, ready=pace.ready | fresh)
    if is_held:
        return replace(pace, is_held=True)
    if pace.is_held or (pace.stall is not None and _goes_on(of, pace.stall)):
        return going
    if pace.stall is None and now >= deadline(pace, of.plan.specs.workloads[of.key]):
        return _stalled(of)
    return pace


def _goes_on(of: _Moment, stall: Stall) -> bool:
    """Whether something is there that was lacking when a rollout came to stand still."""
    has_followed = stall.waits and not of.behind
    return bool(of.new - stall.ready) or has_followed or of.look.missing != stall.missing


def _stalled(of: _Moment) -> Pace:
    """Return the pace of a rollout whose time is over; if its next step is due, it takes that."""
    if not of.behind and is_due(of.key, of.pace, of.plan, of.look, of.ready):
        return of.pace
    stall = Stall(_why(of), of.new, bool(of.behind), of.look.missing)
    return replace(of.pace, stall=stall)


def _why(of: _Moment) -> str:
    """Return why a rollout stands still, and what it waits for."""
    pace, look, planned = of.pace, of.look, of.plan.workloads[of.key]
    ready = dict.fromkeys(of.ready, READY)
    objects = of.plan.specs.workloads[of.key]
    waits = words.Waits(
        behind=of.behind,
        generation=pace.generation,
        connected=look.connected,
        lost=look.lost,
        were_ready=pace.ready,
    )
    after_s = round(look.now - pace.at)
    return words.stalled(words.Subject(of.key, planned, objects, ready), waits, after_s)


def deadline(pace: Pace, objects: WorkloadObjects) -> float:
    """Return the moment when a rollout without progress has failed."""
    return pace.moved + objects.workload.spec.update_strategy.progress_deadline_seconds


def next_moment(paces: Paces, specs: Specs, since: float) -> float | None:
    """Return when time alone changes what was seen last (`since`): a deadline, an end of patience.

    It may be over by now.
    """
    moments = [pace.at + PATIENCE_S for pace in paces.values()]
    moments += [
        deadline(pace, specs.workloads[key])
        for key, pace in paces.items()
        if pace.stall is None and not pace.is_held and key in specs.workloads
    ]
    return min((moment for moment in moments if moment > since), default=None)
