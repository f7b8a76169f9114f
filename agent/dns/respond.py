"""A client's message → a response, or the question that another server has to answer."""

from typing import Final, NamedTuple

from agent.dns import wire
from agent.dns.answers import Answer, Shape, error, shape_of, written
from agent.dns.table import Table
from agent.dns.wire import FORMERR, HEADER_SIZE, NOTIMP, QUESTION, REFUSED, Query, WireError

SHAPES_MAX: Final = 1024
_SHAPE_SIZE: Final = 10 + 11
"""Of flags, counts and an OPT record without options: only such shapes are remembered."""
_BADVERS_EXTENDED: Final = wire.BADVERS >> 4


class Outside(NamedTuple):
    """A question about a name that is not ours, with all that its response depends on."""

    number: bytes
    question: bytes
    shape: Shape
    dnssec_ok: bool
    checking_disabled: bool
    over_tcp: bool


def refusal(data: bytes) -> bytes | None:
    """Return what a stranger gets for any octets; it is as short as a message can be."""
    if len(data) < HEADER_SIZE or int.from_bytes(data[2:4]) & wire.RESPONSE:
        return None
    return wire.bare(data, REFUSED)


class Responder:
    """Answers what the table knows.

    `shapes` are those that were seen over UDP, by the octets before and after the question.
    """

    def __init__(self, table: Table) -> None:
        self.table: Final = table
        self.shapes: Final[dict[bytes, Shape]] = {}

    def quick(self, data: bytes) -> bytes | None:
        """Return the response to a message over UDP in two look-ups, None if that is not enough.

        A name's first 0 octet is its end, or the name is none of ours: a look-up of what it is not
        finds nothing. What surrounds the question is known only if it was read and found right.
        """
        end = data.find(0, QUESTION) + 5
        question = data[QUESTION:end]
        answer = self.table.answers.get(question.lower())
        shape = self.shapes.get(data[2:QUESTION] + data[end:])
        if answer is None or shape is None:
            return None
        return written(data[:2], question, answer, shape)

    def full(self, data: bytes, *, over_tcp: bool) -> bytes | Outside | None:
        """Return the response to any octets, None if they deserve none."""
        if len(data) < HEADER_SIZE:
            return None
        flags = int.from_bytes(data[2:4])
        if flags & wire.RESPONSE:  # an answer to it might be answered in turn
            return None
        if flags & wire.OPCODE:
            return wire.bare(data, NOTIMP)
        try:
            query = wire.read_query(data)
        except WireError:
            return wire.bare(data, FORMERR)
        shape = shape_of(flags, query.edns, over_tcp=over_tcp)
        if query.edns is not None and query.edns.version:
            shape = shape._replace(opt=wire.opt(query.edns, _BADVERS_EXTENDED))
            return error(data[:2], data[QUESTION : query.end], shape, wire.NO_ERROR)
        if not over_tcp:
            self._remember(data[2:QUESTION] + data[query.end :], shape)
        return self._answer(data, flags, query, shape, over_tcp=over_tcp)

    def _remember(self, key: bytes, shape: Shape) -> None:
        if len(key) <= _SHAPE_SIZE:
            if len(self.shapes) >= SHAPES_MAX:
                self.shapes.clear()
            self.shapes[key] = shape

    def _answer(
        self, data: bytes, flags: int, query: Query, shape: Shape, *, over_tcp: bool
    ) -> bytes | Outside:
        number, question = data[:2], data[QUESTION : query.end]
        is_ours = self.table.is_ours(query.name)
        if _is_refused(query) or not (is_ours or flags & wire.RECURSE):
            return error(number, question, shape, REFUSED)
        if is_ours:
            return written(number, question, self._found(query), shape)
        dnssec_ok = query.edns is not None and query.edns.dnssec_ok
        no_checks = bool(flags & wire.CHECKING_DISABLED)
        return Outside(number, question, shape, dnssec_ok, no_checks, over_tcp)

    def _found(self, query: Query) -> Answer:
        table = self.table
        question = query.name + query.type.to_bytes(2) + wire.IN.to_bytes(2)
        return (
            table.answers.get(question)
            or table.names.get(query.name)
            or table.not_there(query.name)
        )


def _is_refused(query: Query) -> bool:
    """Whether nobody gets an answer to it: ANY is asked to make a small question's answer large."""
    is_meta = query.type == wire.OPT or wire.FIRST_META <= query.type <= wire.LAST_META
    return query.of_class != wire.IN or is_meta
