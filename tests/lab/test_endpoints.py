"""Who is ready gets traffic, and nobody else, on a real host; what stops loses no request."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cluster import STORE, VIRTUAL_ADDRESS, OneNode, one_node
from tests.lab.load import load
from tests.lab.settled import until, until_in_sync

LEADER, AGENT = "kat-leader.service", "kat-agent.service"
PERIOD_S = 1
EFFECT_S = 0.1
SLACK_S = 1.5
"""The machine that runs this may have other things to do; docs/figures.md has what it takes."""
STORE_FILE = "/var/lib/kat/leader/store.db"
NAME = "ep.web.default.kat.cluster.local"
ALL = {"web-0", "web-1", "web-2"}
URL = f"http://{VIRTUAL_ADDRESS}/"
SLOW = "cgi-bin/slow"
RESENT_S = 1
"""After which a connection is asked for again if nobody has answered."""
TRIES = 40
"""One of three, missed with probability (2/3)^40."""
WEB = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: {name}}}
spec:
  type: Service
  replicas: {replicas}
  source: {{image: "{image}"}}
  container:
    command: [sh, -c]
    args:
      - |
        mkdir -p /tmp/www/cgi-bin && cd /tmp/www && echo $HOSTNAME >index.html && echo >healthz
        printf '#!/bin/sh\\nprintf "Content-Type: text/plain\\\\n\\\\n"; sleep 2; hostname\\n' \\
          >cgi-bin/slow
        printf '#!/bin/sh\\n: >../seen; printf "HTTP/1.0 "; test -e ../healthz && echo "200 OK" ||
          echo "503 no"; echo\\n' >cgi-bin/health
        chmod +x cgi-bin/*
        exec httpd -f -p 8080 -h /tmp/www
    ports: [{{name: http, containerPort: 8080}}]
    readiness: {{http: {{path: /cgi-bin/health, port: 8080}}, periodSeconds: 1, timeoutSeconds: 10,
      failureThreshold: 1}}
    stopTimeoutSeconds: 1
    drainSeconds: 4
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: {name}}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


@contextmanager
def looked_at() -> Iterator[OneNode]:
    """Make a cluster whose node can tell how names and traffic follow health."""
    with one_node() as one:
        folder = Path(__file__).parent
        names = ("load.py", "resolving.py", "turning.py")
        one.node.put_tree({f"/root/tests/lab/{n}": (folder / n).read_bytes() for n in names})
        yield one


@pytest.fixture(scope="module")
def made() -> Iterator[OneNode]:
    with looked_at() as one:
        yield one


@pytest.fixture
def kat(made: OneNode) -> Iterator[OneNode]:
    """Return a cluster whose service has three ready instances; it is never deleted.

    The virtual address of what is deleted rests, and another one takes its place.
    """
    made.apply(web(made, 3))
    until(made.node, ready(3))
    yield made
    made.node.run(["systemctl", "start", LEADER, AGENT])
    until_in_sync(made)


def web(kat: OneNode, replicas: int, name: str = "web") -> str:
    return WEB.format(name=name, replicas=replicas, image=kat.image)


def ready(count: int) -> str:
    """Return a condition: so many instances are ready, as the leader has heard."""
    return (
        "test $(katcall get instances -o json | busybox tr -d ' \\n' |"
        f' busybox grep -o \'"endpoint":"ready"\' | wc -l) = {count}'
    )


def service(kat: OneNode, name: str) -> Any:  # noqa: ANN401 -- JSON
    """Return a service as the node has it, also without a leader."""
    text = kat.node.run(["cat", "/var/lib/kat/services/default.json"]).stdout
    return next(one for one in json.loads(text)["services"] if one["workload"] == name)


def first_address(kat: OneNode) -> str:
    """Return the address of the first instance."""
    address: str = service(kat, "web")["candidates"][0]["address"]
    return address


def container(kat: OneNode) -> str:
    """Return the name of the first instance's container."""
    return next(one for one in kat.pids() if one.startswith("kat.default.web.0-"))


def turning(kat: OneNode, where: str) -> list[str]:
    """Return what has the first instance fail its probe (`out`) or pass it (`in`)."""
    file = f"/proc/{kat.pids()[container(kat)]}/root/tmp/www/healthz"
    words = [file, first_address(kat), where, NAME, URL, "10.100.0.1", "web-0"]
    return ["env", "PYTHONPATH=/root", "python3", "-m", "tests.lab.turning", *words]


def turn(kat: OneNode, where: str) -> dict[str, float]:
    """Have the first instance turn; return when checks, names and traffic followed, in seconds."""
    said = json.loads(kat.node.run(turning(kat, where)).stdout)
    assert said["lost"] == []
    took: dict[str, float] = said["took"]
    return took


@contextmanager
def without(kat: OneNode, unit: str) -> Iterator[None]:
    """Have a daemon stopped during the block."""
    if unit:
        kat.node.run(["systemctl", "stop", unit])
    try:
        yield
    finally:
        kat.node.run(["systemctl", "start", LEADER, AGENT])


@pytest.mark.parametrize("stopped", ["", LEADER], ids=["leader up", "leader down"])
def test_an_unhealthy_instance_leaves_at_once_and_comes_back(kat: OneNode, stopped: str) -> None:
    with without(kat, stopped):
        out = turn(kat, "out")
        assert kat.fetch(URL, tries=TRIES) == ALL - {"web-0"}
        back = turn(kat, "in")
        assert kat.fetch(URL, tries=TRIES) == ALL
    for took in (out, back):
        assert took["checked"] < PERIOD_S + SLACK_S, took
        assert max(took["names"], took["traffic"]) < took["checked"] + EFFECT_S + SLACK_S, took


@pytest.mark.skipif(STORE != "embedded", reason="reads what the embedded store remembers")
def test_a_flap_makes_no_plan_and_writes_nothing_but_events(kat: OneNode) -> None:
    before, plans = revision(kat), kat.ask("get", "plans")["items"]
    for _ in range(3):
        turn(kat, "out")
        until(kat.node, ready(2))
        turn(kat, "in")
        until(kat.node, ready(3))
    assert kat.ask("get", "plans")["items"] == plans
    assert {key.partition("/")[0] for key in written(kat, before)} <= {"events"}


def revision(kat: OneNode) -> int:
    """Return the store's revision."""
    return int(asked_store(kat, "select revision from state")[0])


def written(kat: OneNode, since: int) -> list[str]:
    """Return the keys that were written or deleted after a revision."""
    return asked_store(kat, f"select distinct key from history where revision > {since}")  # noqa: S608 -- a number


def asked_store(kat: OneNode, query: str) -> list[str]:
    """Return the first column that SQLite answers."""
    read = f"sqlite3.connect('file:{STORE_FILE}?mode=ro', uri=True).execute({query!r})"
    script = f"import sqlite3; print(*(one[0] for one in {read}), sep='\\n')"
    return kat.node.run(["python3", "-c", script]).stdout.split()


def asked_slowly(url: str) -> str:
    """Return a script that asks many slow pages at once, and prints what each answers."""
    one = f"busybox wget -q -T 20 -O - {url}{SLOW} || echo lost"
    return f"for n in $(seq {TRIES}); do ({one}) & done; wait"


def test_requests_in_flight_at_an_instance_that_turns_bad_are_answered(kat: OneNode) -> None:
    script = f"({asked_slowly(URL)}) & sleep 0.3; {' '.join(turning(kat, 'out'))} >/tmp/took; wait"
    answers = kat.node.run(["sh", "-c", script]).stdout.split()
    assert len(answers) == TRIES
    assert set(answers) == ALL
    turn(kat, "in")


def test_a_restart_of_the_agent_changes_nothing_for_anybody(kat: OneNode) -> None:
    turn(kat, "out")
    with load(kat.node, URL, rate=50) as asked:
        kat.node.run(["systemctl", "restart", AGENT])
        until_in_sync(kat)
    assert asked.failed == []
    assert set(asked.answers) == ALL - {"web-0"}
    turn(kat, "in")


def test_scaling_down_loses_no_request(kat: OneNode) -> None:
    with load(kat.node, URL, rate=100) as asked:
        kat.apply(web(kat, 1))
        until(kat.node, "test $(podman ps -q --filter name=kat.default.web | wc -l) = 1")
    assert asked.failed == []
    assert set(asked.answers) == ALL


def test_scaling_up_sends_nobody_where_no_container_is_yet(kat: OneNode) -> None:
    kat.apply(web(kat, 1))
    until(kat.node, ready(1))
    with load(kat.node, URL, rate=100) as asked:
        kat.apply(web(kat, 4))
        until(kat.node, ready(4))
    assert asked.failed == []
    assert asked.slowest < RESENT_S


def test_what_is_deleted_answers_the_requests_that_it_has(kat: OneNode) -> None:
    kat.apply(web(kat, 3, "leaving"))
    until(kat.node, ready(6))
    at = service(kat, "leaving")["virtualAddress"]
    asking = f"({asked_slowly(f'http://{at}/')}) & sleep 0.3"
    script = f"{asking}; katcall delete workload leaving >/tmp/said; wait"
    answers = kat.node.run(["sh", "-c", script], timeout_s=60).stdout.split()
    assert len(answers) == TRIES
    assert set(answers) == {one.replace("web", "leaving") for one in ALL}
