"""Names for the outside: of two workloads that would have one, the one that stays as it is has it.

What users write has each name once. But a held workload stays as it was, and may have a name that
another one has been given since: to which of the two it leads then, each proxy would decide.
"""

from collections.abc import Collection, Iterator, Mapping

from katgen.model.objects import Ingress
from katgen.model.specs import WorkloadObjects
from katgen.names import WorkloadKey
from katgen.validate.service import outside_name


def claims(
    workloads: Mapping[WorkloadKey, WorkloadObjects], staying: Collection[WorkloadKey]
) -> dict[WorkloadKey, str]:
    """Return the workloads that would take a name from one that stays, with words for each."""
    there = sorted(key for key in staying if key in workloads)
    taken = {outside_name(one): key for key in there for one in _ingress(workloads[key])}
    if not taken:
        return {}
    return {
        key: f"{one.host}{one.path} leads to {taken[outside_name(one)]}, which is held back"
        for key, objects in workloads.items()
        if key not in staying
        for one in _ingress(objects)
        if outside_name(one) in taken
    }


def _ingress(objects: WorkloadObjects) -> Iterator[Ingress]:
    balancer = objects.load_balancer
    return iter(balancer.spec.ingress if balancer is not None else ())
