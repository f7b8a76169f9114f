"""A plan, what waits, and what nodes report → how far each workload is. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from katgen.endpoints import States
from katgen.leader.answers import Instance, Rollout
from katgen.leader.holds import Hold
from katgen.leader.instances import NOTHING_SAID, Units, instance
from katgen.leader.rollouts import words
from katgen.leader.rollouts.steady import Runs, is_crashing
from katgen.leader.rollouts.words import Subject
from katgen.names import InstanceKey, NodeName, WorkloadKey, split_key
from katgen.planned import Plan, WorkloadPlan
from katgen.protocol import Report

_THERE: Final = frozenset({"running", "finished"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What there is to judge by. `pending` says what workloads wait for that no plan has yet.

    `wanted` are the workloads that are stored; of those in `left` the plan has an older version, or
    none. `rolling` are being replaced step by step; a text says why one stands still. `restarts`
    are how often instances had been started again when somebody began to look: for them, those that
    crash since then have failed, and what is not ready is not there yet.
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
    endpoints: States = field(default_factory=lambda: NOTHING_SAID)
    rolling: Mapping[WorkloadKey, str] = field(default_factory=dict)


def rollout(key: WorkloadKey, sight: Sight, units: Units) -> Rollout:
    """Return how far a workload is on its way to what was written last."""
    planned = sight.plan.workloads.get(key) if sight.plan else None
    found = placed(key, sight, units)
    told, message = _told(key, planned, found, sight, units)
    running = len({_ordinal(one) for one in found if one.state in _THERE})
    if planned is None and key not in sight.wanted:
        running = len(_remains(key, units))
    wanted = words.wanted(planned) if planned else 0
    return Rollout(*split_key(key), wanted, running, told, message)


def _ordinal(one: Instance) -> str:
    """Return the ordinal of an instance; while it is replaced there are two of it."""
    return one.key.rpartition("/")[2].rpartition("-")[0]


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
    told = _rolling(key, planned, found, sight)
    if told is not None:
        return told
    if planned.unplaced:
        return "failed", words.refused(planned)
    is_job = sight.plan is not None and sight.plan.specs.workloads[key].job is not None
    failed = _first_failed(found, sight, is_job=is_job)
    if failed is not None:
        return "failed", _failure(failed, sight)
    return _on_the_way(key, planned, found, sight)


def _on_the_way(
    key: WorkloadKey, planned: WorkloadPlan, found: Collection[Instance], sight: Sight
) -> tuple[str, str]:
    """Return how instances get on of which none has failed."""
    is_job = sight.plan is not None and sight.plan.specs.workloads[key].job is not None
    if is_job and not found:
        return "running", "finished"
    scheduled = _is_scheduled(key, sight)
    if all(one.state in _THERE or (scheduled and one.state == "waiting") for one in found):
        return _running(key, planned, sight)
    absent = sorted({one.node for one in found if one.node not in sight.connected})
    if absent:
        return "waiting", f"node {absent[0]} is not connected"
    begun = any(one.state != "waiting" for one in found)
    return ("starting" if begun else "waiting"), ""


def _rolling(
    key: WorkloadKey, planned: WorkloadPlan, found: Iterable[Instance], sight: Sight
) -> tuple[str, str] | None:
    """Return how a rollout gets on; None if there is none. Only new instances can fail it."""
    plan = sight.plan
    if plan is None or key not in sight.rolling:
        return None
    of = Subject(key, planned, plan.specs.workloads[key], sight.endpoints)
    new = (one for one in found if one.revision == planned.revision)
    failed = _first_failed(new, sight, is_job=False)
    if failed is not None:
        return "failed", _failure(failed, sight)
    if stalled := sight.rolling[key]:
        return "failed", stalled
    if planned.unplaced and not of.unready():
        return "failed", words.refused(planned)
    return "rolling", words.rolling(of)


def _running(key: WorkloadKey, planned: WorkloadPlan, sight: Sight) -> tuple[str, str]:
    """Return that a workload runs, and to who follows a change, whether it also is ready."""
    objects = sight.plan.specs.workloads[key] if sight.plan else None
    if objects is None or objects.job is not None or sight.restarts is None:
        return "running", ""
    waits = words.starting(Subject(key, planned, objects, sight.endpoints))
    return ("starting" if waits else "running"), waits


def _first_failed(found: Iterable[Instance], sight: Sight, *, is_job: bool) -> Instance | None:
    for one in found:
        if one.state == "failed" or (not is_job and _is_crashing(one, sight)):
            return one
    return None


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
