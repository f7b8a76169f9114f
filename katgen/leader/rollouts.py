"""A plan, what waits, and what nodes report → how far each workload is. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen.leader.answers import Instance, Rollout
from katgen.leader.holds import Hold
from katgen.leader.instances import Units, instance
from katgen.leader.steady import Runs, is_crashing
from katgen.names import InstanceKey, NodeName, WorkloadKey, split_key
from katgen.planned import Plan, WorkloadPlan
from katgen.protocol import Report

_THERE: Final = frozenset({"running", "finished"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to judge by. `pending` says what workloads wait for that no plan has yet.

    `wanted` are the workloads that are stored; of those in `left` the plan has an older version, or
    none. `restarts` are how often instances had been started again when somebody began to look;
    those that crash since then have failed.
    """

    plan: Plan | None
    reports: Mapping[NodeName, Report]
    holds: Mapping[WorkloadKey, Hold]
    pending: Mapping[WorkloadKey, str]
    connected: frozenset[NodeName] = frozenset()
    wanted: Collection[WorkloadKey] = frozenset()
    left: Collection[WorkloadKey] = frozenset()
    runs: Runs = field(default_factory=dict)
    restarts: Mapping[InstanceKey, int] | None = None


def rollout(key: WorkloadKey, sight: Sight, units: Units) -> Rollout:
    """Return how far a workload is on its way to what was written last."""
    planned = sight.plan.workloads.get(key) if sight.plan else None
    found = placed(key, sight, units)
    told, message = _told(key, planned, found, sight, units)
    running = sum(one.state in _THERE for one in found)
    if planned is None and key not in sight.wanted:
        running = len(_remains(key, units))
    return Rollout(*split_key(key), _wanted(planned) if planned else 0, running, told, message)


def _told(
    key: WorkloadKey,
    planned: WorkloadPlan | None,
    found: tuple[Instance, ...],
    sight: Sight,
    units: Units,
) -> tuple[str, str]:
    hold = sight.holds.get(key)
    if key in sight.pending:
        return "pulling", sight.pending[key]
    if hold is not None:
        return "held", hold.message
    if planned is None and key not in sight.wanted:
        return ("waiting", "stopping") if _remains(key, units) else ("running", "deleted")
    if planned is None or key in sight.left:
        return "waiting", "" if sight.connected else "no node is connected"
    return judged(key, planned, found, sight)


def _wanted(planned: WorkloadPlan) -> int:
    ordinals = {one.ordinal for one in planned.placements}
    return len(ordinals.union(one.ordinal for one in planned.unplaced))


def placed(key: WorkloadKey, sight: Sight, units: Units) -> tuple[Instance, ...]:
    """Return the instances that the plan has of a workload."""
    plan = sight.plan
    if plan is None or key not in plan.workloads:
        return ()
    objects, planned = plan.specs.workloads[key], plan.workloads[key]
    return tuple(instance(key, objects, placement, units) for placement in planned.placements)


def _remains(key: WorkloadKey, units: Units) -> list[InstanceKey]:
    """Return what nodes still have of a workload."""
    return [unit for unit in units if unit.startswith(f"{key}/")]


def judged(
    key: WorkloadKey, planned: WorkloadPlan, found: Iterable[Instance], sight: Sight
) -> tuple[str, str]:
    """Return state and message of a workload by its instances alone."""
    found = tuple(found)
    if planned.unplaced:
        return "failed", _unplaced(planned)
    is_job = sight.plan is not None and sight.plan.specs.workloads[key].job is not None
    for one in found:
        if one.state == "failed" or (not is_job and _is_crashing(one, sight)):
            return "failed", _failure(one, sight)
    if is_job and not found:
        return "running", "finished"
    scheduled = _is_scheduled(key, sight)
    if all(one.state in _THERE or (scheduled and one.state == "waiting") for one in found):
        return "running", ""
    absent = sorted({one.node for one in found if one.node not in sight.connected})
    if absent:
        return "waiting", f"node {absent[0]} is not connected"
    begun = any(one.state != "waiting" for one in found)
    return ("starting" if begun else "waiting"), ""


def _is_crashing(one: Instance, sight: Sight) -> bool:
    if sight.restarts is None:
        return False
    return is_crashing(one.restarts - sight.restarts.get(one.key, 0))


def _failure(one: Instance, sight: Sight) -> str:
    run = sight.runs.get(one.node, {}).get(one.key)
    lines = one.lines or (run.lines if run else ())
    what = "failed" if one.state == "failed" else "ends again and again"
    tail = ": " + "; ".join(lines[-5:]) if lines else f" with exit code {one.exit_code}"
    return f"{one.key} on {one.node} {what}{tail}"


def _is_scheduled(key: WorkloadKey, sight: Sight) -> bool:
    """Whether the instances stand ready for a timer; then they need not run."""
    job = sight.plan.specs.workloads[key].job if sight.plan else None
    return job is not None and job.spec.schedule is not None


def _unplaced(planned: WorkloadPlan) -> str:
    reasons = "; ".join(refusal.reason for refusal in planned.unplaced[0].refusals)
    lacking = len(planned.unplaced)
    count = f"{lacking} instance{'' if lacking == 1 else 's'}"
    return f"no node can take {count}: {reasons or 'there is no node'}"
