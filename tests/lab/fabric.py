"""Nodes and instances as bare network namespaces: real packets through KAT's rules, no PID 1.

    with fabric(("a", "b"), bridge_calls=True) as net:
        net.instance("a", "10.100.1.10", serve="web-0")
        net.load("a", files)
        net.call("10.100.1.10", "tcp", "10.101.0.5", 80)

Each node has `lan0` in the underlay 192.0.2.0/24, `kat-br0`, and `kat0`, an Ethernet link that
stands in for the tunnel. `outside` is a machine of the underlay that is no node.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from katgen.names import BRIDGE_MAC, bridge_port, mac_of
from katgen.render.networkd import SYSCTL
from tests.environment import require
from tests.lab.enclosure import SCRATCH, Enclosure, enclosure
from tests.lab.process import Ran, finish

TOOLS = ("unshare", "nsenter", "ip", "bridge", "chroot", "sysctl")
ECHO = str(Path(__file__).with_name("echo.py"))
PORT = 8080
TRIES = 50
NAMESPACES = f"{SCRATCH}/netns"

NODE = """
ip link set lo up
ip addr add 192.0.2.$1/24 dev lan0; ip link set lan0 up
ip link set kat0 mtu 1420 up
ip addr add 10.100.$1.1/32 dev kat0
ip link add kat-br0 address $2 mtu 1420 type bridge forward_delay 0; ip link set kat-br0 up
ip addr add 10.100.$1.1/24 dev kat-br0
ip route add 10.101.0.0/16 dev kat-br0 src 10.100.$1.1
ip route add 10.100.0.0/16 dev kat0 src 10.100.$1.1
sysctl -qw net.ipv4.conf.kat0.proxy_arp=1
if test -e /proc/sys/net/bridge; then sysctl -qw net.bridge.bridge-nf-call-iptables=$3; fi
"""
INSTANCE = """
ip link set lo up
ip link set eth0 mtu $3 address $2 up
ip addr add $1/24 dev eth0
ip route add default via ${1%.*}.1
"""


@dataclass(frozen=True, slots=True)
class Fabric:
    """Where things are: `at` maps a node's name or an instance's address to its namespace."""

    inside: Enclosure
    at: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)

    def run(self, where: str, argv: Sequence[str], stdin: bytes = b"") -> Ran:
        """Run a command in a namespace; RunError if it fails."""
        return self.ask(where, argv, stdin).checked(argv)

    def ask(self, where: str, argv: Sequence[str], stdin: bytes = b"") -> Ran:
        """Run a command in a namespace."""
        return finish(self.inside.command(self._within(where, argv)), stdin)

    def script(self, where: str, text: str, *args: str) -> None:
        """Run a shell script in a namespace; RunError if a line of it fails."""
        self.run(where, ["sh", "-ec", text, "sh", *args])

    def nft(self, node: str, *argv: str) -> str:
        """Run the root file system's own nft on a node, return what it prints."""
        return self.run(node, ["chroot", self.roots[node], "nft", *argv]).stdout

    def load(self, node: str, files: Mapping[str, str]) -> None:
        """Put files on a node, then make its kernel settings and packet rules count."""
        self.inside.unpack(self.roots[node], {p: t.encode() for p, t in files.items()})
        self.run(node, ["chroot", self.roots[node], "/usr/lib/systemd/systemd-sysctl", SYSCTL])
        self.nft(node, "-f", "/etc/kat/kat.nft")

    def namespace(self, name: str) -> None:
        """Make an empty network namespace."""
        where = f"{NAMESPACES}/{name}"
        make = 'mkdir -p "${1%/*}"; : >"$1"; unshare --net="$1" true'
        self.inside.run(["sh", "-ec", make, "sh", where])
        self.at[name] = where

    def instance(self, node: str, address: str, serve: str = "", mtu: int = 1420) -> None:
        """Plug a namespace into a node's bridge as Podman and networkd do.

        `serve` starts a server of this name in it.
        """
        self.namespace(address)
        port = bridge_port(address)
        self.script(
            node,
            "ip link add $1 mtu $3 type veth peer name eth0 netns $2;"
            "ip link set $1 master kat-br0 up; ip link set $1 type bridge_slave hairpin on",
            port,
            self.at[address],
            str(mtu),
        )
        self.script(address, INSTANCE, address, mac_of(address), str(mtu))
        if serve:
            self.serve(address, serve)

    def serve(self, where: str, name: str, port: int = PORT) -> None:
        """Start a server on every address of a namespace, and wait until it listens."""
        argv = self._within(where, [sys.executable, ECHO, "serve", name, str(port)])
        self._start(argv).close()

    @contextmanager
    def hearing(self, where: str, port: int) -> Iterator[list[str]]:
        """Listen on a port during the block; after it the list holds who sent the first packet."""
        heard: list[str] = []
        said = self._start(self._within(where, [sys.executable, ECHO, "hear", str(port)]))
        yield heard
        heard.append(said.readline().decode().strip())
        said.close()

    def _start(self, argv: Sequence[str]) -> IO[bytes]:
        """Start a command that says `ready`; return the rest of its output."""
        child = subprocess.Popen(
            self.inside.command(argv), stdout=subprocess.PIPE, start_new_session=True
        )
        self.inside.children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child.stdout

    def echo(self, where: str, *words: str) -> list[str]:
        """Run one of echo.py's verbs in a namespace, return what it prints."""
        return self.run(where, [sys.executable, ECHO, *words]).stdout.splitlines()

    def call(self, where: str, protocol: str, to: str, port: int, *, count: int = 1) -> list[str]:
        """Call an address from a namespace; return each answer's words, or an error's name."""
        return self.echo(where, "call", protocol, to, str(port), str(count))

    def until_answered(self, where: str, to: str) -> None:
        """Wait until an address answers: a link's kernel may take a second to see it is up."""
        said = []
        for _ in range(TRIES):
            said += self.call(where, "tcp", to, PORT)
            if " " in said[-1]:
                return
        raise AssertionError(f"{to} does not answer {where}: {said}")

    def names(self, where: str, protocol: str, to: str, port: int, count: int) -> Counter[str]:
        """Return how often each server answered."""
        answers = self.call(where, protocol, to, port, count=count)
        return Counter(answer.split()[0] for answer in answers)

    def _within(self, where: str, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.at[where]}", "--", *argv]


@contextmanager
def fabric(nodes: Sequence[str], *, bridge_calls: bool) -> Iterator[Fabric]:
    """Make nodes 192.0.2.1, .2, … with the subnets 10.100.1.0/24, .2.0/24, …, and `outside`, .99.

    Skips the test on a machine that lacks what it needs.
    """
    require(TOOLS)
    with enclosure() as inside:
        net = Fabric(inside)
        for bridge in ("lan", "tunnel"):
            inside.run(["sh", "-ec", f"ip link add {bridge} type bridge; ip link set {bridge} up"])
        net.namespace("outside")
        _plug(net, "outside", "lan", "lan0")
        net.script(
            "outside", "ip link set lo up; ip addr add 192.0.2.99/24 dev lan0; ip link set lan0 up"
        )
        for number, node in enumerate(nodes, 1):
            root = net.roots[node] = inside.mount_root(node)
            inside.run(["mount", "-t", "proc", "proc", f"{root}/proc"])
            net.namespace(node)
            _plug(net, node, "lan", "lan0")
            _plug(net, node, "tunnel", "kat0")
            net.script(node, NODE, str(number), BRIDGE_MAC, str(int(bridge_calls)))
        yield net


def _plug(net: Fabric, where: str, bridge: str, link: str) -> None:
    """Connect a namespace to one of the enclosure's bridges."""
    port = f"{bridge}-{where}"
    argv = ["type", "veth", "peer", "name", link, "netns", net.at[where]]
    net.inside.run(["ip", "link", "add", port, *argv])
    net.inside.run(["ip", "link", "set", port, "master", bridge, "up"])
