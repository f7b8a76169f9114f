"""Answers made before anybody asks: all of a response but its id, its question and its OPT record.

Names in an answer refer to the question as it was asked, so that its case comes back (0x20).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from random import random
from struct import unpack
from typing import Final, NamedTuple

from agent.dns import wire
from agent.dns.wire import HEADER_SIZE, IN, NO_ERROR, NXDOMAIN, QUESTION, SRV, A, Edns
from agent.dns.zonefile import Rrset, Zone

_FLAGS: Final = wire.RESPONSE | wire.AUTHORITATIVE | wire.CAN_RECURSE
_MINIMUM: Final = slice(-4, None)
_SRV_FIXED: Final = 6
_CLASS: Final = IN.to_bytes(2)
_OWN: Final = wire.pointer(QUESTION)
EP: Final = b"ep"
_MOST: Final = 16_384
"""Of records in an answer: four times what fits, and all can be counted in a header."""
_MOST_BESIDE: Final = 1024


class Answer(NamedTuple):
    """`heads` is what follows the id: by whether RD was set, plus 2 with EDNS.

    `answers` is rotated at one of `cuts`, where its records begin, if there are several. `rest` are
    the other two sections.
    """

    heads: tuple[bytes, bytes, bytes, bytes]
    answers: bytes
    cuts: tuple[int, ...] = ()
    rest: bytes = b""


class Shape(NamedTuple):
    """What of a question its answer depends on, but for name and type.

    `head` is the index among an answer's heads, `opt` our OPT record, `limit` the client's size.
    """

    head: int
    opt: bytes
    limit: int


class Negatives(NamedTuple):
    """What a zone says of that which is not there."""

    no_data: Answer
    no_name: Answer


Answers = dict[bytes, Answer]
"""By question: name in lower case, type, class."""
Withdrawn = Mapping[bytes, frozenset[bytes]]
"""By workload: addresses that its names leave out."""


def shape_of(flags: int, edns: Edns | None, *, over_tcp: bool) -> Shape:
    """Return the shape of a question with these flags."""
    wanted = edns.size if edns else 0
    limit = min(max(wanted, wire.PLAIN_SIZE), wire.UDP_SIZE)
    recurse = bool(flags & wire.RECURSE)
    head = recurse + 2 * (edns is not None)
    return Shape(head, wire.opt(edns), wire.TCP_SIZE if over_tcp else limit)


def written(number: bytes, question: bytes, answer: Answer, shape: Shape) -> bytes:
    """Return a response; several records begin with one chosen by chance."""
    heads, answers, cuts, rest = answer
    if cuts:
        cut = cuts[int(random() * len(cuts))]  # noqa: S311 -- spreads load, guards nothing
        answers = answers[cut:] + answers[:cut]
    response = b"".join((number, heads[shape.head], question, answers, rest, shape.opt))
    if len(response) > shape.limit:
        return _shortened(response, len(question), answer, shape)
    return response


def _shortened(response: bytes, question: int, answer: Answer, shape: Shape) -> bytes:
    """Leave out what a client has no room for, and say so with TC if it was more than additional.

    Whole records that fit stay: old resolvers never ask again over TCP.
    """
    flags, _, answers, authorities, _ = unpack("!5H", response[2:HEADER_SIZE])
    start = HEADER_SIZE + question
    end = start + len(answer.answers)
    room = shape.limit - len(shape.opt)
    if end > room:
        end, answers = _fitting(response, start, room, answers)
        flags |= wire.TRUNCATED
    elif authorities:
        flags |= wire.TRUNCATED
    head = wire.head(flags, answers, 0, 1 if shape.opt else 0)
    return b"".join((response[:2], head, response[HEADER_SIZE:end], shape.opt))


def _fitting(response: bytes, at: int, room: int, count: int) -> tuple[int, int]:
    """Return where the last whole record ends that fits, and how many do."""
    for taken in range(count):
        size = 2 + 10 + int.from_bytes(response[at + 10 : at + 12])
        if at + size > room:
            return at, taken
        at += size
    return at, count


def error(number: bytes, question: bytes, shape: Shape, code: int) -> bytes:
    """Return a response that has nothing but the question, and a code that is not about a name."""
    flags = wire.RESPONSE | wire.CAN_RECURSE | code
    flags |= wire.RECURSE if shape.head & 1 else 0
    head = wire.head(flags, 0, 0, 1 if shape.opt else 0)
    return b"".join((number, head, question, shape.opt))


def negatives(origin: bytes, soa: Rrset) -> Negatives:
    """Return a zone's negative answers. Their SOA has the TTL of RFC 2308 §5."""
    (data,) = soa.data
    ttl = min(soa.ttl, int.from_bytes(data[_MINIMUM]))
    authority = wire.record(origin, soa.type, ttl, data)
    return Negatives(
        Answer(_heads(NO_ERROR, 0, 1, 0), b"", (), authority),
        Answer(_heads(NXDOMAIN, 0, 1, 0), b"", (), authority),
    )


def positives(sets: Iterable[Rrset], hidden: frozenset[bytes], host: bytes) -> Answers:
    """Return the answers to a workload's names. `host` is its own name.

    `hidden` addresses leave `<workload>` and `ep.<workload>`, and so do services whose target has
    no other; names of one instance stay.
    """
    known = {(one.name, one.type): one for one in sets}
    leaving = {host, wire.label(EP) + host} if hidden else frozenset[bytes]()
    found: Answers = {}
    for one in known.values():
        data: Sequence[bytes] = one.data
        if one.type == A and one.name in leaving:
            data = [address for address in data if address not in hidden]
        elif one.type == SRV:
            data = [to for to in data if not _is_hidden(known, to, hidden)]
        if data:
            make = _service(known, hidden) if one.type == SRV else _plain
            found[one.name + one.type.to_bytes(2) + _CLASS] = make(one, data)
    return found


Sets = Mapping[tuple[bytes, int], Rrset]


def _is_hidden(known: Sets, service: bytes, hidden: frozenset[bytes]) -> bool:
    target = known.get((service[_SRV_FIXED:], A))
    return target is not None and hidden.issuperset(target.data)


def _plain(one: Rrset, data: Sequence[bytes]) -> Answer:
    return _answer([wire.record(_OWN, one.type, one.ttl, each) for each in data])


def _service(known: Sets, hidden: frozenset[bytes]) -> Callable[[Rrset, Sequence[bytes]], Answer]:
    def make(one: Rrset, data: Sequence[bytes]) -> Answer:
        """Return the services, and the addresses of their targets beside them."""
        targets = dict.fromkeys(each[_SRV_FIXED:] for each in data)
        beside = [
            wire.record(_owner(one.name, target), A, found.ttl, address)
            for target in targets
            if (found := known.get((target, A)))
            for address in found.data
            if address not in hidden
        ]
        return _answer([wire.record(_OWN, SRV, one.ttl, each) for each in data], beside)

    return make


def _owner(question: bytes, name: bytes) -> bytes:
    """Return a name as a label and a pointer into the question, if that ends like it."""
    own, rest = name[: name[0] + 1], name[name[0] + 1 :]
    if question.endswith(name):
        return wire.pointer(QUESTION + len(question) - len(name))
    if question.endswith(rest):
        return own + wire.pointer(QUESTION + len(question) - len(rest))
    return name


def _answer(every: Sequence[bytes], all_beside: Sequence[bytes] = ()) -> Answer:
    records, beside = every[:_MOST], all_beside[:_MOST_BESIDE]
    sizes = map(len, records[:-1])
    cuts = tuple(accumulate(sizes, initial=0)) if len(records) > 1 else ()
    heads = _heads(NO_ERROR, len(records), 0, len(beside))
    return Answer(heads, b"".join(records), cuts, b"".join(beside))


def _heads(
    code: int, answers: int, authorities: int, additional: int
) -> tuple[bytes, bytes, bytes, bytes]:
    plain, recurse = _FLAGS | code, _FLAGS | code | wire.RECURSE
    return (
        wire.head(plain, answers, authorities, additional),
        wire.head(recurse, answers, authorities, additional),
        wire.head(plain, answers, authorities, additional + 1),
        wire.head(recurse, answers, authorities, additional + 1),
    )


NOT_KNOWN: Final = Answer(_heads(wire.SERVFAIL, 0, 0, 0), b"")
"""To names of a zone that could not be read: they may be there."""


def domain_soa(domain: bytes) -> Rrset:
    """Return the SOA of the cluster's domain, of which there is no file."""
    numbers = b"".join(n.to_bytes(4) for n in (1, 3600, 600, 86400, 5))
    return Rrset(domain, wire.SOA, 30, (domain + wire.label(b"hostmaster") + domain + numbers,))


def domain_zone(domain: bytes) -> Zone:
    """Return the cluster's domain as a zone: names below it that no file has are not there."""
    soa = domain_soa(domain)
    servers = Rrset(domain, wire.NS, soa.ttl, (domain,))
    return Zone("", domain, soa, {b"": (soa, servers)})
