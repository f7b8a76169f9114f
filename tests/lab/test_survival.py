"""What runs goes on, whatever becomes of KAT, of systemd's other services and of the machine."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import permutations

import pytest

from tests.lab import power
from tests.lab.boot import boot
from tests.lab.cluster import VIRTUAL_ADDRESS, OneNode, one_node
from tests.lab.settled import DAEMONS, sleeper, stale, starts, until, until_in_sync

AGENT, LEADER = DAEMONS
PODMAN = "podman.service"
WEB = {"web-0", "web-1"}
KEPT = {"kat.default.web.0-1", "kat.default.web.1-2"}
TRIES = 32
"""Two copies, each missed with probability 2^-32."""
APPLYING = "test -e /var/lib/kat/agent/journal.json"
NO_KAT = "! pgrep -f '[k]at-agent run|[k]at-leader run'"
ASK_PODMAN = "curl -fsS --unix-socket /run/podman/podman.sock http://podman/_ping"
VAULT = """\
apiVersion: kat/v1alpha1
kind: Namespace
metadata: {name: vault}
spec: {isolated: true}
---
"""
TABLES = "nft list table inet kat && nft list table bridge kat"
RULES_S = 2


@pytest.fixture(scope="module")
def made() -> Iterator[OneNode]:
    with one_node() as one:
        one.apply(one.web(replicas=2))
        yield one


@pytest.fixture
def kat(made: OneNode) -> Iterator[OneNode]:
    """Return a cluster, and see that all is in sync after the test."""
    yield made
    until_in_sync(made)


def change(kat: OneNode) -> None:
    """Have another workload change, and wait until it has."""
    kat.apply(sleeper(kat, stage=stage(kat)))


def stage(kat: OneNode) -> str:
    """Return a word that was not used before."""
    return kat.node.run(["cat", "/proc/sys/kernel/random/uuid"]).stdout.strip()


def kept(kat: OneNode) -> dict[str, int]:
    """Return the processes of the two copies that no test changes."""
    pids = kat.pids()
    return {name: pids[name] for name in KEPT}


def until_served(kat: OneNode) -> None:
    """Wait until every copy answers, then see that it does so to all, in every way."""
    for address in ("10.100.0.10", "10.100.0.11"):
        until(kat.node, f"busybox wget -q -T 1 -O - http://{address}:8080/")
        assert kat.fetch(f"http://{address}:8080/", inside=min(KEPT)) <= WEB
    assert kat.fetch(f"http://{VIRTUAL_ADDRESS}/", tries=TRIES) == WEB
    assert kat.fetch(f"http://{VIRTUAL_ADDRESS}/", inside=min(KEPT), tries=TRIES) == WEB


@contextmanager
def applying(kat: OneNode) -> Iterator[None]:
    """Have the block run while the agent applies a change; the change then comes to its end."""
    text = kat.web(name="other", replicas=3, stage=stage(kat)).encode()
    argv = kat.node.command(["katcall", "apply", "-f", "-"])
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as apply:
        assert apply.stdin is not None
        apply.stdin.write(text)
        apply.stdin.close()
        apply.stdin = None
        until(kat.node, APPLYING, each_s=0.01)
        yield
        said, _ = apply.communicate(timeout=120)
    assert apply.returncode == 0, said.decode()


@pytest.mark.parametrize("order", list(permutations((LEADER, AGENT, PODMAN))), ids="-".join)
def test_killed_in_any_order_all_come_back_and_containers_stay(
    kat: OneNode, order: Sequence[str]
) -> None:
    before = kept(kat)
    kat.node.run(["sh", "-c", ASK_PODMAN])
    for unit in order:
        kat.node.run(["systemctl", "kill", "--signal=KILL", unit])
    until(kat.node, "katcall version")
    change(kat)
    assert kept(kat) == before


@pytest.mark.parametrize("off", [power.shut_down, power.crash])
def test_without_kat_systemd_brings_all_up_from_disk(kat: OneNode, off: object) -> None:
    kat.node.run(["systemctl", "disable", "-q", "--now", *DAEMONS])
    try:
        assert callable(off)
        off(kat.node)
        boot(kat.node)
        until_served(kat)
        kat.node.run(["sh", "-c", NO_KAT])
        before = kat.pids()
    finally:
        kat.node.run(["systemctl", "enable", "-q", "--now", *DAEMONS])
    until_in_sync(kat)
    assert kat.pids() == before
    assert set(starts(kat).values()) == {1}


@pytest.mark.parametrize("off", [power.shut_down, power.crash])
def test_with_kat_nothing_is_started_twice_at_a_boot(kat: OneNode, off: object) -> None:
    assert callable(off)
    off(kat.node)
    boot(kat.node)
    until_served(kat)
    until_in_sync(kat)
    assert set(starts(kat).values()) == {1}
    assert stale(kat) == []
    change(kat)


@pytest.mark.parametrize(
    "command",
    [
        "systemctl daemon-reexec",
        "systemctl daemon-reload",
        "systemctl restart dbus.service",
        "systemctl restart systemd-networkd.service",
    ],
)
def test_an_apply_outlives_the_restart_of_what_it_asks(kat: OneNode, command: str) -> None:
    before = kept(kat)
    with applying(kat):
        kat.node.run(["sh", "-c", command])
    assert kept(kat) == before
    assert stale(kat) == []
    until_served(kat)


def test_a_leader_that_stands_still_holds_no_node_up(kat: OneNode) -> None:
    with applying(kat):
        kat.node.run(["systemctl", "kill", "--signal=STOP", LEADER])
        try:
            until(kat.node, f"! {APPLYING}")
            until_served(kat)
        finally:
            kat.node.run(["systemctl", "kill", "--signal=CONT", LEADER])


@pytest.fixture(scope="module")
def with_vault(made: OneNode) -> OneNode:
    """Return a cluster with an isolated namespace."""
    made.apply(VAULT + made.web(namespace="vault"))
    assert_isolated(made)
    return made


@pytest.fixture
def vault(with_vault: OneNode, kat: OneNode) -> OneNode:
    """Return the same, on a machine with rules of its own."""
    kat.node.run(["systemctl", "start", "nftables.service"])
    until(kat.node, TABLES)
    return with_vault


def assert_isolated(kat: OneNode) -> None:
    """See that the namespace answers the node, and nobody in another namespace."""
    items = kat.ask("get", "instances", "-n", "vault")["items"]
    (url,) = (f"http://{one['address']}:8080/" for one in items)
    assert kat.fetch(url) == {"web-0"}
    ask = ["podman", "exec", min(KEPT), "wget", "-q", "-T", "3", "-O", "-", url]
    assert kat.node.run(ask, check=False).code == 1


def assert_served(kat: OneNode) -> None:
    """See that the virtual address answers the node and an instance."""
    url = f"http://{VIRTUAL_ADDRESS}/"
    assert kat.fetch(url) | kat.fetch(url, inside=min(KEPT)) <= WEB


@pytest.mark.parametrize(
    "command",
    [
        "systemctl reload nftables.service",
        "systemctl restart nftables.service",
        "nft flush ruleset",
        "nft delete table inet kat",
        "nft delete table bridge kat",
    ],
)
def test_rules_that_go_are_back_at_once(vault: OneNode, command: str) -> None:
    vault.node.run(["sh", "-c", command])
    until(vault.node, TABLES, within_s=RULES_S)
    assert_isolated(vault)
    assert_served(vault)


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_a_firewall_leaves_no_node_open_without_an_agent(vault: OneNode, verb: str) -> None:
    vault.node.run(["systemctl", "stop", AGENT])
    try:
        vault.node.run(["systemctl", verb, "nftables.service"])
        until(vault.node, TABLES, within_s=RULES_S)
        assert_isolated(vault)
        assert_served(vault)
    finally:
        vault.node.run(["systemctl", "start", AGENT])
