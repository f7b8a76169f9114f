"""Every oracle takes a good file of its kind and refuses a broken one, in the tool's own words."""

import pytest

from tests.oracles.cell import static_units
from tests.oracles.oracle import Oracle
from tests.oracles.traefik import is_rule

CONTAINER = "/etc/containers/systemd/kat/kat.shop.web.0-1.container"
TIMER = "/etc/systemd/system/kat.shop.tidy.timer"
SLICE = r"/etc/systemd/system/kat-team\x2da.slice"
DROP_IN = "/etc/systemd/system/multi-user.target.d/kat.conf"
NETDEV = "/etc/systemd/network/50-kat0.netdev"
PEER = "/etc/systemd/network/50-kat0.netdev.d/b.conf"
LINK = "/etc/systemd/network/50-kat0.network"
NFT = "/etc/kat/kat.nft"
ZONE = "/var/lib/kat/dns/shop.kat.cluster.local.zone"
TMPFILES = "/etc/tmpfiles.d/kat.conf"
SYSUSERS = "/etc/sysusers.d/kat.conf"
SYSCTL = "/etc/sysctl.d/50-kat.conf"
NETWORK = "/etc/containers/networks/kat.json"
TRAEFIK = "/etc/traefik/dynamic/kat.yaml"

GOOD = {
    CONTAINER: b"[Container]\nImage=localhost/bb:1\nNetwork=kat\nExec=echo \"a ; b\" ';'x\n",
    TIMER: b"[Timer]\nOnCalendar=*-*-* 03:00:00 Europe/Berlin\nUnit=kat.shop.web.0-1.service\n",
    SLICE: b"[Slice]\nMemoryMax=1G\n",
    DROP_IN: b"[Unit]\nWants=kat.shop.tidy.timer\n",
    NETDEV: (
        b"[NetDev]\nName=kat0\nKind=wireguard\nMTUBytes=1420\n"
        b"[WireGuard]\nListenPort=51820\nPrivateKeyFile=/var/lib/kat/wireguard.key\n"
    ),
    PEER: (
        b"[WireGuardPeer]\nPublicKey=YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=\n"
        b"Endpoint=192.0.2.2:51820\nAllowedIPs=10.100.2.0/24\n"
    ),
    LINK: b"[Match]\nName=kat0\n[Network]\nAddress=10.100.1.1/32\n",
    NFT: b'table inet kat\ndelete table inet kat\ninclude "/etc/kat/services/*.nft"\n',
    "/etc/kat/services/shop.nft": b"table inet kat {\n map m { type ipv4_addr : verdict\n }\n}\n",
    ZONE: (
        b"shop.kat.cluster.local. 30 IN SOA ns.node.kat.cluster.local. kat.invalid. 1 60 60 60 5\n"
        b"shop.kat.cluster.local. 30 IN NS ns.node.kat.cluster.local.\n"
        b"web.shop.kat.cluster.local. 30 IN A 10.101.0.1\n"
    ),
    TMPFILES: b"d /var/lib/kat/volumes 0755 root root\nd /var/lib/kat/dns 0755 kat-dns kat-dns\n",
    SYSUSERS: b'u kat-dns - "KAT names"\n',
    SYSCTL: b"# forward\nnet.ipv4.ip_forward = 1\n",
    NETWORK: (
        b'{"name":"kat","id":"1111111111111111111111111111111111111111111111111111111111111111",'
        b'"driver":"bridge","network_interface":"kat-br0","created":"2000-01-01T00:00:00Z",'
        b'"subnets":[{"subnet":"10.100.1.0/24","gateway":"10.100.1.1"}],"ipv6_enabled":false,'
        b'"internal":false,"dns_enabled":false,"options":{"mode":"unmanaged","mtu":"1420"},'
        b'"ipam_options":{"driver":"host-local"}}'
    ),
    TRAEFIK: (
        b"http:\n  routers:\n    web:\n      rule: Host(`a.example`) && PathPrefix(`/x`)\n"
        b"      service: web\n      tls: {certResolver: acme}\n  services:\n    web:\n"
        b"      loadBalancer: {servers: [{url: 'http://10.101.0.1:80'}]}\n"
    ),
    "/var/lib/kat/config/shop/web/a.toml": b"\0 the user's own",
}

# path → what is wrong with it, and a complaint that must come.
BROKEN = [
    (
        CONTAINER,
        b"[Container]\nImage=localhost/bb:1\nColour=red\n",
        "quadlet: /etc/containers/systemd/: quadlet-generator[",
        "unsupported key 'Colour' in group 'Container'",
    ),
    (
        CONTAINER,
        b"[Container]\nExec=true\n",
        f"quadlet: {CONTAINER}: made no kat.shop.web.0-1.service",
        "",
    ),
    (
        CONTAINER,
        b'[Container]\nImage=localhost/bb:1\nExec=true ";" touch /x\n[Service]\nType=oneshot\n',
        "quadlet: kat.shop.web.0-1.service: 1 ExecStart= with 2 commands",
        "exactly one of one was expected",
    ),
    (
        CONTAINER,
        b"[Container]\nImage=localhost/bb:1\n[Service]\nRestart=sometimes\n",
        "systemd-analyze verify: /etc/systemd/system/: ",
        "Failed to parse Restart=sometimes, ignoring",
    ),
    (
        CONTAINER,
        b"[Unit]\nRequires=kat-nowhere.service\n[Container]\nImage=localhost/bb:1\n",
        "systemd-analyze verify: /etc/systemd/system/: ",
        "kat-nowhere.service",
    ),
    (
        TIMER,
        b"[Timer]\nOnCalendar=daily\nUnit=kat.shop.nothing.service\n",
        f"systemd timers: {TIMER}: ",
        "Unit=kat.shop.nothing.service is not there",
    ),
    (
        TIMER,
        b"[Timer]\nOnCalendar=*-*-* 25:00:00\nUnit=kat.shop.web.0-1.service\n",
        f"systemd-analyze calendar: {TIMER}: ",
        "Failed to parse calendar specification '*-*-* 25:00:00'",
    ),
    (
        SLICE,
        b"[Slice]\nMemoryMax=much\n",
        "systemd-analyze verify: /etc/systemd/system/: ",
        "Invalid memory limit 'much', ignoring",
    ),
    (
        DROP_IN,
        b"[Unit]\nWants=kat.target\nColour=red\n",
        "systemd-analyze verify: /etc/systemd/system/: ",
        f"{DROP_IN}:3: Unknown key 'Colour' in section [Unit], ignoring.",
    ),
    (
        NETDEV,
        GOOD[NETDEV].replace(b"51820", b"70000"),
        f"systemd-networkd: {NETDEV}: line 6: ",
        "Invalid port specification, ignoring assignment: 70000",
    ),
    (
        PEER,
        b"[WireGuardPeer]\nPublicKey=short\n",
        f"systemd-networkd: {PEER}: line 2: ",
        "Failed to decode wireguard key provided by PublicKey=",
    ),
    (
        LINK,
        b"[Match]\nName=kat0\n[Network]\nAddress=10.100.1.1/33\n",
        f"systemd-networkd: {LINK}: line 4: ",
        "Failed to parse Address=10.100.1.1/33",
    ),
    (NFT, b"table inet kat {\n chain c { accept\n }\n", f"nft: {NFT}: ", "syntax error"),
    (
        "/etc/kat/services/shop.nft",
        b"table inet kat {\n map m { type ipv4_addr : colour\n }\n}\n",
        f"nft: {NFT}: /etc/kat/services/shop.nft:2:",
        "colour",
    ),
    (
        ZONE,
        GOOD[ZONE].replace(b"10.101.0.1", b"10.101.0.256"),
        f"named-checkzone: {ZONE}: ",
        "near '10.101.0.256': bad dotted quad",
    ),
    (
        ZONE,
        b"other.local. 30 IN A 10.101.0.1\n" + GOOD[ZONE],
        f"named-checkzone: {ZONE}: ",
        "ignoring out-of-zone data (other.local)",
    ),
    (
        TMPFILES,
        b"d relative 0755 root root\n",
        f"systemd-tmpfiles: {TMPFILES}: {TMPFILES}:1: ",
        "Path 'relative' not absolute.",
    ),
    (
        TMPFILES,
        b"d /var/lib/kat 0755 nobody-known root\n",
        f"systemd-tmpfiles: {TMPFILES}: {TMPFILES}:1: ",
        "Failed to resolve user 'nobody-known'",
    ),
    (
        SYSUSERS,
        GOOD[SYSUSERS] + b"z kat-web -\n",
        f"systemd-sysusers: {SYSUSERS}: {SYSUSERS}:2: ",
        "Unknown command type 'z'.",
    ),
    (SYSCTL, b"net.ipv4.ip_forwards = 1\n", f"systemd-sysctl: {SYSCTL}: ", "net/ipv4/ip_forwards"),
    (SYSCTL, b"vm.swappiness = 1\n", f"systemd-sysctl: {SYSCTL}: ", "vm.swappiness is not net.*"),
    (NETWORK, b'{"name": "kat", "name": "kat"}', f"json: {NETWORK}: ", "a key stands twice"),
    (NETWORK, b"{", f"json: {NETWORK}: ", "Expecting property name"),
    (
        NETWORK,
        GOOD[NETWORK].replace(b'"bridge"', b'"bridges"'),
        f"netavark: {NETWORK}: ",
        "unknown network driver",
    ),
    (
        NETWORK,
        GOOD[NETWORK].replace(b"10.100.1.1", b"10.200.1.1"),
        f"podman network inspect: {NETWORK}: ",
        "",
    ),
    (
        NETWORK,
        GOOD[NETWORK].replace(b'"1420"', b'"wide"'),
        f"netavark: {NETWORK}: ",
        "mtu",
    ),
    (
        TRAEFIK,
        GOOD[TRAEFIK].replace(b"service: web", b"service: shop"),
        f"traefik: {TRAEFIK}: ",
        "router web leads to the unknown service shop",
    ),
    (
        TRAEFIK,
        GOOD[TRAEFIK].replace(b"passHostHeader", b"").replace(b"rule:", b"rules:"),
        f"traefik: {TRAEFIK}: $.http.routers.web: ",
        "'rules' was unexpected",
    ),
    (
        TRAEFIK,
        GOOD[TRAEFIK].replace(b"Host(`a.example`)", b"Host(`a`b`)"),
        f"traefik: {TRAEFIK}: ",
        "router web has a rule that is none",
    ),
    ("/etc/kat/unheard.of", b"", "oracles: /etc/kat/unheard.of: ", "no tool judges this file"),
]


def test_a_good_tree_has_no_complaint(oracle: Oracle) -> None:
    assert oracle.check_tree(GOOD) == []


@pytest.mark.parametrize(
    ("path", "content", "start", "text"), BROKEN, ids=[text or start for *_, start, text in BROKEN]
)
def test_a_broken_file_is_refused(
    oracle: Oracle, path: str, content: bytes, start: str, text: str
) -> None:
    complaints = oracle.check_tree({**GOOD, path: content})
    assert [c for c in complaints if c.startswith(start) and text in c], complaints


def test_the_units_that_kat_brings_along_are_good(oracle: Oracle) -> None:
    units = {path.replace("/usr/lib/", "/etc/"): text for path, text in static_units().items()}
    assert "/etc/systemd/system/kat-nft.service" in units
    assert oracle.check_tree(units) == []


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        ("Host(`a.example`)", True),
        ("Host(`a.example`) && (Path(`/x`) || PathPrefix(`/x/`))", True),
        ("HostRegexp(`^[^.]+\\.example$`)", True),
        ("Host(`a`) Host(`b`)", False),
        ("Host(`a`) &&", False),
        ("Hosts(`a`)", False),
        ("(Host(`a`)", False),
    ],
)
def test_a_rule_is_matchers_joined(rule: str, *, good: bool) -> None:
    assert is_rule(rule) == good


def test_the_same_bytes_are_judged_once(oracle: Oracle) -> None:
    oracle.check_tree(GOOD)
    before = oracle.judged
    oracle.check_tree(dict(reversed(GOOD.items())))
    assert oracle.judged == before


def test_a_thousand_units_pass_in_one_run(oracle: Oracle) -> None:
    name = "/etc/containers/systemd/kat/kat.shop.web.{}-1.container"
    before = oracle.judged
    assert oracle.check_tree({name.format(n): GOOD[CONTAINER] for n in range(1000)}) == []
    assert oracle.judged == before + 1
