"""Replacing what serves, under load: a real host, 200 requests a second, none lost."""

from collections.abc import Iterator

import pytest

from tests.lab.cluster import VIRTUAL_ADDRESS, OneNode, one_node
from tests.lab.load import load
from tests.lab.settled import until, until_in_sync

RATE = 200
URL = f"http://{VIRTUAL_ADDRESS}/"
SERVED = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: web}}
spec:
  type: Service
  replicas: 3
  source: {{image: "{image}"}}
  updateStrategy: {{type: Rolling, rolling: {{maxSurge: 1, maxUnavailable: 0}}, progressDeadlineSeconds: {deadline_s}}}
  container:
    command: [sh, -c]
    args: ['mkdir -p /tmp/www; {prepare}; echo {stage} >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www']
    ports: [{{name: http, containerPort: 8080}}]
    readiness: {{http: {{path: /ready, port: 8080}}, periodSeconds: 1, failureThreshold: 1}}
    stopTimeoutSeconds: 1
    drainSeconds: 1
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: web}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""  # noqa: E501 -- one line of YAML each
RUNNING = 'katcall get workload web -o json | grep -Eq \'"state": ?"running"\''
READY = "touch /tmp/www/ready"
SLOWLY = "(sleep 2; touch /tmp/www/ready) & true"


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as made:
        made.apply(served(made, stage="one"))
        yield made


def served(kat: OneNode, *, stage: str, prepare: str = READY, deadline_s: int = 60) -> str:
    return SERVED.format(image=kat.image, stage=stage, prepare=prepare, deadline_s=deadline_s)


def test_a_rolling_restart_loses_no_request(kat: OneNode) -> None:
    before = kat.pids().keys()
    with load(kat.node, URL, rate=RATE) as asked:
        kat.katcall("restart", "web")
    assert asked.failed == []
    assert asked.sent > 3 * RATE
    assert len(kat.pids()) == 3
    assert before.isdisjoint(kat.pids())


def test_a_new_revision_that_is_slow_to_be_ready_loses_no_request(kat: OneNode) -> None:
    with load(kat.node, URL, rate=RATE) as asked:
        kat.apply(served(kat, stage="two", prepare=SLOWLY))
    assert asked.failed == []
    assert asked.answers.keys() == {"one", "two"}
    assert kat.fetch(URL, tries=32) == {"two"}


def test_a_revision_that_is_never_ready_replaces_nobody(kat: OneNode) -> None:
    before = kat.pids().keys()
    with load(kat.node, URL, rate=RATE) as asked:
        ran = kat.apply(served(kat, stage="three", prepare="true", deadline_s=5), check=False)
    assert asked.failed == []
    assert asked.answers.keys() == {"two"}
    assert ran.code == 5
    assert "not ready" in ran.stdout + ran.stderr
    assert before <= kat.pids().keys()
    kat.apply(served(kat, stage="two", prepare=SLOWLY))
    assert kat.pids().keys() == before


def test_a_leader_and_an_agent_that_are_killed_in_a_rollout_go_on_from_there(kat: OneNode) -> None:
    with load(kat.node, URL, rate=RATE) as asked:
        kat.apply(served(kat, stage="four", prepare=SLOWLY), "--no-wait")
        until(kat.node, "katcall get workload web -o json | grep -q '2 of 3 updated'", within_s=60)
        kat.node.run(
            ["systemctl", "kill", "--signal=KILL", "kat-leader.service", "kat-agent.service"]
        )
        until(kat.node, RUNNING, within_s=120)
    until_in_sync(kat)
    assert asked.failed == []
    assert kat.fetch(URL, tries=32) == {"four"}


def test_of_one_instance_there_are_two_for_a_while(kat: OneNode) -> None:
    kat.katcall("scale", "workload", "web", "--replicas", "1")
    one = served(kat, stage="five", prepare=SLOWLY).replace("replicas: 3", "replicas: 1")
    with load(kat.node, URL, rate=RATE) as asked:
        kat.apply(one)
    assert asked.failed == []
    assert asked.answers.keys() == {"four", "five"}
    assert len(kat.pids()) == 1


def test_what_runs_on_every_node_is_replaced_where_it_is(kat: OneNode) -> None:
    everywhere = (
        served(kat, stage="six")
        .replace("name: web}", "name: everywhere}")
        .replace("type: Service\n  replicas: 3", "type: DaemonService")
        .replace("maxSurge: 1, maxUnavailable: 0", "maxUnavailable: 1")
    )
    kat.apply(everywhere)
    url = "http://everywhere.default.kat.cluster.local/"
    assert kat.fetch(url) == {"six"}
    kat.apply(everywhere.replace("six", "seven"))
    assert kat.fetch(url, tries=8) == {"seven"}
    (before,) = ours(kat, "everywhere")
    kat.katcall("restart", "everywhere")
    (after,) = ours(kat, "everywhere")
    assert after != before
    assert kat.fetch(url, tries=8) == {"seven"}
    kat.katcall("delete", "workload", "everywhere")
    assert ours(kat, "everywhere") == []


def ours(kat: OneNode, workload: str) -> list[str]:
    return [name for name in kat.pids() if f".{workload}." in name]
