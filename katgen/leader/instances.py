"""A plan and what nodes report → how each instance and each workload is. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from katgen import names
from katgen.leader.answers import Instance, Rollout
from katgen.leader.holds import Hold
from katgen.leader.machines import is_over
from katgen.model.specs import WorkloadObjects
from katgen.names import InstanceKey, NodeName, WorkloadKey, split_key
from katgen.planned import Placement, Plan, WorkloadPlan
from katgen.protocol import Report, UnitReport

_STATES: Final[Mapping[str, str]] = {
    "active": "running",
    "reloading": "running",
    "refreshing": "running",
    "activating": "starting",
    "deactivating": "stopped",
    "failed": "failed",
}
Units = Mapping[InstanceKey, UnitReport]


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to judge by. `pending` says what workloads wait for that no plan has yet."""

    plan: Plan | None
    reports: Mapping[NodeName, Report]
    holds: Mapping[WorkloadKey, Hold]
    pending: Mapping[WorkloadKey, str]
    connected: frozenset[NodeName] = frozenset()


def units_of(reports: Iterable[Report]) -> dict[InstanceKey, UnitReport]:
    """Return what nodes report of instances."""
    return {unit.instance: unit for one in reports for unit in one.units if unit.instance}


def instances(plan: Plan, units: Units) -> tuple[Instance, ...]:
    """Return every placed instance, by workload and ordinal."""
    return tuple(
        instance(key, plan.specs.workloads[key], placement, units)
        for key, planned in plan.workloads.items()
        for placement in planned.placements
    )


def instance(
    key: WorkloadKey, objects: WorkloadObjects, placement: Placement, units: Units
) -> Instance:
    """Return one instance, with what its node said of it, if anything."""
    name = names.instance(key, placement.ordinal, placement.incarnation)
    unit = units.get(name)
    seen = unit or UnitReport("")
    return Instance(
        key=name,
        node=placement.node,
        address=placement.address,
        revision=placement.revision,
        unit=f"{names.unit_stem(key, placement.ordinal, placement.incarnation)}.service",
        state=state(unit, is_job=objects.job is not None),
        restarts=seen.restarts,
        exit_code=seen.exit_code,
        since=seen.since,
        image=seen.image_digest,
        health=seen.health,
        lines=seen.lines,
    )


def state(unit: UnitReport | None, *, is_job: bool) -> str:
    """Return running, starting, failed, stopped, waiting or finished.

    A Job's unit is `activating` as long as it runs (Type=oneshot).
    """
    if unit is None or not unit.active_state:
        return "waiting"
    if is_job and is_over(unit):
        return "finished"
    if is_job and unit.active_state == "activating" and unit.sub_state != "auto-restart":
        return "running"
    if unit.active_state == "inactive":
        return "stopped" if unit.since and not is_job else "waiting"
    return _STATES.get(unit.active_state, "waiting")


# --- workloads -----------------------------------------------------------------------------------


def rollout(key: WorkloadKey, sight: Sight, units: Units) -> Rollout:
    """Return how far a workload is on its way to what was written last."""
    namespace, name = split_key(key)
    planned = sight.plan.workloads.get(key) if sight.plan else None
    wanted = _wanted(planned) if planned else 0
    found = _found(key, sight, units) if planned else ()
    running = sum(one.state in _THERE for one in found)
    hold = sight.holds.get(key)
    if key in sight.pending:
        return Rollout(namespace, name, wanted, running, "pulling", sight.pending[key])
    if hold is not None:
        return Rollout(namespace, name, wanted, running, "held", hold.message)
    if planned is None:
        return _leaving(key, units)
    told, message = _judged(planned, found, sight)
    return Rollout(namespace, name, wanted, running, told, message)


def _wanted(planned: WorkloadPlan) -> int:
    placed = {one.ordinal for one in planned.placements}
    return len(placed.union(one.ordinal for one in planned.unplaced))


_THERE: Final = frozenset({"running", "finished"})


def _found(key: WorkloadKey, sight: Sight, units: Units) -> tuple[Instance, ...]:
    plan = sight.plan
    if plan is None:
        return ()
    objects, planned = plan.specs.workloads[key], plan.workloads[key]
    return tuple(instance(key, objects, placement, units) for placement in planned.placements)


def _leaving(key: WorkloadKey, units: Units) -> Rollout:
    """Return how far a deletion is: what of the workload is still there."""
    left = [unit for unit in units if unit.startswith(f"{key}/")]
    told = "waiting" if left else "running"
    return Rollout(*split_key(key), 0, len(left), told, "stopping" if left else "deleted")


def _judged(planned: WorkloadPlan, found: Iterable[Instance], sight: Sight) -> tuple[str, str]:
    found = tuple(found)
    if planned.unplaced:
        return "failed", _unplaced(planned)
    for one in found:
        if one.state == "failed":
            tail = f": {one.lines[-1]}" if one.lines else f" with exit code {one.exit_code}"
            return "failed", f"{one.key} on {one.node} failed{tail}"
    scheduled = _is_scheduled(found, sight)
    if all(one.state in _THERE or (scheduled and one.state == "waiting") for one in found):
        return "running", ""
    absent = sorted({one.node for one in found if one.node not in sight.connected})
    if absent:
        return "waiting", f"node {absent[0]} is not connected"
    begun = any(one.state != "waiting" for one in found)
    return ("starting" if begun else "waiting"), ""


def _is_scheduled(found: tuple[Instance, ...], sight: Sight) -> bool:
    """Whether the instances stand ready for a timer; then they need not run."""
    if not found or sight.plan is None:
        return False
    key = WorkloadKey(found[0].key.rpartition("/")[0])
    job = sight.plan.specs.workloads[key].job
    return job is not None and job.spec.schedule is not None


def _unplaced(planned: WorkloadPlan) -> str:
    reasons = "; ".join(refusal.reason for refusal in planned.unplaced[0].refusals)
    lacking = len(planned.unplaced)
    count = f"{lacking} instance{'' if lacking == 1 else 's'}"
    return f"no node can take {count}: {reasons or 'there is no node'}"
