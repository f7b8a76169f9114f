"""A node in sync is left alone; an apply asks no more of systemd than it must."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.cluster import OneNode, one_node
from tests.lab.settled import reloads, sleeper, stale, until, until_in_sync

ROOTS = "/etc /var/lib/kat /run/kat /run/systemd/system"
WRITTEN = f"find {ROOTS} -printf '%p %i %m %C@ %T@\\n' | sort; nft -a list ruleset"
CALLS = "/run/calls"
RECORD = f"""
dbus-monitor --system --profile type=method_call >{CALLS} 2>&1 &
echo $!
until grep -q NameLost {CALLS}; do sleep 0.05; done
"""
QUIET = f'test -z "$(find {CALLS} -newermt "1 second ago")"'
HEARTBEAT = "katcall get nodes -o json | grep lastHeartbeatTime"
JOB = """\
apiVersion: kat/v1alpha1
kind: JobDefinition
metadata: {{name: job}}
spec: {{completions: 1}}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: job}}
spec:
  type: Job
  source: {{image: "{image}"}}
  container: {{command: [echo, "{text}"]}}
"""
CONFIG = """\
apiVersion: kat/v1alpha1
kind: Config
metadata: {{name: words}}
data: {{word: "{word}"}}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: reader}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    drainSeconds: 0
    command: [sh, -c]
    args: ["trap exit TERM; sleep infinity & wait"]
    volumeMounts: [{{name: words, mountPath: /words}}]
  volumes: [{{name: words, config: {{name: words}}}}]
"""


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        made.apply(made.web())
        until_next_heartbeat(made)  # who is ready is kept for a boot by then
        yield made


@contextmanager
def calls(kat: OneNode) -> Iterator[list[str]]:
    """Record every method call on the system bus, from when nobody calls any more.

    The list is filled as the block ends.
    """
    pid = kat.node.run(["sh", "-c", RECORD]).stdout.strip()
    until(kat.node, QUIET)
    before = len(recorded(kat))
    heard: list[str] = []
    yield heard
    heard += recorded(kat)[before:]
    kat.node.run(["kill", pid])


def recorded(kat: OneNode) -> list[str]:
    lines = kat.node.run(["cat", CALLS]).stdout.splitlines()
    return [line.split("\t")[-1] for line in lines if line.startswith("mc\t")]


def until_next_heartbeat(kat: OneNode) -> None:
    """Wait until the agent has looked at everything once: it then tells that it lives."""
    (node,) = kat.ask("get", "nodes")["items"]
    last = node["status"]["lastHeartbeatTime"]
    until(kat.node, f"{HEARTBEAT} && ! {HEARTBEAT} | grep -q '{last}'", each_s=0.5)


def written(kat: OneNode) -> str:
    """Return what tells of any write: when each file and each entry of a directory changed."""
    return kat.node.run(["sh", "-c", WRITTEN]).stdout


def of_agent(lines: str) -> list[str]:
    return [one for one in lines.splitlines() if "/var/lib/kat/leader" not in one]


def test_in_sync_means_no_write_and_no_call(kat: OneNode) -> None:
    with calls(kat) as heard:
        before = written(kat)
        until_next_heartbeat(kat)
    assert heard == []
    assert written(kat) == before


def test_the_same_again_is_no_write_and_no_call(kat: OneNode) -> None:
    with calls(kat) as heard:
        before = written(kat)
        kat.apply(kat.web())
    assert heard == []
    assert written(kat) == before


def test_a_leader_that_comes_back_has_nothing_written(kat: OneNode) -> None:
    until_in_sync(kat)
    before = of_agent(written(kat))
    kat.node.run(["systemctl", "restart", "kat-leader.service"])
    until_in_sync(kat)
    assert of_agent(written(kat)) == before


def test_a_change_is_seen_by_what_counts_writes_and_calls(kat: OneNode) -> None:
    with calls(kat) as heard:
        before = of_agent(written(kat))
        kat.apply(kat.web(stage="heard"))
    assert heard.count("StartUnit") == 1
    assert of_agent(written(kat)) != before


def test_instances_come_change_and_go_without_a_reload(kat: OneNode) -> None:
    kat.apply(sleeper(kat))
    before = reloads(kat)
    assert before > 0
    kat.apply(sleeper(kat, replicas=2))
    kat.apply(sleeper(kat, replicas=2, stage="two"))
    kat.katcall("delete", "workload", "sleeper")
    assert reloads(kat) == before


def test_what_a_reload_has_seen_is_not_stale_when_it_goes(kat: OneNode) -> None:
    kat.apply(sleeper(kat, replicas=2))
    kat.node.run(["systemctl", "daemon-reload"])
    kat.apply(sleeper(kat, replicas=2, stage="two"))
    assert stale(kat) == []
    kat.katcall("delete", "workload", "sleeper")
    assert stale(kat) == []


def test_nothing_is_stale_after_any_kind_of_apply(kat: OneNode) -> None:
    texts = {
        "new": sleeper(kat, namespace="kinds"),
        "changed": sleeper(kat, namespace="kinds", stage="two"),
        "more": sleeper(kat, namespace="kinds", stage="two", replicas=3),
        "fewer": sleeper(kat, namespace="kinds", stage="two"),
        "job": JOB.format(image=kat.image, text="one"),
        "job changed": JOB.format(image=kat.image, text="two"),
        "config": CONFIG.format(image=kat.image, word="one"),
        "config changed": CONFIG.format(image=kat.image, word="two"),
    }
    deletions = {
        "job deleted": ("job",),
        "config's reader deleted": ("reader",),
        "namespace deleted": ("sleeper", "-n", "kinds"),
    }
    found = {}
    for what, text in texts.items():
        kat.apply(text)
        found[what] = stale(kat)
    for what, arguments in deletions.items():
        kat.katcall("delete", "workload", *arguments)
        found[what] = stale(kat)
    assert found == {what: [] for what in (*texts, *deletions)}
