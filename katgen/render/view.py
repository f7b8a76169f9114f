"""Cuts of a plan, each with exactly what one renderer may depend on.

A renderer that is handed a cut cannot read more of the plan, so that a change elsewhere cannot
change its bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from katgen.model.cluster import ClusterSpec
from katgen.model.container import ContainerPort
from katgen.model.objects import Config
from katgen.model.specs import WorkloadObjects
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Node, Placement, WorkloadPlan


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Settings of the cluster.

    `mtu` is the overlay's, resolved; `multi_node` is false for a lone node.
    """

    spec: ClusterSpec
    mtu: int
    multi_node: bool


@dataclass(frozen=True, slots=True)
class PlannedWorkload:
    """A workload with its decisions. `isolated` is its namespace's.

    `config_folders` says where on a node each Config is that it mounts, `secret_keys` which keys
    each Secret has that it mounts; both by the object's name. `host_roots` says below which of the
    namespace's allowedHostPaths each host path is, by the volume's name; without one, below `/`.

    `earlier` has, by revision, what instances of another revision are made of; its `plan` has that
    revision and no place. `own_configs` are Configs that the cluster has otherwise by now.

    `host_ports` and `makes_paths` are worked out here, once, since every instance is asked.
    """

    key: WorkloadKey
    objects: WorkloadObjects
    plan: WorkloadPlan
    isolated: bool
    config_folders: Mapping[str, str] = field(default_factory=dict)
    secret_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host_roots: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, "PlannedWorkload"] = field(default_factory=dict)
    own_configs: Mapping[WorkloadKey, Config] = field(default_factory=dict)
    host_ports: tuple[ContainerPort, ...] = field(init=False)
    makes_paths: bool = field(init=False)

    def __post_init__(self) -> None:
        """Work out what is read for every instance."""
        spec = self.objects.workload.spec
        ports = tuple(port for port in spec.container.ports if port.host_port is not None)
        paths = any(v.simple_cluster_storage or v.host_mount for v in spec.volumes)
        object.__setattr__(self, "host_ports", ports)
        object.__setattr__(self, "makes_paths", paths)

    def of_revision(self, revision: str) -> "PlannedWorkload":
        """Return what an instance of a revision is made of."""
        return self.earlier.get(revision, self) if self.earlier else self


class PlacedInstance(msgspec.Struct, frozen=True, gc=False):
    """One instance and the workload that it belongs to."""

    of: PlannedWorkload
    placement: Placement


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node: its subnet (`10.100.1.0/24`), its own address (`10.100.1.1`), and what runs there.

    Instances are sorted by workload and ordinal.
    """

    cluster: ClusterView
    node: Node
    subnet: str
    address: str
    instances: Sequence[PlacedInstance]


@dataclass(frozen=True, slots=True)
class NamespaceView:
    """One namespace over all nodes: its workloads sorted by key, with all placements."""

    cluster: ClusterView
    name: str
    isolated: bool
    workloads: Sequence[PlannedWorkload]


@dataclass(frozen=True, slots=True)
class PeerView:
    """A node as the others see it.

    The rest is about who reads the file: `interface` is the link by which the reader reaches the
    underlay (host-gateway only, '' if not known), `keepalive` says that the reader is behind NAT.
    """

    cluster: ClusterView
    node: Node
    subnet: str
    address: str
    interface: str = ""
    keepalive: bool = False


@dataclass(frozen=True, slots=True)
class NodesView:
    """All nodes' names and overlay addresses, sorted by name."""

    cluster: ClusterView
    addresses: Sequence[tuple[NodeName, str]]
