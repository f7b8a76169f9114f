"""Node (spec §3.8)."""

from typing import Annotated, Literal

from pydantic import Field

from katgen.model.cluster import Address, Cidr
from katgen.model.network import Endpoint, LinkName
from katgen.model.spec import ClusterWideMetadata, Document, Spec, by_leader
from katgen.model.text import LabelKey, LabelValue, NodeLabel, Text
from katgen.model.types import (
    BOTH,
    Cpu,
    Effect,
    Flag,
    Memory,
    WholeQuantity,
    WireguardKey,
)


class Taint(Spec):
    """Keeps instances away that do not tolerate it."""

    key: LabelKey = Field(description="As `dedicated`.")
    value: LabelValue = Field(default="", description="As `database`.")
    effect: Effect = Field(
        description="`NoSchedule`: nothing new; `PreferNoSchedule`: rather not; "
        "`NoExecute`: nothing new, and what runs is moved off."
    )


class NodeSpec(Spec):
    """What people decide about a node."""

    advertise_address: Address | None = Field(
        default=None, description="Under which other nodes reach it, below the overlay."
    )
    taints: tuple[Taint, ...] = Field(default=(), description="What keeps instances away.")
    unschedulable: Flag = Field(default=False, description="Cordoned: nothing new is placed here.")
    overlay_subnet: Cidr | None = Field(
        default=None, description="Its part of clusterCIDR.", **by_leader()
    )
    behind_nat: Flag = Field(
        default=False,
        alias="behindNAT",
        description="It can reach others, and they cannot reach it first.",
    )


class Capacity(Spec):
    """Amounts of what a node has. What is not given has no limit; no custom resource is there."""

    cpu: Cpu | None = Field(default=None, description="CPUs, as 4 or 3500m.")
    memory: Memory | None = Field(default=None, description="Bytes, as 16Gi.")
    custom_resources: dict[LabelKey, WholeQuantity] = Field(
        default={}, description="Things that are counted, as `nvidia.com/gpu: 1`."
    )


class OverlayNetwork(Spec):
    """How other nodes' overlays find this one."""

    public_key: WireguardKey | None = Field(
        default=None, description="Of its WireGuard interface; the private half never leaves it."
    )
    endpoint: Endpoint | None = Field(
        default=None,
        description="Address or name, and port, for other nodes; if not given, advertiseAddress "
        "and wireguardPort.",
    )
    interface: LinkName | None = Field(
        default=None,
        description="The node's link to the others, for host-gateway; if not given, the link that "
        "carries the alternative name kat-uplink.",
    )


class Versions(Spec):
    """Of programs on the node: renderers depend on them."""

    kat: Text = Field(default="", description="The agent's; for the leader.")
    systemd: Text = Field(default="", description="As 257.")
    podman: Text = Field(default="", description="As 5.4.2.")


class NodeStatus(Spec):
    """What the agent reported."""

    capacity: Capacity = Field(default=Capacity(), description="What the machine has.")
    allocatable: Capacity | None = Field(
        default=None, description="What instances may use of it; if not given, all."
    )
    workload_instances: tuple[Text, ...] = Field(
        default=(), description="What runs there, as namespace/workload/id; for people to read."
    )
    overlay_network: OverlayNetwork = Field(
        default=OverlayNetwork(), description="Its part of the overlay."
    )
    condition: Annotated[Literal["Ready", "NotReady"], BOTH] = Field(
        default="Ready", description="Nothing is placed on a node that is NotReady."
    )
    last_heartbeat_time: Text = Field(default="", description="RFC 3339; for people to read.")
    versions: Versions = Field(default=Versions(), description="Of programs on the node.")
    manifest_versions: tuple[int, ...] = Field(
        default=(), description="Manifest formats that its agent reads; for the leader."
    )


class NodeMetadata(ClusterWideMetadata):
    """Names a node. The name becomes part of DNS names and of DaemonService instances' ids."""

    name: NodeLabel = Field(description="A DNS label.")


class Node(Document):
    """A machine, as the API, the inventory and the `--nodes` file show it."""

    kind: Literal["Node"] = Field(description="This kind.")
    metadata: NodeMetadata = Field(description="Its names.")
    spec: NodeSpec = Field(default=NodeSpec(), description="What people decide about it.")
    status: NodeStatus = Field(default=NodeStatus(), description="What its agent reported.")
