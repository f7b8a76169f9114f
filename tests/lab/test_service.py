"""Two nodes, one rendered service: real Podman links, real networkd, KAT's rules, real packets."""

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

import pytest

from tests.lab import Node, hosts
from tests.lab.images import import_busybox
from tests.lab.install import install

SPEC = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: lab}
spec: {clusterCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16, overlay: host-gateway}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web}
spec:
  type: Service
  replicas: 4
  source: {image: "localhost/bb:1"}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ['hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp']
    ports: [{name: http, containerPort: 8080}]
    imagePullPolicy: Never
    stopTimeoutSeconds: 1
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {name: web}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
"""
NODES = "".join(
    f"""---
apiVersion: kat/v1alpha1
kind: Node
metadata: {{name: {name}}}
spec: {{advertiseAddress: 192.0.2.{number}}}
status:
  overlayNetwork: {{interface: host0}}
"""
    for name, number in (("a", 11), ("b", 12))
)
ADDRESS = "10.101.0.1"
EVERY_COPY = {"web-0", "web-1", "web-2", "web-3"}
TRIES = 64
"""Four copies, each missed with probability (3/4)^64, about one in 10^8."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, ...]]:
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "spec.kat").write_text(SPEC, encoding="utf-8")
    (folder / "nodes.kat").write_text(NODES, encoding="utf-8")
    katcall = shutil.which("katcall", path=str(Path(sys.executable).parent)) or "katcall"
    files = ["-f", "spec.kat", "--nodes", "nodes.kat", "-o", "out"]
    run([katcall, "render", *files], cwd=folder, check=True)
    with hosts("a", "b") as booted:
        with ThreadPoolExecutor() as each:
            list(each.map(lambda node: _start(node, folder / "out" / node.name), booted))
        yield booted


def _start(node: Node, folder: Path) -> None:
    import_busybox(node)
    install(node, folder)
    node.run(["systemctl", "start", "kat.target"])


def _answers(node: Node, where: str, inside: str = "") -> set[str]:
    """Return who answers `TRIES` requests, made by the node or inside one of its containers."""
    script = f"for n in $(seq {TRIES}); do wget -q -T 5 -O - http://{where}/; done"
    enter = ["podman", "exec", inside] if inside else ["busybox"]
    return set(node.run([*enter, "sh", "-c", script]).stdout.split())


def _containers(node: Node) -> list[str]:
    return node.run(["podman", "ps", "--format", "{{.Names}}"]).stdout.split()


def test_each_node_runs_half_of_the_copies_as_plain_units(nodes: tuple[Node, ...]) -> None:
    assert [len(_containers(node)) for node in nodes] == [2, 2]
    for node in nodes:
        assert node.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout == ""


def test_a_node_reaches_every_copy_through_the_virtual_address(nodes: tuple[Node, ...]) -> None:
    for node in nodes:
        assert _answers(node, ADDRESS) == EVERY_COPY


def test_a_copy_reaches_every_copy_and_itself_through_it(nodes: tuple[Node, ...]) -> None:
    for node in nodes:
        assert _answers(node, ADDRESS, inside=_containers(node)[0]) == EVERY_COPY


def test_a_copy_reaches_a_copy_on_the_other_node_directly(nodes: tuple[Node, ...]) -> None:
    here, there = nodes
    name = _containers(there)[0]
    show = "{{.NetworkSettings.Networks.kat.IPAddress}}"
    address = there.run(["podman", "inspect", "--format", show, name]).stdout.strip()
    hostname = there.run(["podman", "exec", name, "hostname"]).stdout.strip()
    assert _answers(here, f"{address}:8080", inside=_containers(here)[0]) == {hostname}


def test_root_in_a_container_is_nobody_on_the_node(nodes: tuple[Node, ...]) -> None:
    node = nodes[0]
    name = _containers(node)[0]
    pid = node.run(["podman", "inspect", "--format", "{{.State.Pid}}", name]).stdout.strip()
    uid = node.run(["stat", "-c", "%u", f"/proc/{pid}"]).stdout.strip()
    assert int(uid) == 704643072


def test_stopping_the_target_stops_every_copy_and_its_container(nodes: tuple[Node, ...]) -> None:
    node = nodes[1]
    units = [f"{name}.service" for name in _containers(node)]
    node.run(["systemctl", "stop", "kat.target"])
    # Started after them, so it waits for the stops that the target's stop has queued.
    node.run(["systemd-run", "-q", "--wait", f"--property=After={' '.join(units)}", "true"])
    assert _containers(node) == []
    node.run(["systemctl", "start", "kat.target"])
    assert {f"{name}.service" for name in _containers(node)} == set(units)
