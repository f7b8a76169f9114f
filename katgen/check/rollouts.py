# ruff: noqa: D401 -- an invariant is a statement, not an order
"""Invariants of plans in which one revision replaces another step by step."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from katgen.check.facts import (
    Facts,
    Invariant,
    admits,
    at_workload,
    evicts,
    is_exclusive,
    wanted_ordinals,
    writes_data,
)
from katgen.errors import Problem, Source
from katgen.model.workload import WorkloadSpec
from katgen.names import InstanceKey, NodeName, WorkloadKey, instance, instance_id
from katgen.planned import Earlier, Node, Placement, Plan


def earlier_is_kept(facts: Facts) -> Iterator[Problem]:
    """What instances of earlier revisions are made of is what the parent says, and no more."""
    for key in sorted(facts.judged):
        known = facts.plan.earlier.get(key, {})
        planned = facts.plan.workloads.get(key)
        placed = {p.revision for p in planned.placements} - {planned.revision} if planned else set()
        for revision in sorted(known.keys() - placed):
            yield Problem(at_workload(key), f"revision {revision} is kept, and nowhere placed")
        for revision in sorted(placed):
            was = _known_before(facts.parent, key, revision)
            if was is None:
                continue
            now = known.get(revision)
            if now is None:
                yield Problem(at_workload(key), f"what revision {revision} is made of is forgotten")
            elif (now.objects, _configs(now)) != (was.objects, _configs(was)):
                yield Problem(at_workload(key), f"revision {revision} is made of something else")


def _known_before(parent: Plan | None, key: WorkloadKey, revision: str) -> Earlier | None:
    """Return what the parent says of a revision; of its current one, with Configs of others."""
    if parent is None or key not in parent.workloads:
        return None
    known = parent.earlier.get(key, {}).get(revision)
    if known is None and parent.workloads[key].revision == revision:
        return Earlier(parent.specs.workloads[key], parent.specs.configs)
    return known


def _configs(one: Earlier) -> dict[str, object]:
    """Return the content of the Configs that are mounted."""
    namespace = one.objects.workload.metadata.namespace
    names = {v.config.name for v in one.objects.workload.spec.volumes if v.config is not None}
    return {n: one.configs.get(WorkloadKey(f"{namespace}/{n}")) for n in names}


def exclusive_ones_are_alone(facts: Facts) -> Iterator[Problem]:
    """An ordinal has two instances only of a Service, and if neither is exclusive."""
    for key, _ in facts.workloads():
        instances = facts.of(key)
        ordinals: dict[str, int] = {}
        for one in instances:
            ordinals[one.placement.ordinal] = ordinals.get(one.placement.ordinal, 0) + 1
        for one in instances:
            alone = one.spec.type != "Service" or one.placement.stop_first
            if ordinals[one.placement.ordinal] > 1 and (alone or is_exclusive(one.spec)):
                yield Problem(one.at, f"ordinal {one.placement.ordinal} of {key} has another one")


@dataclass(frozen=True, slots=True)
class _Rollout:
    """A workload that is replaced step by step. `ready` are its instances that were ready.

    `wanted` are its ordinals.
    """

    key: WorkloadKey
    spec: WorkloadSpec
    wanted: Collection[str]
    old: tuple[Placement, ...]
    new: tuple[Placement, ...]
    revision: str
    ready: Collection[InstanceKey]
    lost: Collection[NodeName]
    nodes: Mapping[NodeName, Node]

    @property
    def count(self) -> int:
        return len(self.wanted)

    @property
    def waiting(self) -> int:
        """How many ordinals wait for lost nodes."""
        return len(self._on_lost_nodes())

    def _on_lost_nodes(self) -> set[str]:
        return {str(p.ordinal) for p in self.new} - {str(p.ordinal) for p in self.living(self.new)}

    def living(self, placements: Collection[Placement]) -> list[Placement]:
        return [p for p in placements if p.node not in self.lost]

    @property
    def least(self) -> int:
        """How many ready ones must be left: who is missing whatever is done uses up the pace."""
        pace, gone = self.spec.update_strategy.rolling, self.waiting
        one_at_least = 0 if pace.max_surge else 1
        if self.is_in_place:
            gone, one_at_least = len(self._on_lost_nodes() | self._absent() | self._stuck()), 1
        return max(0, self.count - gone - max(pace.max_unavailable - gone, one_at_least))

    def _absent(self) -> set[str]:
        """Return the ordinals of which nothing was there that may stay."""
        return set(self.wanted) - {str(p.ordinal) for p in self.old if self._may_stay(p)}

    def _may_stay(self, placement: Placement) -> bool:
        node = self.nodes.get(placement.node)
        return node is not None and not evicts(self.spec, node)

    def _stuck(self) -> set[str]:
        """Return the ordinals of old ones that are not ready, on nodes that take no others."""
        if self.spec.type != "DaemonService" and not writes_data(self.spec):
            return set()
        earlier = {p for p in self.new if p.revision != self.revision}
        unready = earlier.intersection(self.old).difference(self.were_ready())
        return {str(p.ordinal) for p in unready if self._is_closed(p.node)}

    def _is_closed(self, name: NodeName) -> bool:
        node = self.nodes.get(name)
        return node is None or node.unschedulable or not node.ready

    @property
    def is_in_place(self) -> bool:
        alone = self.spec.type != "Service" or is_exclusive(self.spec)
        with_devices = self.spec.container.resources.gpu is not None
        return alone or with_devices or any(p.stop_first for p in self.old)

    def were_ready(self) -> list[Placement]:
        living = self.living(self.old)
        return [p for p in living if instance(self.key, p.ordinal, p.incarnation) in self.ready]


def _rollouts(facts: Facts) -> Iterator[_Rollout]:
    parent, plan = facts.parent, facts.plan
    for key, ready in plan.inventory.available.items() if parent is not None else ():
        old, new = parent.workloads.get(key) if parent else None, plan.workloads.get(key)
        if old is None or new is None or key not in facts.judged:
            continue
        objects = plan.specs.workloads[key]
        spec = objects.workload.spec
        if spec.type != "Job" and spec.update_strategy.type == "Rolling":
            yield _Rollout(
                key, spec, _wanted(plan, key), old.placements, new.placements, new.revision,
                ready, plan.inventory.lost, plan.inventory.nodes,
            )  # fmt: skip


def _wanted(plan: Plan, key: WorkloadKey) -> frozenset[str]:
    """Return the ordinals that a Service has, or that there are of a DaemonService."""
    if plan.specs.workloads[key].workload.spec.type == "Service":
        return wanted_ordinals(plan, key)
    planned = plan.workloads[key]
    there = {p.ordinal for p in planned.placements} | {u.ordinal for u in planned.unplaced}
    return frozenset(map(str, there))


def rollouts_keep_below(facts: Facts) -> Iterator[Problem]:
    """A rollout makes no more instances than there may be, maxSurge included.

    Where there are more already, because less is wanted since, only new ordinals come to them.
    Ordinals that wait for lost nodes are left out of the account, and as many that stand in.
    """
    for one in _rollouts(facts):
        if one.spec.type != "Service":
            continue
        old, new = one.living(one.old), one.living(one.new)
        fresh = {p.ordinal for p in new} - {p.ordinal for p in old}
        surge = one.spec.update_strategy.rolling.max_surge
        stand_ins = sum(not _is_wanted(one, p) for p in new)
        account = one.count - one.waiting + min(stand_ins, one.waiting)
        most = max(account + surge, len(old) + len(fresh))
        if len(new) > most:
            what = f"{len(new)} instances are placed; there may be {most} in this rollout"
            yield Problem(at_workload(one.key), what)


def rollouts_leave_enough(facts: Facts) -> Iterator[Problem]:
    """A rollout takes no ready instance away below what maxUnavailable leaves.

    What must go anyway does not count: for its node, its taints, or because nobody wants it. In
    place ordinals are counted: one that had two goes on with one of them.
    """
    for one in _rollouts(facts):
        left = frozenset(one.new)
        wanted = [p for p in one.were_ready() if _is_wanted(one, p)]
        ready = [p for p in wanted if p in left or not _is_driven_away(facts, one, p)]
        taken = [p for p in ready if p.revision != one.revision and p not in left]
        there, count = len(ready), len(taken)
        if one.is_in_place:
            there = len({p.ordinal for p in ready})
            count = len({p.ordinal for p in taken} - {p.ordinal for p in ready if p in left})
        allowed = max(0, there - one.least)
        if count > allowed:
            what = f"{count} ready instances are replaced at once; {allowed} may be"
            yield Problem(at_workload(one.key), what)


def rollouts_hold_back(facts: Facts) -> Iterator[Problem]:
    """What nobody wants any more stands in for wanted ones that are not ready, if it is an earlier.

    It goes once they are ready.
    """
    for one in _rollouts(facts):
        if one.spec.type != "Service":
            continue
        wanted, others = _wanted_and_others(one, one.were_ready())
        lacking = max(0, one.count - len(wanted))
        earlier = [p for p in others if p.revision != one.revision]
        able = [p for p in earlier if not _is_driven_away(facts, one, p)]
        kept = frozenset(one.new).intersection(able)
        if len(kept) < min(lacking, len(able)):
            what = f"{len(able) - len(kept)} ready instances go, and {lacking} wanted are not ready"
            yield Problem(at_workload(one.key), what)


def _wanted_and_others(
    one: _Rollout, placements: Collection[Placement]
) -> tuple[list[Placement], list[Placement]]:
    wanted = [p for p in placements if _is_wanted(one, p)]
    return wanted, [p for p in placements if p not in wanted]


def lost_nodes_are_waited_for(facts: Facts) -> Iterator[Problem]:
    """A rollout puts on a lost node only what can be nowhere else, and replaces nothing there."""
    for one in _rollouts(facts):
        had = {(p.ordinal, p.node) for p in one.old}
        is_tied = one.spec.type == "DaemonService" or writes_data(one.spec)
        for placed in frozenset(one.new).difference(one.old):
            is_first = is_tied and (placed.ordinal, placed.node) not in had
            if placed.node in one.lost and not is_first:
                shown = instance_id(placed.ordinal, placed.incarnation)
                at = Source(path=f"workloads.{one.key}.{shown}")
                yield Problem(at, f"it is new, and node {placed.node} is lost")


def _is_driven_away(facts: Facts, one: _Rollout, placement: Placement) -> bool:
    node = facts.plan.inventory.nodes.get(placement.node)
    return node is None or evicts(one.spec, node) or not admits(one.spec, node)


def _is_wanted(one: _Rollout, placement: Placement) -> bool:
    return str(placement.ordinal) in one.wanted


INVARIANTS: dict[str, Invariant] = {
    "earlier-is-kept": earlier_is_kept,
    "exclusive-ones-are-alone": exclusive_ones_are_alone,
    "rollouts-keep-below": rollouts_keep_below,
    "rollouts-leave-enough": rollouts_leave_enough,
    "rollouts-hold-back": rollouts_hold_back,
    "lost-nodes-are-waited-for": lost_nodes_are_waited_for,
}
