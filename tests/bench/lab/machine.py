"""The host that all three run on: KAT, systemd by hand, and Docker's swarm, side by side."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import Node, host

ON_NODE = Path(__file__).parent / "on_node"
THERE = "/root/bench"
RUN_S = 900
CLUSTER = b"""\
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: bench}
spec:
  clusterCIDR: 10.100.0.0/16
  serviceCIDR: 10.101.0.0/16
  overlay: host-gateway
  nodeSubnetBits: 11
"""
# Docker's overlay driver accepts no overlay below it.
DISKS = {"/var/lib/docker": "4G"}
IMAGE = """
mkdir -p /tmp/image/bin /tmp/image/etc
cp /bin/busybox /tmp/image/bin/busybox
chroot /tmp/image /bin/busybox --install -s /bin
echo root:x:0:0::/:/bin/sh >/tmp/image/etc/passwd
tar -c -C /tmp/image . >/tmp/image.tar
podman import -q /tmp/image.tar localhost/bb:1
"""
# No bare node of the lab runs Docker: its units are masked there.
SWARM = """
cd /etc/systemd/system
rm -f docker.service docker.socket containerd.service
mkdir docker.service.d
printf '[Service]\nEnvironment=DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1\n' >docker.service.d/bench.conf
systemctl daemon-reload
systemctl start docker.service
python3 "$1/swarm.py" init "$2" </tmp/image.tar
"""


@contextmanager
def machine() -> Iterator[Node]:
    """Boot it, with a cluster, a swarm, and the same image for each."""
    with host(kat=True, disks=DISKS) as node:
        programs = {f"{THERE}/{path.name}": path.read_bytes() for path in ON_NODE.iterdir()}
        node.put_tree({"/root/cluster.kat": CLUSTER, **programs})
        node.run(["sh", "-ec", IMAGE])
        node.run(["kat-agent", "init", "--config", "/root/cluster.kat"], timeout_s=RUN_S)
        node.run(["sh", "-ec", SWARM, "sh", THERE, node.address], timeout_s=RUN_S)
        yield node


def ask(node: Node, who: str, *words: str) -> dict[str, float]:
    """Run one of the programs in `on_node`; return its seconds by what they are of."""
    argv = ["python3", f"{THERE}/{who}.py", *words]
    found: dict[str, float] = json.loads(node.run(argv, timeout_s=RUN_S).stdout)
    return found
