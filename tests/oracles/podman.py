"""Podman reads a network's file, and netavark plugs a container into that network."""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from tests.oracles.cell import Cell
from tests.oracles.complaint import Complaint, complaints_from

FOLDER = "/etc/containers/networks/"
NETAVARK = "/usr/lib/podman/netavark"
STORAGE = ("--root", "/run/storage", "--runroot", "/run/runroot", "--storage-driver", "vfs")
# The bridge is networkd's to make; a network namespace stands in for the container.
PLUG = f"""
ip link add "$1" type bridge
ip link set "$1" up
ip netns add container
{NETAVARK} --config /run/netavark setup /run/netns/container
"""
HOST_OFFSET = 10


def judge(cell: Cell, files: Mapping[str, bytes]) -> list[Complaint]:
    """Ask both about each network file. Broken JSON is another judge's matter."""
    complaints = []
    for path, content in files.items():
        try:
            network = json.loads(content)
        except ValueError:
            continue
        complaints += _inspect(cell, path, network) or _plug(cell, path, network)
    return complaints


def _inspect(cell: Cell, path: str, network: Mapping[str, Any]) -> list[Complaint]:
    """Complain unless Podman knows the network by its name and says what the file says."""
    name = str(network.get("name"))
    ran = cell.run(["podman", *STORAGE, "network", "inspect", "--", name])
    if ran.code != 0:
        return complaints_from("podman network inspect", path, ran.stderr)
    seen = json.loads(ran.stdout)[0]
    return [
        Complaint("podman network inspect", path, f"reads {key} as {seen.get(key)!r}")
        for key, value in network.items()
        if seen.get(key) != value
    ]


def _plug(cell: Cell, path: str, network: Mapping[str, Any]) -> list[Complaint]:
    """Complain unless a container with an address of the first subnet gets its interface."""
    subnet = ipaddress.ip_network(network["subnets"][0]["subnet"])
    name = network["name"]
    options = {"static_ips": [str(subnet[HOST_OFFSET])], "interface_name": "eth0"}
    request = {
        "container_id": "0" * 64,
        "container_name": "probe",
        "networks": {name: options},
        "network_info": {name: network},
    }
    argv = ["sh", "-ec", PLUG, "sh", network["network_interface"]]
    ran = cell.run(argv, stdin=json.dumps(request).encode())
    if ran.code == 0:
        return []
    return complaints_from("netavark", path, ran.stderr + ran.stdout)
