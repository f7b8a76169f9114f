"""`/etc/containers/networks/kat.json`: Podman's view of the bridge that networkd makes.

In mode `unmanaged` Podman only plugs an instance into the bridge: no masquerade, no port rules, no
name server. `created` and `id` are fixed, so that the same plan gives the same bytes.
"""

import hashlib
import json
from functools import lru_cache

from katgen.bundle import Artifact, artifact
from katgen.render.ipv4 import address, network
from katgen.render.view import NodeView

NETWORK = "kat"
PATH = f"/etc/containers/networks/{NETWORK}.json"
_SUBNET = "<subnet>"
_GATEWAY = "<gateway>"
_ID = hashlib.sha256(b"kat network").hexdigest()
"""Podman wants 64 hex digits; one network of the name per node, so one id serves all nodes."""


def own(view: NodeView) -> tuple[Artifact, ...]:
    """Return the node's network file."""
    text = _network(view.cluster.mtu).replace(_SUBNET, network(view.subnet))
    return (artifact(PATH, text.replace(_GATEWAY, address(view.address)), pair_key=PATH),)


@lru_cache(maxsize=8)
def _network(mtu: int) -> str:
    """Return the file with _SUBNET and _GATEWAY still to be put in."""
    options = {
        "name": NETWORK,
        "id": _ID,
        "driver": "bridge",
        "network_interface": "kat-br0",
        "created": "2024-01-01T00:00:00Z",
        "subnets": [{"subnet": _SUBNET, "gateway": _GATEWAY}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "options": {"mode": "unmanaged", "mtu": str(mtu)},
        "ipam_options": {"driver": "host-local"},
    }
    return json.dumps(options, indent=2) + "\n"
