"""Why a workload runs where it runs, and not elsewhere: every node, with the numbers."""

from collections.abc import Mapping, Sequence

import msgspec

from katgen.names import NodeName, Ordinal, WorkloadKey
from katgen.planned import Placement, Unplaced, WorkloadPlan
from katgen.schedule.feasible import objections
from katgen.schedule.nodes import OUTSIDE
from katgen.schedule.place import Target
from katgen.schedule.turn import Turn


class Score(msgspec.Struct, frozen=True, rename="camel"):
    """How good a node is, most significant part first.

    `preference` sums weights of preferred terms and avoided taints: more is better. Then fewer
    instances of the same workload (`own`) are better; BinPack does not look at them. `load` is the
    scarcer of requested CPU and memory in thousandths, `instances` counts all of the node: with
    MostEmpty less is better, with BinPack more. `place` is the node's place among the feasible.
    """

    place: int
    preference: int
    own: int
    load: int
    instances: int


class NodeVerdict(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Whether a node could take an instance, and what it has of this workload (`ordinals`).

    A node that has one is judged as if that one were still to be placed.
    """

    node: NodeName
    is_feasible: bool
    reasons: tuple[str, ...] = ()
    score: Score | None = None
    ordinals: tuple[Ordinal, ...] = ()


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Everything about one workload's places. `nodes`: the feasible, best first, then the others.

    `quota` is what the namespace's quota has against one more; `data` says where data ties an
    ordinal to a node.
    """

    workload: WorkloadKey
    placed: int
    unplaced: tuple[Unplaced, ...]
    nodes: tuple[NodeVerdict, ...]
    quota: tuple[str, ...] = ()
    data: Mapping[Ordinal, NodeName] = {}


def explanation(turn: Turn, accounted: Target, planned: WorkloadPlan | None) -> Explanation:
    """Explain a workload; `accounted` is how the table counts the instances that it has."""
    placements = planned.placements if planned else ()
    by_node: dict[NodeName, list[Placement]] = {}
    for placement in placements:
        by_node.setdefault(placement.node, []).append(placement)
    quota = tuple(f"{rule}: {fact}" for rule, fact in turn.board.quotas.objections(turn.needs))
    judged = [
        _judged(turn, i, accounted, by_node.get(name, ()))
        for i, name in enumerate(turn.table.names)
    ]
    homes = dict(planned.homes) if planned else {}
    if turn.needs.storage:
        homes |= {p.ordinal: p.node for p in placements}
    return Explanation(
        turn.needs.key,
        len(placements),
        planned.unplaced if planned else (),
        _in_order(judged),
        quota,
        homes,
    )


_Rank = tuple[int, int, int]


def _judged(
    turn: Turn, i: int, accounted: Target, mine: Sequence[Placement]
) -> tuple[_Rank, NodeVerdict]:
    """Return a node's rank and verdict, the last of its own instances aside."""
    last = mine[-1] if mine else None
    if last is not None:
        turn.leave(i, accounted.needs(last), last.gpus)
    against = objections(turn, i, needs_address=last is None)
    reasons = tuple(map(str, against))
    rank = turn.rank(i) if turn.admits(i) else (0, 0, OUTSIDE)
    score = None
    if not reasons:
        table = turn.table
        score = Score(0, -rank[0], turn.own.get(i, 0), table.load(i), table.count[i])
    if last is not None:
        turn.take(i, last.gpus, new_address=False, needs=accounted.needs(last))
    ordinals = tuple(p.ordinal for p in mine)
    return rank, NodeVerdict(turn.table.names[i], not reasons, reasons, score, ordinals)


def _in_order(judged: Sequence[tuple[_Rank, NodeVerdict]]) -> tuple[NodeVerdict, ...]:
    feasible = sorted((j for j in judged if j[1].is_feasible), key=lambda j: j[0])
    placed = []
    for place, (_, verdict) in enumerate(feasible, 1):
        score = msgspec.structs.replace(verdict.score or Score(0, 0, 0, 0, 0), place=place)
        placed.append(msgspec.structs.replace(verdict, score=score))
    return (*placed, *(verdict for _, verdict in judged if not verdict.is_feasible))
