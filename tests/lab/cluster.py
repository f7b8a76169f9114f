"""A cluster of one node, as `kat-agent init` makes it, with a registry and an image to run.

with one_node() as kat:
    kat.apply(web(replicas=2))
    kat.node.run(["curl", "-fsS", "http://10.101.0.1/"])
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab import etcd
from tests.lab.etcd import install_etcd
from tests.lab.hosts import host
from tests.lab.images import import_busybox
from tests.lab.node import Node
from tests.lab.process import Ran
from tests.lab.registry import push, registry, trust

CLUSTER = """\
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: lab}
spec: {clusterCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16, overlay: host-gateway,
  SETTINGS}
"""
CONFIG = "/root/cluster.kat"
STORE = os.environ.get("KAT_STORE", "embedded")
"""`KAT_STORE=etcd pytest tests/lab` runs every cluster on etcd."""
APPLY_S = 120
SERVE = "echo $HOSTNAME >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"
VIRTUAL_ADDRESS = "10.101.0.1"
WEB = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  type: Service
  replicas: {replicas}
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ['{serve}']
    env: [{{name: STAGE, value: "{stage}"}}]
    ports: [{{name: http, containerPort: 8080}}]
    stopTimeoutSeconds: 1
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


@dataclass(frozen=True, slots=True)
class OneNode:
    """The node, and the image that it can pull; `said` is what `init` printed."""

    node: Node
    image: str
    said: str

    def katcall(
        self, *arguments: str, stdin: str = "", check: bool = True, timeout_s: float = APPLY_S
    ) -> Ran:
        """Run katcall as root on the node."""
        argv = ["katcall", *arguments]
        return self.node.run(argv, stdin=stdin.encode(), check=check, timeout_s=timeout_s)

    def apply(self, text: str, *options: str, check: bool = True) -> Ran:
        """Apply documents and wait until they run."""
        return self.katcall("apply", "-f", "-", *options, stdin=text, check=check)

    def ask(self, *arguments: str) -> Any:  # noqa: ANN401 -- whatever JSON it prints
        """Return what a command prints with `-o json`."""
        return json.loads(self.katcall(*arguments, "-o", "json").stdout)

    def web(
        self,
        *,
        name: str = "web",
        namespace: str = "default",
        replicas: int = 1,
        stage: str = "one",
        image: str = "",
    ) -> str:
        """Return documents of a web server that answers with its host name, behind an address."""
        return WEB.format(
            name=name,
            namespace=namespace,
            replicas=replicas,
            stage=stage,
            image=image or self.image,
            serve=SERVE,
        )

    def pids(self) -> dict[str, int]:
        """Return the main process of every container of KAT, by name."""
        form = '{"name": {{json .Names}}, "pid": {{.Pid}}}'
        listed = self.node.run(["podman", "ps", "--format", form]).stdout.splitlines()
        found = (json.loads(line) for line in listed)
        return {one["name"]: one["pid"] for one in found if one["name"].startswith("kat.")}

    def fetch(self, url: str, *, inside: str = "", tries: int = 1) -> set[str]:
        """Return the different answers of an HTTP server, asked by the node or in a container."""
        script = f"for n in $(seq {tries}); do wget -q -T 5 -O - {url} || exit 1; done"
        enter = ["podman", "exec", inside] if inside else ["busybox"]
        return set(self.node.run([*enter, "sh", "-c", script]).stdout.split())


@contextmanager
def one_node(
    *,
    files: Mapping[str, bytes] | None = None,
    disks: Mapping[str, str] | None = None,
    settings: str = "",
    store: str = STORE,
) -> Iterator[OneNode]:
    """Boot a host, give it a registry with an image, and make a cluster of it.

    `settings` are more fields of its ClusterConfiguration: `nodeSubnetBits: 12`. `store` is
    `embedded`, or `etcd` for one on the same host.
    """
    with host(files=files, kat=True, disks=disks) as node:
        image = with_registry(node)
        if store == "etcd":
            install_etcd(node)
            settings = ", ".join(filter(None, (settings, etcd.SETTINGS)))
        node.put(CONFIG, CLUSTER.replace("SETTINGS", settings).encode())
        made = node.run(["kat-agent", "init", "--config", CONFIG], timeout_s=APPLY_S)
        yield OneNode(node, image, made.stdout)


def with_registry(node: Node) -> str:
    """Start a registry on the node and return an image of it that the node has not pulled."""
    where = registry(node)
    trust(node, where)
    import_busybox(node)
    name = f"{where}/lab/bb:1"
    push(node, "localhost/bb:1", name)
    return name
