"""The one place that formats a name. Spec §4 is the source of every shape here.

| what | shape |
|---|---|
| instance id | `<ordinal>-<incarnation>` |
| instance, across the cluster | `<ns>/<workload>/<id>` |
| unit stem | `kat.<ns>.<workload>.<id>` |
| zone | `<ns>.<clusterDomain>` |
| MAC address | `0a:4b:` and the four bytes of the IPv4 address |
| port on the bridge | `kat-` and the four bytes of the IPv4 address in hex |
"""

import re
from functools import lru_cache
from typing import NewType

Namespace = NewType("Namespace", str)
NodeName = NewType("NodeName", str)
WorkloadKey = NewType("WorkloadKey", str)
"""`<namespace>/<name>`, of a workload or of any namespaced object."""
InstanceKey = NewType("InstanceKey", str)
"""`<namespace>/<workload>/<id>`."""
Ordinal = NewType("Ordinal", str)
"""`0`, `1`, … of a Service; the node's name of a DaemonService; the run number of a Job."""

RESERVED_NAMESPACES = frozenset({"node"})
RESERVED_WORKLOADS = frozenset({"vip", "ep"})
LABEL_MAX = 63
DNS_NAME_MAX = 253
HOSTNAME_MAX = 64
"""HOST_NAME_MAX of Linux, sethostname(2)."""

BRIDGE_MAC = "0a:4b:00:00:00:00"
"""Of `kat-br0` on every node: no two bridges share a link, and the packet rules name it."""
_BYTE = {str(value): f"{value:02x}" for value in range(256)}
"""Decimal to two hex digits; a dict is the fastest way, and refuses what is no byte."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Whether `text` is a lower-case DNS label, RFC 1123 §2.1, at most 63 characters."""
    return _LABEL.fullmatch(text) is not None


def key(namespace: str, name: str) -> WorkloadKey:
    """Return `<namespace>/<name>`."""
    return WorkloadKey(f"{namespace}/{name}")


def split_key(workload: WorkloadKey) -> tuple[str, str]:
    """Return (namespace, name) of a key."""
    namespace, _, name = workload.partition("/")
    return namespace, name


def instance_id(ordinal: str, incarnation: int) -> str:
    """Return `<ordinal>-<incarnation>`; never used twice for one workload."""
    return f"{ordinal}-{incarnation}"


def instance(workload: WorkloadKey, ordinal: str, incarnation: int) -> InstanceKey:
    """Return `<ns>/<workload>/<id>`."""
    return InstanceKey(f"{workload}/{ordinal}-{incarnation}")


def unit_stem(workload: WorkloadKey, ordinal: str, incarnation: int) -> str:
    """Return `kat.<ns>.<workload>.<id>`, also the container's name."""
    return f"kat.{workload.replace('/', '.')}.{ordinal}-{incarnation}"


def workload_stem(workload: WorkloadKey) -> str:
    """Return `kat.<ns>.<workload>`: timers and builds."""
    return f"kat.{workload.replace('/', '.')}"


def hostname(name: str, ordinal: str) -> str:
    """Return the host name inside a container: `<workload>-<ordinal>`, stable over revisions."""
    return f"{name}-{ordinal}"


def namespace_target(namespace: str) -> str:
    """Return the target that a namespace's instances are part of."""
    return f"kat.{namespace}.target"


def namespace_slice(namespace: str) -> str:
    r"""Return the namespace's slice: `team-a` is `kat-team\x2da.slice`.

    A bare `-` would be hierarchy, systemd.slice(5).
    """
    return f"kat-{systemd_escape(namespace)}.slice"


def systemd_escape(text: str) -> str:
    """Escape a DNS label as systemd-escape(1) does; other text never gets here."""
    return text.replace("-", "\\x2d")


def zone(namespace: str, domain: str) -> str:
    """Return the zone of a namespace (or of the reserved `node`), without the final dot."""
    return f"{namespace}.{domain}"


def service_name(workload: WorkloadKey, domain: str) -> str:
    """Return `<workload>.<ns>.<domain>`."""
    namespace, name = split_key(workload)
    return f"{name}.{namespace}.{domain}"


def mac_of(address: str) -> str:
    """Return the MAC address that goes with a dotted IPv4 address: `0a:4b:` and its four bytes.

    `0a` marks it as locally administered and unicast. KeyError or ValueError if it is no address.
    """
    return link_of(address)[0]


def bridge_port(address: str) -> str:
    """Return the node's end of the link to the instance with this address: `kat-0a640a01`.

    Podman makes it so if asked: `Network=kat:…,host_interface_name=kat-0a640a01` (netavark 1.14).
    """
    return link_of(address)[1]


def link_of(address: str) -> tuple[str, str]:
    """Return `mac_of` and `bridge_port` of an address. Those of one /24 share most of the work."""
    network, _, last = address.rpartition(".")
    mac, port = _links_of(network)
    byte = _BYTE[last]
    return mac + byte, port + byte


@lru_cache(maxsize=16_384)
def _links_of(network: str) -> tuple[str, str]:
    first, second, third = (_BYTE[part] for part in network.split("."))
    return f"0a:4b:{first}:{second}:{third}:", f"kat-{first}{second}{third}"
