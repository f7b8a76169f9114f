"""Who may talk to whom, and who may claim to be whom, by the rules that KAT renders."""

from collections.abc import Iterator

import pytest

from katgen.names import mac_of
from tests.lab.cast import CLIENT, STRANGER, files, staged
from tests.lab.fabric import PORT, Fabric


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "bridge-nf-call"])
def net(request: pytest.FixtureRequest) -> Iterator[Fabric]:
    with staged(bridge_calls=request.param) as made:
        yield made


@pytest.fixture
def fresh(net: Fabric) -> Iterator[Fabric]:
    """Return the fabric; what the test changes in node a's rules is undone by a reload."""
    yield net
    net.load("a", files("a"))


@pytest.mark.parametrize("where", ["10.100.1.21", "10.100.2.20"], ids=["same-node", "other-node"])
@pytest.mark.parametrize(("to", "port"), [("10.100.1.20", PORT), ("10.101.0.6", 80)])
def test_an_isolated_namespace_is_open_to_itself(
    net: Fabric, where: str, to: str, port: int
) -> None:
    assert net.call(where, "tcp", to, port)[0].split()[0] in {"db-0", "db-1"}


@pytest.mark.parametrize("where", ["a", "b"])
@pytest.mark.parametrize("to", ["10.100.1.20", "10.100.2.20"])
def test_an_isolated_namespace_is_open_to_nodes(net: Fabric, where: str, to: str) -> None:
    assert net.call(where, "tcp", to, PORT)[0].split()[0] in {"db-0", "db-1"}


@pytest.mark.parametrize("where", [CLIENT, "10.100.2.10"], ids=["same-node", "other-node"])
@pytest.mark.parametrize(
    ("to", "port"), [("10.100.1.20", PORT), ("10.100.2.20", PORT), ("10.101.0.6", 80)]
)
def test_an_isolated_namespace_is_closed_to_other_instances(
    net: Fabric, where: str, to: str, port: int
) -> None:
    assert net.call(where, "tcp", to, port) == ["OSError"]  # no route to host, at once


def test_an_isolated_namespace_is_closed_to_the_outside_but_for_its_host_ports(net: Fabric) -> None:
    net.run("outside", ["ip", "route", "replace", "10.100.0.0/16", "via", "192.0.2.1"])
    assert net.call("outside", "tcp", "10.100.1.20", PORT) == ["OSError"]
    assert net.call("outside", "tcp", "192.0.2.1", 8089)[0].split()[0] == "gate-0"


def test_an_isolated_namespace_may_call_others(net: Fabric) -> None:
    assert net.call("10.100.1.20", "tcp", "10.100.1.10", PORT)[0].split()[0] == "web-0"
    assert net.call("10.100.1.20", "tcp", "10.101.0.5", 80)[0].split()[0].startswith("web-")


def test_a_namespace_opens_and_closes_with_a_reload(fresh: Fabric) -> None:
    fresh.load("a", files("a", vault_is_isolated=False))
    assert fresh.call(CLIENT, "tcp", "10.100.1.20", PORT)[0].split()[0] == "db-0"
    fresh.load("a", files("a"))
    assert fresh.call(CLIENT, "tcp", "10.100.1.20", PORT) == ["OSError"]


@pytest.mark.parametrize("own", ["10.100.1.77", "10.100.1.11", "198.51.100.7", "10.100.2.10"])
@pytest.mark.parametrize("to", ["10.100.1.10", "10.100.2.10"], ids=["same-node", "other-node"])
def test_a_forged_source_goes_nowhere(net: Fabric, own: str, to: str) -> None:
    with net.hearing(to, 9000) as heard:
        net.run(CLIENT, ["ip", "addr", "add", f"{own}/32", "dev", "eth0"])
        net.echo(CLIENT, "send", to, "9000", own)
        net.run(CLIENT, ["ip", "addr", "del", f"{own}/32", "dev", "eth0"])
        net.echo(CLIENT, "send", to, "9000")
    assert heard == [CLIENT]


def test_a_forged_mac_goes_nowhere(net: Fabric) -> None:
    with net.hearing("10.100.1.10", 9000) as heard:
        _become(net, "0a:4b:00:00:00:01", CLIENT)
        net.echo(CLIENT, "send", "10.100.1.10", "9000")
        _become(net, mac_of(CLIENT), CLIENT)
        net.echo("10.100.1.13", "send", "10.100.1.10", "9000")
    assert heard == ["10.100.1.13"]


def test_the_mac_and_address_of_a_neighbour_are_worth_nothing_on_another_port(net: Fabric) -> None:
    with net.hearing("10.100.1.10", 9000) as heard:
        _become(net, mac_of("10.100.1.11"), "10.100.1.11")
        net.echo(CLIENT, "send", "10.100.1.10", "9000", "10.100.1.11")
        _become(net, mac_of(CLIENT), CLIENT)
        net.echo("10.100.1.13", "send", "10.100.1.10", "9000")
    assert heard == ["10.100.1.13"]


def _become(net: Fabric, mac: str, address: str) -> None:
    """Give the client another MAC address and address, with a way to everyone."""
    net.script(
        CLIENT,
        "ip addr flush dev eth0; ip link set eth0 address $1; ip addr add $2/24 dev eth0;"
        "ip route replace default via 10.100.1.1;"
        "ip neigh replace 10.100.1.1 lladdr 0a:4b:00:00:00:00 dev eth0;"
        "ip neigh replace 10.100.1.10 lladdr 0a:4b:0a:64:01:0a dev eth0",
        mac,
        address,
    )


def test_nobody_can_claim_the_nodes_address(net: Fabric) -> None:
    net.run("10.100.1.10", ["sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0"])
    net.run("10.100.1.10", ["ip", "neigh", "flush", "all"])
    net.call("10.100.1.10", "tcp", "192.0.2.99", PORT)
    net.echo(CLIENT, "arp", "10.100.1.1", "eth0")
    net.echo(CLIENT, "arp", CLIENT, "eth0")
    known = net.run("10.100.1.10", ["ip", "neigh", "show", "10.100.1.1"]).stdout
    assert "0a:4b:00:00:00:00" in known


def test_instances_have_no_second_way_over_ipv6(net: Fabric) -> None:
    shown = net.run("10.100.1.20", ["ip", "-o", "-6", "addr", "show", "dev", "eth0"]).stdout
    link_local = shown.split("inet6 ")[1].partition("/")[0]
    with net.hearing("10.100.1.20", 9000) as heard:
        for to in (link_local, "ff02::1"):
            net.echo("10.100.1.21", "send", f"{to}%eth0", "9000")
        net.echo("10.100.1.21", "send", "10.100.1.20", "9000")
    assert heard == ["10.100.1.21"]


def test_who_is_not_in_the_plan_reaches_nobody(net: Fabric) -> None:
    with net.hearing("10.100.1.10", 9000) as heard:
        net.echo(STRANGER, "send", "10.100.1.10", "9000")
        net.echo(CLIENT, "send", "10.100.1.10", "9000")
    assert heard == [CLIENT]


@pytest.mark.parametrize(
    ("overlay", "own"),
    [
        ("wireguard", "10.100.1.11"),
        ("wireguard", "10.100.2.10"),
        ("host-gateway", "10.100.1.11"),
    ],
)
def test_a_source_that_cannot_come_from_the_underlay_is_forged(
    fresh: Fabric, overlay: str, own: str
) -> None:
    fresh.load("a", files("a", overlay=overlay))
    fresh.run("outside", ["ip", "route", "replace", "10.100.0.0/16", "via", "192.0.2.1"])
    with fresh.hearing("10.100.1.10", 9000) as heard:
        fresh.run("outside", ["ip", "addr", "add", f"{own}/32", "dev", "lan0"])
        fresh.echo("outside", "send", "10.100.1.10", "9000", own)
        fresh.run("outside", ["ip", "addr", "del", f"{own}/32", "dev", "lan0"])
        fresh.echo("outside", "send", "10.100.1.10", "9000", "192.0.2.99")
    assert heard == ["192.0.2.99"]


def test_with_host_gateway_another_nodes_instances_come_from_the_underlay(fresh: Fabric) -> None:
    fresh.load("a", files("a", overlay="host-gateway"))
    fresh.run("outside", ["ip", "route", "replace", "10.100.0.0/16", "via", "192.0.2.1"])
    with fresh.hearing("10.100.1.10", 9000) as heard:
        fresh.run("outside", ["ip", "addr", "add", "10.100.3.10/32", "dev", "lan0"])
        fresh.echo("outside", "send", "10.100.1.10", "9000", "10.100.3.10")
        fresh.run("outside", ["ip", "addr", "del", "10.100.3.10/32", "dev", "lan0"])
    assert heard == ["10.100.3.10"]
