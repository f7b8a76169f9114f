"""dependsOn: workloads that exist, and no circle."""

from collections.abc import Iterator, Mapping

from katgen import names
from katgen.errors import Problem
from katgen.names import WorkloadKey
from katgen.validate.objects import Objects


def order(objects: Objects) -> Iterator[Problem]:
    """Every workload that one depends on exists, and none waits for itself."""
    needs = {key: _needs(objects, key) for key in objects.workloads}
    for key, one in objects.workloads.items():
        for index, needed in enumerate(needs[key]):
            path = ("spec", "dependsOn", index, "workload")
            if objects.lacks("Workload", needed):
                yield Problem(
                    one.at(*path), f"there is no Workload {needed}", "add it, or remove this"
                )
            circle = _way(needs, needed, key)
            if circle and key == min(circle):
                shown = " → ".join((key, *circle))
                yield Problem(
                    one.at(*path), f"each waits for the next: {shown}", "break the circle"
                )


def _needs(objects: Objects, key: WorkloadKey) -> tuple[WorkloadKey, ...]:
    workload = objects.workloads[key].object
    namespace = workload.metadata.namespace
    return tuple(names.key(namespace, d.workload) for d in workload.spec.depends_on)


def _way(
    needs: Mapping[WorkloadKey, tuple[WorkloadKey, ...]], start: WorkloadKey, end: WorkloadKey
) -> tuple[WorkloadKey, ...]:
    """Return the shortest way from `start` to `end`, both included; () if there is none."""
    ways: dict[WorkloadKey, tuple[WorkloadKey, ...]] = {start: (start,)}
    queue = [start]
    for here in queue:
        if here == end:
            return ways[here]
        for following in needs.get(here, ()):
            if following not in ways:
                ways[following] = (*ways[here], following)
                queue.append(following)
    return ()
