"""A change to objects that are valid together → its problems, at the cost of the change.

Objects that did not change are not loaded again, and a rule is asked only if an object of a kind
that it looks at has changed. What comes out is what `check` says of the whole.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from katgen.errors import Problem
from katgen.model.cluster import ClusterSpec
from katgen.names import WorkloadKey
from katgen.parse import Parsed
from katgen.validate.cluster import host_ports, lengths, networks, room
from katgen.validate.load import Written
from katgen.validate.nodes import nodes
from katgen.validate.objects import Objects, gather
from katgen.validate.order import order
from katgen.validate.pairs import pairs
from katgen.validate.permissions import permissions
from katgen.validate.references import keys, references
from katgen.validate.remarks import exclusive, unreachable, unused
from katgen.validate.schedule import schedules
from katgen.validate.service import outside_names, services
from katgen.validate.workload import insides

FIELDS: Final[Mapping[str, str]] = {
    "Workload": "workloads",
    "VirtualLoadBalancer": "load_balancers",
    "JobDefinition": "jobs",
    "BuildDefinition": "builds",
    "Config": "configs",
    "Secret": "secrets",
    "Namespace": "namespaces",
    "ClusterConfiguration": "clusters",
    "Node": "nodes",
}
"""Where `Objects` has a kind."""

Mention = tuple[str, WorkloadKey]
"""A kind and a key, as in `Objects.mentioned`."""
_Rule = Callable[[Objects], Iterator[Problem]]
_ClusterRule = Callable[[Objects, ClusterSpec], Iterator[Problem]]


def _within(rule: _ClusterRule) -> _Rule:
    """Return a rule of the cluster's settings as a rule of the objects."""

    def asked(objects: Objects) -> Iterator[Problem]:
        if objects.cluster is not None:
            yield from rule(objects, objects.cluster.spec)

    return asked


@dataclass(frozen=True, slots=True)
class _Reads:
    """The kinds that a rule looks at; of those in `each`, at every object by itself."""

    rule: _Rule
    kinds: frozenset[str]
    each: tuple[str, ...] = ()

    def told(self, objects: Objects, changed: Collection[Mention]) -> Iterator[Problem]:
        if not any(kind in self.kinds for kind, _ in changed):
            return iter(())
        return self.rule(_only(objects, self.each, changed))


def _reads(rule: _Rule, kinds: str, *each: str) -> _Reads:
    return _Reads(rule, frozenset(kinds.split()), each)


_SERVED: Final = "Workload VirtualLoadBalancer"
_CLUSTER: Final = "ClusterConfiguration"
RULES: Final = (
    _reads(pairs, f"{_SERVED} JobDefinition BuildDefinition"),
    _reads(insides, "Workload", "Workload"),
    _reads(services, _SERVED),
    _reads(outside_names, "VirtualLoadBalancer"),
    _reads(references, f"{_SERVED} Config Secret"),
    _reads(keys, f"{_SERVED} Secret"),
    _reads(permissions, "Workload Namespace"),
    _reads(order, "Workload"),
    _reads(schedules, "JobDefinition", "JobDefinition"),
    _reads(networks, _CLUSTER),
    _reads(_within(room), f"{_SERVED} JobDefinition Node {_CLUSTER}"),
    _reads(_within(host_ports), f"Workload {_CLUSTER}"),
    _reads(_within(lengths), f"{_SERVED} JobDefinition Node {_CLUSTER}"),
    _reads(_within(nodes), f"Node {_CLUSTER}"),
)
REMARKS: Final = (
    _reads(exclusive, "Workload", "Workload"),
    _reads(unused, "Config Secret", "Config", "Secret"),
    _reads(_within(unreachable), f"Node {_CLUSTER}"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """What is wrong with a change, and what is worth knowing of it; each in no order."""

    problems: frozenset[Problem]
    notes: frozenset[Problem]


def check_change(ground: Objects, gone: Collection[Mention], parsed: Parsed) -> Told:
    """Return what is wrong once `gone` has gone from valid objects, and documents have come.

    A document takes the place of the object with its kind and key.
    """
    gathered = gather(parsed)
    coming = gathered.objects.mentioned
    changed = frozenset({*gone, *coming})
    objects = _after(ground, gathered.objects, changed)
    problems = {one for rule in RULES for one in rule.told(objects, changed)}
    notes = {one for rule in REMARKS for one in rule.told(objects, changed)}
    return Told(frozenset({*gathered.problems, *problems}), frozenset(notes))


def _after(ground: Objects, new: Objects, changed: frozenset[Mention]) -> Objects:
    made: dict[str, Any] = {}
    for kind in {kind for kind, _ in changed} & FIELDS.keys():
        name = FIELDS[kind]
        left = {key for of, key in changed if of == kind}
        made[name] = _merged(getattr(ground, name), left, getattr(new, name))
    mentioned = ground.mentioned
    if new.mentioned != changed or not mentioned >= new.mentioned:
        mentioned = (mentioned - changed) | new.mentioned
    return replace(ground, mentioned=mentioned, complete=new.complete, **made)


def _merged(
    old: Mapping[WorkloadKey, Written[Any]],
    left: AbstractSet[WorkloadKey],
    new: Mapping[WorkloadKey, Written[Any]],
) -> Mapping[WorkloadKey, Written[Any]]:
    merged = dict(old)
    for key in left - new.keys():
        merged.pop(key, None)
    has_more = not new.keys() <= old.keys()
    merged |= new
    return {key: merged[key] for key in sorted(merged)} if has_more else merged


def _only(objects: Objects, kinds: Iterable[str], changed: Collection[Mention]) -> Objects:
    """Return objects of which some kinds have the changed ones alone."""
    made: dict[str, Any] = {}
    for kind in kinds:
        every = getattr(objects, FIELDS[kind])
        keys = sorted(key for of, key in changed if of == kind and key in every)
        made[FIELDS[kind]] = {key: every[key] for key in keys}
    return replace(objects, **made) if made else objects
