"""The next plan, worked out and rendered, or why parts of it must wait. Nothing is asked or told.

The loop and `plan` (dry run) call the same function, so that what is shown is what then happens.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from katgen import plan as planning
from katgen.check import check
from katgen.errors import EncodeError, KatError, Problem, RefusedError
from katgen.leader.agents.machines import still_finished
from katgen.leader.desired import Resolved, Standing, Target, Wanted, target
from katgen.leader.holds import Fault, Reason
from katgen.leader.rollouts.stepping import NO_STEP, NOTHING_SEEN, Aim, Look, Paces, Step, next_step
from katgen.model.specs import WorkloadObjects
from katgen.names import WorkloadKey
from katgen.plan import PlanState
from katgen.planned import Inventory, Plan, WorkloadPlan
from katgen.render.change import rerender
from katgen.render.cluster import Rendered, render


class BlockedError(KatError):
    """No plan can be made, and no workload is to blame for it."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The last committed plan, with what makes its successor cheap.

    `is_stale`: this version of KAT renders it differently than was signed.
    """

    state: PlanState
    rendered: Rendered
    is_stale: bool = False

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.state.plan


@dataclass(frozen=True, slots=True)
class Input:
    """Everything that decides on the next plan. `held` keep what stands.

    `paces` are the rollouts that are under way, `look` is what is known of instances.
    `is_trial` takes rollouts to their end at once, and leaves the index of the base alone, at the
    cost of a new one.
    """

    want: Wanted
    images: Resolved
    standing: Standing | None
    base: Ground | None
    inventory: Inventory
    held: frozenset[WorkloadKey] = frozenset()
    paces: Paces = field(default_factory=dict)
    look: Look = NOTHING_SEEN
    is_trial: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan that the checker has nothing against, with its files. It was made for `want`.

    `stepping` are the workloads of which nothing was changed, and a rollout goes on.
    """

    state: PlanState
    rendered: Rendered
    target: Target
    want: Wanted
    stepping: frozenset[WorkloadKey] = frozenset()

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.state.plan

    @property
    def changed(self) -> frozenset[WorkloadKey]:
        """The workloads of which the plan may have other instances than the one before."""
        return self.target.changed | self.stepping


@dataclass(frozen=True, slots=True)
class Drafted:
    """The next plan, None if nothing is to be done; and what was left out of it, with its cause.

    `considered` is the base with what is known of readiness by now, if that changes no decision
    about the rollouts `stepping`: it takes the base's place, so that the same is not worked out
    again.
    """

    candidate: Candidate | None
    target: Target
    faults: Mapping[WorkloadKey, Fault] = field(default_factory=dict)
    considered: PlanState | None = None
    stepping: frozenset[WorkloadKey] = frozenset()


class _FaultyError(KatError):
    """Some workloads stand in the way of a plan."""

    def __init__(self, faults: Mapping[WorkloadKey, Fault], text: str = "") -> None:
        self.faults = faults
        super().__init__(text or "; ".join(sorted({one.message for one in faults.values()})))


def drafted(given: Input) -> Drafted:
    """Return the next plan, without the workloads that stand in its way.

    Raises BlockedError.
    """
    faults = {
        key: Fault(Reason.UNSUPPORTED, text)
        for key, text in given.want.faults.items()
        if key not in given.held
    }
    while True:
        left_out = given.held.union(faults)
        aim = target(given.want, given.images, given.standing, left_out)
        try:
            return _drafted(given, aim, faults)
        except _FaultyError as err:
            new = {key: fault for key, fault in err.faults.items() if key not in left_out}
            if not new:
                raise BlockedError(str(err)) from err
            faults |= new


def _drafted(given: Input, aim: Target, faults: Mapping[WorkloadKey, Fault]) -> Drafted:
    inventory, step = _inventory(given, aim), _step(given, aim, faults)
    base = given.base
    is_alike = base is not None and not base.is_stale and _is_alike(base.plan, inventory)
    is_same = is_alike and not aim.differs
    if is_same and not step.due and not (given.is_trial and base and base.plan.earlier):
        return Drafted(None, aim, faults)
    task = _Task(given, aim, step, inventory)
    made = _planned(task)
    if base is not None and is_same and not given.is_trial and not made.delta.workloads:
        return Drafted(None, aim, faults, _as(made.state, base.plan), step.due)
    return Drafted(_candidate(task, made.state), aim, faults)


def _step(given: Input, aim: Target, faults: Collection[WorkloadKey]) -> Step:
    if given.base is None:
        return NO_STEP
    goal = Aim(aim.specs, aim.changed, given.held.union(faults))
    return next_step(given.base.plan, goal, given.paces, given.look)


def _inventory(given: Input, aim: Target) -> Inventory:
    finished = still_finished(given.inventory.finished, aim.specs)
    if finished is given.inventory.finished:
        return given.inventory
    return msgspec.structs.replace(given.inventory, finished=finished)


@dataclass(frozen=True, slots=True)
class _Task:
    """A plan to make: of what is given that for which nobody is at fault."""

    given: Input
    aim: Target
    step: Step
    inventory: Inventory

    @property
    def changed(self) -> frozenset[WorkloadKey]:
        return self.aim.changed | self.step.due


def _candidate(task: _Task, state: PlanState) -> Candidate:
    base, aim = task.given.base, task.aim
    _demand_placed(state.plan, aim)
    problems = check(state.plan, base.plan if base else None)
    if problems:
        raise _FaultyError(_blamed(problems, task.changed, Reason.UNSUPPORTED), _told(problems))
    if task.given.is_trial:
        state = _to_its_end(state, base.plan if base else None)
    try:
        rendered = rerender(base.rendered, state.plan) if base else render(state.plan)
    except EncodeError as err:
        fault = Fault(Reason.UNSUPPORTED, str(err))
        raise _FaultyError(dict.fromkeys(task.changed, fault), str(err)) from err
    return Candidate(state, rendered, aim, task.given.want, task.step.due)


def _to_its_end(state: PlanState, parent: Plan | None) -> PlanState:
    """Return what all rollouts come to, as the plan that follows the parent."""
    if not state.plan.earlier:
        return state
    done = planning.rolled_out(state, state.plan.specs, ())
    number = parent.generation if parent else 0
    return _as(done, msgspec.structs.replace(done.plan, generation=number + 1, parent=number))


def _as(state: PlanState, plan: Plan) -> PlanState:
    """Return a state that decides nothing else than a plan, under the plan's number."""
    same = msgspec.structs.replace(state.plan, generation=plan.generation, parent=plan.parent)
    state.index.plan = same
    return PlanState(same, state.index)


def _is_alike(plan: Plan, inventory: Inventory) -> bool:
    """Whether the machines alone are no cause for another plan; rested numbers are if it lacks."""
    old = plan.inventory
    same = (old.nodes, old.volumes, old.finished) == (
        inventory.nodes, inventory.volumes, inventory.finished,
    )  # fmt: skip
    lacks = bool(inventory.rested) and any(one.unplaced for one in plan.workloads.values())
    return same and not lacks


def _planned(task: _Task) -> planning.Step:
    base, aim = task.given.base, task.aim
    inventory = msgspec.structs.replace(task.inventory, available=task.step.available)
    try:
        if base is None:
            return planning.start(aim.specs, inventory)
        if task.given.is_trial or _is_other(base.plan.inventory, task.inventory):
            if (base.plan.specs, base.plan.inventory) == (aim.specs, inventory):
                return _repeated(base.plan)
            return planning.start(aim.specs, inventory, base.plan)
        if not aim.differs and not task.step.due:
            return _repeated(base.plan)
        available, lost = task.step.available, inventory.lost
        return planning.advance(base.state, aim.specs, task.changed, available, lost)
    except RefusedError as err:  # for want of numbers: some may come back
        faults = _blamed(err.problems, task.changed, Reason.UNPLACED)
        raise _FaultyError(faults, _told(err.problems)) from err


def _is_other(before: Inventory, now: Inventory) -> bool:
    """Whether more has changed than who is ready, and which nodes are lost."""
    same = msgspec.structs.replace(before, available=now.available, lost=now.lost)
    return bool(now.rested) or now != same


def _repeated(parent: Plan) -> planning.Step:
    """Return the same decisions once more: only their files are others."""
    state = planning.start(parent.specs, parent.inventory, parent).state
    following = parent.generation + 1
    repeated = msgspec.structs.replace(parent, generation=following, parent=parent.generation)
    return planning.Step(_renumbered(replace(state, plan=repeated), following), planning.Delta())


def _demand_placed(plan: Plan, aim: Target) -> None:
    """Raise if no node takes even the first instance of a new revision: then nothing is begun."""
    faults = {
        key: Fault(Reason.UNPLACED, _refusals(plan.workloads[key]))
        for key in aim.changed
        if key in plan.workloads
        and _is_behind(plan.workloads[key], is_rolling=key in plan.inventory.available)
    }
    if faults:
        raise _FaultyError(faults)


def _is_behind(planned: WorkloadPlan, *, is_rolling: bool) -> bool:
    old = [one for one in planned.placements if one.revision != planned.revision]
    if not is_rolling:
        return bool(old)
    return bool(old and planned.unplaced) and len(old) == len(planned.placements)


def _refusals(planned: WorkloadPlan) -> str:
    reasons = (refusal.reason for one in planned.unplaced for refusal in one.refusals)
    return f"no node can take the new revision: {'; '.join(dict.fromkeys(reasons))}"


def _blamed(
    problems: Sequence[Problem], changed: Collection[WorkloadKey], reason: Reason
) -> dict[WorkloadKey, Fault]:
    """Return who is to blame: the changed workloads that problems name, else all that changed."""
    found: dict[WorkloadKey, Fault] = {}
    for problem in problems:
        path = problem.at.path.removeprefix("workloads.")
        key = next((k for k in changed if path == k or path.startswith(f"{k}.")), None)
        if key is not None:
            found[key] = Fault(reason, problem.what)
    return found or dict.fromkeys(changed, Fault(reason, _told(problems)))


def _told(problems: Sequence[Problem]) -> str:
    return "; ".join(map(str, problems))


def numbered(candidate: Candidate, generation: int) -> Candidate:
    """Return the candidate with the number that it is proposed under; no file has it."""
    state = _renumbered(candidate.state, generation)
    return replace(candidate, state=state, rendered=replace(candidate.rendered, plan=state.plan))


def _renumbered(state: PlanState, generation: int) -> PlanState:
    plan = msgspec.structs.replace(state.plan, generation=generation)
    state.index.plan = plan
    return PlanState(plan, state.index)


class PlanDigester:
    """Digests a plan; what did not change since the last time is not encoded again."""

    def __init__(self) -> None:
        self._known: dict[WorkloadKey, tuple[WorkloadPlan, WorkloadObjects, bytes]] = {}

    def digest(self, plan: Plan) -> str:
        """Return SHA-256 over number, subnets, and every workload's decisions and objects."""
        whole = hashlib.sha256()
        head = (plan.generation, plan.parent, dict(plan.subnets))
        whole.update(msgspec.json.encode(head, order="deterministic"))
        whole.update(plan.specs.cluster.model_dump_json(exclude_defaults=True).encode())
        for key, planned in plan.workloads.items():
            whole.update(key.encode() + self._workload(key, planned, plan.specs.workloads[key]))
        self._forget(plan.workloads.keys())
        return whole.hexdigest()

    def _workload(self, key: WorkloadKey, planned: WorkloadPlan, objects: WorkloadObjects) -> bytes:
        known = self._known.get(key)
        if known is None or known[0] is not planned or known[1] is not objects:
            parts = (objects.workload, objects.load_balancer, objects.job, objects.build)
            made = hashlib.sha256(msgspec.json.encode(planned, order="deterministic"))
            for part in parts:
                made.update(part.model_dump_json(exclude_defaults=True).encode() if part else b"-")
            known = (planned, objects, made.digest())
            self._known[key] = known
        return known[2]

    def _forget(self, kept: Collection[WorkloadKey]) -> None:
        for key in self._known.keys() - kept:
            del self._known[key]
