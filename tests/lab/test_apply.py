"""The agent's apply on a real host: real Quadlet, systemd, Podman and rules, no leader."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from katgen.cli.options import Named
from katgen.cli.pipeline import Loaded, load, planned
from katgen.leader.agents.bundles import bundle_answer, size_of
from katgen.names import NodeName
from katgen.planned import Plan
from katgen.protocol import CommitRecord
from katgen.render.cluster import Rendered, render
from tests.environment import REPOSITORY
from tests.lab import Node, host
from tests.lab.images import BUSYBOX, import_busybox
from tests.oracles.cell import static_units

CLUSTER = """
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: lab}
spec: {clusterCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16, overlay: host-gateway}
---
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: a}
spec: {advertiseAddress: 192.0.2.11}
status: {overlayNetwork: {interface: host0}}
"""
WEB = """
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web}
spec:
  type: Service
  replicas: REPLICAS
  source: {image: "localhost/bb:1"}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ['hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp']
    env: [{name: ROUND, value: "ENV"}]
    ports: [{name: http, containerPort: 8080}]
    imagePullPolicy: Never
    stopTimeoutSeconds: 1
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {name: web}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
"""
COMMAND = "env PYTHONPATH=/usr/lib/kat python3 /run/applying.py </run/told.json"
LEFT = """
find /etc /run/systemd /var/lib/kat/dns /var/lib/kat/config -name '*default*' -path '*kat*'
systemctl list-units --all --plain --no-legend 'kat.default*' 'kat-default*'
podman ps -aq
nft list ruleset | grep 10.101.0.1
systemctl --failed --plain --no-legend
true
"""
STALE = "systemctl list-units --all --plain --no-legend 'kat*' | cut -d' ' -f1"


@dataclass(slots=True)
class Story:
    """Generations of one cluster with one node."""

    node: Node
    folder: Path
    parent: Plan | None = None
    rendered: Rendered | None = None

    def go(self, text: str = "") -> dict[str, Any]:
        """Make the next generation of these objects and apply it on the node."""
        self.plan(text)
        return self._run()

    def plan(self, text: str) -> None:
        """Make the next generation of these objects, and tell the node."""
        spec = self.folder / "spec.kat"
        spec.write_text(CLUSTER + text, encoding="utf-8")
        loaded = load(Named((str(spec),)))
        self.parent = planned(Loaded(loaded.specs, loaded.inventory, self.parent))
        self.rendered = render(self.parent)
        self._tell(self._told())

    def cut(self, after_s: float) -> None:
        """Apply the last generation, and kill the agent so long after its start."""
        command = f"timeout -s KILL {after_s} {COMMAND}"
        self.node.run(["sh", "-c", command], check=False)

    def again(self) -> dict[str, Any]:
        """Apply the last generation."""
        self._tell(self._told())
        return self._run()

    def _told(self) -> dict[str, Any]:
        assert self.parent is not None
        assert self.rendered is not None
        name, generation = NodeName("a"), self.parent.generation
        root, size = self.rendered.root.digest, size_of(self.rendered)
        return {
            "node": "a",
            "answer": msgspec.json.encode(bundle_answer(self.rendered, name, generation)).decode(),
            "record": msgspec.json.encode(
                CommitRecord("uid", 1, generation, "p", root, size)
            ).decode(),
            "contents": {
                file.digest: base64.b64encode(file.content).decode()
                for file in self.rendered.files(name)
            },
        }

    def resume(self) -> dict[str, Any]:
        """Do what the agent does at its start."""
        self._tell({})
        return self._run()

    def _tell(self, told: dict[str, Any]) -> None:
        script = (REPOSITORY / "tests/lab/applying.py").read_bytes()
        self.node.put("/run/applying.py", script)
        self.node.put("/run/told.json", json.dumps(told).encode())

    def _run(self) -> dict[str, Any]:
        said = self.node.run(["sh", "-c", COMMAND]).stdout
        found: dict[str, Any] = json.loads(said)
        return found


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with host("a", kat=True) as node:
        node.put_tree(static_units())
        import_busybox(node)
        yield Story(node, tmp_path)


def web(replicas: int = 2, env: str = "1") -> str:
    return WEB.replace("REPLICAS", str(replicas)).replace("ENV", env)


def running(node: Node) -> list[str]:
    return sorted(node.run(["podman", "ps", "--format", "{{.Names}}"]).stdout.split())


def in_need_of_reload(node: Node) -> list[str]:
    """Return KAT's units of which systemd has loaded another text than there is now."""
    units = node.run(["sh", "-c", STALE]).stdout.split()
    assert units
    show = ["systemctl", "show", "-P", "Id", "-P", "NeedDaemonReload", *units]
    words = node.run(show).stdout.split()
    return [name for name, need in zip(words[::2], words[1::2], strict=True) if need != "no"]


def answers(node: Node) -> set[str]:
    script = "for n in $(seq 32); do busybox wget -q -T 5 -O - http://10.101.0.1/; done"
    return set(node.run(["sh", "-c", script]).stdout.split())


def test_a_workload_comes_changes_and_goes(story: Story) -> None:
    node = story.node
    story.go()
    assert _told(story.go(web())) == FINE
    assert running(node) == ["kat.default.web.0-1", "kat.default.web.1-2"]
    assert answers(node) == {"web-0", "web-1"}
    assert in_need_of_reload(node) == []

    assert _told(story.go(web(env="2"))) == FINE
    assert running(node) == ["kat.default.web.0-3", "kat.default.web.1-4"]
    assert in_need_of_reload(node) == []
    assert story.again()["actions"] == []

    assert _told(story.go()) == FINE
    assert running(node) == []
    assert in_need_of_reload(node) == []
    assert node.run(["sh", "-c", LEFT]).stdout == ""


def test_an_instance_more_starts_without_a_reload(story: Story) -> None:
    story.go(web())
    done = story.go(web(replicas=3))
    assert "daemon-reload " not in done["actions"]
    assert running(story.node)[-1] == "kat.default.web.2-3"
    assert in_need_of_reload(story.node) == []
    show = ["systemctl", "show", "-P", "SourcePath", "kat.default.web.2-3.service"]
    path = "/etc/containers/systemd/kat/kat.default.web.2-3.container"
    assert story.node.run(show).stdout.strip() == path


def test_what_was_applied_comes_back_with_a_reload_of_systemd(story: Story) -> None:
    story.go(web())
    story.node.run(["systemctl", "daemon-reload"])
    assert in_need_of_reload(story.node) == []
    story.node.run(["systemctl", "stop", "kat.target"])
    story.node.run(["systemctl", "start", "kat.target"])
    assert running(story.node) == ["kat.default.web.0-1", "kat.default.web.1-2"]


def test_a_container_without_a_unit_is_removed_at_the_start(story: Story) -> None:
    story.go(web())
    own = ("PODMAN_SYSTEMD_UNIT=kat.default.old.0-1.service", "kat.instance=default/old/0-1")
    start = ["podman", "run", "-d", "-q", "--name"]
    labels = [word for one in own for word in ("--label", one)]
    story.node.run([*start, "kat.default.old.0-1", *labels, BUSYBOX, "top"])
    story.node.run([*start, "kat.somebodys", BUSYBOX, "top"])
    assert story.resume() == {"resumed": False}
    left = running(story.node)
    story.node.run(["podman", "rm", "-f", "-t", "0", "kat.somebodys"])
    assert left == ["kat.default.web.0-1", "kat.default.web.1-2", "kat.somebodys"]


def test_killed_again_and_again_it_converges(story: Story) -> None:
    story.go(web())
    story.plan(web(env="2"))
    for number in range(8):
        story.cut(0.3 + 0.15 * number)
    story.resume()
    story.again()
    assert running(story.node) == ["kat.default.web.0-3", "kat.default.web.1-4"]
    assert in_need_of_reload(story.node) == []
    assert answers(story.node) == {"web-0", "web-1"}
    assert story.again()["actions"] == []


FINE: dict[str, list[str]] = {"refused": [], "failed": [], "waiting": [], "problems": []}


def _told(said: dict[str, Any]) -> dict[str, Any]:
    """Return what went wrong."""
    return {key: said[key] for key in FINE}
