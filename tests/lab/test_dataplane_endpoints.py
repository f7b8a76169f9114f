"""Packets while endpoint state narrows services, by the agent's own element operations.

shop/web is 10.101.0.5: web-0 and web-1 on node a, web-2 on node b; shop/cache, with affinity, is
10.101.0.7: one instance on each node.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import pytest

from agent.endpoints.elements import changes, snapshot_text
from agent.endpoints.wanted import Wanted
from katgen.endpoints import DRAINING, NOT_READY, READY, NamespaceServices
from katgen.names import InstanceKey
from katgen.render import services
from tests import cuts
from tests.environment import REPOSITORY
from tests.lab.cast import ALL, CLIENT, files, staged
from tests.lab.fabric import PORT, Fabric

WEB, CACHE = "10.101.0.5", "10.101.0.7"
WEB_0, WEB_1, WEB_2 = "10.100.1.10", "10.100.1.11", "10.100.2.10"
FAR_CLIENT = "10.100.2.15"
"""On node b."""
THREE = {"web-0", "web-1", "web-2"}
REFUSED = "ConnectionRefusedError"
SNAPSHOT = "/var/lib/kat/endpoints/shop.nft"
# Asks once for every line that it reads, always from the same port.
ASKS = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(1.5)
    one.connect((sys.argv[1], int(sys.argv[2])))
    for _ in sys.stdin:
        try:
            one.send(b"hello")
            print(one.recv(2048).decode().split()[0], flush=True)
        except OSError as err:
            print(type(err).__name__, flush=True)
"""


class Known:
    """What each node has been told, and its kernel with it."""

    def __init__(self, net: Fabric) -> None:
        self.net = net
        view = cuts.namespace_view(cuts.cluster(), "shop", ALL)
        (file,) = services.services(view)
        self.shop = msgspec.json.decode(file.content, type=NamespaceServices)
        candidates = [c for one in self.shop.services for c in one.candidates]
        self.ready = {one.instance: READY for one in candidates}
        self.own = {
            node: {c.instance: c.address for c in candidates if c.address.startswith(subnet)}
            for node, subnet in (("a", "10.100.1."), ("b", "10.100.2."))
        }
        self.wanted = {node: Wanted() for node in self.own}
        for node in self.own:
            self.wanted[node].follow([self.shop], self.ready, self.own[node])

    def say(self, node: str, **states: str) -> None:
        """Have a node know these states (`web_0="notready"`), and that all others are ready."""
        given = {self.key(name): state for name, state in states.items()}
        found = self.wanted[node].follow([self.shop], {**self.ready, **given}, self.own[node])
        text = changes(found.old, found.new, ("random-3", "sticky-2"))
        nft(self.net, node, text)

    def key(self, name: str) -> InstanceKey:
        """Return an instance's key: `web_0`."""
        workload, _, ordinal = name.partition("_")
        return next(one for one in self.ready if one.startswith(f"shop/{workload}/{ordinal}-"))


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "bridge-nf-call"])
def net(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    with staged(bridge_calls=request.param) as made:
        yield made


@pytest.fixture
def known(net: Fabric) -> Iterator[Known]:
    """Return nodes whose instances are all ready; each node's rules are loaded anew after it."""
    yield Known(net)
    for node in ("a", "b"):
        net.run(node, ["rm", "-f", f"{net.roots[node]}{SNAPSHOT}"])
        net.load(node, files(node))


@contextmanager
def asking(net: Fabric, where: str, to: str, port: int) -> Iterator["Asker"]:
    """Keep one UDP client during the block."""
    argv = ["nsenter", f"--net={net.at[where]}", "--", sys.executable, "-c", ASKS, to, str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(net.inside.command(argv), stdin=pipe, stdout=pipe, text=True) as child:
        try:
            yield Asker(child)
        finally:
            child.kill()


class Asker:
    """A UDP client."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def ask(self) -> str:
        """Return who answers, or the name of an error."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        return self._child.stdout.readline().strip()


def forget(net: Fabric, node: str, answering: Mapping[str, list[str]]) -> int:
    """Have a node forget UDP clients of who answers no more; return how many."""
    script = "import sys, json; from agent.netlink_conntrack import forget_udp"
    script += "; print(forget_udp(json.loads(sys.argv[1])))"
    given = msgspec.json.encode(answering).decode()
    argv = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", script, given]
    return int(net.run(node, argv).stdout)


def test_who_is_not_ready_gets_no_connection_and_the_others_an_even_share(known: Known) -> None:
    known.say("a", web_1=NOT_READY)
    answered = known.net.names(CLIENT, "tcp", WEB, 80, 60)
    assert sorted(answered) == ["web-0", "web-2"]
    assert min(answered.values()) > 12
    known.say("a")
    assert sorted(known.net.names(CLIENT, "tcp", WEB, 80, 60)) == ["web-0", "web-1", "web-2"]


def test_what_met_a_change_in_the_making_is_looked_at_once_more(known: Known) -> None:
    """A packet that the first hook finds no instance for, as in the midst of a transaction."""
    for chain in ("prerouting", "output"):
        nft(known.net, "a", f"insert rule inet kat {chain} return")
    for where in (CLIENT, "a"):
        for protocol, port in (("tcp", 80), ("udp", 53)):
            assert known.net.names(where, protocol, WEB, port, 30).keys() == THREE
        assert len(known.net.names(where, "tcp", CACHE, 80, 10)) == 1
    nft(known.net, "a", "insert rule inet kat prerouting-again return")
    assert known.net.names(CLIENT, "tcp", WEB, 80, 3).keys() == {REFUSED}
    assert known.net.names("a", "tcp", WEB, 80, 30).keys() == THREE
    forget(known.net, "a", {WEB: []})  # other tests count what is left


def nft(net: Fabric, node: str, text: str) -> None:
    """Carry out a transaction on a node."""
    net.run(node, ["chroot", net.roots[node], "nft", "-f", "-"], text.encode())


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_call_to_who_is_not_ready_is_refused_and_not_left_to_wait(
    known: Known, protocol: str
) -> None:
    known.say("a", web_0=NOT_READY)
    assert known.net.call(FAR_CLIENT, protocol, WEB_0, PORT) == [REFUSED]


def test_a_node_that_has_not_heard_yet_meets_a_refusal_until_it_has(known: Known) -> None:
    known.say("a", web_0=NOT_READY)
    answered = known.net.names(FAR_CLIENT, "tcp", WEB, 80, 40)
    assert sorted(answered) == [REFUSED, "web-1", "web-2"]
    known.say("b", web_0=NOT_READY)
    assert sorted(known.net.names(FAR_CLIENT, "tcp", WEB, 80, 40)) == ["web-1", "web-2"]


def test_checks_of_the_node_itself_reach_who_is_not_ready(known: Known) -> None:
    known.say("a", web_0=NOT_READY)
    assert known.net.call("a", "tcp", WEB_0, PORT)[0].split()[0] == "web-0"


def test_other_ports_of_who_is_not_ready_stay_open(known: Known) -> None:
    known.net.serve(WEB_0, "web-0-other", 8081)
    known.say("a", web_0=NOT_READY)
    assert known.net.call(FAR_CLIENT, "tcp", WEB_0, 8081)[0].split()[0] == "web-0-other"


def test_what_has_begun_goes_on_with_who_is_not_ready_any_more(known: Known) -> None:
    with asking(known.net, FAR_CLIENT, WEB_0, PORT) as client:
        assert client.ask() == "web-0"
        known.say("a", web_0=NOT_READY)
        assert client.ask() == "web-0"
    assert known.net.call(FAR_CLIENT, "udp", WEB_0, PORT) == [REFUSED]


def test_one_that_drains_takes_what_others_still_send(known: Known) -> None:
    known.say("a", web_0=DRAINING)
    assert known.net.call(FAR_CLIENT, "tcp", WEB_0, PORT)[0].split()[0] == "web-0"
    assert sorted(known.net.names(CLIENT, "tcp", WEB, 80, 40)) == ["web-1", "web-2"]


def test_below_the_panic_threshold_everybody_is_tried(known: Known) -> None:
    known.say("a", web_0=NOT_READY, web_1=NOT_READY)
    assert sorted(known.net.names(CLIENT, "tcp", WEB, 80, 60)) == ["web-0", "web-1", "web-2"]
    assert known.net.call(FAR_CLIENT, "tcp", WEB_0, PORT)[0].split()[0] == "web-0"


def test_a_udp_client_goes_on_elsewhere_once_its_connection_is_forgotten(known: Known) -> None:
    left = {"web-0": [WEB_1, WEB_2], "web-1": [WEB_0, WEB_2], "web-2": [WEB_0, WEB_1]}
    with asking(known.net, CLIENT, WEB, 53) as client:
        first = client.ask()
        known.say("a", **{first.replace("-", "_"): NOT_READY})
        assert client.ask() == first
        assert forget(known.net, "a", {WEB: left[first]}) == 1
        assert client.ask() in left.keys() - {first}


def test_connections_that_take_too_long_are_forgotten_as_far_as_that_goes(known: Known) -> None:
    script = "import sys; from agent.netlink_conntrack import forget_udp; forget_udp({%r: []}, 0)"
    argv = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", script % WEB]
    forget(known.net, "a", {WEB: []})
    with asking(known.net, CLIENT, WEB, 53) as client:
        client.ask()
        said = known.net.run("a", ["sh", "-c", '"$@" 2>&1 || true', "sh", *argv]).stdout
        assert "TimeoutError" in said
        assert forget(known.net, "a", {WEB: []}) == 0


def test_with_affinity_only_clients_of_who_left_move_and_they_come_back(known: Known) -> None:
    (pinned,) = known.net.names(CLIENT, "tcp", CACHE, 80, 3)
    other = "cache-1" if pinned == "cache-0" else "cache-0"
    known.say("a", **{other.replace("-", "_"): NOT_READY})
    assert known.net.names(CLIENT, "tcp", CACHE, 80, 5) == {pinned: 5}
    known.say("a", **{pinned.replace("-", "_"): NOT_READY})
    assert known.net.names(CLIENT, "tcp", CACHE, 80, 5) == {other: 5}
    known.say("a")
    assert known.net.names(CLIENT, "tcp", CACHE, 80, 5) == {pinned: 5}


@pytest.mark.parametrize("before", ["nft list tables", "nft flush ruleset"], ids=["reload", "lost"])
def test_a_load_has_what_was_known_of_endpoints_in_the_same_transaction(
    known: Known, before: str
) -> None:
    states = {**known.ready, known.key("web_0"): NOT_READY, known.key("cache_0"): NOT_READY}
    known.net.inside.unpack(
        known.net.roots["a"], {SNAPSHOT: snapshot_text(known.shop, states).encode()}
    )
    known.net.nft("a", *before.split()[1:])
    known.net.nft("a", "-f", "/etc/kat/kat.nft")
    assert sorted(known.net.names(CLIENT, "tcp", WEB, 80, 40)) == ["web-1", "web-2"]
    assert set(known.net.names(CLIENT, "tcp", CACHE, 80, 5)) == {"cache-1"}
