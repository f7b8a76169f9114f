"""Whatever arrives: no exception, no answer to a response, nothing larger than asked for."""

import random
from collections.abc import Iterator

import dns.message
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dns import wire
from agent.dns.respond import Outside, Responder
from agent.dns.wire import WireError
from tests.unit.agent.dns.served import SHOP, question, served

SEED = 20260
PACKETS = 100_000
KAT = served()
SEEDS = (
    question(f"web.{SHOP}"),
    question(f"db.{SHOP}", use_edns=0),
    question(f"_http._tcp.ep.web.{SHOP}", "SRV", use_edns=0, payload=600, want_dnssec=True),
    question("www.example.com.", "AAAA", use_edns=0),
    question(f"nope.{SHOP}", "ANY"),
    bytes(12),
    bytes(600),
)


def check(kat: Responder, data: bytes, *, over_tcp: bool) -> None:
    """Have a message answered, as the server does, and judge the response."""
    response = None if over_tcp else kat.quick(data)
    if response is None:
        found = kat.full(data, over_tcp=over_tcp)
        if isinstance(found, Outside):
            assert data.startswith(found.question, 12)
            return
        response = found
    if response is None:
        assert len(data) < 12 or data[2] & 0x80
        return
    assert not data[2] & 0x80
    assert response[:2] == data[:2]
    assert response[2] & 0x80
    assert len(response) <= (65535 if over_tcp else 1232)
    message = dns.message.from_wire(response)
    assert message.rcode() != 0 or message.question


def mutated(chance: random.Random) -> Iterator[bytes]:
    """Yield messages: good ones with octets changed, cut, put in twice, or nothing but chance."""
    for _ in range(PACKETS):
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randrange(5)):
            at = chance.randrange(len(data) or 1)
            match chance.randrange(5):
                case 0:
                    data[at : at + 1] = bytes((chance.randrange(256),))
                case 1:
                    data = data[:at]
                case 2:
                    data[at:at] = chance.randbytes(chance.randrange(1, 12))
                case 3:
                    data[at:at] = data[at : at + chance.randrange(30)]
                case 4:
                    data[at : at + 2] = chance.choice((b"\xc0\x0c", b"\xff\xff", b"\0\0", b"\x3f"))
        yield bytes(data)


def test_a_hundred_thousand_malformed_messages() -> None:
    for number, data in enumerate(mutated(random.Random(SEED))):  # noqa: S311 -- to be repeatable
        check(KAT, data, over_tcp=bool(number % 4 == 0))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=700), st.booleans())
def test_any_octets(data: bytes, over_tcp: bool) -> None:  # noqa: FBT001 -- hypothesis' own way
    check(KAT, data, over_tcp=over_tcp)


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=2, max_size=2), st.binary(max_size=300), st.sampled_from(SEEDS[:5]))
def test_any_octets_after_a_question(number: bytes, more: bytes, seed: bytes) -> None:
    check(KAT, number + seed[2:] + more, over_tcp=False)


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=400))
def test_any_octets_as_an_upstreams_answer(data: bytes) -> None:
    asked = question(f"web.{SHOP}")[12:]
    for answer in (data, b"\0\1\x81\x80\0\1\0\2\0\1\0\3" + asked + data):
        try:
            rest = wire.read_response(answer, asked)
        except WireError:
            continue
        assert rest.records in answer
