"""KAT's own services on a host: how they begin, what they may do, and that they leave cleanly."""

import re
from collections.abc import Iterator

import pytest

from tests.lab import Node, host

CLUSTER = b"""\
apiVersion: kat/v1alpha1
kind: ClusterConfiguration
metadata: {name: lab}
spec: {clusterCIDR: 10.100.0.0/16, serviceCIDR: 10.101.0.0/16, overlay: host-gateway}
"""
INIT = "kat-agent init --config /root/cluster.kat"
TRACES = """
find /etc /run /var/lib -xdev -path /run/log -prune -o -name '*kat*' -print | sort
nft list tables; ip -o link | grep -o 'kat[-a-z0-9]*:'
systemctl list-units --all --plain --no-legend 'kat*'
podman ps -aq
"""


def sh(node: Node, script: str) -> str:
    """Run a script, return both its streams, whatever its end."""
    ran = node.run(["sh", "-c", script], check=False, timeout_s=120)
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def fresh() -> Iterator[Node]:
    with host(kat=True) as node:
        node.put("/root/cluster.kat", CLUSTER)
        yield node


@pytest.fixture
def node(fresh: Node) -> Iterator[Node]:
    """Return a machine without KAT, as it is again after each test."""
    yield fresh
    fresh.run(["kat-agent", "reset", "--volumes", "--yes"])


@pytest.fixture
def made(node: Node) -> Node:
    node.run(["sh", "-c", INIT], timeout_s=120)
    return node


@pytest.mark.parametrize(("unit", "most"), [("kat-leader", 3.0), ("kat-agent", 3.0)])
def test_a_service_may_do_little(made: Node, unit: str, most: float) -> None:
    said = sh(made, f"systemd-analyze security --no-pager {unit}.service | tail -1")
    found = re.search(r"([\d.]+) \w+ ", said)
    assert found is not None, said
    assert float(found.group(1)) <= most


def test_systemd_finds_nothing_odd_in_the_units(made: Node) -> None:
    units = " ".join(f"/etc/systemd/system/kat-{n}.service" for n in ("agent", "leader", "nft"))
    assert sh(made, f"systemd-analyze verify --man=no {units}") == ""


def test_a_second_init_is_refused_and_changes_nothing(made: Node) -> None:
    before = sh(made, "ls -lR /var/lib/kat/leader /etc/systemd/system")
    ran = made.run(["sh", "-c", INIT], check=False)
    assert (ran.code, "node a of a cluster already" in ran.stderr) == (3, True)
    assert sh(made, "ls -lR /var/lib/kat/leader /etc/systemd/system") == before


@pytest.mark.parametrize("after_s", [0.2, 0.4, 0.6, 0.8, 1.2])
def test_an_init_that_is_killed_goes_on_when_it_is_run_again(node: Node, after_s: float) -> None:
    sh(node, f"{INIT} & init=$!; sleep {after_s}; kill -9 $init; wait $init")
    again = node.run(["sh", "-c", INIT], timeout_s=120)
    assert "KAT recovery kit of cluster lab" in again.stdout
    assert "node a: in sync, generation 1" in sh(node, "kat-agent status")


def test_without_wireguard_init_fails_and_says_both_ways_out(node: Node) -> None:
    before = sh(node, TRACES)
    if "kat-probe" in sh(node, "ip link add kat-probe type wireguard && ip link show kat-probe"):
        pytest.skip("this kernel has WireGuard")
    ran = node.run(["kat-agent", "init"], check=False)
    assert ran.code == 3
    assert "load the module, or set `overlay: host-gateway` in cluster.kat" in ran.stderr
    assert sh(node, TRACES) == before


def test_a_firewall_that_drops_is_named_with_what_mends_it(node: Node) -> None:
    node.run(["iptables", "-P", "FORWARD", "DROP"])
    said = sh(node, INIT)
    commands = re.findall(r"`(nft insert .*)`", said)
    assert len(commands) == 1, said
    node.run(["sh", "-c", commands[0]])
    mended = node.run(["sh", "-c", INIT], check=False, timeout_s=120)
    node.run(["sh", "-c", "iptables -P FORWARD ACCEPT; iptables -F"])
    assert mended.code == 0, mended.stderr


def test_flushed_rules_come_back(made: Node) -> None:
    again = (
        "for i in $(seq 100); do nft list table inet kat >/dev/null 2>&1 && exit; sleep .1; done"
    )
    sh(made, f"nft flush ruleset; {again}")
    assert "table bridge kat\n" in sh(made, "nft list tables")


def test_reset_leaves_nothing_behind_and_may_be_repeated(node: Node) -> None:
    before = sh(node, TRACES)
    node.run(["sh", "-c", INIT], timeout_s=120)
    assert sh(node, TRACES) != before
    node.run(["kat-agent", "reset", "--volumes", "--yes"])
    assert sh(node, TRACES) == before
    node.run(["kat-agent", "reset", "--volumes", "--yes"])
