"""Packets to services, the outside and host ports, by the rules that KAT renders."""

from collections.abc import Iterator

import pytest

from tests.lab.cast import CLIENT, files, staged
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


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_service_is_answered_by_all_of_its_instances(net: Fabric, protocol: str) -> None:
    port = 80 if protocol == "tcp" else 53
    answered = net.names(CLIENT, protocol, "10.101.0.5", port, 60)
    assert sorted(answered) == ["web-0", "web-1", "web-2"]
    assert min(answered.values()) > 5


@pytest.mark.parametrize("to", ["10.100.1.10", "10.100.2.10"], ids=["same-node", "other-node"])
def test_an_instance_is_seen_with_its_own_address(net: Fabric, to: str) -> None:
    assert net.call(CLIENT, "tcp", to, PORT)[0].split()[1] == CLIENT


def test_a_client_of_a_service_is_seen_with_its_own_address(net: Fabric) -> None:
    answers = net.call(CLIENT, "tcp", "10.101.0.5", 80, count=20)
    assert {answer.split()[1] for answer in answers} == {CLIENT}


def test_a_node_calls_a_service_with_its_overlay_address(net: Fabric) -> None:
    answers = [answer.split() for answer in net.call("a", "tcp", "10.101.0.5", 80, count=30)]
    assert {name for name, _, _ in answers} == {"web-0", "web-1", "web-2"}
    assert {source for _, source, _ in answers} == {"10.100.1.1"}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_instance_reaches_itself_through_its_service(net: Fabric, protocol: str) -> None:
    port = 80 if protocol == "tcp" else 53
    answers = net.call("10.100.1.10", protocol, "10.101.0.5", port, count=30)
    assert "web-0 10.100.1.1" in {answer.rpartition(" ")[0] for answer in answers}
    assert {answer.split()[0] for answer in answers} == {"web-0", "web-1", "web-2"}


def test_the_outside_sees_the_nodes_address(net: Fabric) -> None:
    assert net.call(CLIENT, "tcp", "192.0.2.99", PORT)[0].split()[:2] == [
        "outside",
        "192.0.2.1",
    ]


@pytest.mark.parametrize("where", [CLIENT, "a"], ids=["instance", "node"])
@pytest.mark.parametrize(
    ("to", "port"), [("10.101.0.5", 81), ("10.101.0.77", 80)], ids=["port", "address"]
)
def test_what_no_service_offers_is_refused_at_once(
    net: Fabric, where: str, to: str, port: int
) -> None:
    assert net.call(where, "tcp", to, port) == ["ConnectionRefusedError"]


def test_a_node_sends_no_redirect_to_an_instance_even_if_its_kernel_would(
    fresh: Fabric,
) -> None:
    fresh.run("a", ["sysctl", "-qw", "net.ipv4.conf.all.send_redirects=1"])
    fresh.call(CLIENT, "tcp", "10.101.0.5", 80, count=10)
    shown = fresh.run(CLIENT, ["ip", "route", "get", "10.101.0.5"]).stdout
    assert "via 10.100.1.1 " in shown
    assert "redirected" not in shown


def test_segments_fit_the_overlay_whatever_an_instance_offers(net: Fabric) -> None:
    answer = net.call("10.100.1.14", "tcp", "10.100.2.14", PORT)[0]
    assert answer == "wide-1 10.100.1.14 1368"  # 1420 less IPv4, TCP and its timestamps


def test_one_not_ready_of_three_leaves_the_others_an_even_share(fresh: Fabric) -> None:
    fresh.nft(
        "a",
        "add chain inet kat random-2; flush chain inet kat random-2;"
        "add rule inet kat random-2"
        "    meta mark set numgen random mod 2 offset 0x4b000000 goto balance;"
        "delete element inet kat services { 10.101.0.5 };"
        "add element inet kat services { 10.101.0.5 : goto random-2 };"
        "delete element inet kat endpoints { 10.101.0.5 . 0x4b000001 };"
        "add element inet kat endpoints { 10.101.0.5 . 0x4b000001 : 10.100.2.10 }",
    )
    answered = fresh.names(CLIENT, "tcp", "10.101.0.5", 80, 60)
    assert sorted(answered) == ["web-0", "web-2"]
    assert min(answered.values()) > 12


def test_a_service_with_nothing_ready_is_refused(fresh: Fabric) -> None:
    fresh.nft("a", "delete element inet kat services { 10.101.0.5 }")
    assert fresh.call(CLIENT, "tcp", "10.101.0.5", 80) == ["ConnectionRefusedError"]


@pytest.mark.parametrize("client", [CLIENT, "10.100.1.13", "a"])
def test_a_client_keeps_its_instance_over_a_reload(net: Fabric, client: str) -> None:
    before = net.names(client, "tcp", "10.101.0.7", 80, 12)
    net.load("a", files("a"))
    after = net.names(client, "tcp", "10.101.0.7", 80, 12)
    assert len(before) == 1
    assert after == before


def test_clients_with_affinity_spread_over_the_instances(net: Fabric) -> None:
    net.nft("a", "flush map inet kat_state pins")
    seen: set[str] = set()
    while len(seen) < 2:
        net.nft("a", "flush map inet kat_state pins")
        seen |= set(net.names(CLIENT, "tcp", "10.101.0.7", 80, 1))
    assert seen == {"cache-0", "cache-1"}


def test_a_client_whose_instance_is_gone_is_pinned_to_another(fresh: Fabric) -> None:
    (pinned,) = fresh.names(CLIENT, "tcp", "10.101.0.7", 80, 3)
    gone, other = ("0x4b800000", "cache-1") if pinned == "cache-0" else ("0x4b800001", "cache-0")
    left = "10.100.2.15" if other == "cache-1" else "10.100.1.15"
    fresh.nft(
        "a",
        f"delete element inet kat endpoints {{ 10.101.0.7 . {gone} }};"
        f"add element inet kat endpoints {{ 10.101.0.7 . {gone} : {left} }}",
    )
    assert fresh.names(CLIENT, "tcp", "10.101.0.7", 80, 6) == {other: 6}


def test_a_pin_to_a_slot_that_is_no_more_is_made_anew(fresh: Fabric) -> None:
    fresh.nft(
        "a",
        "flush map inet kat_state pins;"
        "add element inet kat_state pins { 10.100.1.12 . 10.101.0.7 : 0x4b800009 }",
    )
    assert len(fresh.names(CLIENT, "tcp", "10.101.0.7", 80, 12)) == 1


def test_services_without_affinity_leave_no_pin(net: Fabric) -> None:
    net.nft("a", "flush map inet kat_state pins")
    net.call(CLIENT, "tcp", "10.101.0.5", 80, count=5)
    assert "10.101.0.5" not in net.nft("a", "list", "map", "inet", "kat_state", "pins")


def test_a_host_port_answers_on_the_nodes_own_address_and_shows_the_client(net: Fabric) -> None:
    assert net.call("outside", "tcp", "192.0.2.1", 8088)[0].split()[:2] == ["edge-0", "192.0.2.99"]


@pytest.mark.parametrize("where", ["a", "b", CLIENT, "10.100.1.13", "10.100.2.10"])
def test_a_host_port_answers_nodes_and_instances_too(net: Fabric, where: str) -> None:
    assert net.call(where, "tcp", "192.0.2.1", 8088)[0].split()[0] == "edge-0"


@pytest.mark.parametrize("to", ["10.100.1.1", "10.101.0.5", CLIENT])
def test_a_host_port_is_no_port_of_cluster_addresses(net: Fabric, to: str) -> None:
    assert net.call(CLIENT, "tcp", to, 8088) == ["ConnectionRefusedError"]
