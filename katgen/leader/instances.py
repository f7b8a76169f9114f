"""A plan and what nodes report → how each instance is. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from katgen import names
from katgen.endpoints import States
from katgen.leader.agents.machines import is_over
from katgen.leader.answers import Instance
from katgen.model.specs import WorkloadObjects
from katgen.names import InstanceKey, WorkloadKey
from katgen.planned import Placement, Plan
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
NOTHING_SAID: Final[States] = {}


def units_of(reports: Iterable[Report]) -> dict[InstanceKey, UnitReport]:
    """Return what nodes report of instances."""
    return {unit.instance: unit for one in reports for unit in one.units if unit.instance}


def instances(plan: Plan, units: Units, endpoints: States = NOTHING_SAID) -> tuple[Instance, ...]:
    """Return every placed instance, by workload and ordinal."""
    return tuple(
        instance(key, plan.specs.workloads[key], placement, units, endpoints)
        for key, planned in plan.workloads.items()
        for placement in planned.placements
    )


def instance(
    key: WorkloadKey,
    objects: WorkloadObjects,
    placement: Placement,
    units: Units,
    endpoints: States = NOTHING_SAID,
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
        endpoint=endpoints.get(name, ""),
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
    if unit.sub_state.endswith("auto-restart"):  # also `failed-before-…`, which is no end
        return "starting"
    if unit.active_state == "inactive":
        return "stopped" if unit.since and not is_job else "waiting"
    return _STATES.get(unit.active_state, "waiting")
