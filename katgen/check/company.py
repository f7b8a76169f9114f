# ruff: noqa: D401 -- an invariant is a statement, not an order
"""Invariants between instances: even numbers over domains, nearness and distance.

Rules bind an instance when it is placed. Others leave in the same plan, maybe after they were
looked at, so where such an instance was counts in favour of the new one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from katgen.check.facts import Facts, Instance, Invariant, admits, at_workload
from katgen.errors import Problem
from katgen.model.placing import Spread, WorkloadTerm
from katgen.names import NodeName, WorkloadKey


def spread_holds(facts: Facts) -> Iterator[Problem]:
    """No new instance is in a domain with more than maxSkew above the emptiest."""
    for key, _ in facts.workloads():
        instances = facts.of(key)
        for rule in facts.spec(key).spread if instances else ():
            domains = _domains(facts, rule.topology_key)
            new = {domains.get(i.placement.node) for i in instances if i.is_new}
            counts, floor = _counts(facts, instances, rule)
            if any(d is None or counts[d] > floor + rule.max_skew for d in new):
                shown = ", ".join(f"{domain} {n}" for domain, n in sorted(counts.items()))
                shown += ", and a new one is in none" if None in new else ""
                what = f"maxSkew {rule.max_skew} over {rule.topology_key} is broken: {shown}"
                yield Problem(at_workload(key), what)


def _counts(
    facts: Facts, instances: Sequence[Instance], rule: Spread
) -> tuple[Mapping[str, int], int]:
    """Return how many each domain has, and how many the emptiest may have had.

    One that moves lets a domain fall below what others were placed by, except with maxSkew 1:
    there, whatever leaves the emptiest domain can go nowhere else.
    """
    key, spec = instances[0].key, facts.spec(instances[0].key)
    domains = _domains(facts, rule.topology_key)
    usable = {domains[n.name] for n in facts.plan.inventory.nodes.values() if admits(spec, n)}
    counts = Counter({domain: 0 for domain in usable if domain is not None})
    there: dict[str, set[str | None]] = {i.placement.ordinal: set() for i in instances}
    for instance in instances:
        domain = domains.get(instance.placement.node)
        there[instance.placement.ordinal].add(domain)
        if domain is not None and domain in counts:
            counts[domain] += 1
    had = counts.copy()
    for old in facts.before(key) if rule.max_skew > 1 else ():
        domain = domains.get(old.node)
        if domain is None or domain in there.get(old.ordinal, {domain}):
            continue
        if domain in had:
            had[domain] += 1
            there[old.ordinal].add(domain)
    return counts, min(had.values(), default=0)


def distances_hold(facts: Facts) -> Iterator[Problem]:
    """Nothing new is in a domain with something that wants, or has, to be apart from it."""
    for key in facts.plan.workloads:
        required = facts.spec(key).affinity.anti_workload.required
        instances = facts.of(key) if required else ()
        for term in required if instances else ():
            if key not in facts.judged and not _means_judged(facts, key, term):
                continue
            domains = _domains(facts, term.topology_key)
            meant = _by_domain(_meant(facts, key, term), domains)
            for instance in instances:
                domain = domains.get(instance.placement.node)
                for other in meant.get(domain or "", ()):
                    if other is not instance and (other.is_new or instance.is_new):
                        what = f"it must be apart from {other.at}; both are in {domain}"
                        yield Problem(instance.at, what)


def nearness_holds(facts: Facts) -> Iterator[Problem]:
    """A new instance is in a domain with what it must be near; the very first of a kind is not."""
    for key, _ in facts.workloads():
        instances = facts.of(key)
        for term in facts.spec(key).affinity.workload.required if instances else ():
            yield from _nearness(facts, key, term)


def _nearness(facts: Facts, key: WorkloadKey, term: WorkloadTerm) -> Iterator[Problem]:
    domains, meant = _domains(facts, term.topology_key), _meant(facts, key, term)
    counts_itself = any(i.key == key for i in meant)
    others = _by_domain([i for i in meant if i.key != key or not i.is_new], domains)
    reached = others.keys() | _domains_before(facts, key, term)
    stood = any(not i.is_new for mine in others.values() for i in mine)
    first: str | None = None
    for instance in facts.of(key):
        domain = domains.get(instance.placement.node)
        if not instance.is_new or domain in reached:
            continue
        if counts_itself and domain is not None and not stood and first in {None, domain}:
            first = domain
            continue
        labels = ", ".join(f"{name}={value}" for name, value in term.match_labels.items())
        where = f"a node without label {term.topology_key}" if domain is None else domain
        yield Problem(instance.at, f"it must be near {labels}, and is in {where}")


def _domains_before(facts: Facts, key: WorkloadKey, term: WorkloadTerm) -> set[str]:
    """Return the domains where the parent has what a term means."""
    domains = _domains(facts, term.topology_key)
    keys = [other for other in facts.plan.workloads if _is_meant(facts, key, other, term)]
    found = (domains.get(p.node) for other in keys for p in facts.before(other))
    return {domain for domain in found if domain is not None}


def _domains(facts: Facts, topology: str) -> Mapping[NodeName, str | None]:
    nodes = facts.plan.inventory.nodes
    return {n: n if topology == "node" else node.labels.get(topology) for n, node in nodes.items()}


def _by_domain(
    instances: Sequence[Instance], domains: Mapping[NodeName, str | None]
) -> Mapping[str, Sequence[Instance]]:
    found: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        domain = domains.get(instance.placement.node)
        if domain is not None:
            found[domain].append(instance)
    return found


def _meant(facts: Facts, key: WorkloadKey, term: WorkloadTerm) -> Sequence[Instance]:
    keys = [other for other in facts.plan.workloads if _is_meant(facts, key, other, term)]
    return [instance for other in keys for instance in facts.of(other)]


def _means_judged(facts: Facts, key: WorkloadKey, term: WorkloadTerm) -> bool:
    return any(_is_meant(facts, key, other, term) for other, _ in facts.workloads())


def _is_meant(facts: Facts, key: WorkloadKey, other: WorkloadKey, term: WorkloadTerm) -> bool:
    same = key.partition("/")[0] == other.partition("/")[0]
    labels = facts.plan.specs.workloads[other].workload.metadata.labels
    return same and all(labels.get(name) == value for name, value in term.match_labels.items())


INVARIANTS: Mapping[str, Invariant] = {
    "spread-holds": spread_holds,
    "distances-hold": distances_hold,
    "nearness-holds": nearness_holds,
}
