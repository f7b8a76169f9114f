"""ClusterConfiguration (spec §3.1) and Node (spec §3.8)."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from katgen.model.base import (
    Count,
    Cpu,
    Document,
    Flag,
    Int,
    Memory,
    Metadata,
    Port,
    Spec,
    WholeQuantity,
    later,
    spelled,
)
from katgen.model.text import AbsolutePath, DnsLabel, LabelKey, LabelValue, Text
from katgen.model.workload import Effect


def _network(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected an IPv4 network such as 10.100.0.0/16")  # noqa: TRY004 -- pydantic collects ValueError
    try:
        return IPv4Network(value)
    except ValueError as err:
        raise ValueError(
            f"{value[:40]!r} is not an IPv4 network; write it as 10.100.0.0/16, host bits zero"
        ) from err


def _address(value: object) -> object:
    try:
        return IPv4Address(str(value))
    except ValueError as err:
        raise ValueError(
            f"{str(value)[:40]!r} is not an IPv4 address; write it as 192.0.2.1"
        ) from err


def _domain(text: str) -> str:
    labels = text.split(".")
    good = all(
        label.replace("-", "").isalnum()
        and label.isascii()
        and label == label.lower()
        and len(label) <= 63
        for label in labels
    )  # noqa: PLR2004 -- RFC 1035
    if not good or len(text) > 200:  # noqa: PLR2004 -- leaves room for instance names below 253
        raise ValueError(
            f"{text[:80]!r} is not a domain; write it as kat.cluster.local, without a final dot"
        )
    return text


Cidr = Annotated[IPv4Network, BeforeValidator(_network), PlainSerializer(str, return_type=str)]
Address = Annotated[IPv4Address, BeforeValidator(_address), PlainSerializer(str, return_type=str)]
Domain = Annotated[str, AfterValidator(_domain)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
"""A WireGuard public key: 32 bytes in base64."""


class EtcdSettings(Spec):
    endpoints: tuple[str, ...] = ()
    ca_file: AbsolutePath | None = None
    cert_file: AbsolutePath | None = None
    key_file: AbsolutePath | None = None


class ClusterSpec(Spec):
    cluster_cidr: Cidr = Field(alias="clusterCIDR", description="Addresses of nodes and instances.")
    service_cidr: Cidr = Field(alias="serviceCIDR", description="Virtual addresses.")
    node_subnet_bits: Annotated[Int, Field(ge=5, le=16)] = Field(
        default=8, description="Host bits of a node's subnet: 8 gives every node a /24."
    )
    cluster_domain: Domain = "kat.cluster.local"
    agent_port: Port = 9116
    api_port: Port = 9115
    etcd_peer_port: Port = 2380
    etcd_client_port: Port = 2379
    volume_base_path: AbsolutePath = "/var/lib/kat/volumes"
    backup_path: AbsolutePath = Field(default="/var/lib/kat/backups", **later("backups"))
    backup_interval_minutes: Count = Field(default=30, **later("backups"))
    agent_tick_seconds: Annotated[Int, Field(ge=1, le=3600)] = Field(
        default=15, **later("heartbeats")
    )
    node_loss_timeout_seconds: Annotated[Int, Field(ge=2, le=86400)] = Field(
        default=60, **later("node loss")
    )
    failure_profile: Annotated[Literal["Normal", "Fast"], spelled("Normal", "Fast")] = Field(
        default="Normal", **later("node loss")
    )
    wireguard_port: Port = 51820
    overlay: Literal["wireguard", "host-gateway"] = "wireguard"
    mtu: Annotated[Int, Field(ge=1280, le=65535)] | None = Field(
        default=None,
        description="Of the overlay; if not given, the least underlay MTU less 80, or 1420.",
    )
    store: Literal["embedded", "etcd"] = Field(default="embedded", **later("etcd"))
    etcd: EtcdSettings = Field(default=EtcdSettings(), **later("etcd"))
    scheduling: Annotated[Literal["MostEmpty", "BinPack"], spelled("MostEmpty", "BinPack")] = (
        "MostEmpty"
    )
    max_stop_percent: Annotated[Int, Field(ge=0, le=100)] = Field(
        default=25, **later("maxStopPercent")
    )
    drift_policy: Annotated[Literal["Report", "Revert"], spelled("Report", "Revert")] = Field(
        default="Report", **later("drift")
    )
    upstream_dns: tuple[Address, ...] = Field(default=(), alias="upstreamDNS", **later("kat-dns"))
    external_cidr: Cidr | None = Field(
        default=None, alias="externalCIDR", **later("external addresses")
    )
    managed_roots: tuple[AbsolutePath, ...] = Field(default=(), **later("managedRoots"))

    @model_validator(mode="after")
    def _ports_distinct(self) -> Self:
        names = ("agent_port", "api_port", "etcd_peer_port", "etcd_client_port")
        taken: dict[int, str] = {}
        for name in names:
            alias = str(type(self).model_fields[name].alias)
            other = taken.setdefault(getattr(self, name), alias)
            if other != alias:
                raise ValueError(
                    f"{alias} and {other} are both {getattr(self, name)}; they must differ"
                )
        return self

    @model_validator(mode="after")
    def _loss_after_two_ticks(self) -> Self:
        if self.node_loss_timeout_seconds < 2 * self.agent_tick_seconds:
            raise ValueError(
                f"nodeLossTimeoutSeconds {self.node_loss_timeout_seconds} is less than two agentTickSeconds "
                f"({self.agent_tick_seconds}); raise it to at least {2 * self.agent_tick_seconds}"
            )
        return self


class ClusterMetadata(Metadata):
    @model_validator(mode="after")
    def _cluster_wide(self) -> Self:
        if "namespace" in self.model_fields_set:
            raise ValueError("this kind belongs to no namespace; remove metadata.namespace")
        return self


class ClusterConfiguration(Document):
    """Settings of the whole cluster; there is exactly one."""

    kind: Literal["ClusterConfiguration"]
    metadata: ClusterMetadata
    spec: ClusterSpec


class Taint(Spec):
    key: LabelKey
    value: LabelValue = ""
    effect: Effect


class NodeSpec(Spec):
    advertise_address: Address | None = None
    taints: tuple[Taint, ...] = ()
    unschedulable: Flag = False
    overlay_subnet: Cidr | None = Field(default=None, **later("set by the leader"))
    behind_nat: Flag = Field(default=False, alias="behindNAT")


class Capacity(Spec):
    cpu: Cpu | None = None
    memory: Memory | None = None
    custom_resources: dict[LabelKey, WholeQuantity] = Field(
        default={}, description="As nvidia.com/gpu: 1."
    )


class OverlayNetwork(Spec):
    public_key: Key | None = None
    endpoint: Text | None = Field(
        default=None, description="Address or name, and port, for other nodes."
    )


class Versions(Spec):
    kat: Text = ""
    systemd: Text = ""
    podman: Text = ""


class NodeStatus(Spec):
    """What the agent reported. Missing allocatable means capacity; missing capacity means no limit."""

    capacity: Capacity = Capacity()
    allocatable: Capacity | None = None
    workload_instances: tuple[Text, ...] = ()
    overlay_network: OverlayNetwork = OverlayNetwork()
    condition: Annotated[Literal["Ready", "NotReady"], spelled("Ready", "NotReady")] = "Ready"
    last_heartbeat_time: Text = ""
    versions: Versions = Versions()
    manifest_versions: tuple[Int, ...] = ()


class NodeMetadata(ClusterMetadata):
    name: DnsLabel


class Node(Document):
    """A machine, as the API, the inventory and the `--nodes` file show it."""

    kind: Literal["Node"]
    metadata: NodeMetadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
