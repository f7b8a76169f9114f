"""What must hold before a machine becomes a node. Everything is asked; every problem is said.

Nothing here changes the machine, or falls back to something else.
"""

import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

import msgspec

from agent.foreign_chains import Ports, found, found_legacy
from agent.ports import NodePorts, Ran, UnfitError
from katgen.errors import Problem, Source

SYSTEMD: Final = (252,)
PODMAN: Final = (5, 4)
NETAVARK: Final = (1, 14)
QUADLET: Final = ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet")
NETWORKD: Final = "systemd-networkd.service"
CGROUP2: Final = "/sys/fs/cgroup/cgroup.controllers"
LEGACY_TABLES: Final = "/proc/net/ip_tables_names"
_TOOL_S: Final = 10
_OWN_LINK: Final = re.compile(r"kat0|kat-.*")
_VETH: Final = re.compile(r"lo|veth.*|docker\d*|br-[0-9a-f]{12}|podman\d+|cni-.*|virbr\d+")
"""Links without a way to other machines."""

IsFree = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the cluster's settings ask of a node. `advertise` '' means: find it."""

    advertise: str
    overlay: str
    cluster_cidr: IPv4Network
    service_cidr: IPv4Network
    tcp_ports: tuple[tuple[str, int], ...]  # setting, port
    udp_ports: tuple[tuple[str, int], ...] = ()


class Route(msgspec.Struct, frozen=True):
    """A line of `ip -json route`."""

    dst: str
    dev: str = ""
    prefsrc: str = ""
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The address to be reached by ('' if unknown), and everything that is wrong."""

    advertise: str
    problems: tuple[Problem, ...]


async def check(
    wanted: Wanted, node: NodePorts, *, is_root: bool, is_free: IsFree | None = None
) -> Found:
    """Ask everything; `is_free(kind, port)` says whether a port can be bound."""
    if not is_root:
        hint = "run it with sudo"
        return Found("", (Problem(Source("user"), "only root can make a node", hint),))
    problems: list[Problem] = []
    for ask in (_programs, _system, _firewall(wanted)):
        problems += await _asked(ask, node)
    routes = await _routes(node, problems)
    if wanted.overlay == "wireguard":
        problems += await _asked(_wireguard, node)
    advertise, odd = await _advertise(wanted.advertise, routes, node)
    ports = _ports(wanted, is_free) if is_free else ()
    return Found(advertise, (*problems, *odd, *_overlaps(wanted, routes), *ports))


def is_free(kind: str, port: int) -> bool:
    """Whether nobody listens on a port of this machine; `kind` is tcp or udp."""
    how = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, how) as probe:
        if kind == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 -- whoever listens anywhere is in the way
        except OSError:
            return False
    return True


Ask = Callable[[NodePorts], Awaitable[Sequence[Problem]]]


async def _asked(ask: Ask, node: NodePorts) -> Sequence[Problem]:
    """Return what a question finds; that it could not be asked is a problem too."""
    try:
        return await ask(node)
    except UnfitError as err:
        return (Problem(Source("this machine"), str(err)),)


async def _programs(node: NodePorts) -> Sequence[Problem]:
    has = (await node.machine.facts()).versions
    checks = (
        _version("systemd", has.systemd, SYSTEMD, "KAT needs a newer distribution"),
        _version("podman", has.podman, PODMAN, "install podman 5.4 or newer"),
        _version("netavark", has.netavark, NETAVARK, "install netavark 1.14 or newer"),
        () if has.nft else (Problem(Source("nft"), "it is not installed", "install nftables"),),
    )
    quadlet = any(node.files.stat(path) is not None for path in QUADLET)
    no_quadlet = Problem(
        Source("quadlet"), f"it is not at {QUADLET[0]}", "install podman with its systemd generator"
    )
    return (*(problem for some in checks for problem in some), *(() if quadlet else (no_quadlet,)))


def _version(name: str, has: str, least: tuple[int, ...], hint: str) -> tuple[Problem, ...]:
    wanted = ".".join(map(str, least))
    if not has:
        return (Problem(Source(name), "it is not installed", hint),)
    numbers = tuple(map(int, re.findall(r"\d+", has)[: len(least)]))
    if numbers >= least:
        return ()
    return (Problem(Source(name), f"version {has} is too old, {wanted} is the least", hint),)


async def _system(node: NodePorts) -> Sequence[Problem]:
    problems = []
    if "/run/systemd/system" not in node.files.folders("/run/systemd"):
        what = "this machine was not booted with it"
        return (Problem(Source("systemd"), what, "KAT runs on hosts with systemd as PID 1"),)
    if node.files.read(CGROUP2) is None:
        hint = "boot with systemd.unified_cgroup_hierarchy=1"
        problems.append(Problem(Source("cgroups"), "/sys/fs/cgroup is not of version 2", hint))
    state = (await node.systemd.states([NETWORKD]))[NETWORKD]
    if state.active_state != "active":
        hint = "run `systemctl enable --now systemd-networkd`; it leaves other links alone"
        problems.append(Problem(Source("systemd-networkd"), "it does not run", hint))
    return problems


def _firewall(wanted: Wanted) -> Ask:
    ports = Ports(tuple(n for _, n in wanted.tcp_ports), tuple(n for _, n in wanted.udp_ports))

    async def ask(node: NodePorts) -> Sequence[Problem]:
        rules = await _run(node, "nft", "-j", "list", "ruleset")
        legacy = b"filter" in (node.files.read(LEGACY_TABLES) or b"")
        listing = (await _run(node, "iptables-legacy", "-S")).stdout if legacy else ""
        return (*found(rules.stdout.encode(), ports), *found_legacy(listing, ports))

    return ask


async def _wireguard(node: NodePorts) -> Sequence[Problem]:
    """Make a link in a network namespace that ends with the command, so that nothing is left."""
    made = await _run(node, "unshare", "--net", "ip", "link", "add", "kat0", "type", "wireguard")
    if made.code == 0:
        return ()
    hint = (
        "load the module, or set `overlay: host-gateway` in cluster.kat when all nodes share one"
        " network"
    )
    return (Problem(Source("overlay"), "this kernel has no WireGuard", hint),)


async def _routes(node: NodePorts, problems: list[Problem]) -> tuple[Route, ...]:
    """Return the IPv4 routes of the main table; that they cannot be read goes to `problems`."""
    try:
        listed = await _run(node, "ip", "-json", "-4", "route", "show")
        return msgspec.json.decode(listed.stdout.encode() or b"[]", type=tuple[Route, ...])
    except (UnfitError, msgspec.DecodeError) as err:
        what = f"the routes cannot be read: {err}"
        problems.append(Problem(Source("ip route"), what, "install iproute2"))
        return ()


async def _advertise(
    asked: str, routes: Sequence[Route], node: NodePorts
) -> tuple[str, tuple[Problem, ...]]:
    """Return the address by which other nodes and people reach this one."""
    try:
        links = await node.network.addresses()
    except UnfitError as err:
        return "", (Problem(Source("network"), str(err)),)
    here = {
        name: tuple(a.partition("/")[0] for a in addresses)
        for name, addresses in links.items()
        if name != "lo" and not _OWN_LINK.fullmatch(name)
    }
    candidates, what = ((asked,), "") if asked else default_address(here, routes)
    if len(candidates) != 1:
        return "", (Problem(Source("--advertise-address"), what, _listed(here)),)
    return candidates[0], _is_usable(candidates[0], here)


def default_address(
    links: Mapping[str, Sequence[str]], routes: Sequence[Route]
) -> tuple[tuple[str, ...], str]:
    """Return the addresses that may be meant, and why it is not exactly one.

    They are those of the link with the default route, or, without one, of the only link that leads
    anywhere.
    """
    ways = sorted((r for r in routes if r.dst == "default"), key=lambda r: r.metric)
    if ways:
        best = [way for way in ways if way.metric == ways[0].metric and way.dev in links]
        if len({way.dev for way in best}) > 1:
            return (), "several links have a default route of the same metric"
        if best:
            own = (best[0].prefsrc,) if best[0].prefsrc else tuple(links[best[0].dev])
            return own, f"{best[0].dev}, which has the default route, has {len(own)} addresses"
    own = tuple(a for name, some in links.items() if not _VETH.fullmatch(name) for a in some)
    return own, f"there is no default route, and {len(own)} addresses may be meant"


def _is_usable(address: str, links: Mapping[str, Sequence[str]]) -> tuple[Problem, ...]:
    at = Source("--advertise-address")
    try:
        IPv4Address(address)
    except AddressValueError:
        return (Problem(at, f"{address!r} is no IPv4 address", _listed(links)),)
    if any(address in own for own in links.values()):
        return ()
    return (Problem(at, f"{address} is on no link of this machine", _listed(links)),)


def _listed(links: Mapping[str, Sequence[str]]) -> str:
    known = [f"{a} ({name})" for name, some in sorted(links.items()) for a in some]
    return f"give one of {', '.join(known)}" if known else "give a link an IPv4 address first"


def _overlaps(wanted: Wanted, routes: Sequence[Route]) -> tuple[Problem, ...]:
    own = (("clusterCIDR", wanted.cluster_cidr), ("serviceCIDR", wanted.service_cidr))
    return tuple(
        Problem(
            Source(setting),
            f"{network} overlaps the route to {route.dst} through {route.dev or 'this machine'}",
            f"set another {setting} in cluster.kat",
        )
        for setting, network in own
        for route in routes
        if not _OWN_LINK.fullmatch(route.dev) and _is_within(route.dst, network)
    )


def _is_within(destination: str, network: IPv4Network) -> bool:
    try:
        return IPv4Network(destination).overlaps(network)
    except ValueError:
        return False  # default, or of another family


def _ports(wanted: Wanted, is_free: IsFree) -> tuple[Problem, ...]:
    asked = [("tcp", *one) for one in wanted.tcp_ports] + [
        ("udp", *one) for one in wanted.udp_ports
    ]
    return tuple(
        Problem(
            Source(setting),
            f"something listens on {kind} port {port}",
            f"stop it, or set another {setting} in cluster.kat",
        )
        for kind, setting, port in asked
        if not is_free(kind, port)
    )


async def _run(node: NodePorts, *argv: str) -> Ran:
    return await node.tools.run(argv, timeout_s=_TOOL_S, env={})
