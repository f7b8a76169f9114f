"""A small cluster's zones, and questions about them, decoded by two libraries that are not ours."""

from collections.abc import Iterable
from typing import Any

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
from dnslib import DNSRecord  # type: ignore[import-untyped]  # it has no types

from agent.dns.answers import Withdrawn
from agent.dns.respond import Outside, Responder
from agent.dns.table import Table
from agent.dns.zonefile import read_zone

DOMAIN = "kat.cluster.local"
SHOP = f"shop.{DOMAIN}."
SOA = f"SOA {DOMAIN}. hostmaster.{DOMAIN}. 7 3600 600 86400 5"
ZONE = f"""\
; Managed by KAT; an edit is reported as drift.
{SHOP} 30 IN {SOA}
{SHOP} 30 IN NS {DOMAIN}.
ep.web.{SHOP} 5 IN A 10.100.0.10
ep.web.{SHOP} 5 IN A 10.100.0.11
web.{SHOP} 30 IN A 10.101.0.1
vip.web.{SHOP} 30 IN A 10.101.0.1
0.web.{SHOP} 5 IN A 10.100.0.10
1.web.{SHOP} 5 IN A 10.100.0.11
_http._tcp.ep.web.{SHOP} 5 IN SRV 0 0 8080 0.web.{SHOP}
_http._tcp.ep.web.{SHOP} 5 IN SRV 0 0 8080 1.web.{SHOP}
_http._tcp.web.{SHOP} 30 IN SRV 0 0 80 web.{SHOP}
ep.db.{SHOP} 5 IN A 10.100.0.20
ep.db.{SHOP} 5 IN A 10.100.0.21
db.{SHOP} 5 IN A 10.100.0.20
db.{SHOP} 5 IN A 10.100.0.21
0.db.{SHOP} 5 IN A 10.100.0.20
1.db.{SHOP} 5 IN A 10.100.0.21
_sql._tcp.db.{SHOP} 5 IN SRV 0 0 5432 0.db.{SHOP}
_sql._tcp.db.{SHOP} 5 IN SRV 0 0 5432 1.db.{SHOP}
"""
PATH = f"/var/lib/kat/dns/shop.{DOMAIN}.zone"
NEGATIVE = f"shop.{DOMAIN}. 5 IN {SOA}"


def served(*zones: str, withdrawn: Withdrawn | None = None) -> Responder:
    """Return a responder of the shop's zone, or of these files' texts, by path."""
    table = Table(DOMAIN)
    for text in zones or (ZONE,):
        origin = text.partition("\n")[2].split(" ", 1)[0] if text.startswith(";") else (
            text.split(" ", 1)[0]
        )  # fmt: skip
        list(table.taking(read_zone(f"/var/lib/kat/dns/{origin}zone", text, DOMAIN)))
    if withdrawn is not None:
        table.withdraw("shop", withdrawn)
    return Responder(table)


def question(name: str, kind: str = "A", **options: Any) -> bytes:  # noqa: ANN401 -- dnspython's
    """Return a message of dnspython's; `options` are `dns.message.make_query`'s."""
    return dns.message.make_query(name, kind, **options).to_wire()


def answer(responder: Responder, data: bytes, *, over_tcp: bool = False) -> dns.message.Message:
    """Return the decoded response to a message, which both libraries understand alike.

    Over UDP the message is sent twice: the second time its answer is the quick one.
    """
    response = responder.full(data, over_tcp=over_tcp)
    assert isinstance(response, bytes)
    if not over_tcp and (again := responder.quick(data)) is not None:
        assert (len(again), again[:12]) == (len(response), response[:12])
    message = dns.message.from_wire(response)
    other = DNSRecord.parse(response)
    assert (other.header.id, other.header.rcode) == (message.id, int(message.rcode()) & 15)
    assert len(other.rr) == sum(map(len, message.answer))
    return message


def ask(
    responder: Responder,
    name: str,
    kind: str = "A",
    **options: Any,  # noqa: ANN401 -- dnspython's
) -> dns.message.Message:
    """Return the decoded response to a question below the shop's zone; `.` ends others."""
    full = name if name.endswith(".") else f"{name}.{SHOP}"
    return answer(responder, question(full, kind, **options))


def shown(section: Iterable[object]) -> list[str]:
    """Return a section's records, sorted, as in a zone file."""
    return sorted(line for one in section for line in str(one).splitlines())


def flags(message: dns.message.Message) -> str:
    """Return the flags as dig shows them."""
    return str(dns.flags.to_text(message.flags))


def outside(responder: Responder, data: bytes, *, over_tcp: bool = False) -> Outside:
    """Return what the responder leaves to other servers."""
    found = responder.full(data, over_tcp=over_tcp)
    assert isinstance(found, Outside)
    return found
