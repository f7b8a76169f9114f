"""What is answered to which question; the responses are decoded by dnspython and dnslib."""

import dns.edns
import dns.message
import dns.rcode
import pytest

from tests.unit.agent.dns.served import (
    DOMAIN,
    NEGATIVE,
    SHOP,
    ZONE,
    answer,
    ask,
    flags,
    outside,
    question,
    served,
    shown,
)

KAT = served()
LONG = "a" * 40


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("web", "A", [f"web.{SHOP} 30 IN A 10.101.0.1"]),
        ("vip.web", "A", [f"vip.web.{SHOP} 30 IN A 10.101.0.1"]),
        ("ep.web", "A", [f"ep.web.{SHOP} 5 IN A 10.100.0.1{n}" for n in (0, 1)]),
        ("db", "A", [f"db.{SHOP} 5 IN A 10.100.0.2{n}" for n in (0, 1)]),
        ("0.web", "A", [f"0.web.{SHOP} 5 IN A 10.100.0.10"]),
        ("_http._tcp.web", "SRV", [f"_http._tcp.web.{SHOP} 30 IN SRV 0 0 80 web.{SHOP}"]),
        (
            "_http._tcp.ep.web",
            "SRV",
            [f"_http._tcp.ep.web.{SHOP} 5 IN SRV 0 0 8080 {n}.web.{SHOP}" for n in (0, 1)],
        ),
        (SHOP, "NS", [f"{SHOP} 30 IN NS {DOMAIN}."]),
        (SHOP, "SOA", [NEGATIVE.replace(" 5 IN", " 30 IN")]),
        (
            f"{DOMAIN}.",
            "SOA",
            [f"{DOMAIN}. 30 IN SOA {DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 5"],
        ),
    ],
)
def test_every_form_of_a_name(name: str, kind: str, records: list[str]) -> None:
    for edns in (-1, 0):
        message = ask(KAT, name, kind, use_edns=edns)
        assert shown(message.answer) == sorted(records)
        assert (flags(message), message.authority) == ("QR AA RD RA", [])


def test_a_service_brings_the_addresses_of_its_targets() -> None:
    message = ask(KAT, "_http._tcp.ep.web", "SRV")
    assert shown(message.additional) == [f"{n}.web.{SHOP} 5 IN A 10.100.0.1{n}" for n in (0, 1)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web", "AAAA"),
        ("web", "TXT"),
        ("web", "HTTPS"),
        ("web", "SRV"),
        ("web", "CNAME"),
        ("_http._tcp.web", "A"),
        ("_tcp.web", "A"),  # empty, but something is below it
        ("_tcp.ep.web", "SRV"),
        (SHOP, "A"),
    ],
)
def test_a_name_without_such_a_record_has_no_data(name: str, kind: str) -> None:
    message = ask(KAT, name, kind)
    assert (message.rcode(), message.answer) == (dns.rcode.NOERROR, [])
    assert shown(message.authority) == [NEGATIVE]


@pytest.mark.parametrize("name", ["nope", "x.web", "2.web", "_udp.web", "ep", "vip.db", "x.0.web"])
def test_a_name_that_is_not_there(name: str) -> None:
    message = ask(KAT, name)
    assert (message.rcode(), message.answer) == (dns.rcode.NXDOMAIN, [])
    assert shown(message.authority) == [NEGATIVE]


@pytest.mark.parametrize("name", [f"web.other.{DOMAIN}.", f"other.{DOMAIN}."])
def test_below_the_domain_what_no_zone_has_is_not_there_and_nobody_else_is_asked(name: str) -> None:
    message = ask(KAT, name)
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert shown(message.authority) == [
        f"{DOMAIN}. 5 IN SOA {DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 5"
    ]


def test_the_domain_itself_has_no_address() -> None:
    message = ask(KAT, f"{DOMAIN}.")
    assert (message.rcode(), message.answer, len(message.authority)) == (0, [], 1)


@pytest.mark.parametrize("name", ["example.com.", f"x{DOMAIN}.", "local.", ".", "cluster.local."])
def test_other_names_are_for_others(name: str) -> None:
    asked = outside(KAT, question(name, "MX", use_edns=0, want_dnssec=True))
    assert (asked.dnssec_ok, asked.checking_disabled, asked.over_tcp) == (True, False, False)


def test_the_question_comes_back_in_its_own_case() -> None:
    data = question(f"wEb.ShOp.{DOMAIN}.")
    response = KAT.full(data, over_tcp=False)
    assert isinstance(response, bytes)
    assert b"\x03wEb\x04ShOp" in response
    assert KAT.quick(data) == response


def test_a_type_that_looks_like_another_one_in_lower_case_is_none_of_it() -> None:
    data = question(f"db.{SHOP}")[:-4] + b"\x00\x01\x00\x01"
    upper = data[:-4] + b"\x41\x01\x00\x01"
    served_as = KAT.full(upper, over_tcp=False)
    assert isinstance(served_as, bytes)
    assert dns.message.from_wire(served_as).answer == []


def test_without_rd_a_name_of_ours_is_answered_and_any_other_refused() -> None:
    own = dns.message.make_query(f"web.{SHOP}", "A", flags=0)
    assert flags(answer(KAT, own.to_wire())) == "QR AA RA"
    other = dns.message.make_query("example.com.", "A", flags=0)
    assert answer(KAT, other.to_wire()).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("kind", ["ANY", "AXFR", "IXFR", "MAILA", "TSIG", "OPT"])
@pytest.mark.parametrize("name", [f"web.{SHOP}", "example.com."])
def test_types_that_stand_for_several_are_refused(name: str, kind: str) -> None:
    for over_tcp in (False, True):
        message = answer(KAT, question(name, kind), over_tcp=over_tcp)
        assert (message.rcode(), message.answer) == (dns.rcode.REFUSED, [])


def test_classes_other_than_in_are_refused() -> None:
    message = answer(KAT, question("version.bind.", "TXT", rdclass="CH"))
    assert message.rcode() == dns.rcode.REFUSED


def test_opcodes_other_than_query_are_not_implemented() -> None:
    data = question(f"web.{SHOP}")
    for opcode in range(1, 16):
        response = KAT.full(data[:2] + bytes((opcode << 3,)) + data[3:], over_tcp=False)
        assert isinstance(response, bytes)
        assert (len(response), response[3] & 15) == (12, dns.rcode.NOTIMP)


def test_a_response_is_never_answered() -> None:
    data = question(f"web.{SHOP}")
    assert KAT.full(data[:2] + b"\x81\x80" + data[4:], over_tcp=False) is None


@pytest.mark.parametrize("size", range(12))
def test_less_than_a_header_is_not_answered(size: int) -> None:
    assert KAT.full(question(f"web.{SHOP}")[:size], over_tcp=False) is None


GOOD = question(f"web.{SHOP}", use_edns=0)
PLAIN = question(f"web.{SHOP}")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:12],
        PLAIN[:-1],
        PLAIN[:20],
        PLAIN + b"\x00",
        PLAIN[:4] + b"\x00\x02" + PLAIN[6:],
        PLAIN[:6] + b"\x00\x01" + PLAIN[8:],
        PLAIN[:8] + b"\x00\x01" + PLAIN[10:],
        PLAIN[:10] + b"\x00\x01" + PLAIN[12:],
        PLAIN[:12] + b"\xc0\x0c\x00\x01\x00\x01",
        PLAIN[:12] + b"\x40" + b"a" * 64 + b"\x00\x00\x01\x00\x01",
        PLAIN[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01",
        GOOD[:-1],
        GOOD + b"\x00",
        GOOD[:-2] + b"\x00\x04\x00\x0a\x00\x08",  # an option that is longer than its record
        GOOD[:-2] + b"\x00\x03\x00\x0a\x00",
        GOOD[:10] + b"\x00\x02" + GOOD[12:] + GOOD[-11:],
        GOOD[:-11] + b"\x01a" + GOOD[-11:],
    ],
)
def test_a_malformed_question_gets_a_header_that_says_so(data: bytes) -> None:
    response = KAT.full(data, over_tcp=False)
    assert response == data[:2] + b"\x81\x81" + bytes(8)
    assert KAT.quick(data) is None


def test_edns_is_answered_with_edns_and_its_absence_with_none() -> None:
    with_edns = ask(KAT, "web", use_edns=0, payload=4096, want_dnssec=True)
    assert (with_edns.edns, with_edns.payload, flags(with_edns)) == (0, 1232, "QR AA RD RA")
    assert with_edns.ednsflags == 0x8000
    assert ask(KAT, "web").edns == -1


def test_options_are_read_past() -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    message = ask(KAT, "web", use_edns=0, options=[cookie])
    assert (len(message.answer), message.options) == (1, ())


def test_another_version_of_edns_is_refused_with_ours() -> None:
    message = ask(KAT, "web", use_edns=1)
    assert (message.rcode(), message.edns, message.answer) == (dns.rcode.BADVERS, 0, [])


MANY = "\n".join(
    (
        *ZONE.splitlines()[:3],
        *(f"big.{SHOP} 5 IN A 10.100.{n // 250}.{n % 250}" for n in range(1000)),
        *(f"{n}.big.{SHOP} 5 IN A 10.100.{n // 250}.{n % 250}" for n in range(1000)),
        *(f"_x._tcp.big.{SHOP} 5 IN SRV 0 0 80 {n}.big.{SHOP}" for n in range(30)),
        *(f"ep.huge.{SHOP} 5 IN A 10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(5000)),
        "",
    )
)
BIG = served(MANY)


@pytest.mark.parametrize(
    ("payload", "size", "records"),
    [
        (None, 512, 29),
        (100, 512, 28),
        (512, 512, 28),
        (900, 900, 52),
        (1232, 1232, 73),
        (65535, 1232, 73),
    ],
)
def test_what_does_not_fit_is_cut_at_a_record_and_marked(
    payload: int | None, size: int, records: int
) -> None:
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    data = question(f"big.{SHOP}", "A", **options)
    response = BIG.full(data, over_tcp=False)
    assert isinstance(response, bytes)
    message = answer(BIG, data)
    assert (flags(message), len(message.answer[0])) == ("QR AA TC RD RA", records)
    assert size - 16 < len(response) <= size


def test_over_tcp_all_of_it_comes() -> None:
    message = answer(BIG, question(f"big.{SHOP}"), over_tcp=True)
    assert (flags(message), len(message.answer[0])) == ("QR AA RD RA", 1000)


def test_more_than_tcp_carries_is_cut_too() -> None:
    message = answer(BIG, question(f"ep.huge.{SHOP}"), over_tcp=True)
    assert flags(message) == "QR AA TC RD RA"
    assert len(message.answer[0]) == (65535 - 12 - 36) // 16


def test_a_service_whose_addresses_do_not_fit_is_not_cut() -> None:
    lines = [line for line in MANY.splitlines() if "_x._tcp" not in line]
    some = [f"_x._tcp.big.{SHOP} 5 IN SRV 0 0 80 {n}.big.{SHOP}" for n in range(9)]
    message = ask(served("\n".join((*lines, *some, ""))), "_x._tcp.big", "SRV")
    assert (flags(message), len(message.answer[0]), message.additional) == ("QR AA RD RA", 9, [])


def test_no_response_is_longer_than_the_client_takes() -> None:
    name = ".".join((LONG,) * 5)
    message = ask(KAT, name)
    assert message.rcode() == dns.rcode.NXDOMAIN
    data = question(f"{name}.{SHOP}")
    response = KAT.full(data, over_tcp=False)
    assert isinstance(response, bytes)
    assert len(response) <= 512


def test_several_addresses_come_in_an_order_of_chance() -> None:
    data = question(f"db.{SHOP}")
    KAT.full(data, over_tcp=False)
    firsts = set()
    for _ in range(200):  # one order alone with probability 2^-199
        response = KAT.quick(data)
        assert response is not None
        firsts.add(str(dns.message.from_wire(response).answer[0][0]))
    assert firsts == {"10.100.0.20", "10.100.0.21"}


def test_every_address_comes_first_about_as_often() -> None:
    data = question(f"big.{SHOP}")
    BIG.full(data, over_tcp=False)
    counts: dict[bytes, int] = {}
    for _ in range(20_000):
        response = BIG.quick(data)
        assert response is not None
        first = response[len(data) + 12 : len(data) + 16]
        counts[first] = counts.get(first, 0) + 1
    assert len(counts) == 1000
    assert max(counts.values()) < 60  # 20 are expected


def test_shapes_that_differ_each_time_do_not_fill_the_memory() -> None:
    for size in range(3000):
        KAT.full(question(f"web.{SHOP}", use_edns=0, payload=size), over_tcp=False)
    assert len(KAT.shapes) <= 1024
