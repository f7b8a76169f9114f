"""(specs, inventory, parent plan) → plan: every decision, and nothing that moves without a cause.

`make_plan` is the whole function. `advance` is the same code for a leader that knows which
workloads changed and keeps
the index of the plan before; both give the same plan.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from katgen.errors import Problem, RefusedError, Source
from katgen.index import Index, index_of
from katgen.ipam import UID_RANGES, owner_of_instance, uid_base
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.planned import (
    Inventory,
    Placement,
    Plan,
    Resting,
    Retired,
    Unplaced,
    WorkloadPlan,
)
from katgen.revision import references, revision
from katgen.schedule.match import evicting
from katgen.schedule.needs import DAEMON, Needs, needs_of
from katgen.schedule.place import Choice, Target, place
from katgen.schedule.reconcile import (
    Situation,
    Verdict,
    data_on,
    ordinal_order,
    reconcile,
    wanted,
)
from katgen.schedule.turn import Board, Turn

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class PlanState:
    """A plan and its index. `advance` of an older state works too; it makes the index again."""

    plan: Plan
    index: Index = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step changed, and how much work it was."""

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
    or uid ranges have no
    room; what merely finds no node is in the plan, as `unplaced`.
    """
    return start(specs, inventory, parent).state.plan


def start(specs: Specs, inventory: Inventory, parent: Plan | None = None) -> Step:
    """Like `make_plan`, and keep the index for `advance`."""
    if parent is None:
        parent = _nothing(specs, inventory)
    elif (parent.specs, parent.inventory) == (specs, inventory):
        return Step(PlanState(parent, index_of(parent, specs, inventory)), Delta())
    index = index_of(parent, specs, inventory)
    return _step(index, parent, specs, inventory, {*specs.workloads, *parent.workloads})


def advance(state: PlanState, specs: Specs, changed: Iterable[WorkloadKey]) -> Step:
    """Return the state after `specs` changed in the workloads `changed`.

    A workload counts as changed if any of its objects, its Configs or the keys of its Secrets did
    (`changed_workloads`).
    Raises RefusedError as `make_plan` does; the state remains usable.
    """
    plan, index, keys = state.plan, state.index, frozenset(changed)
    if not keys and specs == plan.specs:
        return Step(state, Delta())
    if not _serves(index, plan, specs):
        index = index_of(plan, specs, plan.inventory)
    return _step(index, plan, specs, plan.inventory, keys)


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
            configs, secrets = references(objects.workload)
            if not data.isdisjoint(configs) or not data.isdisjoint(secrets):
                changed.add(key)
    return frozenset(changed)


def _nothing(specs: Specs, inventory: Inventory) -> Plan:
    """Return the plan before the first: generation 0, no decisions."""
    return Plan(FORMAT, 0, 0, Specs(specs.cluster), inventory, {}, {})


def _step(
    index: Index,
    parent: Plan,
    specs: Specs,
    inventory: Inventory,
    keys: Collection[WorkloadKey],
) -> Step:
    draft = _Draft(index, parent, specs, inventory)
    draft.reconcile(sorted({*keys, *index.pending}))
    draft.place()
    return Step(PlanState(draft.finish(), index), draft.delta())


def _serves(index: Index, plan: Plan, specs: Specs) -> bool:
    """Whether an index can be carried on to the next plan."""
    return (
        index.plan is plan
        and specs.cluster == plan.specs.cluster
        and plan.inventory.rested.isdisjoint(plan.resting)
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """A workload that is being reconciled."""

    key: WorkloadKey
    needs: Needs
    before: Needs
    revision: str
    old: WorkloadPlan | None
    verdict: Verdict
    uid_base: int
    virtual_address: str

    def order(self) -> tuple[int, int, WorkloadKey]:
        """Who is placed first: high priority; then what has the least choice; then by name."""
        choice = 0 if self.needs.kind == DAEMON else 1 if self.needs.storage else 2
        return -self.needs.priority, choice, self.key


class _Draft:
    """The next plan while it is being made."""

    def __init__(self, index: Index, parent: Plan, specs: Specs, inventory: Inventory) -> None:
        self.index = index
        self.parent = parent
        self.specs = specs
        self.inventory = inventory
        self.generation = parent.generation + 1
        self.workloads: dict[WorkloadKey, WorkloadPlan | None] = {}
        self.retired = dict(parent.retired)
        self.resting = dict(index.resting)
        self.problems: list[Problem] = []
        self.tasks: list[_Task] = []
        self.current: dict[WorkloadKey, list[int]] = {}
        self.reconciled = 0
        self.examined = 0
        self.placed = 0
        index.plan = None
        index.quotas.set_limits(specs.namespaces)

    # -- reconcile

    def reconcile(self, keys: Sequence[WorkloadKey]) -> None:
        """Decide what becomes of each workload, and free what leaves.

        Raises RefusedError if a virtual address or a range of uids is not to be had.
        """
        for key in keys:
            self.reconciled += 1
            objects = self.specs.workloads.get(key)
            if objects is None:
                self._retire(key)
            else:
                self._reconcile_one(key, objects)
        if self.problems:
            raise RefusedError(self.problems)

    def _reconcile_one(self, key: WorkloadKey, objects: WorkloadObjects) -> None:
        old = self.parent.workloads.get(key)
        needs = needs_of(key, objects)
        before = self.index.catalog.needs.get(key, needs)
        current = self._revision(key, objects)
        situation = Situation(
            needs=needs,
            revision=current,
            stays=self._stays(needs),
            reconsider=before is not needs and not needs.constrains_like(before),
            data=data_on(self.inventory.volumes, key, needs),
        )
        finished = self.inventory.finished.get(key, frozenset())
        belongs = self._daemon_nodes(needs, old, reconsider=situation.reconsider)
        verdict = reconcile(
            old or self._returning(key), wanted(objects, belongs, finished), situation
        )
        uids, virtual = self._numbers(key, objects, old)
        if before == needs and _is_settled(old, verdict, (current, uids, virtual)):
            return
        self._release(key, before, verdict.remove)
        self.index.catalog.put(needs)
        self.tasks.append(_Task(key, needs, before, current, old, verdict, uids, virtual))

    def _returning(self, key: WorkloadKey) -> WorkloadPlan | None:
        """Return what a workload that was deleted and is back finds again: its data's places."""
        retired = self.retired.get(key)
        return WorkloadPlan("", retired.next_incarnation, homes=retired.homes) if retired else None

    def _stays(self, needs: Needs) -> Callable[[NodeName], bool]:
        index, evictors = self.index.table.index, self.index.evicting

        def stays(node: NodeName) -> bool:
            i = index.get(node)
            if i is None:
                return False
            return node not in evictors or not evicting(
                needs.requirement, self.index.table.nodes[i]
            )

        return stays

    def _daemon_nodes(
        self, needs: Needs, old: WorkloadPlan | None, *, reconsider: bool
    ) -> Callable[[], set[NodeName]]:
        def nodes() -> set[NodeName]:
            names = self.index.table.names
            division = self.index.pools.division(needs.requirement)
            found = {names[i] for group in division.groups for i in group.nodes}
            if old is not None and not reconsider:
                stays = self._stays(needs)
                found |= {p.node for p in old.placements if stays(p.node)}
            return found

        return nodes

    def _revision(self, key: WorkloadKey, objects: WorkloadObjects) -> str:
        configs, secrets = references(objects.workload)
        data: tuple[object, ...] = tuple(map(self.specs.configs.get, configs)) + tuple(
            map(self.specs.secrets.get, secrets)
        )
        known = self.index.revisions.get(key)
        if known is not None and known[:2] == (objects, data):
            return known[2]
        made = revision(objects, self.specs)
        self.index.revisions[key] = (objects, data, made)
        return made

    def _numbers(
        self, key: WorkloadKey, objects: WorkloadObjects, old: WorkloadPlan | None
    ) -> tuple[int, str]:
        return self._uids(key, objects, old), self._virtual(key, objects, old)

    def _uids(self, key: WorkloadKey, objects: WorkloadObjects, old: WorkloadPlan | None) -> int:
        """Return the workload's uid range; one that it had comes back to it."""
        retired = self.retired.get(key)
        held = (old.uid_base if old else 0) or (retired.uid_base if retired else 0)
        if objects.workload.spec.isolation == "host-root":
            if held and old is not None:
                self.retired[key] = Retired(old.next_incarnation, held)
            return 0
        self.retired.pop(key, None)
        if held:
            return held
        number = self.index.uids.take()
        if number is not None:
            return uid_base(number)
        kept = len(self.retired)
        what = (
            f"no range of user ids is left: {UID_RANGES} ranges, {UID_RANGES - kept} in use, "
            f"{kept} kept for the data of deleted workloads"
        )
        self.problems.append(Problem(Source(path=key), what, "run fewer workloads in this cluster"))
        return 0

    def _virtual(self, key: WorkloadKey, objects: WorkloadObjects, old: WorkloadPlan | None) -> str:
        held = old.virtual_address if old else ""
        if objects.load_balancer is None:
            if held:
                self._rest(held, key)
            return ""
        if held:
            return held
        number = self.index.virtuals.take()
        if number is not None:
            return self.index.layout.virtual_text(number)
        cidr = self.specs.cluster.spec.service_cidr
        resting = sum(1 for r in self.resting if self._is_virtual(r))
        total = self.index.layout.virtuals
        what = (
            f"no virtual address is left in serviceCIDR {cidr}: {total} addresses, "
            f"{total - resting} in use, {resting} resting"
        )
        self.problems.append(Problem(Source(path=key), what, "widen serviceCIDR"))
        return ""

    def _is_virtual(self, resource: str) -> bool:
        return "/" not in resource and self.index.layout.virtual_number(resource) is not None

    def _retire(self, key: WorkloadKey) -> None:
        old = self.parent.workloads.get(key)
        if old is None:
            return
        needs = self.index.catalog.needs[key]
        self._release(key, needs, old.placements)
        if old.virtual_address:
            self._rest(old.virtual_address, key)
        held = self.retired.get(key)
        homes = dict(old.homes)
        if needs.storage:
            homes |= {p.ordinal: p.node for p in old.placements}
        uids = old.uid_base or (held.uid_base if held else 0)
        self.retired[key] = Retired(old.next_incarnation, uids, homes)
        self.index.catalog.remove(key)
        self.index.revisions.pop(key, None)
        self.index.pending.discard(key)
        self.workloads[key] = None

    # -- place

    def place(self) -> None:
        """Give every workload its turn."""
        board = Board(
            self.index.table,
            self.index.pools,
            self.index.catalog,
            self.index.quotas,
            self._where,
            self.specs.cluster.spec.scheduling == "BinPack",
        )
        for task in self.tasks:
            self.current[task.key] = self._numbers_of(task.verdict)
        for task in sorted(self.tasks, key=_Task.order):
            self._place_one(board, task)
        self.index.pools.trim()

    def _place_one(self, board: Board, task: _Task) -> None:
        placements = list(task.verdict.keep)
        unplaced: tuple[Unplaced, ...] = ()
        next_incarnation = _next_incarnation(task.old, self.parent.retired.get(task.key))
        if task.verdict.orders:
            turn = Turn(board, task.needs)
            outcome = place(turn, task.verdict.orders, Target(task.before, task.revision))
            turn.finish()
            self.examined += turn.examined
            placements += outcome.stay
            placements += self._placements(task, outcome.choices, next_incarnation)
            next_incarnation += len(outcome.choices)
            self.placed += len(outcome.choices)
            if task.old is not None:
                placements.sort(key=lambda p: ordinal_order(p.ordinal))
            unplaced = tuple(outcome.unplaced)
        homes = _homes(task, placements)
        planned = WorkloadPlan(
            task.revision, next_incarnation, task.uid_base, task.virtual_address,
            tuple(placements), unplaced, homes,
        )  # fmt: skip
        index = self.index.table.index
        self.current[task.key] = [index[p.node] for p in placements]
        if unplaced:
            self.index.pending.add(task.key)
        else:
            self.index.pending.discard(task.key)
        if planned != task.old:
            self.workloads[task.key] = planned

    def _placements(
        self, task: _Task, choices: Iterable[Choice], incarnation: int
    ) -> Iterator[Placement]:
        """Yield the placements for new places, each with an address."""
        names, addresses, current = self.index.table.names, self.index.addresses, task.revision
        for number, choice in enumerate(choices, incarnation):
            i = choice.node
            previous = choice.predecessor
            if previous is not None and choice.keeps_address:
                address = previous.address
            else:
                address = addresses[i].take()
                if previous is not None:
                    self._rest_instance(task.key, previous)
            yield Placement(
                choice.ordinal, number, current, names[i], address, choice.gpus, choice.stop_first
            )

    # -- release

    def _release(self, key: WorkloadKey, needs: Needs, placements: Sequence[Placement]) -> None:
        for placement in placements:
            i = self.index.table.index.get(placement.node)
            if i is not None:
                self.index.table.vacate(i, needs, placement.gpus)
            self.index.quotas.count(needs, -1)
            self._rest_instance(key, placement)

    def _rest_instance(self, key: WorkloadKey, placement: Placement) -> None:
        owner = owner_of_instance(key, placement.ordinal, placement.incarnation)
        self._rest(placement.address, owner)
        i = self.index.table.index.get(placement.node)
        if i is not None:
            self.index.table.slots_resting[i] += 1

    def _rest(self, resource: str, owner: str) -> None:
        self.resting[resource] = Resting(resource, owner, self.generation)

    # -- look-ups and the end

    def _numbers_of(self, verdict: Verdict) -> list[int]:
        index = self.index.table.index
        held = [index[p.node] for p in verdict.keep]
        return held + [index[o.previous.node] for o in verdict.orders if o.previous is not None]

    def _where(self, key: WorkloadKey) -> Iterable[int]:
        known = self.current.get(key)
        if known is not None:
            return known
        planned = self.parent.workloads.get(key)
        index = self.index.table.index
        return [index[p.node] for p in planned.placements if p.node in index] if planned else []

    def finish(self) -> Plan:
        """Return the plan, and make the index its own."""
        workloads = _merged(self.parent.workloads, self.workloads)
        plan = Plan(
            FORMAT, self.generation, self.parent.generation, self.specs, self.inventory,
            self.index.subnets, workloads, dict(sorted(self.resting.items())),
            dict(sorted(self.retired.items())),
        )  # fmt: skip
        self.index.resting = self.resting
        self.index.plan = plan
        return plan

    def delta(self) -> Delta:
        """Return what changed."""
        nodes: set[NodeName] = set()
        for key, planned in self.workloads.items():
            nodes |= _moved(self.parent.workloads.get(key), planned)
        return Delta(
            tuple(sorted(self.workloads)), tuple(sorted(nodes)),
            self.reconciled, self.examined, self.placed,
        )  # fmt: skip


def _merged(
    old: Mapping[WorkloadKey, WorkloadPlan], changed: Mapping[WorkloadKey, WorkloadPlan | None]
) -> dict[WorkloadKey, WorkloadPlan]:
    """Return the workloads of the next plan, sorted by key."""
    merged = dict(old)
    fresh = False
    for key, planned in changed.items():
        if planned is None:
            merged.pop(key, None)
        else:
            fresh = fresh or key not in merged
            merged[key] = planned
    return dict(sorted(merged.items())) if fresh else merged


def _moved(old: WorkloadPlan | None, new: WorkloadPlan | None) -> set[NodeName]:
    """Return the nodes on which instances came, went or changed."""
    before = old.placements if old else ()
    after = new.placements if new else ()
    stayed = set(before).intersection(after) if before and after else set()
    return {p.node for p in (*before, *after) if p not in stayed}


def _is_settled(
    old: WorkloadPlan | None, verdict: Verdict, decisions: tuple[str, int, str]
) -> bool:
    """Whether a workload's plan can stay as it is."""
    return (
        old is not None
        and not verdict.remove
        and not verdict.orders
        and not old.unplaced
        and (old.revision, old.uid_base, old.virtual_address) == decisions
    )


def _next_incarnation(old: WorkloadPlan | None, retired: Retired | None) -> int:
    return old.next_incarnation if old else retired.next_incarnation if retired else 1


def _homes(task: _Task, placements: Sequence[Placement]) -> dict[Ordinal, NodeName]:
    """Return where data of ordinals is that do not run: left behind, or waiting for its node."""
    homes = dict(task.verdict.homes)
    for order in task.verdict.orders:
        if len(order.homes) == 1:
            homes[order.ordinal] = order.homes[0]
    if not homes:
        return homes
    for placement in placements:
        homes.pop(placement.ordinal, None)
    return dict(sorted(homes.items(), key=lambda h: ordinal_order(h[0])))
