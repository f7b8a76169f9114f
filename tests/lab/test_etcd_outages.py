"""An etcd that dies, goes away, forgets, is full, or does not want to know its leader."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from katgen.leader import pki
from tests import story
from tests.docs.blocks import blocks, is_match
from tests.environment import REPOSITORY
from tests.lab.clients import WRITERS, clients
from tests.lab.cluster import APPLY_S, CLUSTER, CONFIG, OneNode, one_node
from tests.lab.etcd import (
    SETTINGS,
    UNIT,
    etcdctl,
    install_etcd,
    kill,
    put_client,
    readiness,
    until_etcd_answers,
    until_ready,
)
from tests.lab.hosts import host
from tests.lab.process import Ran
from tests.lab.settled import sleeper, until, until_in_sync

HOWTO = REPOSITORY / "docs/howto/etcd.md"
ROUNDS = 2
KILLS = 4
"""Of each round, while applies are in flight."""
OUTAGE_S = 10
BACK_S = 15.0
"""From etcd's return until a write is taken: some two seconds, on a machine that others use."""
NAMESPACES = ("red", "green", "blue")
AWAY = "the store: etcd at https://127.0.0.1:2379 is away"
REFUSED = "most likely it refuses the client's certificate"
CUT = """\
table inet lab {
    chain output {
        type filter hook output priority 0;
        meta skuid kat-leader tcp dport 2379 reject with tcp reset
    }
}
"""
QUOTA = "[Service]\nEnvironment=ETCD_QUOTA_BACKEND_BYTES=4000000\n"
DROP_IN = f"/run/systemd/system/{UNIT}.d/quota.conf"
GONE = """\
apiVersion: kat/v1alpha1
kind: Config
metadata: {name: gone}
data: {a: b}
"""


@pytest.fixture(scope="module")
def made() -> Iterator[OneNode]:
    with one_node(store="etcd") as one:
        yield one


@pytest.fixture
def kat(made: OneNode) -> Iterator[OneNode]:
    """Return a cluster, and see that all is in sync after the test."""
    yield made
    until_ready(made.node)
    until_in_sync(made)


def test_etcd_killed_in_the_middle_of_applies_loses_nothing(kat: OneNode) -> None:
    with clients(kat.node) as told:
        for number in range(ROUNDS):
            applied = applied_amid_kills(kat, f"r{number}")
            for namespace, one in applied.items():
                assert one.code == 0 or "etcd at https://127.0.0.1:2379" in one.stderr
                if one.code == 0:
                    assert stages(kat, namespace) == {f"r{number}"}
            until_ready(kat.node)
    assert told.faults == []
    assert told.gone == 0, told.refusals
    assert told.answered > 2 * WRITERS  # how many depends on how fast the applies fail
    for namespace in NAMESPACES:
        kat.apply(sleeper(kat, namespace=namespace, replicas=2, stage="last"))
        assert stages(kat, namespace) == {"last"}
    assert len(kat.pids()) == 2 * len(NAMESPACES)
    assert kat.node.run(["kat-agent", "status"], check=False).code == 0


def applied_amid_kills(kat: OneNode, stage: str) -> dict[str, Ran]:
    """Apply to all namespaces at once, and kill etcd meanwhile, again and again."""
    applying = {one: begun(kat, sleeper(kat, namespace=one, replicas=2, stage=stage))
                for one in NAMESPACES}  # fmt: skip
    for _ in range(KILLS):
        kill(kat.node)
        until_etcd_answers(kat.node)
    return {namespace: ended(one) for namespace, one in applying.items()}


def begun(kat: OneNode, text: str) -> "subprocess.Popen[str]":
    """Begin an apply."""
    command = kat.node.command(["katcall", "apply", "-f", "-"])
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert child.stdin is not None
    child.stdin.write(text)
    child.stdin.close()
    child.stdin = None
    return child


def ended(child: "subprocess.Popen[str]") -> Ran:
    """Wait for an apply's end."""
    stdout, stderr = child.communicate(timeout=APPLY_S)
    return Ran(child.returncode, stdout, stderr)


def stages(kat: OneNode, namespace: str) -> set[str]:
    """Return the environment that the containers of a namespace have."""
    names = [name for name in kat.pids() if name.startswith(f"kat.{namespace}.")]
    argv = ["sh", "-c", "echo $STAGE"]
    return {kat.node.run(["podman", "exec", name, *argv]).stdout.strip() for name in names}


@contextmanager
def away(kat: OneNode) -> Iterator[None]:
    """Have no etcd inside the block."""
    kat.node.run(["systemctl", "stop", UNIT])
    try:
        yield
    finally:
        kat.node.run(["systemctl", "start", UNIT])


def test_an_apply_while_etcd_is_away_is_refused_in_words_and_taken_after(kat: OneNode) -> None:
    kat.apply(sleeper(kat, stage="before"))
    pids = kat.pids()
    with away(kat):
        gone = time.monotonic()
        refused = kat.apply(sleeper(kat, stage="after"), check=False)
        assert refused.code != 0
        assert AWAY in refused.stderr
        assert readiness(kat.node)[0] == "503"
        assert "sleeper" in kat.katcall("get", "instances").stdout
        assert "sleeper" in kat.katcall("get", "workload", "sleeper").stdout
        assert kat.node.run(["kat-agent", "status"]).code == 0
        kat.node.run(["sleep", f"{max(0.0, OUTAGE_S - (time.monotonic() - gone)):.1f}"])
        assert kat.pids() == pids
    back = time.monotonic()
    while kat.apply(sleeper(kat, stage="after"), "--no-wait", check=False).code != 0:
        assert time.monotonic() - back < BACK_S
    until_stage(kat, "after")


def test_what_was_taken_before_etcd_went_is_carried_out_once_it_is_back(kat: OneNode) -> None:
    kat.apply(sleeper(kat, stage="taken"), "--no-wait")
    with away(kat):
        assert readiness(kat.node)[0] == "503"
    until_stage(kat, "taken")


def until_stage(kat: OneNode, stage: str) -> None:
    """Wait until the sleeper of the default namespace is of this stage."""
    running = "podman ps --filter name=kat.default.sleeper -q | busybox head -1"
    until(kat.node, f'podman exec "$({running})" sh -c \'test "$STAGE" = {stage}\'')


def test_what_etcd_has_forgotten_meanwhile_is_read_anew(kat: OneNode) -> None:
    kat.apply(GONE)
    kat.node.run(["nft", "-f", "-"], stdin=CUT.encode())
    try:
        keys = etcdctl(kat.node, "get", "/kat/", "--prefix", "--keys-only").stdout.split()
        (key,) = (one for one in keys if one.endswith("objects/Config/default/gone"))
        etcdctl(kat.node, "del", key)  # as another leader would have
        answer = etcdctl(kat.node, "put", "/other", "1", "-w", "json")
        etcdctl(kat.node, "compact", str(json.loads(answer.stdout)["header"]["revision"]))
    finally:
        kat.node.run(["nft", "delete", "table", "inet", "lab"])
    until(kat.node, "! katcall get configs -o json | grep -q '\"gone\"'")
    kat.apply(GONE)
    assert "gone" in kat.katcall("get", "configs").stdout
    kat.katcall("delete", "config", "gone")


def test_a_full_etcd_is_told_and_goes_on_once_it_is_disarmed(kat: OneNode) -> None:
    pids = kat.pids()
    kat.node.put(DROP_IN, QUOTA.encode())
    restart(kat)
    for _ in range(8):
        etcdctl(kat.node, "put", "/fill", check=False, stdin=b"x" * 1_000_000)
    until_ready(kat.node)
    refused = kat.apply(sleeper(kat, stage="full"), check=False)
    assert refused.code != 0
    assert "etcd at https://127.0.0.1:2379 is full: compact and defragment it" in refused.stderr
    assert kat.pids() == pids
    kat.node.run(["rm", DROP_IN])
    restart(kat)
    etcdctl(kat.node, "alarm", "disarm")
    until_ready(kat.node)
    kat.apply(sleeper(kat, stage="room"))
    assert stages(kat, "default") == {"room"}


def restart(kat: OneNode) -> None:
    """Have etcd read its settings anew."""
    kat.node.run(["systemctl", "daemon-reload"])
    kat.node.run(["systemctl", "restart", UNIT])
    until_etcd_answers(kat.node)


def test_a_leader_that_etcd_does_not_know_says_so_and_goes_on_once_it_does(kat: OneNode) -> None:
    pids = kat.pids()
    state = "/var/lib/kat/leader"
    names = ("etcd.crt", "etcd.key")
    kept = {name: kat.node.run(["cat", f"{state}/{name}"]).stdout for name in names}
    stranger = pki.issue_admin(pki.make_ca("stranger"), "lab", "kat")
    put_in_place(kat, dict(zip(names, (stranger.certificate, stranger.key), strict=True)))
    kat.node.run(["systemctl", "restart", "kat-leader.service"])
    status = kat.node.run(["systemctl", "show", "-p", "StatusText", "kat-leader.service"]).stdout
    assert REFUSED in status
    assert REFUSED in kat.katcall("get", "nodes", check=False).stderr
    assert kat.pids() == pids
    put_in_place(kat, {name: text.encode() for name, text in kept.items()})
    until_ready(kat.node)


def put_in_place(kat: OneNode, files: dict[str, bytes]) -> None:
    """Write files of the leader; their owner and mode stay."""
    for name, content in files.items():
        kat.node.run(["sh", "-c", f"cat >/var/lib/kat/leader/{name}"], stdin=content)


def test_init_with_a_wrong_certificate_says_so_and_goes_on_with_the_right_one() -> None:
    with host(kat=True) as node:
        ca = install_etcd(node)
        put_client(node, pki.make_ca("stranger"))
        node.put(CONFIG, CLUSTER.replace("SETTINGS", SETTINGS).encode())
        argv = ["kat-agent", "init", "--config", CONFIG]
        refused = node.run(argv, check=False, timeout_s=APPLY_S)
        assert refused.code != 0
        assert REFUSED in refused.stderr
        put_client(node, ca)
        assert "katcall apply" in node.run(argv, timeout_s=APPLY_S).stdout


def test_what_the_howto_tells_is_true() -> None:
    with host("alpha", kat=True) as node:
        story.prepare(node, "simple-service")
        node.run(["systemctl", "unmask", "--quiet", "etcd.service"])
        (settings,) = (one.body for one in blocks(HOWTO) if one.file == "cluster.kat")
        node.put("/root/cluster.kat", settings.encode())
        told = list(story.tell(node, "etcd", str(HOWTO)))
    assert len(told) > 15
    for one in told:
        shown, printed = "\n".join(one.command.output), "\n".join(one.printed)
        assert is_match(one.command.output, one.printed), (
            f"line {one.command.line}: {one.command.text}\n{shown}\nprinted:\n{printed}"
        )
