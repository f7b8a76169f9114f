"""Real systemd hosts for tests, as nspawn containers in namespaces of their own.

    with host() as node:
        node.put("/etc/containers/systemd/a.container", b"…")
        node.run(["systemctl", "daemon-reload"])

    with hosts("a", "b") as (a, b):
        a.run(["ping", "-c1", b.address])

    with host(kat=True, disks={"/": "300M"}) as node:
        node.run(["katcall", "version"])  # the tree's KAT, built and installed
        power.reboot(node)

What can happen to a node: `power` (reboot, crash, freeze), `cut` (partition, isolate), `disk`
(full, read-only). `registry` serves images. `python -m tests.lab` boots a lab to look around in.

Everything that a lab makes (processes, mounts, links) lives in namespaces that end with it, also
when the test process is killed. Nothing is reachable from a lab but its own nodes.
"""

from tests.lab.hosts import host, hosts
from tests.lab.node import Node
from tests.lab.process import Ran, RunError

__all__ = ["Node", "Ran", "RunError", "host", "hosts"]
