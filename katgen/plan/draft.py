"""The next plan while it is being made: reconcile, then place by priority, then put together."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from katgen.errors import RefusedError
from katgen.index import Index
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.plan.ledger import Ledger
from katgen.plan.past import Past
from katgen.plan.rolling import Machines, Rollout, reconciled, rollout
from katgen.planned import Inventory, Placement, Plan, Unplaced, WorkloadPlan
from katgen.revision import referenced_by, revision
from katgen.schedule.match import evicting
from katgen.schedule.needs import DAEMON, Needs, needs_of
from katgen.schedule.nodes import OUTSIDE
from katgen.schedule.place import Choice, Outcome, Target, place
from katgen.schedule.reconcile import (
    Situation,
    Verdict,
    data_on,
    ordinal_order,
    placement_order,
    wanted,
)
from katgen.schedule.turn import Board, Turn
from katgen.schedule.waiting import Freed

FORMAT: Final = 1


class Task(msgspec.Struct, frozen=True):
    """A workload that is being reconciled.

    `before` is how its instances were accounted for, `earlier` how those were, by revision, that
    had an earlier one.
    """

    key: WorkloadKey
    needs: Needs
    before: Needs
    earlier: Mapping[str, Needs]
    revision: str
    old: WorkloadPlan | None
    verdict: Verdict
    uid_base: int
    virtual_address: str

    def order(self) -> tuple[int, int, WorkloadKey]:
        """Say who is placed first: high priority, then least choice, then by name.

        Whoever must be near others comes after them.
        """
        needs = self.needs
        choice = 0 if needs.kind == DAEMON else 1 if needs.storage else 2
        return -needs.priority, 3 if needs.companies.near else choice, self.key


@dataclass(slots=True)
class Counters:
    """How much work a draft was."""

    reconciled: int = 0
    examined: int = 0
    placed: int = 0


class Draft:
    """Changes its index; whoever gives up a draft half-way makes the index anew."""

    def __init__(self, index: Index, parent: Plan, specs: Specs, inventory: Inventory) -> None:
        self._is_afresh = not _plays_alike(parent, specs, inventory)
        """Whether more than workloads changed, so that everything must be looked at again."""
        self.index = index
        self.counters = Counters()
        self._parent = parent
        self._specs = specs
        self._inventory = inventory
        self._ledger = Ledger(index, parent)
        self._freed = Freed(index.table, index.pools)
        self._tasks: list[Task] = []
        self._in_hand: set[WorkloadKey] = set()
        """Whose turn it is in this draft."""
        self._idle: dict[WorkloadKey, Task] = {}
        """Tasks of workloads that did not change and wait for a place: done if something helps."""
        self._workloads: dict[WorkloadKey, WorkloadPlan | None] = {}
        """What differs from the parent; None for a deleted workload."""
        self._past = Past(parent)
        self._placed: dict[WorkloadKey, tuple[Placement, ...]] = {}
        """What the workloads in hand have at this moment."""
        index.plan = None
        index.quotas.set_limits(specs.namespaces)

    # -- reconcile

    def reconcile(self, keys: Collection[WorkloadKey]) -> None:
        """Decide what becomes of each workload, and free what leaves.

        Raises RefusedError if a virtual address or a range of uids is not to be had.
        """
        waiting = self.index.waiting.keys()
        for key in sorted({*keys, *waiting} if self._is_afresh else keys):
            task = self._task(key)
            if task is None:
                continue
            if _is_idle(task) and not self._is_afresh:
                self._idle[key] = task
            else:
                self._take_on(task)
        if self._ledger.problems:
            raise RefusedError(self._ledger.problems)
        self._wake()

    def _wake(self) -> None:
        """Take up again what waits, if what was freed may help it."""
        index = self.index
        helped = index.waiting.helped_by(self._freed, index.catalog, index.quotas)
        for key in sorted(helped - self._in_hand):
            task = self._idle.get(key) or self._task(key)
            if task is not None:
                self._take_on(task)

    def _take_on(self, task: Task) -> None:
        self._in_hand.add(task.key)
        self._tasks.append(task)

    def _task(self, key: WorkloadKey) -> Task | None:
        """Return what is to be done for a workload, None if nothing is; what leaves is released."""
        self.counters.reconciled += 1
        objects = self._specs.workloads.get(key)
        if objects is None:
            self._retire(key)
            return None
        old = self._parent.workloads.get(key)
        needs = needs_of(key, objects)
        before = self.index.catalog.needs.get(key, needs)
        current = self._revision(key, objects)
        situation = Situation(
            needs,
            current,
            lambda node: self._may_stay(needs, node),
            not needs.constrains_like(before),
            data_on(self._inventory.volumes, key, needs),
        )
        finished = self._inventory.finished.get(key, frozenset())
        kept = old if old is not None and not situation.reconsider else None
        ordinals = wanted(objects, lambda: self._daemon_nodes(needs, kept), finished)
        rolling = self._rollout(key, objects, needs)
        verdict = reconciled(old or self._returning(key), ordinals, situation, rolling)
        uids = self._ledger.uids(key, objects, old)
        virtual = self._ledger.virtual(key, objects, old)
        if before == needs and _is_settled(old, verdict, (current, uids, virtual)):
            return None
        earlier = self.index.earlier.get(key, {})
        self._release(Target(before, current, earlier), verdict.remove)
        self.index.catalog.put(needs)
        task = Task(key, needs, before, earlier, current, old, verdict, uids, virtual)
        if not _is_idle(task):
            self._freed.note(before, needs)
        return task

    def _rollout(self, key: WorkloadKey, objects: WorkloadObjects, needs: Needs) -> Rollout | None:
        """Return how a workload is replaced, None if all at once."""
        ready = self._inventory.available.get(key)
        table, pools = self.index.table, self.index.pools

        def is_open(node: NodeName) -> bool:
            i = table.index.get(node)
            return i is not None and table.open[i]

        def admits(node: NodeName) -> bool:
            i = table.index.get(node)
            return i is not None and pools.division(needs.requirement).member[i] != OUTSIDE

        machines = Machines(is_open, admits, self._inventory.lost.__contains__)
        return rollout(objects, needs, self._parent.workloads.get(key), ready, machines)

    def _returning(self, key: WorkloadKey) -> WorkloadPlan | None:
        """Return what a workload that was deleted and is back finds again: where its data is."""
        retired = self._parent.retired.get(key)
        return WorkloadPlan("", retired.next_incarnation, homes=retired.homes) if retired else None

    def _may_stay(self, needs: Needs, node: NodeName) -> bool:
        i = self.index.table.index.get(node)
        if i is None or node not in self.index.evicting:
            return i is not None
        return evicting(needs.requirement, self.index.table.nodes[i]) is None

    def _daemon_nodes(self, needs: Needs, kept: WorkloadPlan | None) -> set[NodeName]:
        """Return the nodes a DaemonService belongs on: admitted, or `kept` from before."""
        names = self.index.table.names
        division = self.index.pools.division(needs.requirement)
        found = {names[i] for group in division.groups for i in group.nodes}
        if kept is not None:
            found |= {p.node for p in kept.placements if self._may_stay(needs, p.node)}
        return found

    def _revision(self, key: WorkloadKey, objects: WorkloadObjects) -> str:
        referenced = referenced_by(objects.workload, self._specs)
        known = self.index.revisions.get(key)
        if known is not None and known[0] is objects and known[1] == referenced:
            return known[2]
        made = revision(objects, referenced)
        self.index.revisions[key] = (objects, referenced, made)
        return made

    def _retire(self, key: WorkloadKey) -> None:
        old = self._parent.workloads.get(key)
        if old is None:
            return
        needs = self.index.catalog.needs[key]
        self._freed.note(needs)
        earlier = self.index.earlier.pop(key, {})
        self._release(Target(needs, old.revision, earlier), old.placements)
        self._ledger.retire(key, old, has_data=bool(needs.storage))
        self.index.catalog.remove(key)
        self.index.revisions.pop(key, None)
        self.index.waiting.discard(key)
        self._workloads[key] = None

    def _release(self, accounted: Target, placements: Iterable[Placement]) -> None:
        key = accounted.before.key
        for placement in placements:
            needs = accounted.needs(placement)
            self._freed.namespaces.add(needs.namespace)
            i = self.index.table.index.get(placement.node)
            if i is not None:
                self.index.table.vacate(i, needs, placement.gpus)
                self.index.table.slots_resting[i] += 1
            self.index.quotas.count(needs, -1)
            self._ledger.rest_address(key, placement)

    # -- place

    def place(self) -> None:
        """Give every workload its turn."""
        bin_pack = self._specs.cluster.spec.scheduling == "BinPack"
        index = self.index
        board = Board(
            index.table, index.pools, index.catalog, index.quotas, self._where, bin_pack
        )  # fmt: skip
        while self._tasks:
            tasks, self._tasks = sorted(self._tasks, key=Task.order), []
            self._placed |= {task.key: self._held(task.verdict) for task in tasks}
            for task in tasks:
                self._place_one(board, task)
            self._wake()
        index.pools.trim()

    def _place_one(self, board: Board, task: Task) -> None:
        verdict = task.verdict
        placements = list(verdict.keep)
        unplaced: tuple[Unplaced, ...] = ()
        following = self._next_incarnation(task)
        if verdict.orders or verdict.fresh:
            turn = Turn(board, task.needs)
            outcome = place(turn, verdict, Target(task.before, task.revision, task.earlier))
            turn.finish()
            if verdict.orders:
                self._freed.namespaces.add(task.needs.namespace)
            new = self._placements(task, outcome, following)
            following += len(new)
            unplaced = tuple(outcome.unplaced)
            self.counters.examined += turn.examined
            self.counters.placed += len(new)
            if placements or outcome.stay:
                new = [*placements, *outcome.stay, *new]
                new.sort(key=placement_order)
            placements = new
        planned = WorkloadPlan(
            task.revision, following, task.uid_base, task.virtual_address,
            tuple(placements), unplaced, _homes(verdict, placements),
        )  # fmt: skip
        self._placed[task.key] = planned.placements
        self._settle(task, planned)

    def _settle(self, task: Task, planned: WorkloadPlan) -> None:
        if planned.unplaced:
            self.index.waiting.put(task.needs, self.index.table.waiting_at(planned))
        else:
            self.index.waiting.discard(task.key)
        if planned != task.old:
            self._workloads[task.key] = planned
            self._remember(task, planned)

    def _remember(self, task: Task, planned: WorkloadPlan) -> None:
        """Keep how instances of earlier revisions are accounted for, and what they are made of."""
        left = self._past.remember(task.key, planned)
        self.index.earlier.pop(task.key, None)
        if left:
            needs = {one: task.earlier.get(one, task.before) for one in left}
            self.index.earlier[task.key] = needs

    def _placements(self, task: Task, outcome: Outcome, incarnation: int) -> list[Placement]:
        """Return the new placements, numbered in the order of their ordinals."""
        if not outcome.choices:
            return list(self._filled(task, outcome.filled, incarnation))
        stop_first = task.needs.stop_first
        filled = zip(task.verdict.fresh, outcome.filled, strict=False)
        choices = [Choice(ordinal, i, (), stop_first) for ordinal, i in filled]
        choices += outcome.choices
        choices.sort(key=lambda c: ordinal_order(c.ordinal))
        return list(self._chosen(task, choices, incarnation))

    def _chosen(
        self, task: Task, choices: Iterable[Choice], incarnation: int
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
                    self._ledger.rest_address(task.key, previous)
            yield Placement(
                choice.ordinal, number, current, names[i], address, choice.gpus, choice.stop_first
            )

    def _filled(self, task: Task, nodes: Iterable[int], incarnation: int) -> Iterator[Placement]:
        """Yield the same for fresh ordinals that were placed all at once."""
        names, addresses, current = self.index.table.names, self.index.addresses, task.revision
        stop_first = task.needs.stop_first
        fresh = zip(task.verdict.fresh, nodes, strict=False)
        for number, (ordinal, i) in enumerate(fresh, incarnation):
            address = addresses[i].take()
            yield Placement(ordinal, number, current, names[i], address, (), stop_first)

    def _next_incarnation(self, task: Task) -> int:
        known = task.old or self._parent.retired.get(task.key)
        return known.next_incarnation if known else 1

    def _held(self, verdict: Verdict) -> tuple[Placement, ...]:
        """Return what runs until its turn comes, and maybe longer."""
        waiting = (o.previous for o in verdict.orders if o.previous is not None)
        return (*verdict.keep, *waiting)

    def _where(self, key: WorkloadKey) -> Sequence[int]:
        """Return the node of every instance that a workload has at this moment."""
        placements = self._placed.get(key)
        if placements is None:
            planned = self._parent.workloads.get(key)
            placements = planned.placements if planned else ()
        numbers = self.index.table.index
        return [numbers[p.node] for p in placements]

    # -- put together

    def finish(self) -> Plan:
        """Return the plan, and make the index its own."""
        parent, ledger = self._parent, self._ledger
        plan = Plan(
            FORMAT, parent.generation + 1, parent.generation, self._specs, self._inventory,
            self.index.subnets, _merged(parent.workloads, self._workloads),
            ledger.resting, ledger.retired, self._past.after(self._specs),
        )  # fmt: skip
        self.index.resting = ledger.resting
        self.index.plan = plan
        return plan

    def changed_workloads(self) -> tuple[WorkloadKey, ...]:
        """Return the workloads with other decisions than before."""
        return tuple(sorted(self._workloads))

    def changed_nodes(self) -> tuple[NodeName, ...]:
        """Return the nodes on which instances came, went or changed."""
        if not self._parent.workloads:
            table = self.index.table
            return tuple(n for n, count in zip(table.names, table.count, strict=True) if count)
        nodes: set[NodeName] = set()
        for key, planned in self._workloads.items():
            nodes |= _moved(self._parent.workloads.get(key), planned)
        return tuple(sorted(nodes))


def _merged(
    old: Mapping[WorkloadKey, WorkloadPlan], changed: Mapping[WorkloadKey, WorkloadPlan | None]
) -> dict[WorkloadKey, WorkloadPlan]:
    """Return the workloads of the next plan, sorted by key."""
    merged = dict(old)
    is_sorted = True
    for key, planned in changed.items():
        if planned is None:
            merged.pop(key, None)
        else:
            is_sorted = is_sorted and key in merged
            merged[key] = planned
    return merged if is_sorted else {key: merged[key] for key in sorted(merged)}


def _moved(old: WorkloadPlan | None, new: WorkloadPlan | None) -> set[NodeName]:
    before = old.placements if old else ()
    after = new.placements if new else ()
    stayed = set(before).intersection(after) if before and after else set()
    return {p.node for p in (*before, *after) if p not in stayed}


def _plays_alike(parent: Plan, specs: Specs, inventory: Inventory) -> bool:
    """Whether only workloads can differ from the parent."""
    return (
        _are_alike(inventory, parent.inventory)
        and specs.cluster == parent.specs.cluster
        and specs.namespaces == parent.specs.namespaces
        and inventory.rested.isdisjoint(parent.resting)
    )


def _are_alike(one: Inventory, other: Inventory) -> bool:
    """Whether two inventories differ at most in who is ready."""
    return one is other or all(
        getattr(one, name) is getattr(other, name) or getattr(one, name) == getattr(other, name)
        for name in Inventory.__struct_fields__
        if name != "available"
    )


def _is_idle(task: Task) -> bool:
    """Whether a workload is as it was, and only waits for places that it did not find before."""
    old, verdict = task.old, task.verdict
    if old is None or verdict.remove or task.before != task.needs:
        return False
    waiting = {o.ordinal for o in verdict.orders} | set(verdict.fresh)
    same = (old.revision, old.uid_base, old.virtual_address)
    return same == (task.revision, task.uid_base, task.virtual_address) and waiting == {
        u.ordinal for u in old.unplaced
    }


def _is_settled(
    old: WorkloadPlan | None, verdict: Verdict, decisions: tuple[str, int, str]
) -> bool:
    """Whether a workload's plan can stay as it is."""
    return (
        old is not None
        and not verdict.remove
        and not verdict.orders
        and not verdict.fresh
        and not old.unplaced
        and (old.revision, old.uid_base, old.virtual_address) == decisions
    )


def _homes(verdict: Verdict, placements: Sequence[Placement]) -> dict[Ordinal, NodeName]:
    """Return where data of ordinals is that do not run: left behind, or waiting for its node."""
    homes = dict(verdict.homes)
    for order in verdict.orders:
        if len(order.homes) == 1:
            homes[order.ordinal] = order.homes[0]
    if not homes:
        return homes
    for placement in placements:
        homes.pop(placement.ordinal, None)
    return dict(sorted(homes.items(), key=lambda h: ordinal_order(h[0])))
