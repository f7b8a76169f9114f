"""What KAT's files of systemd, networkd, tmpfiles, sysusers and sysctl may hold, by their paths."""

import json
import re
from collections.abc import Iterator
from typing import Final

from agent.shapes import names
from agent.shapes.lines import (
    CIDR,
    COMMENT,
    DOMAIN,
    IP,
    LABEL,
    PATH,
    QUOTED_PATH,
    Shapes,
    either,
    has_dots,
    settings,
    shapes,
    strange_lines,
    strange_settings,
    unquoted,
)

SYSTEM: Final = "/etc/systemd/system/"
NETWORK: Final = "/etc/systemd/network/"
TMPFILES: Final = "/etc/tmpfiles.d/kat.conf"
_ALL: Final = "All that KAT runs on this node"
_OF: Final = rf"Namespace {LABEL} of KAT"
_QUIET: Final = {
    f"Network.{key}": "no"
    for key in ("LinkLocalAddressing", "IPv6AcceptRA", "LLMNR", "MulticastDNS")
}
_ROUTE: Final = {
    "Route_Destination": CIDR, "Route_PreferredSource": IP, "Route_Scope": "link",
}  # fmt: skip


def _wants(unit: str) -> Shapes:
    return shapes({"Unit.Wants": unit, "Unit.After": unit})


def _link(name: str, **more: str) -> Shapes:
    """Return the shapes of a `.network`; one that matches no link by name would match all."""
    settings_ = {key.replace("_", "."): value for key, value in more.items()}
    known = {"Match.Name": name, "Link.RequiredForOnline": "no", **_QUIET, **settings_}
    return shapes(known, "Match.Name")


_PLUGGED: Final = "kat-br0"
_DNS: Final = {
    "Network_DNS": IP,
    "Network_Domains": f"~{DOMAIN}",
    **{f"Network_{key}": "no" for key in ("DNSDefaultRoute", "DNSOverTLS", "DNSSEC")},
}
_ADDRESS: Final = {"Network_Address": CIDR}
_UNITS: Final = tuple(
    (re.compile(path), shape)
    for path, shape in (
        (r"multi-user\.target\.d/kat\.conf", _wants(r"kat\.target")),
        (rf"kat\.target\.d/(?P<ns>{LABEL})\.conf", _wants(rf"kat\.(?P<ns>{LABEL})\.target")),
        (
            rf"kat\.(?P<ns>{LABEL})\.target\.d/(?P<job>{LABEL})\.conf",
            _wants(rf"kat\.(?P<ns>{LABEL})\.(?P<job>{LABEL})\.timer"),
        ),
        (
            r"kat\.target",
            shapes(
                {
                    "Unit.Description": _ALL,
                    "Unit.Documentation": r"man:systemd\.special\(7\)",
                    "Unit.After": r"network\.target",
                }
            ),
        ),
        (
            rf"kat\.{LABEL}\.target",
            shapes(
                {
                    "Unit.Description": _OF,
                    "Unit.PartOf": r"kat\.target",
                    "Unit.After": r"network\.target",
                }
            ),
        ),
        (r"sockets\.target\.d/kat-dns\.conf", shapes({"Unit.Wants": r"kat-dns\.socket"})),
        (
            r"kat-dns\.socket",
            shapes(
                {
                    "Unit.Description": "Names of KAT",
                    "Socket.ListenDatagram": rf"{IP}:53|/run/kat/dns\.sock",
                    "Socket.ListenStream": rf"{IP}:53",
                    "Socket.FreeBind": "yes",
                    "Socket.ReceiveBuffer": "8M",
                    "Socket.TriggerLimitIntervalSec": "0",
                    "Socket.SocketMode": "0600",
                },
                "Socket.SocketMode",
            ),
        ),
        (r"kat\.slice", shapes({"Unit.Description": _ALL})),
        (
            r"kat-[a-z0-9]+(?:\\x2d[a-z0-9]+|\\x2d)*\.slice",
            shapes(
                {
                    "Unit.Description": _OF,
                    "Slice.CPUQuota": r"\d+(?:\.\d)?%",
                    "Slice.MemoryMax": r"\d+",
                }
            ),
        ),
        (
            rf"kat\.(?P<ns>{LABEL})\.(?P<job>{LABEL})\.timer",
            shapes(
                {
                    "Unit.Description": rf"Schedule of job {LABEL}/{LABEL} of KAT",
                    "Unit.PartOf": rf"kat\.(?P<ns>{LABEL})\.target",
                    "Timer.Unit": rf"kat\.(?P<ns>{LABEL})\.(?P<job>{LABEL})\.[a-z0-9-]+\.service",
                    "Timer.OnCalendar": r"[A-Za-z0-9*.,:/~_+ -]+",
                    "Timer.AccuracySec": "1s",
                    "Timer.Persistent": "true",
                },
                "Timer.Unit",
            ),
        ),
    )
)
_NETWORKD: Final = tuple(
    (re.compile(path), shape)
    for path, shape in (
        (
            r"50-kat-br0\.netdev",
            shapes(
                {
                    "NetDev.Name": "kat-br0",
                    "NetDev.Kind": "bridge",
                    "NetDev.MACAddress": "[0-9a-f:]{17}",
                    "NetDev.MTUBytes": r"\d+",
                    "Bridge.STP": "no",
                    "Bridge.ForwardDelaySec": "0",
                    "Bridge.MulticastSnooping": "no",
                }
            ),
        ),
        (
            r"50-kat0\.netdev",
            shapes(
                {
                    "NetDev.Name": "kat0",
                    "NetDev.Kind": "wireguard",
                    "NetDev.MTUBytes": r"\d+",
                    "WireGuard.PrivateKeyFile": r"/var/lib/kat/wireguard/private\.key",
                    "WireGuard.ListenPort": r"\d+",
                }
            ),
        ),
        (
            r"50-kat-dns0\.netdev",
            shapes({"NetDev.Name": "kat-dns0", "NetDev.Kind": "veth", "Peer.Name": "kat-dns1"}),
        ),
        (
            rf"50-kat0\.netdev\.d/{LABEL}\.conf",
            shapes(
                {
                    "WireGuardPeer.PublicKey": "[A-Za-z0-9+/]{43}=",
                    "WireGuardPeer.AllowedIPs": CIDR,
                    "WireGuardPeer.Endpoint": r"[A-Za-z0-9.:\[\]-]+",
                    "WireGuardPeer.PersistentKeepalive": r"\d+",
                }
            ),
        ),
        (
            rf"50-kat-dns0\.network\.d/{LABEL}\.conf",
            shapes(
                {
                    "Route.Destination": CIDR,
                    "Route.MultiPathRoute": rf"{IP}@[A-Za-z0-9_][A-Za-z0-9_.-]*",
                }
            ),
        ),
        (
            r"50-kat-br0\.network",
            _link(
                "kat-br0",
                Network_ConfigureWithoutCarrier="yes",
                Network_IgnoreCarrierLoss="yes",
                **_ADDRESS,
                **_ROUTE,
            ),
        ),
        (r"50-kat0\.network", _link("kat0", **_ADDRESS, **_DNS, **_ROUTE)),
        (r"50-kat-dns0\.network", _link("kat-dns0", **_ADDRESS, **_DNS)),
        (r"50-kat-dns1\.network", _link("kat-dns1", Network_Bridge=_PLUGGED)),
        (
            r"50-kat-port\.network",
            _link(
                re.escape(f"kat-{'[0-9a-f]' * 8}"),
                Match_Kind="veth",
                Network_Bridge=_PLUGGED,
                Bridge_HairPin="yes",
            ),
        ),
    )
)

_MADE: Final = rf"[df] (?P<path>{PATH}|{QUOTED_PATH}) :(?:0755|0644) :(?P<uid>\d+) :\d+"
_BASE: Final = rf"d (?P<path>{PATH}|{QUOTED_PATH}) 0711 root root"
_OWN_FOLDERS: Final = """\
d /var/lib/kat 0755 root root
d /var/lib/kat/config 0755 root root
d /var/lib/kat/dns 0755 root root
d /var/lib/kat/endpoints 0755 root root
d /var/lib/kat/ingress 0755 root root
d /var/lib/kat/services 0755 root root
d /var/lib/kat/wireguard 0750 root systemd-network
z /var/lib/kat/wireguard/private.key 0640 root systemd-network
d /run/kat 0755 root root
d /run/kat/endpoints 0755 root root
d /run/kat/ingress 0711 root root
d /run/kat/secrets 0711 root root
"""
_USERS: Final = """\
u kat-leader - "KAT leader" /var/lib/kat/leader
u kat-dns - "KAT name server" /
u kat-etcd - "KAT store" /var/lib/kat/etcd
"""
_SYSCTL: Final = """\
net.ipv4.ip_forward = 1
net.ipv4.conf.all.send_redirects = 0
-net.ipv4.conf.kat-br0.send_redirects = 0
"""


def _either_of(text: str) -> tuple[str, ...]:
    return tuple(map(re.escape, text.splitlines()))


_FIXED: Final = frozenset(_OWN_FOLDERS.splitlines())
_LINES: Final = {
    TMPFILES: either(
        COMMENT,
        *_either_of(_OWN_FOLDERS),
        _BASE.replace("?P<path>", "?:"),
        _MADE.replace("?P<path>", "?:").replace("?P<uid>", "?:"),
    ),
    "/etc/sysusers.d/kat.conf": either(COMMENT, *_either_of(_USERS)),
    "/etc/sysctl.d/50-kat.conf": either(COMMENT, *_either_of(_SYSCTL)),
}
_BRIDGE: Final = {
    "name": "kat",
    "driver": "bridge",
    "network_interface": "kat-br0",
    "ipv6_enabled": False,
    "internal": False,
    "dns_enabled": False,
    "ipam_options": {"driver": "host-local"},
}
_FREE: Final = frozenset({"id", "created", "subnets", "options"})


def system_faults(path: str, text: str) -> Iterator[str]:
    """Yield why a file is none that KAT renders at this path."""
    if path in _LINES:
        yield from strange_lines(text, _LINES[path])
        if path == TMPFILES:
            yield from (f"{p[:80]!r} is no path" for p, _ in made_paths(text) if has_dots(p))
    elif path.startswith(SYSTEM):
        yield from _unit(path.removeprefix(SYSTEM), text, _UNITS)
    elif path.startswith(NETWORK):
        yield from _unit(path.removeprefix(NETWORK), text, _NETWORKD)
    elif path == names.PATH:
        yield from names.name_faults(text)
    elif path.endswith(".json"):
        yield from _bridge(text)


def _unit(name: str, text: str, known: tuple[tuple[re.Pattern[str], Shapes], ...]) -> Iterator[str]:
    for pattern, shape in known:
        match = pattern.fullmatch(name)
        if match is not None:
            found, faults = settings(text)
            yield from faults
            yield from strange_settings(found, shape, match.groupdict())
            return
    yield "KAT gives no file such a name"


def _bridge(text: str) -> Iterator[str]:
    try:
        found = json.loads(text)
    except ValueError as err:
        yield f"it is no JSON: {err}"
        return
    known = found if isinstance(found, dict) else {}
    options = known.get("options")
    modes = set(options) if isinstance(options, dict) else set()
    fixed = {key: value for key, value in known.items() if key not in _FREE}
    is_unmanaged = isinstance(options, dict) and options.get("mode") == "unmanaged"
    if fixed != _BRIDGE or not is_unmanaged or not modes <= {"mode", "mtu"}:
        yield "it is not the network that KAT gives to Podman"


def made_paths(text: str) -> Iterator[tuple[str, int]]:
    """Yield paths that tmpfiles would make beyond KAT's own folders, and whose they would be."""
    for line in text.split("\n"):
        if line in _FIXED:
            continue
        if match := re.fullmatch(_MADE, line):
            yield unquoted(match["path"], "%"), int(match["uid"])
        elif match := re.fullmatch(_BASE, line):
            yield unquoted(match["path"], "%"), -1
