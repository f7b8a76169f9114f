"""Whatever happens on the way, a rollout ends once all is well, and no step comes too early.

Histories of sessions that end and begin, instances that come and go, holds, changes of objects, new
leaders and time, against the rules of `stepping` and `progress` and the real planner.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import pytest

from katgen.leader.rollouts.progress import begun, committed, followed, weighed
from katgen.leader.rollouts.stepping import PATIENCE_S, Aim, Look, Pace, Paces, next_step
from katgen.model.specs import Specs
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.plan import PlanState, advance, changed_workloads, start
from katgen.plan import Step as Made
from katgen.plan.rolling import is_rolling
from katgen.planned import Plan
from katgen.protocol import Report
from tests.unit.leader.rollouts.test_stepping import report
from tests.unit.schedule.world import inventory, node, specs, with_data, workload

NODES: Final = tuple(NodeName(n) for n in "abcd")
KEYS: Final = tuple(WorkloadKey(f"shop/{name}") for name in ("each", "data", "web"))
LOSS_S: Final = 60.0
PASSES: Final = 30
"""So often at most the leader decides at once; then it waits for something."""
ROUNDS: Final = 30
"""So many steps are more than enough for nine instances, and for what was not over before."""
HISTORIES: Final = 60
PACES: Final = ({"maxSurge": 1}, {"maxSurge": 0, "maxUnavailable": 1}, {"maxSurge": 2})


def written(version: int, rolling: int) -> Specs:
    strategy = {"progressDeadlineSeconds": 30, "rolling": PACES[rolling]}
    image = {"image": f"localhost/app:{version}"}
    given: dict[str, Any] = {"source": image, "updateStrategy": strategy}
    return specs(
        workload("web", 3, **given),
        workload("data", 2, **with_data(), **given),
        workload("each", type="DaemonService", **given),
    )


@dataclass
class Machine:
    """A node: what it has applied, whether it has a session since, or since when it has none."""

    name: NodeName
    applied: int = 1
    left: float | None = None
    has_spoken: bool = True
    unready: set[InstanceKey] = field(default_factory=set)


class World:
    """A leader as its loop is, and the nodes."""

    def __init__(self, rolling: int) -> None:
        self.now, self.version, self.rolling = 1000.0, 1, rolling
        self.state = start(written(1, rolling), inventory(*map(node, NODES))).state
        self.paces: Paces = {}
        self.held: set[WorkloadKey] = set()
        self.heard: set[NodeName] = set(NODES)
        self.reports = dict[NodeName, Report]()
        self.endpoints: dict[InstanceKey, str] = {}
        self.lost: set[NodeName] = set()
        self.steps: dict[WorkloadKey, tuple[int, float]] = {}
        """Number and time of the last plan that has other decisions about a workload."""
        self.are_slow = False
        self.machines = {n: Machine(n) for n in NODES}
        self.plans = {1: self.plan}
        for one in self.machines.values():
            self._tell(one)

    @property
    def plan(self) -> Plan:
        return self.state.plan

    # -- what happens

    def turns(self, number: int) -> None:
        self.now += (1, 7, 31, 61)[number % 4]
        gone = (one for one in self.machines.values() if one.left is not None)
        self.lost |= {one.name for one in gone if self.now - (one.left or 0) >= LOSS_S}

    def leaves(self, number: int) -> None:
        one = self.machines[NODES[number % 4]]
        one.has_spoken = False
        one.left = self.now if one.left is None else one.left

    def comes_back(self, number: int) -> None:
        one = self.machines[NODES[number % 4]]
        one.left, one.has_spoken = None, False
        self.lost.discard(one.name)
        self.heard.add(one.name)

    def reports_itself(self, number: int) -> None:
        self._tell(self.machines[NODES[number % 4]])

    def applies(self, number: int) -> None:
        one = self.machines[NODES[number % 4]]
        if one.left is None:
            before = {*self._on(one)}
            one.applied = self.plan.generation
            one.unready |= {*self._on(one)} - before if self.are_slow else set()
            self._tell(one)

    def all_but_one_apply(self, number: int) -> None:
        for other in range(len(NODES)):
            if other != number % 7:
                self.applies(other)

    def are_slow_now(self, _: int) -> None:
        """Have new instances start as not ready from now on, or no more."""
        self.are_slow = not self.are_slow

    def flaps(self, number: int) -> None:
        every = [key for one in NODES for key in self._on(self.machines[one])]
        if every:
            key = every[number % len(every)]
            one = next(m for m in self.machines.values() if key in self._on(m))
            one.unready ^= {key}
            self._tell(one)

    def is_held(self, number: int) -> None:
        self.held ^= {KEYS[number % 3]}

    def changes(self, _: int) -> None:
        self.version += 1

    def goes_back(self, _: int) -> None:
        self.version = max(1, self.version - 1)

    def begins_again(self, _: int) -> None:
        """Have another leader on the same store; who has a session has it with that one soon."""
        self.paces = begun(self.plan, self.now)
        self.reports, self.endpoints = {}, {}
        self.lost, self.heard = set(), set()
        for one in self.machines.values():
            one.has_spoken = False
            one.left = self.now

    def _tell(self, one: Machine) -> None:
        if one.left is None:
            one.has_spoken = True
            self.reports[one.name] = report(one.name, one.applied)
            states = {k: "notready" if k in one.unready else "ready" for k in self._on(one)}
            self.endpoints.update(states)

    def _on(self, one: Machine) -> list[InstanceKey]:
        """Return what runs on a node."""
        plan = self.plans[one.applied]
        return [
            InstanceKey(f"{key}/{p.ordinal}-{p.incarnation}")
            for key in KEYS
            for p in plan.workloads[key].placements
            if p.node == one.name
        ]

    # -- what the leader does

    def look(self) -> Look:
        missing = (self.plan.inventory.lost - self.heard) | self.lost
        machines = self.machines.values()
        return Look(
            endpoints=dict(self.endpoints),
            reports=dict(self.reports),
            connected={one.name for one in machines if one.left is None},
            spoken={one.name for one in machines if one.has_spoken},
            lost=set(self.lost),
            now=self.now,
            missing=frozenset(missing),
        )

    def settle(self) -> None:
        """Do all that is due; that has an end."""
        for _ in range(PASSES):
            if not self._decides():
                return
        raise AssertionError("a leader decides without end")

    def _decides(self) -> bool:
        look, plan = self.look(), self.plan
        self.paces = followed(self.paces, plan, look, self.held)
        aim = self._aim()
        changed = changed_workloads(plan.specs, aim)
        step = next_step(plan, Aim(aim, changed, frozenset(self.held)), self.paces, look)
        if not changed and not step.due:
            return False
        for key in step.due:
            self._demand_followed(key)
        made = advance(self.state, aim, changed | step.due, step.available, look.missing)
        if changed or made.delta.workloads:
            self._commit(made)
        else:
            self.state = _as(made.state, plan)
        self.paces = weighed(self.paces, changed | step.due, look.missing)
        return True

    def _aim(self) -> Specs:
        """Return what is wanted; what is held back stays as it is planned."""
        want, now = written(self.version, self.rolling), self.plan.specs.workloads
        kept = {key: now[key] for key in self.held}
        return replace(want, workloads={**want.workloads, **kept})

    def _commit(self, made: Made) -> None:
        before, plan = self.plan, made.state.plan
        pace = Pace(plan.generation, self.now, frozenset(NODES), self.now)
        self.paces = committed(self.paces, before, plan, replace(pace, lost=plan.inventory.lost))
        for key in made.delta.workloads:
            self.steps[key] = plan.generation, self.now
        self.state = made.state
        self.plans[plan.generation] = plan

    def _demand_followed(self, key: WorkloadKey) -> None:
        """Have every Ready node know the last step, but for the exception that is documented."""
        generation, at = self.steps.get(key, (0, 0.0))
        homes = {p.node for p in self.plan.workloads[key].placements}
        for one in self.machines.values():
            is_exempt = one.left is None and one.name not in homes and self.now - at >= PATIENCE_S
            if one.name not in self.lost and not is_exempt:
                assert one.applied >= generation, f"{key} steps on, {one.name} is behind"

    def ends_well(self) -> None:
        """Have everything be well from now on, and every rollout come to its end."""
        self.held, self.are_slow = set(), False
        for number, one in enumerate(self.machines.values()):
            self.comes_back(number)
            one.unready = set()
        for _ in range(ROUNDS):
            for number in range(len(NODES)):
                self.applies(number)
            self.settle()
            if not self.paces and self._is_in_place():
                break
        assert self.paces == {}
        assert [p for w in self.plan.workloads.values() for p in w.unplaced] == []
        assert not any(map(is_rolling, self.plan.workloads.values()))

    def _is_in_place(self) -> bool:
        return all(one.applied == self.plan.generation for one in self.machines.values())


def _as(state: PlanState, plan: Plan) -> PlanState:
    """Return a state that decides nothing else under the plan's number, as the leader does."""
    same = msgspec.structs.replace(state.plan, generation=plan.generation, parent=plan.parent)
    state.index.plan = same
    return PlanState(same, state.index)


HAPPENINGS: Final[Mapping[Callable[[World, int], None], int]] = {
    World.all_but_one_apply: 8,
    World.flaps: 6,
    World.turns: 5,
    World.applies: 4,
    World.leaves: 3,
    World.comes_back: 3,
    World.reports_itself: 2,
    World.is_held: 2,
    World.are_slow_now: 2,
    World.changes: 1,
    World.goes_back: 1,
    World.begins_again: 1,
}
"""What happens, and how often."""


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_whatever_has_happened_rollouts_end_once_all_is_well(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 -- no secret
    world = World(rolling=seed % len(PACES))
    for _ in range(4):
        world.changes(0)
        for happens in dice.choices([*HAPPENINGS], [*HAPPENINGS.values()], k=dice.randint(1, 25)):
            world.settle()
            happens(world, dice.randrange(1000))
        world.settle()
        world.ends_well()
