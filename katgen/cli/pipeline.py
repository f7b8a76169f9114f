"""From the files that a command names to a plan that the checker has nothing against."""

from dataclasses import dataclass, replace

import msgspec

from katgen import check, plan
from katgen.cli import inputs
from katgen.cli.options import Named
from katgen.cli.output import counted
from katgen.cli.reading import checked
from katgen.errors import Problem, RefusedError, Source, SpecError
from katgen.inventory import inventory
from katgen.model.specs import Specs
from katgen.names import WorkloadKey
from katgen.planned import Inventory, Plan, WorkloadPlan
from katgen.validate.objects import DEFAULT_CLUSTER
from katgen.wire import plan_from_json


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the planner takes."""

    specs: Specs
    inventory: Inventory
    parent: Plan | None = None


def load(named: Named) -> Loaded:
    """Return the specs, the inventory and the parent.

    A parent stands in for what the files leave out: its cluster's settings and its nodes, so that
    a forgotten file moves and stops nothing. Raises SpecError, RefusedError.
    """
    parent = _parent(named.parent) if named.parent else None
    found = checked(named)
    if found.specs is None:
        raise SpecError(found.problems)
    specs, known = found.specs, inventory(found.nodes)
    if parent is not None:
        specs = _with_cluster_of(parent, specs, named.parent)
        known = _with_facts_of(parent, known, is_given=bool(found.nodes))
    return Loaded(specs, known, parent)


def _parent(name: str) -> Plan:
    parent = plan_from_json(inputs.read_one(name), name)
    problems = check.check(parent, None)
    if problems:
        raise SpecError(replace(p, at=Source(name, path=p.at.path)) for p in problems)
    return parent


def _with_cluster_of(parent: Plan, specs: Specs, shown_name: str) -> Specs:
    if specs.cluster is DEFAULT_CLUSTER:
        return replace(specs, cluster=parent.specs.cluster)
    ours, theirs = specs.cluster.metadata.name, parent.specs.cluster.metadata.name
    if ours != theirs:
        what = f"is a plan of the cluster {theirs!r}, and the files are of {ours!r}"
        raise RefusedError([Problem(Source(shown_name), what, "name the parent of this cluster")])
    return specs


def _with_facts_of(parent: Plan, known: Inventory, *, is_given: bool) -> Inventory:
    """Where data is and which runs are over, no file says; the parent knows."""
    before = parent.inventory
    nodes = known.nodes if is_given else before.nodes
    return msgspec.structs.replace(
        known, nodes=nodes, volumes=before.volumes, finished=before.finished
    )


def planned(loaded: Loaded) -> Plan:
    """Return the plan. Raises RefusedError with every invariant that it breaks."""
    made = plan.make_plan(loaded.specs, loaded.inventory, loaded.parent)
    problems = check.check(made, loaded.parent)
    if problems:
        raise RefusedError(problems)
    return made


def unplaced(made: Plan) -> list[Problem]:
    """Return a problem for each workload of which instances have no node."""
    return [_lacking(key, one) for key, one in made.workloads.items() if one.unplaced]


def _lacking(key: WorkloadKey, one: WorkloadPlan) -> Problem:
    without = {unplaced.ordinal for unplaced in one.unplaced}
    lacking = len(without)
    wanted = len(without.union(placement.ordinal for placement in one.placements))
    has = "has" if lacking == 1 else "have"
    reasons = "; ".join(
        f"{refusal.reason} ({counted(refusal.count, 'node')})"
        for refusal in one.unplaced[0].refusals
    )
    what = (
        f"{lacking} of {counted(wanted, 'instance')} {has} no node: {reasons or 'there is no node'}"
    )
    staying = len({p.ordinal for p in one.placements if p.ordinal in without})
    if staying:
        what += f"; {staying} {'goes on as it is' if staying == 1 else 'go on as they are'}"
    return Problem(Source(path=key), what, f"katcall explain --offline {key} says more")
