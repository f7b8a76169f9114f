"""What is said of a machine that cannot be a node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from agent.ports import Ran, UnitState
from agent.preflight import Route, Wanted, check, default_address
from katgen.protocol import Facts, Versions
from tests.fakes import FakeNode

WANTED = Wanted(
    "",
    "host-gateway",
    IPv4Network("10.100.0.0/16"),
    IPv4Network("10.101.0.0/16"),
    (("apiPort", 9115), ("agentPort", 9116)),
)
EMPTY_RULES = '{"nftables": []}'


def answer(text: str) -> Ran:
    return Ran(0, text, "")


@pytest.fixture
def node() -> FakeNode:
    """Return a machine that is fit, with one link and no default route."""
    made = FakeNode()
    made.files.put("/usr/libexec/podman/quadlet", b"")
    made.files.put("/run/systemd/system/x.service", b"")
    made.files.put("/sys/fs/cgroup/cgroup.controllers", b"")
    made.systemd.units["systemd-networkd.service"] = UnitState(
        "systemd-networkd.service", "loaded", "active", "running"
    )
    made.tools.answers["nft"] = lambda *_: answer(EMPTY_RULES)
    routes(made)
    return made


def routes(node: FakeNode, *found: Mapping[str, object]) -> None:
    node.tools.answers["ip"] = lambda *_: answer(json.dumps(found))


async def problems(node: FakeNode, wanted: Wanted = WANTED, busy: Sequence[int] = ()) -> list[str]:
    found = await check(wanted, node.ports, is_root=True, is_free=lambda _, port: port not in busy)
    return [str(problem) for problem in found.problems]


async def test_a_fit_machine_is_reached_by_its_only_address(node: FakeNode) -> None:
    found = await check(WANTED, node.ports, is_root=True)
    assert (found.advertise, found.problems) == ("192.0.2.11", ())


async def test_nothing_is_changed_by_looking(node: FakeNode) -> None:
    await problems(node, replace(WANTED, overlay="wireguard"))
    assert node.trace.changes() == []


async def test_only_root_can_make_a_node(node: FakeNode) -> None:
    found = await check(WANTED, node.ports, is_root=False)
    assert [str(p) for p in found.problems] == ["user: only root can make a node; run it with sudo"]


async def test_everything_that_is_wrong_is_said_at_once(node: FakeNode) -> None:
    node.machine.told = Facts(1, 1, versions=Versions(systemd="249.11", podman="4.9.3"))
    node.files.take("/usr/libexec/podman/quadlet")
    node.files.take("/sys/fs/cgroup/cgroup.controllers")
    node.systemd.units.clear()
    routes(node, {"dst": "10.100.4.0/24", "dev": "tun0"})
    assert await problems(node, busy=[9115]) == [
        "systemd: version 249.11 is too old, 252 is the least; KAT needs a newer distribution",
        "podman: version 4.9.3 is too old, 5.4 is the least; install podman 5.4 or newer",
        "netavark: it is not installed; install netavark 1.14 or newer",
        "nft: it is not installed; install nftables",
        (
            "quadlet: it is not at /usr/libexec/podman/quadlet; install podman with its systemd"
            " generator"
        ),
        "cgroups: /sys/fs/cgroup is not of version 2; boot with systemd.unified_cgroup_hierarchy=1",
        (
            "systemd-networkd: it does not run; run `systemctl enable --now systemd-networkd`; it"
            " leaves other links alone"
        ),
        (
            "clusterCIDR: 10.100.0.0/16 overlaps the route to 10.100.4.0/24 through tun0; set"
            " another clusterCIDR in cluster.kat"
        ),
        (
            "apiPort: something listens on tcp port 9115; stop it, or set another apiPort in"
            " cluster.kat"
        ),
    ]


@pytest.mark.parametrize("version", ["5.4.0", "5.4.2", "5.10.1", "6.0"])
async def test_versions_are_numbers_and_no_text(node: FakeNode, version: str) -> None:
    node.machine.told = Facts(1, 1, versions=replace_versions(podman=version))
    assert await problems(node) == []


def replace_versions(podman: str) -> Versions:
    return Versions("0.1.0", "257", podman, "1.14.0", "1.1.3", "6.12.0")


async def test_a_kernel_without_wireguard_is_an_error_with_both_ways_out(node: FakeNode) -> None:
    node.tools.answers["unshare"] = lambda *_: Ran(2, "", "Error: Unknown device type.")
    assert await problems(node, replace(WANTED, overlay="wireguard")) == [
        (
            "overlay: this kernel has no WireGuard; load the module, or set `overlay: host-gateway`"
            " in cluster.kat when all nodes share one network"
        )
    ]


async def test_wireguard_is_tried_in_a_namespace_that_ends_with_it(node: FakeNode) -> None:
    await problems(node, replace(WANTED, overlay="wireguard"))
    assert "tools.run unshare --net ip link add kat0 type wireguard" in [
        str(call) for call in node.trace.calls
    ]


async def test_host_gateway_asks_for_no_wireguard(node: FakeNode) -> None:
    node.tools.missing.add("unshare")
    assert await problems(node) == []


async def test_a_missing_tool_is_one_problem_among_others(node: FakeNode) -> None:
    node.tools.missing.add("nft")
    assert await problems(node) == ["this machine: nft is not installed; install it"]


async def test_kats_own_routes_are_not_in_the_way(node: FakeNode) -> None:
    routes(node, {"dst": "10.101.0.0/16", "dev": "kat-br0"}, {"dst": "default", "dev": "host0"})
    assert await problems(node) == []


async def test_an_address_of_another_machine_is_refused(node: FakeNode) -> None:
    assert await problems(node, replace(WANTED, advertise="192.0.2.99")) == [
        (
            "--advertise-address: 192.0.2.99 is on no link of this machine; give one of 192.0.2.11"
            " (host0)"
        )
    ]


async def test_what_is_no_address_is_refused(node: FakeNode) -> None:
    [text] = await problems(node, replace(WANTED, advertise="a.example"))
    assert text.startswith("--advertise-address: 'a.example' is no IPv4 address")


async def test_of_two_links_without_a_route_one_must_be_named(node: FakeNode) -> None:
    node.network.links["eth1"] = ["198.51.100.7/24"]
    assert await problems(node) == [
        (
            "--advertise-address: there is no default route, and 2 addresses may be meant; give one"
            " of 198.51.100.7 (eth1), 192.0.2.11 (host0)"
        )
    ]


LINKS = {"eth0": ("192.0.2.1",), "eth1": ("198.51.100.7", "198.51.100.8")}


@pytest.mark.parametrize(
    ("ways", "addresses"),
    [
        ([Route("default", "eth0")], ("192.0.2.1",)),
        ([Route("default", "eth1"), Route("default", "eth0", metric=5)], LINKS["eth1"]),
        ([Route("default", "eth1", prefsrc="198.51.100.8")], ("198.51.100.8",)),
        ([Route("default", "eth0"), Route("default", "eth1")], ()),
        ([], ("192.0.2.1", "198.51.100.7", "198.51.100.8")),
    ],
)
def test_the_default_is_the_address_of_the_link_with_the_default_route(
    ways: list[Route], addresses: tuple[str, ...]
) -> None:
    assert default_address(LINKS, ways)[0] == addresses


async def test_chains_that_drop_are_among_the_problems(node: FakeNode) -> None:
    chain = {
        "family": "ip", "table": "filter", "name": "FORWARD", "type": "filter", "hook": "forward",
        "policy": "drop",
    }  # fmt: skip
    node.tools.answers["nft"] = lambda *_: answer(json.dumps({"nftables": [{"chain": chain}]}))
    [text] = await problems(node)
    assert text.startswith("nft chain ip filter FORWARD: it would drop")
