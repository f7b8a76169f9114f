"""The parts of RFC 1035 messages that are read and written by hand: names, questions, records.

Nothing here trusts a length: what is malformed raises WireError. A name is `wire` form throughout,
labels with their lengths and the root's 0 at the end, in lower case where it is a key.
"""

import struct
from functools import lru_cache
from typing import Final, NamedTuple

HEADER_SIZE: Final = 12
QUESTION: Final = HEADER_SIZE
"""Where the question begins; a pointer there is the owner's name of an answer."""
A, NS, CNAME, SOA, AAAA, SRV, OPT = 1, 2, 5, 6, 28, 33, 41
FIRST_META: Final = 249
"""TKEY; after it TSIG, IXFR, AXFR, MAILB, MAILA, ANY: questions that are no types of records."""
LAST_META: Final = 255
IN: Final = 1
NO_ERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSE, CAN_RECURSE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
CHECKING_DISABLED: Final = 0x0010
OPCODE: Final = 0x7800
RCODE: Final = 0x000F
PLAIN_SIZE: Final = 512
"""What a client takes over UDP that says nothing, RFC 1035 §4.2.1."""
UDP_SIZE: Final = 1232
"""More would be fragmented on some paths: the size of DNS flag day 2020."""
TCP_SIZE: Final = 65535
DNSSEC_OK: Final = 0x8000
_LABEL_MAX: Final = 63
_NAME_MAX: Final = 255
_POINTER: Final = 0xC0
_OPT_SIZE: Final = 11
HEADER: Final = struct.Struct("!6H")
_COUNTS: Final = struct.Struct("!5H")
_PAIR: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")
_OPT: Final = struct.Struct("!BHHBBHH")


class WireError(Exception):
    """Octets that are no DNS message, or not one that a client sends."""


class Edns(NamedTuple):
    """What a client's OPT record says, RFC 6891: `size` is what it takes over UDP."""

    size: int
    version: int
    dnssec_ok: bool


class Query(NamedTuple):
    """A question. `name` is in lower case, `end` is where the question ends in the message."""

    name: bytes
    type: int
    of_class: int
    end: int
    edns: Edns | None


def name_from_text(text: str) -> bytes:
    """Encode a fully qualified name of checked labels, in lower case. WireError if it is none."""
    labels = text.lower().encode("ascii", "replace").split(b".")
    if labels.pop() or not all(0 < len(one) <= _LABEL_MAX for one in labels):
        raise WireError(f"{text[:80]!r} is no fully qualified name")
    wire = b"".join(map(label, labels)) + b"\0"
    if len(wire) > _NAME_MAX:
        raise WireError(f"{text[:80]!r} is longer than DNS carries")
    return wire


def label(text: bytes) -> bytes:
    """Encode one label of at most 63 octets."""
    return bytes((len(text),)) + text


def parents(name: bytes) -> list[bytes]:
    """Return a name and all above it, up to the root."""
    found = [name]
    while len(name) > 1:
        name = name[name[0] + 1 :]
        found.append(name)
    return found


def end_of_name(data: bytes, at: int) -> int:
    """Return where an uncompressed name ends that begins at `at`."""
    start = at
    try:
        while length := data[at]:
            if length > _LABEL_MAX:
                raise WireError("a pointer where a name is asked for")
            at += length + 1
    except IndexError:
        raise WireError("a name goes on after the message's end") from None
    if at + 1 - start > _NAME_MAX:
        raise WireError("a name is too long")
    return at + 1


def skip_name(data: bytes, at: int) -> int:
    """Return where a name's octets end, which a pointer may do."""
    try:
        while length := data[at]:
            if length >= _POINTER:
                return at + 2
            at += length + 1
    except IndexError:
        raise WireError("a name goes on after the message's end") from None
    return at + 1


def read_query(data: bytes) -> Query:
    """Read a client's message that has a whole header, is no response, and whose opcode is QUERY.

    Refused with WireError: not exactly one question, records other than one OPT, anything after.
    """
    _, _, questions, answers, authorities, additional = HEADER.unpack_from(data)
    if questions != 1 or answers or authorities or additional > 1:
        raise WireError("not one question alone")
    after = end_of_name(data, QUESTION)
    end = after + _PAIR.size
    if end > len(data):
        raise WireError("the question is cut")
    kind, of_class = _PAIR.unpack_from(data, after)
    if additional:
        edns = _read_opt(data, end)
    elif end != len(data):
        raise WireError("something follows the question")
    else:
        edns = None
    return Query(data[QUESTION:after].lower(), kind, of_class, end, edns)


def _read_opt(data: bytes, at: int) -> Edns:
    if len(data) < at + _OPT_SIZE:
        raise WireError("the additional record is cut")
    root, kind, size, _, version, flags, length = _OPT.unpack_from(data, at)
    if root or kind != OPT or at + _OPT_SIZE + length != len(data):
        raise WireError("the additional record is no OPT, or not the last")
    at += _OPT_SIZE
    while at < len(data):
        if at + _PAIR.size > len(data):
            raise WireError("an option is cut")
        at += _PAIR.size + _PAIR.unpack_from(data, at)[1]
    if at != len(data):
        raise WireError("an option is longer than its record")
    return Edns(size, version, bool(flags & DNSSEC_OK))


@lru_cache(maxsize=64)
def opt(edns: Edns | None, extended: int = 0) -> bytes:
    """Return our own OPT record for a client that sent one, else nothing.

    `extended` are the upper bits of the response's code. The DO bit comes back, RFC 3225 §3.
    """
    if edns is None:
        return b""
    flags = DNSSEC_OK if edns.dnssec_ok else 0
    return _OPT.pack(0, OPT, UDP_SIZE, extended, 0, flags, 0)


@lru_cache(maxsize=4096)
def head(flags: int, answers: int = 0, authorities: int = 0, additional: int = 0) -> bytes:
    """Return what follows the id in the header of a response to one question."""
    return _COUNTS.pack(flags, 1, answers, authorities, additional)


def bare(data: bytes, code: int) -> bytes:
    """Return a response of a header alone: an error about a message whose rest was not read."""
    number, flags = _PAIR.unpack_from(data)
    flags = RESPONSE | flags & (OPCODE | RECURSE) | CAN_RECURSE | code
    return HEADER.pack(number, flags, 0, 0, 0, 0)


def record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    """Encode a record; `owner` is a name or a pointer to one."""
    return owner + _RECORD.pack(kind, IN, ttl, len(data)) + data


def pointer(at: int) -> bytes:
    """Return a reference to a name that stands at `at` in the message."""
    return (_POINTER << 8 | at).to_bytes(2)


class Rest(NamedTuple):
    """A response but for question and OPT record; `extended` is the record's part of the code."""

    flags: int
    counts: tuple[int, int, int]
    records: bytes
    extended: int


def read_response(data: bytes, question: bytes) -> Rest:
    """Read a server's answer to a question whose name is in lower case.

    WireError if it is none, or to another one. Its records are not looked into, only measured.
    """
    if len(data) < HEADER_SIZE + len(question):
        raise WireError("the answer is cut")
    _, flags, questions, *counts = HEADER.unpack_from(data)
    at = QUESTION + len(question)
    if not flags & RESPONSE or flags & OPCODE or questions != 1:
        raise WireError("no answer to a query")
    if data[QUESTION : at - _PAIR.size].lower() + data[at - _PAIR.size : at] != question:
        raise WireError("an answer to another question")
    if flags & TRUNCATED:  # whoever asks again over TCP gets it all
        return Rest(flags, (0, 0, 0), b"", 0)
    return _without_opt(data, at, flags, counts)


def _without_opt(data: bytes, at: int, flags: int, counts: list[int]) -> Rest:
    """Leave out the OPT record, and what follows: that is additional too, and may point at it."""
    start, taken = at, [0, 0, 0]
    for section, count in enumerate(counts):
        for _ in range(count):
            after = skip_name(data, at)
            if after + _RECORD.size > len(data):
                raise WireError("a record is cut")
            kind, _, ttl, length = _RECORD.unpack_from(data, after)
            end = after + _RECORD.size + length
            if end > len(data):
                raise WireError("a record is cut")
            if kind == OPT:
                return Rest(flags, (taken[0], taken[1], taken[2]), data[start:at], ttl >> 24)
            taken[section] += 1
            at = end
    return Rest(flags, (taken[0], taken[1], taken[2]), data[start:at], 0)
