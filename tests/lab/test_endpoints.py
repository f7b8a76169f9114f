"""Who is ready gets traffic, and nobody else, on a real host; what stops loses no request."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.cluster import VIRTUAL_ADDRESS, OneNode, one_node
from tests.lab.load import load
from tests.lab.settled import until, until_in_sync

LEADER, AGENT = "kat-leader.service", "kat-agent.service"
PERIOD_S = 1
EFFECT_S = 0.1
LOOK_S = 0.1
"""One look at the rules takes up to that, beside everything else that goes on."""
ALL = {"web-0", "web-1", "web-2"}
URL = f"http://{VIRTUAL_ADDRESS}/"
SLOW = "cgi-bin/slow"
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
        chmod +x cgi-bin/slow
        exec httpd -f -p 8080 -h /tmp/www
    ports: [{{name: http, containerPort: 8080}}]
    readiness: {{http: {{path: /healthz, port: 8080}}, periodSeconds: 1, timeoutSeconds: 1,
      failureThreshold: 1}}
    stopTimeoutSeconds: 1
    drainSeconds: 4
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: {name}}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
TURN = """\
import json, os, subprocess, sys, time
file, address, wanted = sys.argv[1], sys.argv[2], sys.argv[3] == "in"
def is_in_rules():
    listed = subprocess.run(["nft", "-j", "list", "map", "inet", "kat", "endpoints"],
                            check=True, capture_output=True).stdout
    found = (one["map"] for one in json.loads(listed)["nftables"] if "map" in one)
    return any(element[1] == address for one in found for element in one.get("elem", []))
def is_in_names():
    out = json.load(open("/run/kat/endpoints/default.json"))["withdrawn"].get("web", [])
    return address not in out
if wanted:
    open(file, "w").close()
else:
    os.unlink(file)
begun, took = time.monotonic(), {}
while len(took) < 2 and time.monotonic() - begun < 10:
    for name, look in (("names", is_in_names), ("rules", is_in_rules)):
        if name not in took and look() == wanted:
            took[name] = time.monotonic() - begun
    time.sleep(0.005)
print(json.dumps(took))
"""


@pytest.fixture(scope="module")
def made() -> Iterator[OneNode]:
    with one_node() as one:
        one.node.put("/root/turn.py", TURN.encode())
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


def first_address(kat: OneNode) -> str:
    """Return the address of the first instance."""
    items = kat.ask("get", "instances")["items"]
    found: dict[str, str] = {one["metadata"]["name"]: one["address"] for one in items}
    return next(address for name, address in found.items() if name.startswith("web/0-"))


def container(kat: OneNode) -> str:
    """Return the name of the first instance's container."""
    return next(one for one in kat.pids() if one.startswith("kat.default.web.0-"))


def turn(kat: OneNode, address: str, where: str) -> dict[str, float]:
    """Have the first instance fail its probe or pass it; return when rules and names follow."""
    file = f"/proc/{kat.pids()[container(kat)]}/root/tmp/www/healthz"
    said = kat.node.run(["python3", "/root/turn.py", file, address, where])
    found: dict[str, float] = json.loads(said.stdout)
    return found


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
    address = first_address(kat)
    with without(kat, stopped):
        out = turn(kat, address, "out")
        assert kat.fetch(URL, tries=TRIES) == ALL - {"web-0"}
        back = turn(kat, address, "in")
        assert kat.fetch(URL, tries=TRIES) == ALL
    limit_s = PERIOD_S + EFFECT_S + LOOK_S
    assert max(out["names"], out["rules"]) < limit_s, out
    assert max(back["names"], back["rules"]) < limit_s, back


def test_a_flap_makes_no_plan(kat: OneNode) -> None:
    address, before = first_address(kat), kat.ask("get", "plans")["items"]
    turn(kat, address, "out")
    until(kat.node, ready(2))
    turn(kat, address, "in")
    until(kat.node, ready(3))
    assert kat.ask("get", "plans")["items"] == before


def asked_slowly(url: str) -> str:
    """Return a script that asks many slow pages at once, and prints what each answers."""
    one = f"busybox wget -q -T 20 -O - {url}{SLOW} || echo lost"
    return f"for n in $(seq {TRIES}); do ({one}) & done; wait"


def test_requests_in_flight_at_an_instance_that_turns_bad_are_answered(kat: OneNode) -> None:
    address = first_address(kat)
    file = f"/proc/{kat.pids()[container(kat)]}/root/tmp/www/healthz"
    argv = ["python3", "/root/turn.py", file, address, "out"]
    script = f"({asked_slowly(URL)}) & sleep 0.3; {' '.join(argv)} >/tmp/took; wait"
    answers = kat.node.run(["sh", "-c", script]).stdout.split()
    assert len(answers) == TRIES
    assert set(answers) == ALL
    turn(kat, address, "in")


def test_a_restart_of_the_agent_changes_nothing_for_anybody(kat: OneNode) -> None:
    turn(kat, first_address(kat), "out")
    with load(kat.node, URL, rate=50) as asked:
        kat.node.run(["systemctl", "restart", AGENT])
        until_in_sync(kat)
    assert asked.failed == []
    assert set(asked.answers) == ALL - {"web-0"}
    turn(kat, first_address(kat), "in")


def test_scaling_down_loses_no_request(kat: OneNode) -> None:
    with load(kat.node, URL, rate=100) as asked:
        kat.apply(web(kat, 1))
        until(kat.node, "test $(podman ps -q --filter name=kat.default.web | wc -l) = 1")
    assert asked.failed == []
    assert set(asked.answers) == ALL


def test_what_is_deleted_answers_the_requests_that_it_has(kat: OneNode) -> None:
    kat.apply(web(kat, 3, "leaving"))
    until(kat.node, ready(6))
    services = json.loads(kat.node.run(["cat", "/var/lib/kat/services/default.json"]).stdout)
    (at,) = (s["virtualAddress"] for s in services["services"] if s["workload"] == "leaving")
    asking = f"({asked_slowly(f'http://{at}/')}) & sleep 0.3"
    script = f"{asking}; katcall delete workload leaving >/tmp/said; wait"
    answers = kat.node.run(["sh", "-c", script], timeout_s=60).stdout.split()
    assert len(answers) == TRIES
    assert set(answers) == {one.replace("web", "leaving") for one in ALL}
