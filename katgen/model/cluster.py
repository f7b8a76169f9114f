"""ClusterConfiguration (spec §3.1)."""

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from katgen.model.spec import ClusterWideMetadata, Document, Spec, later
from katgen.model.text import AbsolutePath, ShortPath
from katgen.model.types import BOTH, Count, Percent, Port

_SHOWN = 40
_DOMAIN_MAX: Final = 200
"""Leaves room for the names of instances below the 253 of RFC 1035."""
_LABEL_MAX: Final = 63
_PORT_MAX: Final = 65535
_ENDPOINT: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)
_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|\[::1\]")


def _network(value: object) -> object:
    try:
        return IPv4Network(value if isinstance(value, str) else "")
    except ValueError as err:
        shown = repr(str(value)[:_SHOWN])
        raise ValueError(
            f"{shown} is not an IPv4 network; write it as 10.100.0.0/16, host bits zero"
        ) from err


def _address(value: object) -> object:
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError as err:
        shown = repr(str(value)[:_SHOWN])
        raise ValueError(f"{shown} is not an IPv4 address; write it as 192.0.2.1") from err


def _domain(text: str) -> str:
    good = len(text) <= _DOMAIN_MAX and all(map(_is_domain_label, text.split(".")))
    if not good:
        raise ValueError(
            f"{text[:_SHOWN]!r} is not a domain of at most {_DOMAIN_MAX} characters; "
            "write it as kat.cluster.local, without a final dot"
        )
    return text


def _endpoint(text: str) -> str:
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= _PORT_MAX:
        raise ValueError(f"{text[:_SHOWN]!r} is not an endpoint; write it as https://etcd-1:2379")
    if match["scheme"] == "http" and not _LOOPBACK.fullmatch(match["host"]):
        raise ValueError(f"{text[:_SHOWN]!r} is another machine: it needs TLS; write https://")
    return text


def _is_domain_label(label: str) -> bool:
    letters = label.replace("-", "")
    plain = letters.isascii() and letters.isalnum() and label == label.lower()
    return plain and len(label) <= _LABEL_MAX and not label.startswith("-") and label[-1] != "-"


Cidr = Annotated[
    IPv4Network,
    BeforeValidator(_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["10.100.0.0/16"]}),
]
Address = Annotated[
    IPv4Address,
    BeforeValidator(_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "format": "ipv4", "examples": ["192.0.2.1"]}),
]
Domain = Annotated[str, AfterValidator(_domain)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Tick = Annotated[int, Field(strict=True, ge=1, le=3600)]


FIRST_HOST: Final = 10
"""Of a node's subnet: `.1` is the node, `.2` to `.9` are reserved, instances follow (spec §4)."""
IPV4_BITS: Final = 32


class EtcdSettings(Spec):
    """An etcd of your own."""

    endpoints: tuple[Endpoint, ...] = Field(
        default=(),
        description="Its members, as `https://etcd-1:2379`; `http://` on this machine alone.",
    )
    ca_file: AbsolutePath | None = Field(
        default=None, description="Its CA, PEM. `kat-agent init` copies the three files."
    )
    cert_file: AbsolutePath | None = Field(default=None, description="The leader's certificate.")
    key_file: AbsolutePath | None = Field(
        default=None, description="The leader's key, P-256 or RSA."
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = {
            "caFile": self.ca_file, "certFile": self.cert_file, "keyFile": self.key_file
        }  # fmt: skip
        missing = [name for name, path in given.items() if path is None]
        plain = [one for one in self.endpoints if one.startswith("http:")]
        if plain and len(plain) < len(self.endpoints):
            raise ValueError("some endpoints are https and some http; write all as one of them")
        if plain and len(missing) < len(given):
            raise ValueError(f"{plain[0]} is without TLS, and certificates are given; use https")
        if self.endpoints and not plain and missing:
            raise ValueError(f"{self.endpoints[0]} needs {' and '.join(missing)}")
        return self


class ClusterSpec(Spec):
    """Settings of the whole cluster."""

    cluster_cidr: Cidr = Field(
        alias="clusterCIDR", description="Addresses of nodes and instances, as 10.100.0.0/16."
    )
    service_cidr: Cidr = Field(
        alias="serviceCIDR",
        description="Virtual addresses, as 10.101.0.0/16; apart from the former.",
    )
    node_subnet_bits: Annotated[int, Field(strict=True, ge=5, le=16)] = Field(
        default=8,
        description="Host bits of a node's subnet. 8 gives every node a /24: in a /16, 256 nodes "
        "with 245 instances each.",
    )
    cluster_domain: Domain = Field(
        default="kat.cluster.local", description="What every name of the cluster ends in."
    )
    agent_port: Port = Field(default=9116, description="The agents' health and metrics.")
    api_port: Port = Field(default=9115, description="The leader's API.")
    etcd_peer_port: Port = Field(
        default=2380, description="Between members of an etcd run by KAT.", **later("etcd")
    )
    etcd_client_port: Port = Field(
        default=2379, description="To an etcd run by KAT.", **later("etcd")
    )
    volume_base_path: ShortPath = Field(
        default="/var/lib/kat/volumes", description="Where volumes are, on every node."
    )
    backup_path: AbsolutePath = Field(
        default="/var/lib/kat/backups",
        description="Where the leader writes backups.",
        **later("backups"),
    )
    backup_interval_minutes: Count = Field(
        default=30, description="Between two backups; 0 turns them off.", **later("backups")
    )
    agent_tick_seconds: Tick = Field(default=15, description="Between two heartbeats of an agent.")
    node_loss_timeout_seconds: Annotated[int, Field(strict=True, ge=2, le=86400)] = Field(
        default=60,
        description="Without a heartbeat until a node's instances move; two ticks or more.",
        **later("node loss"),
    )
    failure_profile: Annotated[Literal["Normal", "Fast"], BOTH] = Field(
        default="Normal",
        description="Fast sets the tick to 1 and the loss timeout to 3 seconds.",
        **later("node loss"),
    )
    wireguard_port: Port = Field(default=51820, description="UDP, of the overlay on every node.")
    overlay: Annotated[Literal["wireguard", "host-gateway"], BOTH] = Field(
        default="wireguard",
        description="`wireguard`: encrypted, over any network; `host-gateway`: plain routes "
        "between nodes of one network.",
    )
    mtu: Annotated[int, Field(strict=True, ge=1280, le=65535)] | None = Field(
        default=None,
        description="Of the overlay; if not given, the least MTU below it less 80, or 1420.",
    )
    store: Annotated[Literal["embedded", "etcd"], BOTH] = Field(
        default="embedded", description="Where the leader keeps its state."
    )
    etcd: EtcdSettings = Field(
        default=EtcdSettings(), description="An etcd of your own, if `store` is `etcd`."
    )
    scheduling: Annotated[Literal["MostEmpty", "BinPack"], BOTH] = Field(
        default="MostEmpty",
        description="`MostEmpty` spreads instances over the nodes; `BinPack` fills one after "
        "the other.",
    )
    max_stop_percent: Percent = Field(
        default=25,
        description="A change that would stop more of all instances needs `--force`.",
        **later("maxStopPercent"),
    )
    drift_policy: Annotated[Literal["Report", "Revert"], BOTH] = Field(
        default="Report",
        description="What becomes of managed files that somebody else changed.",
    )
    upstream_dns: tuple[Address, ...] = Field(
        default=(),
        alias="upstreamDNS",
        description="Name servers for names outside the cluster; if empty, the node's. Addresses "
        "of the cluster itself are not asked.",
    )
    external_cidr: Cidr | None = Field(
        default=None,
        alias="externalCIDR",
        description="A pool of addresses that can be reached from outside.",
        **later("external addresses"),
    )
    managed_roots: tuple[AbsolutePath, ...] = Field(
        default=(),
        description="Directories for KAT's files, in place of the usual ones.",
        **later("managedRoots"),
    )

    @property
    def node_prefix(self) -> int:
        """The length of the prefix of a node's subnet."""
        return IPV4_BITS - self.node_subnet_bits

    @property
    def subnets(self) -> int:
        """How many nodes there can be."""
        return self.cluster_cidr.num_addresses >> self.node_subnet_bits

    @property
    def hosts(self) -> int:
        """How many instances a node has addresses for; the last address is Linux's broadcast."""
        return (1 << self.node_subnet_bits) - 1 - FIRST_HOST

    @property
    def virtual_addresses(self) -> int:
        """How many there can be; the network's own address is none."""
        return self.service_cidr.num_addresses - 1

    @model_validator(mode="after")
    def _ports_distinct(self) -> Self:
        taken: dict[int, str] = {}
        for name in ("agent_port", "api_port", "etcd_peer_port", "etcd_client_port"):
            alias, port = str(type(self).model_fields[name].alias), getattr(self, name)
            other = taken.setdefault(port, alias)
            if other != alias:
                raise ValueError(f"{other} and {alias} are both {port}; choose distinct ports")
        return self

    @model_validator(mode="after")
    def _store_has_its_settings(self) -> Self:
        if self.store == "etcd" and not self.etcd.endpoints:
            raise ValueError("store: etcd needs etcd.endpoints, as [https://etcd-1:2379]")
        if self.store != "etcd" and self.etcd != EtcdSettings():
            raise ValueError("etcd is given, and store is embedded; write store: etcd")
        return self

    @model_validator(mode="after")
    def _loss_after_two_ticks(self) -> Self:
        least = 2 * self.agent_tick_seconds
        if self.node_loss_timeout_seconds < least:
            raise ValueError(
                f"nodeLossTimeoutSeconds {self.node_loss_timeout_seconds} is less than two ticks "
                f"of {self.agent_tick_seconds} seconds; raise it to {least} or more"
            )
        return self


class ClusterConfiguration(Document):
    """Settings of the whole cluster; there is exactly one. Without a file, these defaults hold."""

    kind: Literal["ClusterConfiguration"] = Field(description="This kind.")
    metadata: ClusterWideMetadata = Field(description="Its names.")
    spec: ClusterSpec = Field(description="The settings.")
