"""The lab itself: nodes boot, reach each other, run containers, and leave nothing behind."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import require
from tests.lab import Node, RunError, host, hosts
from tests.lab.cgroups import sweep
from tests.lab.hosts import TOOLS
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


END_S = 30
FOREVER = """
from tests.lab import host
with host() as node:
    print(node.enclosure.pid, flush=True)
    node.run(["sleep", "infinity"], timeout_s=600)
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
    before = _traces(os.getpid())
    with hosts("one", "two") as (one, two):
        assert one.run(["ping", "-c1", "-W2", two.address]).code == 0
        assert [one.address, two.address] == ["192.0.2.11", "192.0.2.12"]
    assert _traces(os.getpid()) == before


def test_a_killed_test_process_takes_its_lab_along() -> None:
    require(TOOLS)
    before = _traces(0)  # nobody's
    with subprocess.Popen([sys.executable, "-c", FOREVER], stdout=subprocess.PIPE) as test:
        assert test.stdout is not None
        keeper = os.pidfd_open(int(test.stdout.readline()))
        assert _traces(test.pid) != before
        test.kill()
    assert select.select([keeper], [], [], END_S)[0] == [keeper], "the lab outlives its test"
    os.close(keeper)
    sweep()
    assert _traces(test.pid) == before


def _traces(pid: int) -> tuple[str, list[str], list[str]]:
    """Return what a lab of a process could leave: mounts, links, cgroups."""
    links = sorted(p.name for p in Path("/sys/class/net").iterdir())
    groups = sorted(str(p) for p in Path("/sys/fs/cgroup").glob(f"**/kat-lab-{pid}-*"))
    return Path("/proc/self/mounts").read_text(encoding="utf-8"), links, groups
