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
from katgen.leader.desired import Resolved, Standing, Target, Wanted, target
from katgen.leader.holds import Fault, Reason
from katgen.leader.machines import still_finished
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

    `is_trial` leaves the index of the base alone, at the cost of a new one.
    """

    want: Wanted
    images: Resolved
    standing: Standing | None
    base: Ground | None
    inventory: Inventory
    held: frozenset[WorkloadKey] = frozenset()
    is_trial: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan that the checker has nothing against, with its files. It was made for `want`."""

    state: PlanState
    rendered: Rendered
    target: Target
    want: Wanted

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.state.plan


@dataclass(frozen=True, slots=True)
class Drafted:
    """The next plan, None if nothing is to be done; and what was left out of it, with its cause."""

    candidate: Candidate | None
    target: Target
    faults: Mapping[WorkloadKey, Fault] = field(default_factory=dict)


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
            return Drafted(_candidate(given, aim), aim, faults)
        except _FaultyError as err:
            new = {key: fault for key, fault in err.faults.items() if key not in left_out}
            if not new:
                raise BlockedError(str(err)) from err
            faults |= new


def _candidate(given: Input, aim: Target) -> Candidate | None:
    finished = still_finished(given.inventory.finished, aim.specs)
    inventory = given.inventory
    if finished is not inventory.finished:
        inventory = msgspec.structs.replace(inventory, finished=finished)
    base = given.base
    same = base is not None and not base.is_stale and _is_alike(base.plan, inventory)
    if same and not aim.differs:
        return None
    state = _planned(given, aim, inventory)
    _demand_placed(state.plan, aim)
    problems = check(state.plan, base.plan if base else None)
    if problems:
        raise _FaultyError(_blamed(problems, aim, Reason.UNSUPPORTED), _told(problems))
    try:
        rendered = rerender(base.rendered, state.plan) if base else render(state.plan)
    except EncodeError as err:
        fault = Fault(Reason.UNSUPPORTED, str(err))
        raise _FaultyError(dict.fromkeys(aim.changed, fault), str(err)) from err
    return Candidate(state, rendered, aim, given.want)


def _is_alike(plan: Plan, inventory: Inventory) -> bool:
    """Whether the machines alone are no cause for another plan; rested numbers are if it lacks."""
    old = plan.inventory
    same = (old.nodes, old.volumes, old.finished) == (
        inventory.nodes, inventory.volumes, inventory.finished,
    )  # fmt: skip
    lacks = bool(inventory.rested) and any(one.unplaced for one in plan.workloads.values())
    return same and not lacks


def _planned(given: Input, aim: Target, inventory: Inventory) -> PlanState:
    base = given.base
    parent = base.plan if base else None
    try:
        if base is None or given.is_trial or inventory != base.plan.inventory or inventory.rested:
            if parent is not None and (parent.specs, parent.inventory) == (aim.specs, inventory):
                return _repeated(parent)
            return planning.start(aim.specs, inventory, parent).state
        if not aim.differs:
            return _repeated(base.plan)
        return planning.advance(base.state, aim.specs, aim.changed).state
    except RefusedError as err:
        faults = _blamed(err.problems, aim, Reason.UNSUPPORTED)
        raise _FaultyError(faults, _told(err.problems)) from err


def _repeated(parent: Plan) -> PlanState:
    """Return the same decisions once more: only their files are others."""
    state = planning.start(parent.specs, parent.inventory, parent).state
    following = parent.generation + 1
    return _renumbered(
        replace(
            state,
            plan=msgspec.structs.replace(parent, generation=following, parent=parent.generation),
        ),
        following,
    )


def _demand_placed(plan: Plan, aim: Target) -> None:
    """Raise if an instance would go on at an older revision for want of a node.

    What such an instance holds would stand in no plan.
    """
    faults = {
        key: Fault(Reason.UNPLACED, _refusals(plan.workloads[key]))
        for key in aim.changed
        if key in plan.workloads and _is_behind(plan.workloads[key])
    }
    if faults:
        raise _FaultyError(faults)


def _is_behind(planned: WorkloadPlan) -> bool:
    return any(one.revision != planned.revision for one in planned.placements)


def _refusals(planned: WorkloadPlan) -> str:
    reasons = (refusal.reason for one in planned.unplaced for refusal in one.refusals)
    return f"no node can take the new revision: {'; '.join(dict.fromkeys(reasons))}"


def _blamed(problems: Sequence[Problem], aim: Target, reason: Reason) -> dict[WorkloadKey, Fault]:
    """Return who is to blame: the changed workloads that problems name, else all that changed."""
    found: dict[WorkloadKey, Fault] = {}
    for problem in problems:
        path = problem.at.path.removeprefix("workloads.")
        key = next((k for k in aim.changed if path == k or path.startswith(f"{k}.")), None)
        if key is not None:
            found[key] = Fault(reason, problem.what)
    return found or dict.fromkeys(aim.changed, Fault(reason, _told(problems)))


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
