"""A machine that cannot: the node stays as it was and says why, and goes on when it can again."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab import disk
from tests.lab.cluster import STORE, OneNode, one_node
from tests.lab.settled import IN_SYNC, until, until_in_sync

CONTENT = "/var/lib/kat/content"
DISKS = {"/etc": "16M", "/var/lib/kat": "64M", CONTENT: "16M"}
HEAL_S = 90
LOOK = r"""
find /etc /run/systemd/system /var/lib/kat/config /var/lib/kat/dns -type f \
    -not -name '.lab-fill' -printf '%p %m %s %T@\n' | sort
podman ps -a --format '{{.Names}} {{.Pid}}' | sort
systemctl list-units --all --plain --no-legend 'kat.*' | tr -s ' '
nft list ruleset
"""
BROKEN = b"#!/bin/sh\necho quadlet is out of order >&2\nexit 1\n"
FLIP = f"""
test -e /var/lib/kat/agent/journal.json
content=$(grep -rl STAGE=flipped {CONTENT})
printf x | dd of="$content" conv=notrunc status=none
"""
NAMESPACE = """\
apiVersion: kat/v1alpha1
kind: Namespace
metadata: {name: greedy}
spec: {allowedHostPaths: [/srv]}
"""
GREEDY = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: greedy, namespace: greedy}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sleep, infinity]
    volumeMounts: [{{name: other, mountPath: /other}}]
  volumes: [{{name: other, hostMount: {{hostPath: /srv/other}}}}]
"""


@pytest.fixture(scope="module")
def made() -> Iterator[OneNode]:
    with one_node(disks=DISKS, settings="agentTickSeconds: 1") as one:
        one.apply(one.web(stage="first"))
        yield one


@pytest.fixture
def kat(made: OneNode) -> Iterator[OneNode]:
    """Return a cluster, and see that all is in sync after the test."""
    yield made
    until_in_sync(made)


@contextmanager
def full(kat: OneNode, path: str) -> Iterator[None]:
    disk.fill_disk(kat.node, path)
    try:
        yield
    finally:
        disk.release(kat.node, path)


@contextmanager
def read_only(kat: OneNode) -> Iterator[None]:
    disk.read_only(kat.node, "/etc")
    try:
        yield
    finally:
        disk.writable(kat.node, "/etc")


@contextmanager
def replaced(kat: OneNode, program: str, by: str) -> Iterator[None]:
    kat.node.put("/run/lab/broken", BROKEN, 0o755)
    kat.node.run(["mount", "--bind", by, program])
    try:
        yield
    finally:
        kat.node.run(["umount", program])


@contextmanager
def no_podman(kat: OneNode) -> Iterator[None]:
    units = ["podman.socket", "podman.service"]
    kat.node.run(["systemctl", "mask", "-q", "--runtime", "--now", *units])
    try:
        yield
    finally:
        kat.node.run(["systemctl", "unmask", "-q", "--runtime", *units])


Fault = Callable[[OneNode], AbstractContextManager[None]]
FAULTS: dict[str, tuple[Fault, str]] = {
    "full disk for contents": (
        lambda kat: full(kat, CONTENT),
        "No space left on device; make room on its file system",
    ),
    "full disk for units": (
        lambda kat: full(kat, "/etc"),
        "No space left on device; make room on its file system",
    ),
    "read-only disk": (read_only, "Read-only file system; mount its file system writable"),
    "generator that fails": (
        lambda kat: replaced(kat, "/usr/libexec/podman/quadlet", "/run/lab/broken"),
        "quadlet ended with code 1: quadlet is out of order",
    ),
    "missing tool": (
        lambda kat: replaced(kat, "/usr/bin/systemd-analyze", "/dev/null"),
        "systemd-analyze: Permission denied; is it installed?",
    ),
    "no Podman": (no_podman, "Podman: podman.socket: masked; see: systemctl status podman.socket"),
}

NOT_ASKED = frozenset({"no Podman"})
"""Without its image the leader holds the workload back, and has the node put nothing in place."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_nothing_is_told_and_ends_by_itself(kat: OneNode, name: str) -> None:
    fault, words = FAULTS[name]
    stage = name.replace(" ", "-")
    before = look(kat)
    with fault(kat):
        said = kat.apply(kat.web(stage=stage), "--timeout", "3s", check=False)
        assert said.code != 0
        assert words in said.stdout + said.stderr
        assert name in NOT_ASKED or words in kat.katcall("get", "nodes", "-o", "json").stdout
        assert look(kat) == before
    until_runs(kat, stage)


def look(kat: OneNode) -> list[str]:
    """Return everything that an apply could change."""
    return kat.node.run(["sh", "-c", LOOK]).stdout.splitlines()


def until_runs(kat: OneNode, stage: str) -> None:
    """Wait until a change is in place that nobody asks for again."""
    written = f"grep -rq STAGE={stage} /etc/containers/systemd/kat"
    until(kat.node, f"{written} && {IN_SYNC}", within_s=HEAL_S, each_s=0.2)


@pytest.mark.skipif(STORE == "etcd", reason="its state is on another disk then")
def test_a_leader_with_a_full_disk_accepts_nothing_and_says_so(kat: OneNode) -> None:
    before = look(kat)
    with full(kat, "/var/lib/kat"):
        said = kat.apply(kat.web(stage="too-much"), check=False)
        assert said.code != 0
        assert "the disk is full; make room, nothing that was acknowledged is lost" in said.stderr
        assert look(kat) == before


def test_what_the_policy_does_not_allow_is_refused_whoever_signed_it(kat: OneNode) -> None:
    kat.apply(NAMESPACE)
    before = look(kat)
    kat.node.put("/etc/kat/policy", b'hostPaths = ["/srv/media"]\ncapabilities = []\n')
    said = kat.apply(GREEDY.format(image=kat.image), check=False)
    kat.node.run(["rm", "/etc/kat/policy"])
    assert said.code != 0
    assert "the host path /srv/other is not allowed here" in said.stdout + said.stderr
    assert look(kat) == before
    kat.katcall("delete", "workload", "greedy", "-n", "greedy")


def test_a_policy_that_makes_no_sense_stops_every_change(kat: OneNode) -> None:
    kat.node.put("/etc/kat/policy", b'hostPath = ["/srv/media"]\n')
    before = look(kat)
    said = kat.apply(kat.web(stage="unbounded"), "--timeout", "3s", check=False)
    assert "/etc/kat/policy: Object contains unknown field `hostPath`" in said.stdout + said.stderr
    assert look(kat) == before
    kat.node.run(["rm", "/etc/kat/policy"])
    until_runs(kat, "unbounded")


def test_without_the_bus_all_runs_on_and_the_change_waits(kat: OneNode) -> None:
    before = kat.pids()
    kat.node.run(["systemctl", "stop", "dbus.socket", "dbus.service"])
    kat.apply(kat.web(stage="later"), "--timeout", "3s", check=False)
    said = kat.node.run(["kat-agent", "status"], check=False)
    assert "the system bus does not answer; see: systemctl status dbus" in said.stderr
    assert kat.pids() == before
    kat.node.run(["systemctl", "start", "dbus.socket", "dbus.service"])
    until_runs(kat, "later")


def test_a_flipped_bit_in_what_is_to_be_written_is_found_and_mended(kat: OneNode) -> None:
    """Not even an agent that goes on with a cut apply writes it."""
    with full(kat, "/etc"):
        kat.apply(kat.web(stage="flipped"), "--timeout", "3s", check=False)
        kat.node.run(["sh", "-ec", FLIP])
        kat.node.run(["systemctl", "restart", "kat-agent"])
    until_runs(kat, "flipped")
    damaged = "is damaged: its digest is another; is the disk sound?"
    assert damaged in kat.node.journal("kat-agent")
