"""What must exist, and what becomes of what exists: kept, moved, replaced, removed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from katgen.model.specs import WorkloadObjects
from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.planned import Placement, WorkloadPlan, sort_ordinal
from katgen.schedule.needs import DAEMON, JOB, Needs

_DIGITS: Final = tuple(Ordinal(str(n)) for n in range(1024))


class Order(msgspec.Struct, frozen=True, gc=False):
    """An instance to place. `homes` are the nodes that have its data: it can run nowhere else.

    `previous` runs until its successor has a place, and stays if there is none. With `beside` it
    stays anyway, except that an instance whose devices the node has only once is replaced. One that
    `waits` for its node stays, and says so.
    """

    ordinal: Ordinal
    previous: Placement | None = None
    homes: tuple[NodeName, ...] = ()
    beside: bool = False
    waits: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of one workload. `keep` stays as it is; `remove` goes whatever happens.

    `orders` have a predecessor or data somewhere and come first; `fresh` ones have neither.
    `homes` are nodes with data of ordinals that do not run.
    """

    keep: Sequence[Placement] = ()
    remove: Sequence[Placement] = ()
    orders: Sequence[Order] = ()
    fresh: Sequence[Ordinal] = ()
    homes: Mapping[Ordinal, NodeName] = {}


def ordinal_order(ordinal: Ordinal) -> tuple[tuple[int, str], str]:
    """Order ordinals, also such as differ in leading zeros alone."""
    return sort_ordinal(ordinal), ordinal


def placement_order(placement: Placement) -> tuple[tuple[tuple[int, str], str], int]:
    """Order a workload's placements: by ordinal, of one ordinal the earlier first."""
    return ordinal_order(placement.ordinal), placement.incarnation


def numbered(count: int) -> Sequence[Ordinal]:
    """Return the ordinals 0 to `count` - 1."""
    if count <= len(_DIGITS):
        return _DIGITS[:count]
    return (*_DIGITS, *(Ordinal(str(n)) for n in range(len(_DIGITS), count)))


def wanted(
    objects: WorkloadObjects, nodes: Callable[[], Iterable[NodeName]], finished: frozenset[int]
) -> Sequence[Ordinal]:
    """Return the ordinals that shall exist, in order.

    `nodes` gives, for a DaemonService, the nodes that it belongs on. A Job without schedule wants
    its next runs, as many
    as may run at once; one with a schedule stands ready for its timer.
    """
    spec = objects.workload.spec
    if spec.type == DAEMON:
        return sorted(map(Ordinal, nodes()), key=ordinal_order)
    if spec.type != JOB:
        return numbered(1 if spec.replicas is None else spec.replicas)
    if objects.job is None:
        return numbered(1)
    job = objects.job.spec
    if job.schedule is not None:
        return numbered(job.parallelism)
    runs = (Ordinal(str(n)) for n in range(job.completions) if n not in finished)
    return tuple(run for run, _ in zip(runs, range(job.parallelism), strict=False))


class Situation(msgspec.Struct, frozen=True):
    """What reconciling one workload looks at beside its plan.

    `stays`: whether an instance may stay on that node (it exists and no taint evicts).
    `reconsider`: the workload's own
    constraints changed, so that every place is looked at again. `data` names nodes that have an
    ordinal's data.
    """

    needs: Needs
    revision: str
    stays: Callable[[NodeName], bool]
    reconsider: bool
    data: Callable[[Ordinal], tuple[NodeName, ...]]


def reconcile(
    old: WorkloadPlan | None, ordinals: Sequence[Ordinal], situation: Situation
) -> Verdict:
    """Return what becomes of a workload whose instances shall be `ordinals`.

    Of each ordinal `old` has one instance at most.
    """
    if old is None:
        return _first(ordinals, situation)
    running = {p.ordinal: p for p in old.placements}
    retry = {u.ordinal for u in old.unplaced}
    keep: list[Placement] = []
    remove: list[Placement] = []
    orders: list[Order] = []
    fresh: list[Ordinal] = []
    for ordinal in ordinals:
        current = running.pop(ordinal, None)
        if current is None or not situation.stays(current.node):
            homes = _homes(situation, ordinal, old, current)
            if current is not None:
                remove.append(current)
            if homes:
                orders.append(Order(ordinal, None, homes))
            else:
                fresh.append(ordinal)
        elif current.revision != situation.revision or situation.reconsider or ordinal in retry:
            homes = (current.node,) if situation.needs.storage else ()
            orders.append(Order(ordinal, current, homes))
        else:
            keep.append(current)
    remove.extend(running.values())
    return Verdict(keep, remove, orders, fresh, _left_behind(old, running, situation.needs))


def _first(ordinals: Sequence[Ordinal], situation: Situation) -> Verdict:
    """Return the verdict on a workload that was not there before."""
    if not situation.needs.storage:
        return Verdict(fresh=ordinals)
    tied = [(ordinal, situation.data(ordinal)) for ordinal in ordinals]
    return Verdict(
        orders=[Order(ordinal, None, homes) for ordinal, homes in tied if homes],
        fresh=[ordinal for ordinal, homes in tied if not homes],
    )


def _homes(
    situation: Situation,
    ordinal: Ordinal,
    old: WorkloadPlan,
    current: Placement | None,
) -> tuple[NodeName, ...]:
    """Return where an ordinal's data is: what the inventory says now, else where it last ran."""
    if not situation.needs.storage:
        return ()
    reported = situation.data(ordinal)
    if reported:
        return reported
    if current is not None:
        return (current.node,)
    home = old.homes.get(ordinal)
    return () if home is None else (home,)


def _left_behind(
    old: WorkloadPlan, gone: Mapping[Ordinal, Placement], needs: Needs
) -> dict[Ordinal, NodeName]:
    left = {ordinal: p.node for ordinal, p in gone.items()} if needs.storage else {}
    return {**old.homes, **left}


def data_on(
    volumes: Mapping[str, NodeName], key: WorkloadKey, needs: Needs
) -> Callable[[Ordinal], tuple[NodeName, ...]]:
    """Return a look-up of the nodes that the inventory says have an ordinal's data."""

    def nodes(ordinal: Ordinal) -> tuple[NodeName, ...]:
        if not volumes:
            return ()
        names = (f"{key}/{s.volume}/{ordinal}" for s in needs.storage if not s.shared)
        return tuple(sorted({volumes[name] for name in names if name in volumes}))

    return nodes
