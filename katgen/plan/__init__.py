"""(specs, inventory, parent plan) → plan: every decision, and nothing that moves without a cause.

`make_plan` is the whole function. `advance` is the same code for a leader that knows which
workloads changed and keeps the index of the plan before; both give the same plan.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from katgen import names
from katgen.index import Index, index_of
from katgen.model.specs import Specs
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan.draft import FORMAT, Draft
from katgen.plan.rolling import is_rolling, rolls
from katgen.planned import Inventory, Plan, WorkloadPlan
from katgen.revision import named_by
from katgen.schedule.explain import Explanation, explanation
from katgen.schedule.needs import needs_of
from katgen.schedule.place import Target
from katgen.schedule.turn import Board, Turn

Available = Mapping[WorkloadKey, frozenset[InstanceKey]]
"""Which instances are ready, of those workloads that are replaced step by step."""
LOOKED_AT_MAX: Final = 30_000
"""Instances, over all steps of rollouts that are followed to their end: half a second."""


@dataclass(frozen=True, slots=True)
class PlanState:
    """A plan and its index. `advance` of an older state works too; it makes the index again."""

    plan: Plan
    index: Index = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step changed, and how much work it was.

    `workloads` have other decisions than before, `nodes` other instances.
    """

    workloads: tuple[WorkloadKey, ...] = ()
    nodes: tuple[NodeName, ...] = ()
    reconciled: int = 0
    examined: int = 0
    placed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The state after a change, and what the change was."""

    state: PlanState
    delta: Delta


def make_plan(specs: Specs, inventory: Inventory, parent: Plan | None = None) -> Plan:
    """Return the plan that carries out `specs` on the machines of `inventory`.

    Returns `parent` itself if its input was the same. Raises RefusedError if the cluster's networks
    or uid ranges have no room; what merely finds no node is in the plan, as `unplaced`.
    """
    if parent is not None and (parent.specs, parent.inventory) == (specs, inventory):
        return parent
    return start(specs, inventory, parent).state.plan


def start(specs: Specs, inventory: Inventory, parent: Plan | None = None) -> Step:
    """Like `make_plan`, and keep the index for `advance`."""
    if parent is None:
        parent = Plan(FORMAT, 0, 0, Specs(specs.cluster), inventory, {}, {})
    elif (parent.specs, parent.inventory) == (specs, inventory):
        return Step(PlanState(parent, index_of(parent, specs, inventory)), Delta())
    draft = Draft(index_of(parent, specs, inventory), parent, specs, inventory)
    return _carried_out(draft, {*specs.workloads, *parent.workloads})


def advance(
    state: PlanState,
    specs: Specs,
    changed: Iterable[WorkloadKey],
    available: Available | None = None,
    lost: frozenset[NodeName] | None = None,
) -> Step:
    """Return the state after `specs` changed in the workloads `changed`.

    A workload counts as changed if any of its objects, its Configs or the keys of its Secrets did
    (`changed_workloads`). `available` and `lost` take the place of the inventory's; workloads of
    which something else is available count as changed too. Other lost nodes cost a new index.
    Raises RefusedError as `make_plan` does; the state remains usable.
    """
    plan, index, keys = state.plan, state.index, frozenset(changed)
    inventory = plan.inventory
    if available is not None and available != inventory.available:
        keys |= _differing(inventory.available, available) & specs.workloads.keys()
        inventory = msgspec.structs.replace(inventory, available=available)
    if lost is not None and lost != inventory.lost:
        inventory = msgspec.structs.replace(inventory, lost=lost)
    if not keys and inventory is plan.inventory and specs == plan.specs:
        return Step(state, Delta())
    if inventory.lost != plan.inventory.lost or not _serves(index, plan, specs):
        index = index_of(plan, specs, inventory)
    return _carried_out(Draft(index, plan, specs, inventory), keys)


def rolled_out(state: PlanState, specs: Specs, changed: Iterable[WorkloadKey]) -> PlanState:
    """Return what a rollout comes to, as one plan: every instance becomes ready in its turn.

    Workloads in the middle of a rollout are taken to their end as well. Of a rollout of very many
    steps the last ones are made at once, so that some instances may be on other nodes in the end.
    """
    keys, before = frozenset(changed), state.plan
    concerned = (keys | before.earlier.keys()) & before.workloads.keys() & specs.workloads.keys()
    rolling = [key for key in sorted(concerned) if rolls(specs.workloads[key])]
    looked_at = 0
    while looked_at < LOOKED_AT_MAX:
        workloads = state.plan.workloads
        looked_at += 1 + sum(len(workloads[key].placements) for key in rolling)
        ready = {key: _all_ready(key, workloads[key]) for key in rolling}
        state = advance(state, specs, keys, {**before.inventory.available, **ready}).state
        rolling = [key for key in rolling if is_rolling(state.plan.workloads[key])]
        if state.plan.workloads == workloads:
            break
        keys = frozenset()
    else:
        others = {k: v for k, v in before.inventory.available.items() if k not in rolling}
        state = advance(state, specs, rolling, others).state
    plan = state.plan
    if (plan.workloads, specs) == (before.workloads, before.specs):
        return PlanState(before, state.index)
    one = {"generation": before.generation + 1, "parent": before.generation}
    return PlanState(msgspec.structs.replace(plan, **one), state.index)


def _all_ready(key: WorkloadKey, planned: WorkloadPlan) -> frozenset[InstanceKey]:
    return frozenset(names.instance(key, p.ordinal, p.incarnation) for p in planned.placements)


def _differing(one: Available, other: Available) -> set[WorkloadKey]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _carried_out(draft: Draft, keys: Collection[WorkloadKey]) -> Step:
    draft.reconcile(keys)
    draft.place()
    plan, counters = draft.finish(), draft.counters
    delta = Delta(
        draft.changed_workloads(),
        draft.changed_nodes(),
        counters.reconciled,
        counters.examined,
        counters.placed,
    )
    return Step(PlanState(plan, draft.index), delta)


def _serves(index: Index, plan: Plan, specs: Specs) -> bool:
    """Whether an index can be carried on to the next plan."""
    return (
        index.plan is plan
        and specs.cluster == plan.specs.cluster
        and plan.inventory.rested.isdisjoint(plan.resting)
    )


def changed_workloads(before: Specs, after: Specs) -> frozenset[WorkloadKey]:
    """Return the workloads that differ, in their own objects or in what they refer to."""
    changed = {
        key
        for key in before.workloads.keys() | after.workloads.keys()
        if before.workloads.get(key) != after.workloads.get(key)
    }
    data = {
        key
        for old, new in ((before.configs, after.configs), (before.secrets, after.secrets))
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
    }
    if data:
        for key, objects in after.workloads.items():
            configs, secrets = named_by(objects)
            if not data.isdisjoint(configs) or not data.isdisjoint(secrets):
                changed.add(key)
    return frozenset(changed)


def explain(specs: Specs, inventory: Inventory, plan: Plan, key: WorkloadKey) -> Explanation:
    """Say for every node whether and why a workload may run there, or not, as things are in `plan`.

    Raises KeyError if `specs` has no such workload.
    """
    needs = needs_of(key, specs.workloads[key])
    index = index_of(plan, specs, inventory)
    accounted = index.catalog.needs.get(key, needs)
    index.catalog.put(needs)
    numbers = index.table.index

    def where(other: WorkloadKey) -> list[int]:
        planned = plan.workloads.get(other)
        placements = planned.placements if planned else ()
        return [numbers[p.node] for p in placements if p.node in numbers]

    bin_pack = specs.cluster.spec.scheduling == "BinPack"
    board = Board(index.table, index.pools, index.catalog, index.quotas, where, bin_pack)
    planned = plan.workloads.get(key)
    revision = planned.revision if planned else ""
    earlier = index.earlier.get(key, {})
    return explanation(Turn(board, needs), Target(accounted, revision, earlier), planned)
