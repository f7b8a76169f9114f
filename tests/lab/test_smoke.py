"""The lab itself: nodes boot, reach each other, run containers, and leave nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Node, RunError, host, hosts
from tests.lab.images import import_busybox

CONTAINER = b"""
[Container]
Image=localhost/bb:1
Pull=never
Network=none
UIDMap=0:200000:65536
GIDMap=0:200000:65536
Exec=cat /proc/self/uid_map
[Service]
Type=oneshot
[Quadlet]
DefaultDependencies=false
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with host() as booted:
        import_busybox(booted)
        yield booted


def test_a_quadlet_container_with_a_user_namespace_runs_and_prints(node: Node) -> None:
    node.put("/etc/containers/systemd/mapped.container", CONTAINER)
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "start", "mapped.service"])
    assert "0     200000      65536" in node.journal("mapped.service")


def test_no_unit_of_a_booted_node_has_failed(node: Node) -> None:
    assert node.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout == ""


def test_a_failing_command_raises_with_its_text(node: Node) -> None:
    with pytest.raises(RunError, match="exit 3\nout\nerr"):
        node.run(["sh", "-c", "echo out; echo err >&2; exit 3"])


def test_two_nodes_reach_each_other_and_leave_nothing_behind() -> None:
    before = _traces()
    with hosts("one", "two") as (one, two):
        assert one.run(["ping", "-c1", "-W2", two.address]).code == 0
        assert [one.address, two.address] == ["192.0.2.11", "192.0.2.12"]
    assert _traces() == before


def _traces() -> tuple[str, list[str], list[str]]:
    """Return what a lab could leave: mounts, links, cgroups."""
    links = sorted(p.name for p in Path("/sys/class/net").iterdir())
    groups = sorted(str(p) for p in Path("/sys/fs/cgroup").glob("**/kat-lab-*"))
    return Path("/proc/self/mounts").read_text(encoding="utf-8"), links, groups
