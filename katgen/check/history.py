# ruff: noqa: D401 -- an invariant is a statement, not an order
"""Invariants between a plan and its parent: no reuse too early, no move without a cause."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from katgen.check.facts import (
    Facts,
    Instance,
    Invariant,
    at_workload,
    evicts,
    is_exclusive,
    writes_data,
)
from katgen.errors import Problem, Source
from katgen.names import NodeName, Ordinal, WorkloadKey, instance_id
from katgen.planned import Placement, Plan


def follows_parent(facts: Facts) -> Iterator[Problem]:
    """A plan's generation is above its parent's; what lies between was proposed in vain."""
    plan = facts.plan
    expected = facts.parent.generation if facts.parent else plan.parent
    if plan.parent != expected or not 0 <= plan.parent < plan.generation:
        what = f"generation {plan.generation} with parent {plan.parent} does not follow {expected}"
        yield Problem(Source(path="generation"), what)


def incarnations_below_next(facts: Facts) -> Iterator[Problem]:
    """The next incarnation is above every one that exists."""
    for instance in facts.instances:
        following = facts.plan.workloads[instance.key].next_incarnation
        if not 1 <= instance.placement.incarnation < following:
            yield Problem(instance.at, f"its incarnation is not below the next, {following}")


def incarnations_fresh(facts: Facts) -> Iterator[Problem]:
    """A new instance has an incarnation that was never used, also not before a deletion."""
    for instance in facts.instances:
        first = _next_before(facts.parent, instance.key)
        if instance.is_new and instance.placement.incarnation < first:
            yield Problem(instance.at, f"its incarnation was used before; the next is {first}")


def incarnations_remembered(facts: Facts) -> Iterator[Problem]:
    """A counter never goes back, and a deleted workload's is kept."""
    if facts.parent is None:
        return
    for key in _of_the_parent(facts, facts.parent):
        first = _next_before(facts.parent, key)
        if _next_before(facts.plan, key) < first:
            yield Problem(at_workload(key), f"its next incarnation was {first} and is lower now")


def _of_the_parent(facts: Facts, parent: Plan) -> Sequence[WorkloadKey]:
    """Return what is judged of the parent's workloads, deleted ones included."""
    return sorted(k for k in facts.judged if k in parent.workloads or k in parent.retired)


def _next_before(plan: Plan | None, key: WorkloadKey) -> int:
    if plan is None:
        return 1
    holder = plan.workloads.get(key) or plan.retired.get(key)
    return holder.next_incarnation if holder else 1


def subnets_stay(facts: Facts) -> Iterator[Problem]:
    """A node's subnet never changes, and is another's only after it has rested."""
    before = facts.parent.subnets if facts.parent else {}
    for node, subnet in before.items():
        now = facts.plan.subnets.get(node)
        is_gone = node not in facts.plan.inventory.nodes
        has_rested = is_gone and subnet in facts.plan.inventory.rested
        if now != subnet and not has_rested:
            yield Problem(Source(path=f"subnets.{node}"), f"it was {subnet} and is {now}")


def addresses_change_hands_slowly(facts: Facts) -> Iterator[Problem]:
    """An address goes to another instance only through rest, or to its successor stop-first."""
    if facts.parent is None:
        return
    wanted = {i.placement.address for i in facts.instances if i.is_new}
    owners = {
        p.address: (key, p)
        for key, w in facts.parent.workloads.items()
        for p in w.placements
        if p.address in wanted
    }
    resting = facts.parent.resting.keys() - facts.plan.inventory.rested
    for instance in facts.instances:
        if not instance.is_new:
            continue
        placement = instance.placement
        if placement.address in resting:
            yield Problem(instance.at, f"its address {placement.address} has not rested")
        key, old = owners.get(placement.address, (instance.key, placement))
        if not _takes_over(instance, key, old):
            what = f"its address {placement.address} was {key} {old.ordinal}'s a moment ago"
            yield Problem(instance.at, what)


def _takes_over(instance: Instance, key: WorkloadKey, old: Placement) -> bool:
    placement = instance.placement
    if (key, old) == (instance.key, placement):
        return True
    same = (key, old.ordinal, old.node) == (instance.key, placement.ordinal, placement.node)
    return same and placement.stop_first


def released_addresses_rest(facts: Facts) -> Iterator[Problem]:
    """An address that lost its owner rests, until the inventory says that it has."""
    if facts.parent is None:
        return
    used = {i.placement.address for i in facts.instances}
    used |= {w.virtual_address for w in facts.plan.workloads.values()}
    for key, planned in facts.parent.workloads.items():
        if key not in facts.judged:
            continue
        mine = (*(p.address for p in planned.placements), planned.virtual_address)
        for address in filter(None, mine):
            if address not in used and address not in facts.plan.resting:
                yield Problem(at_workload(key), f"{address} is released and does not rest")
    left = facts.parent.resting.keys() - facts.plan.inventory.rested - facts.plan.resting.keys()
    back = {facts.plan.subnets[n] for n in facts.plan.inventory.nodes if n in facts.plan.subnets}
    for resource in sorted(left - back):
        if not _is_inside_rested(resource, facts):
            yield Problem(Source(path=f"resting.{resource}"), "it was resting, and has not rested")


def _is_inside_rested(address: str, facts: Facts) -> bool:
    if "/" in address:
        return False
    networks = (IPv4Network(r) for r in facts.plan.inventory.rested if "/" in r)
    return any(IPv4Address(address) in network for network in networks)


def exclusive_ones_keep_address(facts: Facts) -> Iterator[Problem]:
    """The successor of an exclusive instance on the same node has its address.

    If there were two of its ordinal, neither was exclusive.
    """
    for instance in facts.instances:
        if not instance.is_new or not is_exclusive(instance.spec):
            continue
        before = facts.predecessors(instance)
        if len(before) != 1 or before[0].node != instance.placement.node:
            continue
        if before[0].address != instance.placement.address:
            yield Problem(instance.at, f"it is exclusive; its address was {before[0].address}")


def data_stays(facts: Facts) -> Iterator[Problem]:
    """An instance with data on a node is placed nowhere else."""
    for instance in facts.instances:
        if not instance.is_new or facts.parent is None or not writes_data(instance.spec):
            continue
        before, node = facts.predecessors(instance), instance.placement.node
        if len(before) > 1:
            continue  # neither has data: what has is never beside another
        home = _home(facts, instance, before[0] if before else None)
        if home is not None and home != node:
            yield Problem(instance.at, f"its data is on node {home}, not {node}")


def _home(facts: Facts, instance: Instance, old: Placement | None) -> str | None:
    """Return the node of an instance's data, as far as the parent tells and no volume disagrees."""
    ordinal = instance.placement.ordinal
    if old is not None and old.node in facts.plan.inventory.nodes:
        return old.node
    volumes = {v.name for v in instance.spec.volumes}
    reported = facts.plan.inventory.volumes
    if any(f"{instance.key}/{volume}/{ordinal}" in reported for volume in volumes):
        return None
    parent = facts.parent
    holder = parent and (parent.workloads.get(instance.key) or parent.retired.get(instance.key))
    return old.node if old else holder.homes.get(ordinal) if holder else None


def homes_are_remembered(facts: Facts) -> Iterator[Problem]:
    """Where an ordinal's data is stays known until it runs there, also through a deletion."""
    if facts.parent is None:
        return
    for key in _of_the_parent(facts, facts.parent):
        planned = facts.plan.workloads.get(key)
        holder = planned or facts.plan.retired.get(key)
        known = dict(holder.homes) if holder else {}
        known |= {p.ordinal: p.node for p in planned.placements} if planned else {}
        for ordinal, home in _homes_before(facts, facts.parent, key).items():
            if known.get(ordinal) != home:
                what = f"data of ordinal {ordinal} is on node {home}, which is forgotten"
                yield Problem(at_workload(key), what)


def _homes_before(facts: Facts, parent: Plan, key: WorkloadKey) -> dict[Ordinal, NodeName]:
    """Return homes that must not be lost: who keeps no data any more may run elsewhere."""
    old, written = parent.workloads.get(key), facts.plan.specs.workloads.get(key)
    holder = old or parent.retired.get(key)
    homes = dict(holder.homes) if holder else {}
    if old and writes_data(parent.specs.workloads[key].workload.spec):
        homes |= {p.ordinal: p.node for p in old.placements}
    if written is None:
        return homes
    spec = written.workload.spec
    if not writes_data(spec):
        return {}
    names, told = [v.name for v in spec.volumes], facts.plan.inventory.volumes
    return {o: n for o, n in homes.items() if not any(f"{key}/{v}/{o}" in told for v in names)}


def numbers_stay(facts: Facts) -> Iterator[Problem]:
    """A workload keeps its virtual address and its uids, these also through a deletion."""
    if facts.parent is None:
        return
    for key, planned in facts.workloads():
        old, retired = facts.parent.workloads.get(key), facts.parent.retired.get(key)
        if old and old.virtual_address and planned.virtual_address not in {old.virtual_address, ""}:
            yield Problem(at_workload(key), f"its virtual address was {old.virtual_address}")
        base = (old.uid_base if old else 0) or (retired.uid_base if retired else 0)
        if base and planned.uid_base not in {base, 0}:
            yield Problem(at_workload(key), f"its uids began at {base}")
        if base and not planned.uid_base and key not in facts.plan.retired:
            yield Problem(at_workload(key), f"its uids from {base} are forgotten")


def nothing_moves_without_cause(facts: Facts) -> Iterator[Problem]:
    """An instance whose workload and node are what they were is what it was."""
    if facts.parent is None:
        return
    for key, old in facts.parent.workloads.items():
        planned = facts.plan.workloads.get(key)
        if key not in facts.judged or planned is None:
            continue
        written = facts.plan.specs.workloads.get(key)
        if written != facts.parent.specs.workloads.get(key):
            continue
        retried = {u.ordinal for u in old.unplaced}
        now = frozenset(planned.placements)
        for placement in old.placements:
            if placement.revision != planned.revision or placement.ordinal in retried:
                continue
            if placement not in now and _may_stay(facts, key, placement):
                shown = instance_id(placement.ordinal, placement.incarnation)
                what = f"instance {shown} changed without a cause"
                yield Problem(at_workload(key), what)


def _may_stay(facts: Facts, key: WorkloadKey, placement: Placement) -> bool:
    node = facts.plan.inventory.nodes.get(placement.node)
    spec = facts.plan.specs.workloads[key].workload.spec
    if node is None or evicts(spec, node):
        return False
    done = facts.plan.inventory.finished.get(key, frozenset())
    is_run = spec.type == "Job" and facts.plan.specs.workloads[key].job is not None
    return not (is_run and placement.ordinal.isdecimal() and int(placement.ordinal) in done)


INVARIANTS: Mapping[str, Invariant] = {
    "follows-parent": follows_parent,
    "incarnations-below-next": incarnations_below_next,
    "incarnations-fresh": incarnations_fresh,
    "incarnations-remembered": incarnations_remembered,
    "subnets-stay": subnets_stay,
    "addresses-change-hands-slowly": addresses_change_hands_slowly,
    "released-addresses-rest": released_addresses_rest,
    "exclusive-ones-keep-address": exclusive_ones_keep_address,
    "data-stays": data_stays,
    "homes-are-remembered": homes_are_remembered,
    "numbers-stay": numbers_stay,
    "nothing-moves-without-cause": nothing_moves_without_cause,
}
