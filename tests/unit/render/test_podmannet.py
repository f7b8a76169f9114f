"""Podman's view of the bridge."""

import json

from katgen.render import podmannet
from tests import cuts


def test_the_network_is_the_nodes_subnet_on_a_bridge_that_podman_leaves_alone() -> None:
    (own,) = podmannet.own(cuts.node_view(cuts.cluster(mtu=8920), "b"))
    assert own.path == "/etc/containers/networks/kat.json"
    assert json.loads(own.content) == {
        "name": "kat",
        "id": "f5d283b4754f1ec46049716940299edf196446fb9e9bf217f2375d8a522f50d0",
        "driver": "bridge",
        "network_interface": "kat-br0",
        "created": "2024-01-01T00:00:00Z",
        "subnets": [{"subnet": "10.100.2.0/24", "gateway": "10.100.2.1"}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "options": {"mode": "unmanaged", "mtu": "8920"},
        "ipam_options": {"driver": "host-local"},
    }
