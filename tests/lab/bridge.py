"""KAT's bridge and Podman's view of it, on a host that has nothing else of KAT's."""

import json

NETWORK = {
    "name": "kat",
    "id": "ab" * 32,
    "driver": "bridge",
    "network_interface": "kat-br0",
    "created": "2000-01-01T00:00:00Z",
    "subnets": [{"subnet": "10.100.1.0/24", "gateway": "10.100.1.1"}],
    "ipv6_enabled": False,
    "internal": False,
    "dns_enabled": False,
    "options": {"mode": "unmanaged"},
    "ipam_options": {"driver": "host-local"},
}
LINK = b"""
[Match]
Name=kat-br0
[Network]
Address=10.100.1.1/24
ConfigureWithoutCarrier=yes
LinkLocalAddressing=no
"""
FILES = {
    "/etc/systemd/network/50-kat-br0.netdev": b"[NetDev]\nName=kat-br0\nKind=bridge\n",
    "/etc/systemd/network/50-kat-br0.network": LINK,
    "/etc/containers/networks/kat.json": json.dumps(NETWORK).encode(),
    "/etc/kat/kat.nft": b"",
}
"""To be there before the host boots."""
