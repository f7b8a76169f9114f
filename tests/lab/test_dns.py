"""Names on a real node: every form, before and after each change, and all that is not ours."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import dns
import pytest

from tests.docs.blocks import is_match
from tests.lab.cluster import OneNode, one_node
from tests.lab.settled import sleeper, until
from tests.story import story

NODE = "10.100.0.1"
DOMAIN = "default.kat.cluster.local"
WEB_0 = "kat.default.web.0-1"
RESOLVING = "/root/resolving.py"
HOW_TO = "docs/howto/names.md"
OUT = "198.51.100.53"
# A name server of the world outside, in a network namespace of its own. It sends what is below
# loop.example back to whom it came from, and is silent about silent.example.
UNBOUND = f"""\
server:
  interface: {OUT}
  access-control: 0.0.0.0/0 allow
  username: ""
  chroot: ""
  directory: /run
  pidfile: ""
  do-daemonize: no
  do-ip6: no
  so-rcvbuf: 8m
  use-syslog: no
  module-config: iterator
  do-not-query-localhost: no
  local-zone: "silent.example." deny
  local-zone: "example.com." static
  local-data: "www.example.com. 60 IN A 192.0.2.80"
  local-data: 'www.example.com. 60 IN TXT {" ".join(f'"{letter * 250}"' for letter in "xyz")}'
remote-control:
  control-enable: no
forward-zone:
  name: "loop.example."
  forward-addr: {NODE}
"""
WORLD = f"""
ip netns add out
ip link add out0 type veth peer name out1 netns out
ip address add 198.51.100.1/24 dev out0; ip link set out0 up
ip -n out address add {OUT}/24 dev out1; ip -n out link set out1 up; ip -n out link set lo up
ip -n out route add default via 198.51.100.1
resolvectl dns out0 {OUT}; resolvectl domain out0 '~.'
systemd-run -q --unit=world -p NetworkNamespacePath=/run/netns/out unbound -d -c /root/unbound.conf
nft add table inet count
nft 'add chain inet count out {{ type filter hook output priority 0; }}'
nft 'add chain inet count in {{ type filter hook input priority 0; }}'
nft 'add rule inet count out ip daddr {OUT} udp dport 53 counter'
nft 'add rule inet count in ip saddr {OUT} ip daddr {NODE} udp dport 53 counter'
"""
FILES = "ls /proc/$(systemctl show -P MainPID kat-dns)/fd | wc -l"
IDLE = f"test $({FILES}) -lt 30"
AGAIN = "for n in 1 2 3 4 5; do sleep 0.7; {command} kat-dns.service; done"
LIBRARY = """
import sys, dns.resolver
r = dns.resolver.Resolver(configure=False)
r.nameservers = [sys.argv[1]]
for asked in ("web A", "ep.web A", "_http._tcp.web SRV", "nope A", "web AAAA"):
    name, kind = asked.split()
    try:
        print(sorted(str(x) for x in r.resolve(f"{name}.default.kat.cluster.local", kind)))
    except Exception as err:
        print(type(err).__name__)
"""


def documents(kat: OneNode, *, replicas: int = 2) -> str:
    """Return a service with a virtual address, and one without."""
    headless = kat.web(name="db", replicas=replicas).partition("---")[0]
    return f"{kat.web(replicas=replicas)}---\n{headless}"


@pytest.fixture(scope="module")
def kat() -> Iterator[OneNode]:
    with one_node() as one:
        one.node.put("/root/unbound.conf", UNBOUND.encode())
        one.node.put(RESOLVING, Path(__file__).with_name("resolving.py").read_bytes())
        one.node.run(["sh", "-ec", WORLD])
        until(one.node, f"dig +short +time=1 @{OUT} www.example.com | grep -q 192.0.2.80")
        one.apply(documents(one))
        until(one.node, f"test $(dig +short @{NODE} ep.web.{DOMAIN} ep.db.{DOMAIN} | wc -l) = 4")
        yield one


def dig(kat: OneNode, name: str, kind: str = "A", *options: str) -> list[str]:
    """Return an answer's data, sorted; `name` is below the namespace unless it ends in a dot."""
    full = name if name.endswith(".") else f"{name}.{DOMAIN}."
    return sorted(
        kat.node.run(["dig", f"@{NODE}", "+short", full, kind, *options]).stdout.split("\n")[:-1]
    )


def status(kat: OneNode, name: str, kind: str = "A", *options: str) -> str:
    said = kat.node.run(["dig", f"@{NODE}", name, kind, *options]).stdout
    found = re.search(r"status: (\w+)", said)
    return found[1] if found else said


def counted(kat: OneNode, chain: str) -> int:
    """Return how many packets a chain of the counting table has seen."""
    said = json.loads(kat.node.run(["nft", "-j", "list", "chain", "inet", "count", chain]).stdout)
    (rule,) = (one["rule"] for one in said["nftables"] if "rule" in one)
    return sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)


FORMS = [
    ("web", "A", ["10.101.0.1"]),
    ("vip.web", "A", ["10.101.0.1"]),
    ("_http._tcp.web", "SRV", [f"0 0 80 web.{DOMAIN}."]),
    ("_http._tcp.ep.web", "SRV", [f"0 0 8080 {n}.web.{DOMAIN}." for n in (0, 1)]),
    ("_http._tcp.db", "SRV", [f"0 0 8080 {n}.db.{DOMAIN}." for n in (0, 1)]),
    ("web", "AAAA", []),
    ("a.node.kat.cluster.local.", "A", [NODE]),
]


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize(("name", "kind", "data"), FORMS)
def test_every_form_of_a_name(
    kat: OneNode, name: str, kind: str, data: list[str], transport: str
) -> None:
    assert dig(kat, name, kind, transport) == data


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_instances_have_their_names(kat: OneNode, transport: str) -> None:
    single = [dig(kat, f"{n}.db", "A", transport) for n in (0, 1)]
    assert dig(kat, "db", "A", transport) == sorted(single[0] + single[1])
    assert dig(kat, "ep.db", "A", transport) == dig(kat, "db", "A", transport)


def test_names_follow_what_is_created_scaled_and_deleted(kat: OneNode) -> None:
    assert status(kat, f"sleeper.{DOMAIN}") == "NXDOMAIN"
    kat.apply(sleeper(kat, replicas=1))
    until(kat.node, f"test $(dig +short @{NODE} sleeper.{DOMAIN} | wc -l) = 1")
    kat.apply(sleeper(kat, replicas=3))
    until(kat.node, f"test $(dig +short +tcp @{NODE} sleeper.{DOMAIN} | wc -l) = 3")
    kat.katcall("delete", "workload", "sleeper")
    until(kat.node, f"dig @{NODE} sleeper.{DOMAIN} | grep -q NXDOMAIN")


EVERY_FORM = (
    *(("A", name) for name in ("api", "ep.api", "vip.api", "0.api")),
    *(("SRV", f"_http._tcp.{name}") for name in ("api", "ep.api")),
)


def forms(kat: OneNode, transport: str) -> list[list[str]]:
    return [dig(kat, name, kind, transport) for kind, name in EVERY_FORM]


def test_every_form_follows_a_virtual_address_that_comes_and_goes(kat: OneNode) -> None:
    """All change with one plan; the instances' own names stay."""
    headless = kat.web(name="api").partition("---")[0]
    instances, service = f"0 0 8080 0.api.{DOMAIN}.", f"0 0 80 api.{DOMAIN}."
    kat.apply(headless)
    until(kat.node, f"dig +short @{NODE} ep.api.{DOMAIN} | grep -q .")
    (own,) = dig(kat, "0.api")
    without = [[own], [own], [], [own], [instances], [instances]]
    assert forms(kat, "+notcp") == forms(kat, "+tcp") == without
    kat.apply(kat.web(name="api"))
    (virtual,) = dig(kat, "vip.api")
    with_one = [[virtual], [own], [virtual], [own], [service], [instances]]
    assert forms(kat, "+notcp") == forms(kat, "+tcp") == with_one
    kat.katcall("delete", "virtualloadbalancer", "api")
    assert forms(kat, "+notcp") == forms(kat, "+tcp") == without
    kat.katcall("delete", "workload", "api")
    assert forms(kat, "+notcp") == forms(kat, "+tcp") == [[], [], [], [], [], []]


def test_a_change_of_state_is_visible_within_50_ms(kat: OneNode) -> None:
    gone, _ = dig(kat, "ep.db")
    before = kat.node.run(["cat", "/run/kat/endpoints/default.json"]).stdout
    state = json.dumps({"format": 1, "withdrawn": {"db": [gone]}})
    took = []
    for text in (state, before) * 5:
        name = f"db.{DOMAIN}"
        argv = ["python3", RESOLVING, "change", NODE, name, "default", text]
        took.append(float(kat.node.run(argv).stdout))
    assert max(took) < 50, took


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_who_is_withdrawn_leaves_the_services_names_and_keeps_its_own(
    kat: OneNode, transport: str
) -> None:
    (first,), (second,) = dig(kat, "0.db"), dig(kat, "1.db")
    before = kat.node.run(["cat", "/run/kat/endpoints/default.json"]).stdout
    change = ["python3", RESOLVING, "change", NODE, f"db.{DOMAIN}", "default"]
    kat.node.run([*change, json.dumps({"format": 1, "withdrawn": {"db": [first]}})])
    try:
        assert dig(kat, "db", "A", transport) == dig(kat, "ep.db", "A", transport) == [second]
        assert dig(kat, "0.db", "A", transport) == [first]
        assert dig(kat, "_http._tcp.db", "SRV", transport) == [f"0 0 8080 1.db.{DOMAIN}."]
    finally:
        kat.node.run([*change, before])


def test_what_dig_sees_of_a_name_without_such_a_record_and_of_any(kat: OneNode) -> None:
    ask = ["dig", f"@{NODE}", "+noall", "+comments", "+question", "+authority"]
    said = kat.node.run([*ask, f"wEb.{DOMAIN}", "AAAA"]).stdout
    assert f";wEb.{DOMAIN}.\t" in said
    assert "status: NOERROR" in said
    assert re.search(rf"^{DOMAIN}\.\s+5\s+IN\s+SOA\s", said, re.MULTILINE)
    assert status(kat, f"web.{DOMAIN}", "ANY", "+notcp") == "REFUSED"


def test_what_is_too_long_for_udp_is_cut_and_comes_whole_over_tcp(kat: OneNode) -> None:
    zone = "/var/lib/kat/dns/big.kat.cluster.local.zone"
    apex, server = "big.kat.cluster.local.", "kat.cluster.local."
    lines = [f"{apex} 30 IN SOA {server} hostmaster.{server} 1 3600 600 86400 5"]
    lines += [f"all.{apex} 5 IN A 10.100.9.{n}" for n in range(1, 201)]
    kat.node.put(zone, "".join(f"{line}\n" for line in lines).encode())
    try:
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
        sizes = []
        for size in ("+noedns", "+bufsize=800", "+bufsize=4096"):
            said = kat.node.run(["dig", f"@{NODE}", "+ignore", size, f"all.{apex}"]).stdout
            assert re.search(r"flags: qr aa tc", said)
            (received,) = re.findall(r"MSG SIZE  rcvd: (\d+)", said)
            sizes.append(int(received))
        limits = (512, 800, 1232)
        assert all(limit - 16 < found <= limit for found, limit in zip(sizes, limits, strict=True))
        assert len(dig(kat, f"all.{apex}")) == 200
    finally:
        kat.node.run(["rm", zone])
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
    assert status(kat, f"all.{apex}") == "NXDOMAIN"


def test_a_resolver_library_that_is_not_ours(kat: OneNode) -> None:
    (folder,) = map(Path, dns.__path__)
    files = {f"/root/lib/dns/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*.py")}
    kat.node.put_tree(files)
    kat.node.put("/root/library.py", LIBRARY.encode())
    said = kat.node.run(["env", "PYTHONPATH=/root/lib", "python3", "/root/library.py", NODE])
    assert said.stdout.splitlines() == [
        "['10.101.0.1']",
        str(dig(kat, "ep.web")),
        f"['0 0 80 web.{DOMAIN}.']",
        "NXDOMAIN",
        "NoAnswer",
    ]


def test_the_host_resolves_services(kat: OneNode) -> None:
    assert kat.node.run(["getent", "ahostsv4", f"web.{DOMAIN}"]).stdout.startswith("10.101.0.1 ")
    said = kat.node.run(["resolvectl", "query", "--cache=no", f"0.db.{DOMAIN}"]).stdout
    assert f"0.db.{DOMAIN}: {dig(kat, '0.db')[0]}" in said


def test_what_the_how_to_shows_is_what_happens(kat: OneNode) -> None:
    told = story("names", HOW_TO)
    assert len(told) > 5
    for one in told:
        ran = kat.node.run(["sh", "-c", f"{{ {one.text}\n}} 2>&1"], check=False)
        assert is_match(one.output, tuple(ran.stdout.splitlines())), f"{one}\n{ran.stdout}"


def test_containers_resolve_services_by_short_names_too(kat: OneNode) -> None:
    for name in (f"web.{DOMAIN}", "web"):
        said = kat.node.run(["podman", "exec", WEB_0, "nslookup", name], check=False).stdout
        assert "Address: 10.101.0.1" in said


def test_outside_names_resolve_from_containers_and_from_the_host(kat: OneNode) -> None:
    inside = kat.node.run(["podman", "exec", WEB_0, "nslookup", "www.example.com"], check=False)
    assert "Address: 192.0.2.80" in inside.stdout
    assert kat.node.run(["getent", "hosts", "www.example.com"]).stdout.startswith("192.0.2.80 ")
    assert status(kat, "nope.example.com") == "NXDOMAIN"


def test_a_long_outside_answer_comes_whole_over_tcp(kat: OneNode) -> None:
    said = kat.node.run(["dig", f"@{NODE}", "+noedns", "+ignore", "www.example.com", "TXT"]).stdout
    assert re.search(r"flags: qr[a-z ]* tc", said)
    (line,) = dig(kat, "www.example.com.", "TXT", "+noedns")
    assert len(line) > 750


def test_one_question_outside_is_one_packet(kat: OneNode) -> None:
    before = counted(kat, "out")
    assert dig(kat, "www.example.com.") == ["192.0.2.80"]
    assert counted(kat, "out") - before == 1


def test_names_of_the_cluster_are_never_asked_outside(kat: OneNode) -> None:
    before = counted(kat, "out")
    for name in (f"nope.{DOMAIN}", "x.nope.kat.cluster.local", "kat.cluster.local"):
        for kind in ("A", "AAAA", "SRV", "TXT", "ANY"):
            status(kat, name, kind)
    assert counted(kat, "out") == before


def test_a_server_that_asks_back_is_no_loop(kat: OneNode) -> None:
    asked, heard = counted(kat, "out"), counted(kat, "in")
    assert status(kat, "a.loop.example", "A", "+time=9", "+tries=1") == "SERVFAIL"
    assert 1 <= counted(kat, "in") - heard <= 20  # what unbound tries by itself
    assert 1 <= counted(kat, "out") - asked <= 3


def test_a_stranger_is_refused(kat: OneNode) -> None:
    """Who is not of the cluster may be routed to the node's address in the overlay."""
    ask = ["nsenter", "--net=/run/netns/out", "dig", f"@{NODE}", "+time=2", "+tries=1"]
    for name in (f"web.{DOMAIN}", "www.example.com"):
        assert "status: REFUSED" in kat.node.run([*ask, name]).stdout
    assert "10.101.0.1" not in kat.node.run([*ask, "+tcp", f"web.{DOMAIN}"], check=False).stdout


def test_the_host_is_answered_whichever_of_its_addresses_it_asks_from(kat: OneNode) -> None:
    for source in (NODE, "198.51.100.1", "127.0.0.1"):
        for transport in ("+notcp", "+tcp"):
            assert dig(kat, "web", "A", "-b", source, transport) == ["10.101.0.1"]


def test_without_any_container_the_host_still_resolves(kat: OneNode) -> None:
    for name in ("web", "db"):
        kat.katcall("delete", "workload", name)
    kat.apply(kat.web(name="idle", replicas=0))
    until(kat.node, "test -z \"$(podman ps -q --filter name='^kat')\"")
    try:
        said = kat.node.run(["getent", "hosts", "a.node.kat.cluster.local", f"idle.{DOMAIN}"])
        assert [line.split()[0] for line in said.stdout.splitlines()] == [NODE, *dig(kat, "idle")]
        assert len(dig(kat, "idle")) == 1
    finally:
        kat.katcall("delete", "workload", "idle")
        kat.apply(documents(kat))
        until(kat.node, f"test $(dig +short @{NODE} ep.web.{DOMAIN} ep.db.{DOMAIN} | wc -l) = 4")


@pytest.mark.parametrize(
    ("command", "repeats"),
    [("systemctl reload", 0), ("systemctl restart", 0), ("systemctl kill -s KILL", 5)],
)
def test_a_resolver_that_asks_again_misses_nothing(
    kat: OneNode, command: str, repeats: int
) -> None:
    again = AGAIN.format(command=command)
    load = f"python3 {RESOLVING} load {NODE} web.{DOMAIN} 6"
    ran = kat.node.run(["sh", "-c", f"{{ {again}; }} >&2 & {load}; wait"])
    asked, repeated, unanswered = map(int, ran.stdout.split())
    assert asked > 1000
    assert repeated <= repeats
    assert unanswered == 0


@pytest.mark.parametrize(
    ("command", "losses"),
    [("systemctl reload", 0), ("systemctl restart", 0), ("systemctl kill -s KILL", 5)],
)
def test_of_a_hundred_questions_at_a_time_none_is_lost_unless_it_was_just_read(
    kat: OneNode, command: str, losses: int
) -> None:
    """Asked once: dnsperf repeats nothing. A kill may come between a question and its answer."""
    kat.node.put("/root/questions", f"web.{DOMAIN} A\n0.db.{DOMAIN} A\n".encode())
    load = f"dnsperf -s {NODE} -d /root/questions -q 100 -l 6"
    again = AGAIN.format(command=command)
    said = kat.node.run(["sh", "-c", f"{{ {again}; }} >&2 & {load}; wait"]).stdout
    found = re.search(r"completed:\s+(\d+).*lost:\s+(\d+)", said, re.DOTALL)
    assert found is not None, said
    completed, lost = map(int, found.groups())
    assert completed > 5000
    assert lost <= losses


@pytest.mark.parametrize("command", ["systemctl reload", "systemctl restart"])
def test_over_tcp_no_question_is_lost_either(kat: OneNode, command: str) -> None:
    load = f"python3 {RESOLVING} connections {NODE} web.{DOMAIN} 6"
    ran = kat.node.run(["sh", "-c", f"{{ {AGAIN.format(command=command)}; }} >&2 & {load}; wait"])
    asked, unanswered = map(int, ran.stdout.split())
    assert asked > 100
    assert unanswered == 0


def process(kat: OneNode) -> tuple[str, int, int]:
    """Return kat-dns's process: its id, how many files it has open, and its memory in KiB."""
    pid = kat.node.run(["systemctl", "show", "-P", "MainPID", "kat-dns.service"]).stdout.strip()
    files = len(kat.node.run(["ls", f"/proc/{pid}/fd"]).stdout.split())
    rollup = kat.node.run(["cat", f"/proc/{pid}/smaps_rollup"]).stdout
    found = re.search(r"\nPss:\s+(\d+) kB", rollup)
    assert found is not None
    return pid, files, int(found[1])


def test_a_hundred_thousand_malformed_messages_end_nothing(kat: OneNode) -> None:
    pid, _, _ = process(kat)
    argv = ["python3", RESOLVING, "malformed", NODE, f"web.{DOMAIN}", "100000"]
    assert kat.node.run(argv, timeout_s=180).stdout == "0\n"
    assert process(kat)[0] == pid


def test_a_thousand_outside_names_at_once_are_answered(kat: OneNode) -> None:
    until(kat.node, IDLE)  # among what was malformed are names to ask others for
    argv = ["python3", RESOLVING, "many", NODE, "example.com", "1000"]
    assert kat.node.run(argv).stdout == "0 0 1000\n"


def test_a_silent_server_outside_holds_up_no_service_name_and_takes_nothing_for_good(
    kat: OneNode,
) -> None:
    until(kat.node, IDLE)
    pid, files, memory_kib = process(kat)
    silent = f"python3 {RESOLVING} many {NODE} example.com 2000"
    load = f"python3 {RESOLVING} load {NODE} web.{DOMAIN} 3"
    kat.node.run(["systemctl", "kill", "-s", "STOP", "world.service"])
    try:
        rounds = f"for n in 1 2 3; do {silent} >&2; done"
        ran = kat.node.run(["sh", "-c", f"{rounds} & sleep 0.5; {load}; wait"])
    finally:
        kat.node.run(["systemctl", "kill", "-s", "CONT", "world.service"])
    asked, repeated, unanswered = map(int, ran.stdout.split())
    assert asked > 100
    assert (repeated, unanswered) == (0, 0)
    assert ran.stderr == "0 2000 0\n" * 3
    assert process(kat)[:2] == (pid, files)
    assert process(kat)[2] - memory_kib < 32 * 1024


def test_a_damaged_zone_is_told_and_the_last_good_one_served(kat: OneNode) -> None:
    zone = f"/var/lib/kat/dns/{DOMAIN}.zone"
    good, found = kat.node.run(["cat", zone]).stdout, dig(kat, "web")
    try:
        kat.node.put(zone, good[:-5].encode())
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
        assert dig(kat, "web") == found
        said = kat.node.run(["journalctl", "-u", "kat-dns.service", "-o", "cat", "-n", "5"]).stdout
        assert f"{zone}: its last line is cut, serving what it was before" in said
        kat.node.run(["systemctl", "restart", "kat-dns.service"])
        assert status(kat, f"web.{DOMAIN}") == "SERVFAIL"
        assert dig(kat, "a.node.kat.cluster.local.") == [NODE]
    finally:
        kat.node.put(zone, good.encode())
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
    assert dig(kat, "web") == found


def told(kat: OneNode, text: str) -> int:
    """Return how many lines of kat-dns's have a text."""
    argv = ["journalctl", "-u", "kat-dns.service", "-o", "cat", "--no-pager"]
    return kat.node.run(argv).stdout.count(text)


def test_names_of_a_namespace_that_is_deleted_go_at_once(kat: OneNode) -> None:
    name, before = "web.gone.kat.cluster.local", told(kat, "until told to reload")
    kat.apply(kat.web(namespace="gone"))
    assert status(kat, name) == "NOERROR"
    kat.katcall("delete", "workload", "web", "-n", "gone")
    kat.node.run(["test", "!", "-e", "/var/lib/kat/dns/gone.kat.cluster.local.zone"])
    until(kat.node, f"dig @{NODE} {name} | grep -q NXDOMAIN", within_s=5)
    assert told(kat, "until told to reload") == before


def test_names_go_also_if_the_name_server_was_away_meanwhile(kat: OneNode) -> None:
    name = "web.gone.kat.cluster.local"
    kat.apply(kat.web(namespace="gone"))
    assert status(kat, name) == "NOERROR"
    loop = "while test -e /root/killing; do systemctl kill -s KILL kat-dns.service; sleep 0.2; done"
    kat.node.run(["touch", "/root/killing"])
    kat.node.run(["systemd-run", "-q", "--unit=killing", "sh", "-c", loop])
    try:
        kat.katcall("delete", "workload", "web", "-n", "gone")
    finally:
        kat.node.run(["rm", "/root/killing"])
    until(kat.node, f"dig +time=2 @{NODE} {name} | grep -q NXDOMAIN")


def test_a_zone_that_vanishes_is_told_and_still_served(kat: OneNode) -> None:
    zone, found = f"/var/lib/kat/dns/{DOMAIN}.zone", dig(kat, "web")
    good, fault = kat.node.run(["cat", zone]).stdout, f"{DOMAIN}.zone is gone, serving what it was"
    before = told(kat, fault)
    kat.node.run(["rm", zone])
    try:
        log = "journalctl -u kat-dns.service -o cat --no-pager"
        until(kat.node, f"test $({log} | grep -c '{fault}') -gt {before}", within_s=60)
        assert dig(kat, "web") == found
    finally:
        kat.node.put(zone, good.encode())
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
    assert dig(kat, "web") == found


def test_zones_that_all_vanish_are_served_also_after_a_reload(kat: OneNode) -> None:
    found = dig(kat, "web")
    kat.node.run(["mv", "/var/lib/kat/dns", "/root/zones"])
    try:
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
        assert dig(kat, "web") == found
        assert dig(kat, "a.node.kat.cluster.local.") == [NODE]
        assert told(kat, "/var/lib/kat/dns', the zones stay as they are") == 1
    finally:
        kat.node.run(["mv", "-T", "/root/zones", "/var/lib/kat/dns"])
        kat.node.run(["systemctl", "reload", "kat-dns.service"])


@pytest.mark.parametrize(
    "make",
    [
        f"touch {'a' * 64}.kat.cluster.local.zone",
        r"touch $(printf '\377.kat.cluster.local.zone')",
        "mkfifo x.kat.cluster.local.zone",
        "ln -s x.kat.cluster.local.zone x.kat.cluster.local.zone",
        "mkdir x.kat.cluster.local.zone",
        "truncate -s 1G x.kat.cluster.local.zone",
    ],
)
def test_a_hostile_file_among_the_zones_ends_nothing(kat: OneNode, make: str) -> None:
    (pid, _, _), found = process(kat), dig(kat, "web")
    inside = "set -e; mkdir -p /root/strange; cd /root/strange;"
    kat.node.run(["bash", "-c", f"{inside} {make}; cp -a . /var/lib/kat/dns/"])
    try:
        kat.node.run(["systemctl", "reload", "kat-dns.service"])
        assert dig(kat, "web") == found
        kat.node.run(["systemctl", "restart", "kat-dns.service"])
        assert dig(kat, "web") == found
        assert process(kat)[0] != pid
    finally:
        away = (
            'cd /root/strange; for f in *; do rm -r /var/lib/kat/dns/"$f"; done; rm -r ../strange'
        )
        kat.node.run(["bash", "-c", away])
        kat.node.run(["systemctl", "reload", "kat-dns.service"])


def test_a_container_that_asks_silent_servers_without_end_shuts_nobody_out(kat: OneNode) -> None:
    pids = [pid for name, pid in kat.pids().items() if name.startswith("kat.default.web.")]
    inside = ["nsenter", f"--net=/proc/{pids[0]}/ns/net"]
    flood = ["python3", RESOLVING, "many", NODE, "silent.example", "4000"]
    kat.node.run(["systemd-run", "-q", "--unit=flood", *inside, *flood])
    until(kat.node, f"test $({FILES}) -gt 200")
    assert dig(kat, "www.example.com.") == ["192.0.2.80"]
    until(kat.node, "! systemctl is-active --quiet flood.service")
    until(kat.node, "journalctl -u flood.service -o cat | grep -qx '0 4000 0'")


def test_a_host_that_wants_tls_and_signatures_of_others_resolves_services(kat: OneNode) -> None:
    settings = "/etc/systemd/resolved.conf.d/strict.conf"
    (found,) = dig(kat, "web")
    kat.node.put(settings, b"[Resolve]\nDNSOverTLS=yes\nDNSSEC=yes\n")
    try:
        kat.node.run(["systemctl", "restart", "systemd-resolved.service"])
        until(kat.node, f"resolvectl query --cache=no web.{DOMAIN} | grep -q {found}")
    finally:
        kat.node.run(["rm", settings])
        kat.node.run(["systemctl", "restart", "systemd-resolved.service"])
        kat.node.run(["resolvectl", "dns", "out0", OUT])
        kat.node.run(["resolvectl", "domain", "out0", "~."])


def test_it_is_there_at_boot_before_anybody_asks(kat: OneNode) -> None:
    said = kat.node.run(["systemctl", "list-dependencies", "--plain", "sockets.target"]).stdout
    assert "kat-dns.socket" in said.split()


def test_it_may_do_little(kat: OneNode) -> None:
    said = kat.node.run(["systemd-analyze", "security", "--no-pager", "kat-dns.service"]).stdout
    found = re.search(r"exposure level for kat-dns.service: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) < 2


def test_in_all_this_it_never_ended_of_its_own(kat: OneNode) -> None:
    said = kat.node.run(["journalctl", "-u", "kat-dns.service", "-o", "cat", "--no-pager"]).stdout
    assert "Traceback" not in said
    assert "code=exited" not in said
