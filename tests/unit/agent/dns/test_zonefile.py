"""Zones are read as KAT renders them, and refused with their place otherwise."""

import pytest

from agent.dns.wire import NS, SOA, SRV, A, name_from_text
from agent.dns.zonefile import Rrset, ZoneError, read_zone
from tests.environment import REPOSITORY
from tests.unit.agent.dns.served import DOMAIN, PATH, SHOP, ZONE

HEAD = "\n".join(ZONE.splitlines()[:3])


def read(*lines: str) -> dict[tuple[bytes, int], Rrset]:
    zone = read_zone(PATH, "\n".join((HEAD, *lines, "")), DOMAIN)
    return {(one.name, one.type): one for sets in zone.workloads.values() for one in sets}


def wire(name: str) -> bytes:
    return name_from_text(name)


def test_records_of_one_name_and_type_are_one_set() -> None:
    found = read(f"db.{SHOP} 5 IN A 10.100.0.20", f"db.{SHOP} 5 IN A 10.100.0.21")
    addresses = (bytes((10, 100, 0, 20)), bytes((10, 100, 0, 21)))
    assert found[wire(f"db.{SHOP}"), A] == Rrset(wire(f"db.{SHOP}"), A, 5, addresses)


def test_a_service_has_its_numbers_and_its_target_uncompressed() -> None:
    found = read(f"_sql._tcp.db.{SHOP} 5 IN SRV 1 2 5432 0.db.{SHOP}")
    (data,) = found[wire(f"_sql._tcp.db.{SHOP}"), SRV].data
    assert data == b"\x00\x01\x00\x02\x15\x38" + wire(f"0.db.{SHOP}")


def test_the_head_of_a_zone() -> None:
    found = read()
    numbers = b"".join(n.to_bytes(4) for n in (7, 3600, 600, 86400, 5))
    names = wire(f"{DOMAIN}.") + wire(f"hostmaster.{DOMAIN}.")
    assert found[wire(SHOP), SOA].data == (names + numbers,)
    assert found[wire(SHOP), NS].data == (wire(f"{DOMAIN}."),)


def test_records_are_sorted_by_their_workload() -> None:
    zone = read_zone(PATH, ZONE, DOMAIN)
    assert {label: len(sets) for label, sets in zone.workloads.items()} == {
        b"": 2,
        b"web": 7,
        b"db": 5,
    }


def test_every_zone_that_kat_renders_is_read() -> None:
    files = sorted((REPOSITORY / "tests/golden").glob("*/want/*/var/lib/kat/dns/*.zone"))
    assert len(files) > 20
    for path in files:
        domain = path.name.partition(".")[2].removesuffix(".zone")
        assert read_zone(str(path), path.read_text(), domain).workloads


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("www 5 IN A 10.0.0.1", "www is no name in shop.kat.cluster.local."),
        ("a.other.example. 5 IN A 10.0.0.1", "a.other.example. is no name in shop."),
        (f"xshop.{DOMAIN}. 5 IN A 10.0.0.1", "is no name in"),
        (f"a.{SHOP} 5 IN A 10.0.0.256", "is no IPv4 address"),
        (f"a.{SHOP} 5 IN A 10.0.0.01", "is no IPv4 address"),
        (f"a.{SHOP} 5 IN A ::1", "is no IPv4 address"),
        (f"a.{SHOP} 5 IN AAAA ::1", "records of type AAAA are not served"),
        (f"a.{SHOP} 5 IN CNAME b.{SHOP}", "records of type CNAME are not served"),
        (f"a.{SHOP} 5 CH A 10.0.0.1", "no record of the form"),
        (f"a.{SHOP} IN A 10.0.0.1", "no record of the form"),
        (f"a.{SHOP} -5 IN A 10.0.0.1", "no record of the form"),
        (f"a.{SHOP} 2147483648 IN A 10.0.0.1", "2147483648 is no TTL"),
        ("$INCLUDE /etc/shadow", "no record of the form"),
        (f"  a.{SHOP} 5 IN A 10.0.0.1", "no record of the form"),
        (f"A.{SHOP} 5 IN A 10.0.0.1", "is no fully qualified name"),
        (f"a..{SHOP} 5 IN A 10.0.0.1", "is no fully qualified name"),
        (f"{'a' * 64}.{SHOP} 5 IN A 10.0.0.1", "is no fully qualified name"),
        (f"{'a.' * 120}{SHOP} 5 IN A 10.0.0.1", "is longer than DNS carries"),
        (f"a.{SHOP} 5 IN NS b.{SHOP}", "SOA and NS are the zone's own"),
        (f"{SHOP} 30 IN SOA a. b. 1 2 3 4 5", "the first record, and no other, is the SOA"),
        (f"_a._tcp.b.{SHOP} 5 IN SRV 0 0 65536 b.{SHOP}", "a number is too large"),
        (f"_a._tcp.b.{SHOP} 5 IN SRV 0 80 b.{SHOP}", "has not the fields"),
        (f"_a._tcp.b.{SHOP} 5 IN SRV 0 0 80 b", "is no fully qualified name"),
    ],
)
def test_anything_else_is_refused_with_its_place(line: str, what: str) -> None:
    with pytest.raises(ZoneError) as raised:
        read("", line)
    assert str(raised.value).startswith(f"{PATH}:5: ")
    assert what in str(raised.value)


def test_two_ttls_for_one_name_are_refused() -> None:
    with pytest.raises(ZoneError, match="have one TTL"):
        read(f"a.{SHOP} 5 IN A 10.0.0.1", f"a.{SHOP} 6 IN A 10.0.0.2")


def test_a_record_that_stands_twice_is_refused() -> None:
    with pytest.raises(ZoneError, match="twice"):
        read(f"a.{SHOP} 5 IN A 10.0.0.1", f"a.{SHOP} 5 IN A 10.0.0.1")


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        (PATH, "", "the zone is empty"),
        (PATH, "; nothing\n", "the zone is empty"),
        (PATH, f"a.{SHOP} 5 IN A 10.0.0.1\n", ":1: the first record, and no other, is the SOA"),
        (PATH, ZONE.replace("db", "d\u00fc"), "it is not ASCII"),
        (PATH, ZONE[:-2], "its last line is cut"),
        ("/x/a.b.kat.cluster.local.zone", ZONE, "is no namespace's of kat.cluster.local"),
        (f"/x/{'a' * 64}.{DOMAIN}.zone", ZONE, "is no namespace's of kat.cluster.local"),
        (f"/x/{DOMAIN}.zone", ZONE, "is no namespace's of kat.cluster.local"),
        (f"/x/.{DOMAIN}.zone", ZONE, "is no namespace's of kat.cluster.local"),
        (f"/x/Shop.{DOMAIN}.zone", ZONE, "is no namespace's of kat.cluster.local"),
        (f"/x/a\nb.{DOMAIN}.zone", ZONE, "is no namespace's of kat.cluster.local"),
        ("/x/example.com.zone", ZONE, "is no namespace's of kat.cluster.local"),
    ],
)
def test_what_is_no_zone_of_the_cluster_is_refused(path: str, text: str, what: str) -> None:
    with pytest.raises(ZoneError, match=what):
        read_zone(path, text, DOMAIN)
