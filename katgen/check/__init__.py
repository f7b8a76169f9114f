"""What holds of every plan, whoever made it.

The checker shares nothing with the planner, not even a constant: what one gets wrong, the other
sees. It imports the data (`planned`, `model`), names and errors, and no more.

It remembers the last few plans that broke nothing. What follows one of them is looked at where it
differs; the result is the same, and a step of a rollout costs what the step is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from katgen.check import company, history, numbers, places, rollouts
from katgen.check.facts import Invariant, facts_of
from katgen.check.sound import Sound
from katgen.errors import Problem, Source
from katgen.planned import Plan

INVARIANTS: Mapping[str, Invariant] = {
    **numbers.INVARIANTS,
    **places.INVARIANTS,
    **company.INVARIANTS,
    **history.INVARIANTS,
    **rollouts.INVARIANTS,
}
"""Name → function. Each relies on no other but `workloads-match-specs`, which comes first."""
OF_MACHINES: Final = frozenset(
    {"subnets-fit", "subnets-disjoint", "public-keys-unique", "subnets-stay"}
)
"""What no workload can break."""
_SOUND: Final = Sound()


def check(plan: Plan, parent: Plan | None = None) -> Sequence[Problem]:
    """Return every invariant that the plan breaks, none if it is sound.

    Without `parent`, what was new in the plan cannot be told, except in a first plan. Costs what
    differs from the parent, if that was checked and broke nothing.
    """
    differing = _SOUND.differing(plan, parent)
    if differing is None:
        problems = check_whole(plan, parent)
    else:
        problems = tuple(workloads_match_specs(plan))
        if not problems:
            facts = facts_of(plan, parent, differing)
            of_workloads = (h for name, h in INVARIANTS.items() if name not in OF_MACHINES)
            problems = tuple(problem for holds in of_workloads for problem in holds(facts))
    if not problems:
        _SOUND.add(plan)
    return problems


def check_whole(plan: Plan, parent: Plan | None = None) -> Sequence[Problem]:
    """Return the same as `check`; look at everything, whatever is known already."""
    mismatched = tuple(workloads_match_specs(plan))
    if mismatched:
        return mismatched
    facts = facts_of(plan, parent)
    return tuple(problem for holds in INVARIANTS.values() for problem in holds(facts))


def workloads_match_specs(plan: Plan) -> Iterator[Problem]:
    """Demand that a plan decides on exactly the workloads that its specs name."""
    for key in sorted(plan.workloads.keys() - plan.specs.workloads.keys()):
        yield Problem(Source(path=f"workloads.{key}"), "it is in no spec")
    for key in sorted(plan.specs.workloads.keys() - plan.workloads.keys()):
        yield Problem(Source(path=f"workloads.{key}"), "it is in the specs, and not decided on")
