# ruff: noqa: D401 -- an invariant is a statement, not an order
"""Invariants of plans in which one revision replaces another step by step."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from katgen.check.facts import Facts, Invariant, admits, at_workload, evicts, is_exclusive
from katgen.check.facts import wanted_count as count_of
from katgen.errors import Problem
from katgen.model.workload import WorkloadSpec
from katgen.names import InstanceKey, WorkloadKey, instance
from katgen.planned import Earlier, Placement, Plan


def earlier_is_kept(facts: Facts) -> Iterator[Problem]:
    """What instances of earlier revisions are made of is what the parent says, and no more."""
    for key in sorted(facts.plan.workloads.keys() | facts.plan.earlier.keys()):
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
    for key, instances in facts.by_workload.items():
        ordinals: dict[str, int] = {}
        for one in instances:
            ordinals[one.placement.ordinal] = ordinals.get(one.placement.ordinal, 0) + 1
        for one in instances:
            alone = one.spec.type != "Service" or one.placement.stop_first
            if ordinals[one.placement.ordinal] > 1 and (alone or is_exclusive(one.spec)):
                yield Problem(one.at, f"ordinal {one.placement.ordinal} of {key} has another one")


@dataclass(frozen=True, slots=True)
class _Rollout:
    """A workload that is replaced step by step. `ready` are its instances that were ready."""

    key: WorkloadKey
    spec: WorkloadSpec
    count: int
    old: tuple[Placement, ...]
    new: tuple[Placement, ...]
    revision: str
    ready: Collection[InstanceKey]

    @property
    def unavailable(self) -> int:
        pace = self.spec.update_strategy.rolling
        return pace.max_unavailable or (0 if pace.max_surge else 1)

    @property
    def is_in_place(self) -> bool:
        alone = self.spec.type != "Service" or is_exclusive(self.spec)
        with_devices = self.spec.container.resources.gpu is not None
        return alone or with_devices or any(p.stop_first for p in self.old)

    def were_ready(self) -> list[Placement]:
        return [p for p in self.old if instance(self.key, p.ordinal, p.incarnation) in self.ready]


def _rollouts(facts: Facts) -> Iterator[_Rollout]:
    parent, plan = facts.parent, facts.plan
    for key, ready in plan.inventory.available.items() if parent is not None else ():
        old, new = parent.workloads.get(key) if parent else None, plan.workloads.get(key)
        if old is None or new is None:
            continue
        objects = plan.specs.workloads[key]
        spec = objects.workload.spec
        if spec.type != "Job" and spec.update_strategy.type == "Rolling":
            count = count_of(objects)
            yield _Rollout(key, spec, count, old.placements, new.placements, new.revision, ready)


def rollouts_keep_below(facts: Facts) -> Iterator[Problem]:
    """A rollout makes no more instances than there may be, maxSurge included.

    Where there are more already, because less is wanted since, only new ordinals come to them.
    """
    for one in _rollouts(facts):
        if one.spec.type != "Service":
            continue
        fresh = {p.ordinal for p in one.new} - {p.ordinal for p in one.old}
        surge = one.spec.update_strategy.rolling.max_surge
        most = max(one.count + surge, len(one.old) + len(fresh))
        if len(one.new) > most:
            what = f"{len(one.new)} instances are placed; there may be {most} in this rollout"
            yield Problem(at_workload(one.key), what)


def rollouts_leave_enough(facts: Facts) -> Iterator[Problem]:
    """A rollout takes no ready instance away below what maxUnavailable leaves.

    What must go anyway does not count: for its node, its taints, or because nobody wants it.
    """
    for one in _rollouts(facts):
        ready = [p for p in one.were_ready() if not _must_go(facts, one, p)]
        left = frozenset(one.new)
        taken = [p for p in ready if p.revision != one.revision and p not in left]
        if one.is_in_place:
            allowed = max(1, one.unavailable)
            # An ordinal that had two goes on with one of them.
            count = len({p.ordinal for p in taken} - {p.ordinal for p in ready if p in left})
        else:
            allowed = max(0, len(ready) - max(0, one.count - one.unavailable))
            count = len(taken)
        if count > allowed:
            what = f"{count} ready instances are replaced at once; {allowed} may be"
            yield Problem(at_workload(one.key), what)


def _must_go(facts: Facts, one: _Rollout, placement: Placement) -> bool:
    node = facts.plan.inventory.nodes.get(placement.node)
    if node is None or evicts(one.spec, node) or not admits(one.spec, node):
        return True
    if one.spec.type == "DaemonService":
        return str(placement.ordinal) != placement.node
    return not placement.ordinal.isdecimal() or int(placement.ordinal) >= one.count


INVARIANTS: dict[str, Invariant] = {
    "earlier-is-kept": earlier_is_kept,
    "exclusive-ones-are-alone": exclusive_ones_are_alone,
    "rollouts-keep-below": rollouts_keep_below,
    "rollouts-leave-enough": rollouts_leave_enough,
}
