"""The names of a namespace and of the nodes."""

import re
from dataclasses import replace

import msgspec
import pytest

from katgen.bundle import Activation
from katgen.errors import EncodeError
from katgen.names import NodeName, Ordinal
from katgen.planned import Placement
from katgen.render import zone
from katgen.render.view import NodesView, PlannedWorkload
from katgen.render.zone_words import label, labels, name, room_for
from tests import cuts

CLUSTER = cuts.cluster()
NAMED = {"ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]}
TWO = {"0": ("a", "10.100.1.10"), "1": ("b", "10.100.2.10")}
DB = cuts.workload("shop/db", TWO, container=NAMED)
WEB = cuts.balanced(
    cuts.workload("shop/web", TWO, container=NAMED),
    "10.101.0.5",
    {"ports": [{"name": "www", "port": 80, "targetPort": 8080}, {"port": 53, "protocol": "UDP"}]},
)
HEAD = re.compile(
    r"; Managed by KAT; an edit is reported as drift\.\n"
    r"shop\.kat\.cluster\.local\. 30 IN SOA kat\.cluster\.local\. hostmaster\.kat\.cluster\.local\."
    r" (\d+) 3600 600 86400 5\n"
    r"shop\.kat\.cluster\.local\. 30 IN NS kat\.cluster\.local\.\n"
)


def records(*workloads: PlannedWorkload) -> list[str]:
    """Return the records of the zone `shop`, without SOA and NS."""
    (shared,) = zone.namespace(cuts.namespace_view(CLUSTER, "shop", workloads))
    return shared.content.decode().splitlines()[3:]


def test_a_workload_with_a_virtual_address() -> None:
    assert records(WEB) == [
        "ep.web.shop.kat.cluster.local. 5 IN A 10.100.1.10",
        "ep.web.shop.kat.cluster.local. 5 IN A 10.100.2.10",
        "web.shop.kat.cluster.local. 30 IN A 10.101.0.5",
        "vip.web.shop.kat.cluster.local. 30 IN A 10.101.0.5",
        "0.web.shop.kat.cluster.local. 5 IN A 10.100.1.10",
        "1.web.shop.kat.cluster.local. 5 IN A 10.100.2.10",
        "_http._tcp.ep.web.shop.kat.cluster.local. 5 IN SRV 0 0 8080 0.web.shop.kat.cluster.local.",
        "_http._tcp.ep.web.shop.kat.cluster.local. 5 IN SRV 0 0 8080 1.web.shop.kat.cluster.local.",
        "_www._tcp.web.shop.kat.cluster.local. 30 IN SRV 0 0 80 web.shop.kat.cluster.local.",
    ]


def test_a_workload_without_one() -> None:
    assert records(DB) == [
        "ep.db.shop.kat.cluster.local. 5 IN A 10.100.1.10",
        "ep.db.shop.kat.cluster.local. 5 IN A 10.100.2.10",
        "db.shop.kat.cluster.local. 5 IN A 10.100.1.10",
        "db.shop.kat.cluster.local. 5 IN A 10.100.2.10",
        "0.db.shop.kat.cluster.local. 5 IN A 10.100.1.10",
        "1.db.shop.kat.cluster.local. 5 IN A 10.100.2.10",
        "_http._tcp.db.shop.kat.cluster.local. 5 IN SRV 0 0 8080 0.db.shop.kat.cluster.local.",
        "_http._tcp.db.shop.kat.cluster.local. 5 IN SRV 0 0 8080 1.db.shop.kat.cluster.local.",
        "_http._tcp.ep.db.shop.kat.cluster.local. 5 IN SRV 0 0 8080 0.db.shop.kat.cluster.local.",
        "_http._tcp.ep.db.shop.kat.cluster.local. 5 IN SRV 0 0 8080 1.db.shop.kat.cluster.local.",
    ]


def test_an_ordinal_names_the_instance_that_is_being_replaced_until_it_is_gone() -> None:
    placements = (
        Placement(Ordinal("0"), 3, "r2", NodeName("a"), "10.100.1.30"),
        Placement(Ordinal("0"), 1, "r1", NodeName("a"), "10.100.1.10"),
    )
    plan = msgspec.structs.replace(DB.plan, placements=placements)
    found = records(replace(DB, plan=plan))
    named = [line for line in found if line.startswith("0.db.shop")]
    assert named == ["0.db.shop.kat.cluster.local. 5 IN A 10.100.1.10"]


def test_a_zone_has_its_soa_and_a_server_that_no_zone_contains() -> None:
    (shared,) = zone.namespace(cuts.namespace_view(CLUSTER, "shop", [WEB]))
    assert shared.path == "/var/lib/kat/dns/shop.kat.cluster.local.zone"
    assert shared.activation is Activation.DNS
    assert HEAD.match(shared.content.decode())


def test_the_serial_is_another_one_if_the_content_is() -> None:
    serials = set()
    for workloads in ([WEB], [DB], [WEB, DB], []):
        (shared,) = zone.namespace(cuts.namespace_view(CLUSTER, "shop", workloads))
        found = HEAD.match(shared.content.decode())
        assert found
        serials.add(found[1])
    assert len(serials) == 4


def test_the_nodes_have_a_zone_of_their_own() -> None:
    view = NodesView(CLUSTER, ((NodeName("a"), "10.100.1.1"), (NodeName("b"), "10.100.2.1")))
    (shared,) = zone.nodes(view)
    assert shared.path == "/var/lib/kat/dns/node.kat.cluster.local.zone"
    assert shared.content.decode().splitlines()[3:] == [
        "a.node.kat.cluster.local. 30 IN A 10.100.1.1",
        "b.node.kat.cluster.local. 30 IN A 10.100.2.1",
    ]


def test_a_name_longer_than_dns_carries_is_refused() -> None:
    long = "w" * 63
    domain = ".".join(["d" * 61, "e" * 61, "f" * 61])
    bad = cuts.workload(f"shop/{long}", {"0": ("a", "10.100.1.10")})
    view = cuts.namespace_view(cuts.cluster(clusterDomain=domain), "shop", [bad])
    with pytest.raises(EncodeError, match=r"has 258 characters; DNS carries 253"):
        zone.namespace(view)


def test_the_longest_name_that_dns_carries_is_taken() -> None:
    host = name(".".join(["d" * 63, "e" * 63, "f" * 63, "g" * 57]))
    room_for(host, ["vip"])
    with pytest.raises(EncodeError, match="has 254 characters"):
        room_for(host, ["vip0"])


def test_a_port_whose_name_leaves_no_room_for_its_underscore_is_refused() -> None:
    with pytest.raises(EncodeError, match="is not a DNS label of at most 62 characters"):
        label("p" * 63, longest=62)


@pytest.mark.parametrize(
    "text", ["", "A", "a.b", "-a", "a-", "a b", "a\n", "a;", "é", "@", "a" * 64]
)
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="is not a DNS label"):
        label(text)
    with pytest.raises(EncodeError, match="is not a DNS label"):
        labels(["good", text])


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.b.", "$ORIGIN", "a b", "a\n", "a" * 254])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(EncodeError, match="is not a DNS name"):
        name(text)
