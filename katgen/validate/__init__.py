"""Documents → specs, or every problem of every file.

A rule looks at all valid objects and yields problems; no rule depends on another having passed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from katgen.errors import Problem, SpecError
from katgen.model.cluster import ClusterSpec
from katgen.model.node import Node
from katgen.model.objects import Namespace, NamespaceMetadata
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import WorkloadKey, split_key
from katgen.parse import Parsed
from katgen.validate.cluster import host_ports, lengths, networks, room
from katgen.validate.nodes import nodes
from katgen.validate.objects import DEFAULT_CLUSTER, Objects, gather
from katgen.validate.order import order
from katgen.validate.pairs import pairs
from katgen.validate.permissions import permissions
from katgen.validate.references import keys, references
from katgen.validate.remarks import exclusive, unreachable, unused
from katgen.validate.schedule import schedules
from katgen.validate.service import outside_names, services
from katgen.validate.workload import insides

__all__ = ["Checked", "check", "check_alone", "validate"]

Rule = Callable[[Objects], Iterator[Problem]]
ClusterRule = Callable[[Objects, ClusterSpec], Iterator[Problem]]
RULES: Final[tuple[Rule, ...]] = (
    pairs,
    insides,
    services,
    outside_names,
    references,
    keys,
    permissions,
    order,
    schedules,
    networks,
)
CLUSTER_RULES: Final[tuple[ClusterRule, ...]] = (room, host_ports, lengths, nodes)
"""These need the cluster's settings, and are left out where those are not valid."""
ALONE: Final[tuple[Rule, ...]] = (pairs, insides, services, references, schedules, networks)
"""Those that look at no other workload, and at nothing that may change without it."""
REMARKS: Final[tuple[Rule, ...]] = (exclusive, unused)
CLUSTER_REMARKS: Final[tuple[ClusterRule, ...]] = (unreachable,)


@dataclass(frozen=True, slots=True)
class Checked:
    """Specs if there is no problem; `nodes` as the files have them; notes, which hinder nothing."""

    specs: Specs | None
    nodes: tuple[Node, ...]
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def check(parsed: Parsed) -> Checked:
    """Return the specs, or all problems of all files, sorted; and what is worth knowing."""
    gathered = gather(parsed)
    objects = gathered.objects
    problems = {*gathered.problems, *_told(objects, RULES, CLUSTER_RULES)}
    notes = _told(objects, REMARKS, CLUSTER_REMARKS)
    return Checked(
        specs=None if problems else _specs(objects),
        nodes=tuple(node.object for node in objects.nodes.values()),
        problems=tuple(sorted(problems)),
        notes=tuple(sorted(notes)),
    )


def check_alone(parsed: Parsed) -> Checked:
    """Check each object of a plan by itself: all of them were accepted, if not at the same time.

    What a workload's namespace and the cluster allow, what its Secrets hold, and what other
    workloads have may have changed since it was accepted.
    """
    gathered = gather(parsed)
    problems = {*gathered.problems, *_told(gathered.objects, ALONE, ())}
    specs = None if problems else _specs(gathered.objects)
    return Checked(specs, (), tuple(sorted(problems)), ())


def _told(
    objects: Objects, rules: Iterable[Rule], cluster_rules: Iterable[ClusterRule]
) -> set[Problem]:
    told = {problem for rule in rules for problem in rule(objects)}
    if objects.cluster is not None:
        spec = objects.cluster.spec
        told |= {problem for rule in cluster_rules for problem in rule(objects, spec)}
    return told


def validate(parsed: Parsed) -> Specs:
    """Return the specs. Raises SpecError with all problems of all files."""
    checked = check(parsed)
    if checked.specs is None:
        raise SpecError(checked.problems)
    return checked.specs


def _specs(objects: Objects) -> Specs:
    return Specs(
        cluster=objects.cluster or DEFAULT_CLUSTER,
        namespaces=_namespaces(objects),
        workloads={key: _joined(objects, key) for key in objects.workloads},
        configs={key: one.object for key, one in objects.configs.items()},
        secrets={key: tuple(sorted(one.object.data)) for key, one in objects.secrets.items()},
    )


def _joined(objects: Objects, key: WorkloadKey) -> WorkloadObjects:
    balancer, job = objects.load_balancers.get(key), objects.jobs.get(key)
    build = objects.builds.get(key)
    return WorkloadObjects(
        workload=objects.workloads[key].object,
        load_balancer=balancer.object if balancer else None,
        job=job.object if job else None,
        build=build.object if build else None,
    )


def _namespaces(objects: Objects) -> dict[str, Namespace]:
    written = {one.object.metadata.name: one.object for one in objects.namespaces.values()}
    used = (objects.workloads, objects.configs, objects.secrets)
    implied = {split_key(key)[0] for kind in used for key in kind}
    return {
        name: written.get(name)
        or Namespace(kind="Namespace", metadata=NamespaceMetadata(name=name))
        for name in sorted(implied | set(written))
    }
