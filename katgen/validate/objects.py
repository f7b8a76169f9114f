"""All objects of all documents, by kind and key, for the rules that reach across them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from katgen import names
from katgen.errors import Problem
from katgen.model.cluster import ClusterConfiguration, ClusterSpec
from katgen.model.node import Node
from katgen.model.objects import (
    BuildDefinition,
    Config,
    JobDefinition,
    Namespace,
    Secret,
    VirtualLoadBalancer,
)
from katgen.model.spec import ClusterWideMetadata
from katgen.model.spec import Document as Model
from katgen.model.workload import Workload
from katgen.names import WorkloadKey
from katgen.parse import Document, Parsed
from katgen.validate.load import Written, load

M = TypeVar("M", bound=Model)

DEFAULT_CLUSTER: Final = ClusterConfiguration(
    kind="ClusterConfiguration",
    metadata=ClusterWideMetadata(name="kat"),
    spec=ClusterSpec.model_validate(
        {"clusterCIDR": "10.100.0.0/16", "serviceCIDR": "10.101.0.0/16"}
    ),
)
"""What `init` without a file writes (spec §3.1); also what holds where no file has one."""
ByKey = Mapping[WorkloadKey, Written[M]]
CLUSTER_WIDE = frozenset({"ClusterConfiguration", "Namespace", "Node"})


@dataclass(frozen=True, slots=True)
class Objects:
    """Every valid object by key; of cluster-wide kinds the key's namespace is `default`.

    `mentioned` also has what is there but not valid, so that a fault in one object is not told
    again as its absence. `complete` is false if a file could not be read: then nothing is surely
    absent.
    """

    workloads: ByKey[Workload]
    load_balancers: ByKey[VirtualLoadBalancer]
    jobs: ByKey[JobDefinition]
    builds: ByKey[BuildDefinition]
    configs: ByKey[Config]
    secrets: ByKey[Secret]
    namespaces: ByKey[Namespace]
    clusters: ByKey[ClusterConfiguration]
    nodes: ByKey[Node]
    mentioned: frozenset[tuple[str, WorkloadKey]] = frozenset()
    complete: bool = True

    @property
    def cluster(self) -> ClusterConfiguration | None:
        """The cluster's settings, or the defaults; None if there are some that are not known."""
        if self.clusters:
            return next(iter(self.clusters.values())).object
        written = not self.complete or any(k == "ClusterConfiguration" for k, _ in self.mentioned)
        return None if written else DEFAULT_CLUSTER

    def lacks(self, kind: str, key: WorkloadKey) -> bool:
        """Whether there is surely no such object."""
        return self.complete and (kind, key) not in self.mentioned


@dataclass(slots=True)
class Gathered:
    """What loading gives: the objects, and every problem of an object as such."""

    objects: Objects
    problems: list[Problem] = field(default_factory=list)


def gather(parsed: Parsed) -> Gathered:
    """Load every document."""
    problems = list(parsed.problems)
    written: list[Written[Model]] = []
    for document in parsed.documents:
        one, found = load(document)
        problems += found
        if one is not None:
            written.append(one)
    problems += _twice(written)
    mentioned = frozenset(filter(None, map(_mention, parsed.documents)))
    complete = not parsed.problems
    return Gathered(_sorted(written, mentioned, complete=complete), problems)


def _mention(document: Document) -> tuple[str, WorkloadKey] | None:
    kind, metadata = document.value.get("kind"), document.value.get("metadata")
    if not isinstance(kind, str) or not isinstance(metadata, dict):
        return None
    namespace = metadata.get("namespace", "default")
    return kind, names.key(str(namespace), str(metadata.get("name")))


def _twice(written: Iterable[Written[Model]]) -> Iterator[Problem]:
    first: dict[tuple[str, str], Written[Model]] = {}
    for one in written:
        other = first.setdefault((one.object.kind, one.key), one)
        if other is not one:
            at = other.at("metadata", "name")
            what = f"{one.object.kind} {_shown(one)} stands twice"
            where = f"{at.file}:{at.line}"
            yield Problem(one.at("metadata", "name"), what, f"the first is at {where}; keep one")


def _shown(one: Written[Model]) -> str:
    return one.object.metadata.name if one.object.kind in CLUSTER_WIDE else one.key


def _sorted(
    written: Iterable[Written[Model]],
    mentioned: frozenset[tuple[str, WorkloadKey]],
    *,
    complete: bool,
) -> Objects:
    ordered = sorted(written, key=lambda one: one.key)

    def of(kind: type[M]) -> dict[WorkloadKey, Written[M]]:
        return {
            one.key: Written(one.object, one.document)
            for one in ordered
            if isinstance(one.object, kind)
        }

    return Objects(
        workloads=of(Workload),
        load_balancers=of(VirtualLoadBalancer),
        jobs=of(JobDefinition),
        builds=of(BuildDefinition),
        configs=of(Config),
        secrets=of(Secret),
        namespaces=of(Namespace),
        clusters=of(ClusterConfiguration),
        nodes=of(Node),
        mentioned=mentioned,
        complete=complete,
    )
