"""Documents → specs, or every problem of every file.

A rule looks at all valid objects and yields problems; no rule depends on another having passed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from katgen.errors import Problem, SpecError
from katgen.model.base import ClusterWideMetadata
from katgen.model.cluster import ClusterConfiguration, ClusterSpec
from katgen.model.node import Node
from katgen.model.objects import Namespace, NamespaceMetadata
from katgen.model.specs import Specs, WorkloadObjects
from katgen.names import WorkloadKey, split_key
from katgen.parse import Parsed
from katgen.validate.objects import Objects, gather
from katgen.validate.pairs import pairs

__all__ = ["Checked", "check", "validate"]

Rule = Callable[[Objects], Iterator[Problem]]
RULES: Final[tuple[Rule, ...]] = (pairs,)
REMARKS: Final[tuple[Rule, ...]] = ()
DEFAULT_CLUSTER: Final = ClusterConfiguration(
    kind="ClusterConfiguration",
    metadata=ClusterWideMetadata(name="kat"),
    spec=ClusterSpec.model_validate(
        {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16"}
    ),
)
"""What `init` without a file writes (spec §3.1); also what holds where no file has one."""


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
    problems = {*gathered.problems, *(p for rule in RULES for p in rule(objects))}
    notes = sorted({note for rule in REMARKS for note in rule(objects)})
    specs = None if problems else _specs(objects)
    nodes = tuple(node.object for node in objects.nodes.values())
    return Checked(specs, nodes, tuple(sorted(problems)), tuple(notes))


def validate(parsed: Parsed) -> Specs:
    """Return the specs. Raises SpecError with all problems of all files."""
    checked = check(parsed)
    if checked.specs is None:
        raise SpecError(checked.problems)
    return checked.specs


def _specs(objects: Objects) -> Specs:
    clusters = [one.object for one in objects.clusters.values()]
    return Specs(
        cluster=clusters[0] if clusters else DEFAULT_CLUSTER,
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
