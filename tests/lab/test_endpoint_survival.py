"""Who gets traffic stays right through kills, reboots and foreign hands, on a real host.

An instance is bad as long as there is a file in its volume, so that it is also bad after a reboot.
No request may ever be lost: those that are bad answer all the same. A check has ten seconds: an
answer that takes long on a busy machine is no bad one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import power
from tests.lab.boot import boot
from tests.lab.cluster import VIRTUAL_ADDRESS, OneNode, one_node
from tests.lab.load import load
from tests.lab.node import Node
from tests.lab.settled import DAEMONS, until, until_in_sync

AGENT, LEADER = DAEMONS
ALL = {"web-0", "web-1", "web-2"}
OTHERS = ALL - {"web-0"}
URL = f"http://{VIRTUAL_ADDRESS}/"
TRIES = 40
"""One of three, missed with probability (2/3)^40."""
BAD = "/var/lib/kat/volumes/default/web/data/0/bad"
KILLS, FLAPS = 6, 2
SAME_PORT = ["curl", "-sS", "-m", "2", "--local-port", "45000", URL]
STRAYS = f"conntrack -L 2>/dev/null | grep -q 'src={VIRTUAL_ADDRESS} dst='"
"""There are connections to the virtual address that nobody translated."""
IN_NAMES = """grep -Fq '"withdrawn":{}' /run/kat/endpoints/default.json"""
ASKED = "dig +short +time=1 @10.100.0.1 ep.web.default.kat.cluster.local"
TABLES = "nft list table inet kat && nft list table bridge kat"
SNAPSHOT_OF_TWO = (
    "test $(grep -o '10[.]100[.]0[.][0-9]*' /var/lib/kat/endpoints/default.json | wc -l) = 1"
)
"""A condition: at a boot, one of the three would be left out."""
DRAINS = "grep -q draining /run/kat/endpoints.json"
SLOW = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: worker}}
spec:
  type: Service
  source: {{image: "{image}"}}
  container:
    command: [sh, -c]
    args: ["trap exit TERM; sleep infinity & wait"]
    drainSeconds: {drain}
"""
WEB = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {{name: web}}
spec:
  type: Service
  replicas: 3
  source: {{image: "{image}"}}
  container:
    command: [sh, -c]
    args:
      - |
        mkdir -p /tmp/www/cgi-bin && cd /tmp/www && echo $HOSTNAME >index.html
        printf '#!/bin/sh\\nprintf "HTTP/1.0 "; test -e /data/bad && echo "503 no" ||
          echo "200 OK"; echo\\n' >cgi-bin/health
        chmod +x cgi-bin/health
        exec httpd -f -p 8080 -h /tmp/www
    ports: [{{name: http, containerPort: 8080}}]
    readiness: {{http: {{path: /cgi-bin/health, port: 8080}}, periodSeconds: 1, timeoutSeconds: 10,
      failureThreshold: 1}}
    stopTimeoutSeconds: 1
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, simpleClusterStorage: {{}}}}]
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {{name: web}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}], panicThreshold: 0}}
"""


@pytest.fixture(scope="module")
def made() -> Iterator[OneNode]:
    with one_node() as one:
        one.apply(WEB.format(image=one.image))
        yield one


@pytest.fixture
def kat(made: OneNode) -> Iterator[OneNode]:
    """Return a cluster of whose three instances the first is bad, as everybody knows."""
    made.node.run(["touch", BAD])
    until(made.node, f"{named(2)} && ! {leads_to_bad(made)}")
    assert made.fetch(URL, tries=TRIES) == OTHERS
    yield made
    made.node.run(["rm", "-f", BAD])
    until_in_sync(made)
    until(made.node, f"{named(3)} && {leads_to_bad(made)}")
    assert made.fetch(URL, tries=TRIES) == ALL


def named(count: int) -> str:
    """Return a condition: so many instances have names."""
    return f"test $({ASKED} | grep -c '^10.100.0.') = {count}"


@pytest.mark.parametrize("command", ["nft flush ruleset", "nft delete table inet kat"])
def test_lost_rules_come_back_with_what_is_known_of_endpoints(kat: OneNode, command: str) -> None:
    with load(kat.node, URL, rate=50) as asked:
        kat.node.run(["sh", "-c", command])
        until(kat.node, f"{TABLES} && {leads_to_others(kat)} && ! {leads_to_bad(kat)}")
    assert set(asked.answers) <= OTHERS  # it is over after so few that one may have got none
    until(kat.node, f"! {{ {STRAYS}; }}")
    assert kat.fetch(URL, tries=TRIES) == OTHERS


def test_who_asked_while_there_were_no_rules_is_answered_on_the_same_port_after(
    kat: OneNode,
) -> None:
    signal = ["systemctl", "kill", "kat-agent.service", "-s"]
    kat.node.run([*signal, "STOP"])
    try:
        kat.node.run(["nft", "delete", "table", "inet", "kat"])
        assert kat.node.run(SAME_PORT, check=False).code != 0
        kat.node.run(["sh", "-c", STRAYS])
    finally:
        kat.node.run([*signal, "CONT"])
    until(kat.node, f"{TABLES} && ! {{ {STRAYS}; }}")
    assert kat.node.run(SAME_PORT).stdout.strip() in OTHERS


def test_after_a_load_by_somebody_else_all_are_soon_where_they_were(kat: OneNode) -> None:
    kat.node.run(["systemctl", "reload", "kat-nft.service"])
    until(kat.node, f"{leads_to_others(kat)} && ! {leads_to_bad(kat)}")
    assert kat.fetch(URL, tries=TRIES) == OTHERS


def leads_to_others(kat: OneNode) -> str:
    """Return a condition: the healthy instances are in the rules of the virtual address."""
    listed = "nft list map inet kat endpoints | grep -q"
    return " && ".join(f"{listed} ': {one}'" for one in addresses(kat)[1:])


def leads_to_bad(kat: OneNode) -> str:
    """Return a condition: the first instance is in the rules of the virtual address."""
    return f"nft list map inet kat endpoints | grep -Eq ': {addresses(kat)[0]}([ ,]|$)'"


def addresses(kat: OneNode) -> list[str]:
    """Return the instances' addresses, by ordinal; asks no leader."""
    script = (
        "import json; s = json.load(open('/var/lib/kat/services/default.json'))['services'];"
        "print(*(c['address'] for c in s[0]['candidates']))"
    )
    return kat.node.run(["python3", "-c", script]).stdout.split()


def test_an_element_that_somebody_puts_back_is_taken_out_again(kat: OneNode) -> None:
    slots = kat.node.run(["nft", "list", "map", "inet", "kat", "endpoints"]).stdout
    key = f"{VIRTUAL_ADDRESS} . 0x4b000000"
    assert key in slots
    text = (
        f"delete element inet kat endpoints {{ {key} }}\n"
        f"add element inet kat endpoints {{ {key} : {addresses(kat)[0]} }}\n"
    )
    kat.node.run(["nft", "-f", "-"], stdin=text.encode())
    until(kat.node, f"! {leads_to_bad(kat)}", within_s=5)
    assert kat.fetch(URL, tries=TRIES) == OTHERS


def test_rules_that_are_altered_during_an_apply_are_back_before_its_end(kat: OneNode) -> None:
    isolates = "nft list chain inet kat forward | grep -q isolated"
    kat.apply(SLOW.format(image=kat.image, drain=10))
    kat.node.run(["sh", "-c", isolates])
    before = now(kat)
    kat.node.run(["sh", "-c", "katcall delete workload worker >/dev/null 2>&1 &"])
    until(kat.node, DRAINS)
    kat.node.run(["nft", "flush", "chain", "inet", "kat", "forward"])
    until(kat.node, f"{isolates} && {DRAINS}", within_s=5)
    until(kat.node, f"! {DRAINS}")
    until_in_sync(kat)
    assert rule_loads(kat, before) == 2


def test_an_apply_loads_the_rules_once(kat: OneNode) -> None:
    """Also one that takes out an instance while somebody changes other tables."""
    before = now(kat)
    kat.apply(SLOW.format(image=kat.image, drain=3))
    until_in_sync(kat)
    assert rule_loads(kat, before) == 1
    kat.node.run(["sh", "-c", "katcall delete workload worker >/dev/null 2>&1 &"])
    until(kat.node, DRAINS)
    kat.node.run(["sh", "-c", "nft add table inet theirs; nft delete table inet theirs"])
    until(kat.node, f"! {DRAINS}")
    until_in_sync(kat)
    assert rule_loads(kat, before) == 2


def now(kat: OneNode) -> str:
    """Return a cursor of the journal."""
    said = kat.node.run(["journalctl", "--lines=0", "--show-cursor", "--no-pager"]).stdout
    return said.rpartition("-- cursor: ")[2].strip()


def rule_loads(kat: OneNode, since: str) -> int:
    """Return how often the packet rules have been loaded since a cursor of the journal."""
    kat.node.run(["journalctl", "--sync"])
    fields = ["UNIT=kat-nft.service", "JOB_TYPE=reload", "JOB_RESULT=done"]
    argv = ["journalctl", f"--after-cursor={since}", "--no-pager", "-o", "cat", "_PID=1", *fields]
    return len(kat.node.run(argv).stdout.splitlines())


def test_without_an_agent_a_reload_has_what_the_agent_knew(kat: OneNode) -> None:
    with stopped(kat):
        kat.node.run(["systemctl", "reload", "kat-nft.service"])
        assert kat.fetch(URL, tries=TRIES) == OTHERS
        kat.node.run(["nft", "flush", "ruleset"])
        kat.node.run(["systemctl", "reload", "kat-nft.service"])
        assert kat.fetch(URL, tries=TRIES) == OTHERS


@contextmanager
def stopped(kat: OneNode) -> Iterator[None]:
    """Have neither leader nor agent during the block, nor at a boot in it."""
    kat.node.run(["systemctl", "disable", "-q", "--now", *DAEMONS])
    try:
        yield
    finally:
        kat.node.run(["systemctl", "enable", "-q", "--now", *DAEMONS])


@pytest.mark.parametrize("off", [power.shut_down, power.crash])
def test_a_boot_with_nobody_there_has_what_the_agent_knew(
    kat: OneNode, off: Callable[[Node], None]
) -> None:
    with stopped(kat):
        off(kat.node)
        boot(kat.node)
        until_all_answer(kat)
        assert kat.fetch(URL, tries=TRIES) == OTHERS
        kat.node.run(["sh", "-c", named(2)])


def test_a_damaged_snapshot_keeps_no_rules_from_being_loaded(kat: OneNode) -> None:
    with stopped(kat):
        kat.node.put("/var/lib/kat/endpoints/default.nft", b"add element inet kat nowhere { 1 }\n")
        kat.node.run(["systemctl", "reload", "kat-nft.service"])
        assert kat.fetch(URL, tries=TRIES) == ALL
        power.crash(kat.node)
        boot(kat.node)
        kat.node.run(["systemctl", "is-active", "kat-nft.service"])
        until_all_answer(kat)
        assert kat.fetch(URL, tries=TRIES) == ALL
        said = kat.node.run(["journalctl", "-b", "-o", "cat", "-u", "kat-nft.service"]).stdout
        assert "loading without what was known of endpoints" in said
    until(kat.node, f"{leads_to_others(kat)} && ! {leads_to_bad(kat)}")


def test_rules_that_are_wrong_themselves_are_not_loaded_in_part(kat: OneNode) -> None:
    with stopped(kat):
        before = kat.node.run(["sh", "-c", TABLES]).stdout
        kat.node.run(["sh", "-c", "cp -a /etc/kat/kat.nft /root; echo nonsense >>/etc/kat/kat.nft"])
        ran = kat.node.run(["systemctl", "reload", "kat-nft.service"], check=False)
        kat.node.run(["mv", "/root/kat.nft", "/etc/kat/kat.nft"])
        assert ran.code != 0
        assert kat.node.run(["sh", "-c", TABLES]).stdout == before


def test_a_machine_that_goes_down_during_an_apply_leaves_nobody_out(kat: OneNode) -> None:
    """Instances stop beside the agent, which waits for the apply under way."""
    kat.apply(SLOW.format(image=kat.image, drain=20))
    until(kat.node, f"{SNAPSHOT_OF_TWO} && {named(2)}", within_s=90)
    kat.node.run(["systemctl", "disable", "-q", *DAEMONS])
    try:
        kat.node.run(["sh", "-c", "katcall delete workload worker >/dev/null 2>&1 &"])
        until(kat.node, DRAINS)
        power.reboot(kat.node)
        until_all_answer(kat)
        assert kat.fetch(URL, tries=TRIES) == OTHERS
        kat.node.run(["sh", "-c", named(2)])
    finally:
        kat.node.run(["systemctl", "enable", "-q", "--now", *DAEMONS])


def until_all_answer(kat: OneNode) -> None:
    """Wait until every instance answers at its own address."""
    for one in addresses(kat):
        until(kat.node, f"busybox wget -q -T 1 -O - http://{one}:8080/")


def test_after_a_boot_without_a_leader_only_who_is_healthy_gets_traffic(kat: OneNode) -> None:
    kat.node.run(["systemctl", "disable", "-q", "--now", LEADER])
    kat.node.run(["systemctl", "restart", AGENT])  # its end leaves what it knows on the disk
    try:
        power.crash(kat.node)
        boot(kat.node)
        with load(kat.node, URL, rate=50) as asked:
            until_all_answer(kat)
            until(kat.node, f"systemctl is-active {AGENT} && {named(2)}")
        assert set(asked.answers) <= OTHERS  # a boot may be over after so few
        assert kat.fetch(URL, tries=TRIES) == OTHERS
        kat.node.run(["rm", BAD])
        until(kat.node, f"{named(3)} && {leads_to_bad(kat)}")
        assert kat.fetch(URL, tries=TRIES) == ALL
    finally:
        kat.node.run(["systemctl", "enable", "-q", "--now", LEADER])


def test_kills_of_the_agent_lose_no_request_and_bring_nobody_back(kat: OneNode) -> None:
    with load(kat.node, URL, rate=50) as asked:
        for _ in range(KILLS):
            kill(kat)
    assert asked.failed == []
    assert set(asked.answers) == OTHERS


def kill(kat: OneNode) -> None:
    """Kill the agent, and wait until its successor says that it is there."""
    before = kat.node.run(["systemctl", "show", "-P", "MainPID", AGENT]).stdout.strip()
    kat.node.run(["systemctl", "kill", "--signal=KILL", AGENT])
    another = f'test "$(systemctl show -P MainPID {AGENT})" != {before}'
    until(kat.node, f"{another} && systemctl is-active {AGENT}")


@pytest.mark.parametrize("moment", ["at once", "names have followed", "rules have followed"])
def test_an_agent_that_is_killed_during_a_flap_comes_to_what_is_so(
    kat: OneNode, moment: str
) -> None:
    bad = leads_to_bad(kat)
    follows = {"at once": "true", "names have followed": IN_NAMES, "rules have followed": bad}
    with load(kat.node, URL, rate=50) as asked:
        for _ in range(FLAPS):
            kat.node.run(["rm", BAD])
            until(kat.node, follows[moment], each_s=0.002)
            kill(kat)
            until(kat.node, f"{named(3)} && {bad}")
            kat.node.run(["touch", BAD])
            until(kat.node, "true" if moment == "at once" else f"! {follows[moment]}", each_s=0.002)
            kill(kat)
            until(kat.node, f"{named(2)} && ! {bad}")
    assert asked.failed == []
    assert kat.fetch(URL, tries=TRIES) == OTHERS
