"""Everything that the user wrote, joined by namespace and name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from katgen.model.cluster import ClusterConfiguration
from katgen.model.objects import (
    BuildDefinition,
    Config,
    JobDefinition,
    Namespace,
    VirtualLoadBalancer,
)
from katgen.model.workload import Workload
from katgen.names import WorkloadKey


@dataclass(frozen=True, slots=True)
class WorkloadObjects:
    """A Workload and the objects that share its namespace and name."""

    workload: Workload
    load_balancer: VirtualLoadBalancer | None = None
    job: JobDefinition | None = None
    build: BuildDefinition | None = None


@dataclass(frozen=True, slots=True)
class Specs:
    """All of a cluster's objects.

    Every namespace that an object names is a key of `namespaces`, written by the user or implied.
    Mappings are sorted by key. `secrets` holds the keys of each Secret and never a value, so that
    no plan, diff or error can carry one.
    """

    cluster: ClusterConfiguration
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    workloads: Mapping[WorkloadKey, WorkloadObjects] = field(default_factory=dict)
    configs: Mapping[WorkloadKey, Config] = field(default_factory=dict)
    secrets: Mapping[WorkloadKey, tuple[str, ...]] = field(default_factory=dict)
