"""Questions about names that are not ours: another server is asked, once for all who ask the same.

Nothing is remembered: resolved, or whoever is asked, has a cache. That questions in flight are
joined also ends a circle of servers: what comes back to us is a question that we have asked.
"""

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from agent.dns import wire
from agent.dns.answers import error
from agent.dns.respond import Outside
from agent.dns.upstreams import Server, Upstreams
from agent.dns.wire import Edns, Rest, WireError

ATTEMPT_S: Final = 1.5
"""For one server's answer; clients wait for 5 s, as resolv.conf(5) has it."""
WHOLE_S: Final = 4.5
ROUNDS: Final = 3
"""How often a silent server is asked, if there is time: a burst may have been too much for it."""
IN_FLIGHT_MAX: Final = 2048
"""Each is a socket of its own: half of kat-dns.service's `LimitNOFILE=`."""
WAITING_MAX: Final = 2048
"""Who waits for the answer to one question."""
SHARE: Final = 256
"""What one address may wait for at a time: with servers that answer in 20 ms, 12,800 names/s."""
SHARE_CROWDED: Final = 16
"""The same while half of all places are taken: who wants little still gets it."""
HOST_SHARES: Final = 4
"""For the machine itself, which asks for all who have no address of their own."""
_UDP_BUFFER: Final = 4096
_KEPT_FLAGS: Final = 0x0030 | wire.TRUNCATED | wire.RCODE
"""AD, CD, TC and the code; AA is not ours to say."""
_NO_ANSWERS: Final = frozenset({wire.SERVFAIL, wire.REFUSED, wire.NOTIMP})
"""Codes after which another server may know better."""

Reply = Callable[[bytes], None]


class Key(NamedTuple):
    """What an upstream is asked. Loops may change case, flags and EDNS: only these two bits."""

    question: bytes
    dnssec_ok: bool
    checking_disabled: bool
    over_tcp: bool


class Flight:
    """A question that was asked. `waiting` by who asked and with which id; `asking` is who."""

    __slots__ = ("asking", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, int, bytes], tuple[Outside, Reply]] = {}
        self.asking = ""


class Forwarder:
    """Asks on behalf of clients. Every question that it takes is replied to, once.

    `host` is the machine's own address. No client takes the places of all others.
    """

    def __init__(self, upstreams: Upstreams, tasks: asyncio.TaskGroup, host: str) -> None:
        self.upstreams = upstreams
        self.host = host
        self._tasks: Final = tasks
        self._waiting: Final[Counter[str]] = Counter()
        self._flights: Final[dict[Key, Flight]] = {}
        self._running: Final[set[asyncio.Task[None]]] = set()

    def ask(self, outside: Outside, source: tuple[str, int], reply: Reply) -> None:
        """Have a question answered: `reply` is called with the response, at once or later.

        The same question of the same client again is a repetition: it gets one response.
        """
        key, who = _key(outside), (*source, outside.number)
        flight = self._flights.get(key)
        is_repetition = flight is not None and who in flight.waiting
        if not (is_repetition or self._has_place(source[0], flight)):
            reply(_failed(outside))
            return
        if flight is None:
            flight = self._flights[key] = Flight()
            task = self._tasks.create_task(self._fly(key, flight), name="dns-forward")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        flight.waiting[who] = (outside, reply)
        self._waiting[source[0]] += not is_repetition

    def _has_place(self, address: str, flight: Flight | None) -> bool:
        """Whether one more question is taken from an address, which others may have asked too."""
        is_crowded = len(self._flights) >= IN_FLIGHT_MAX // 2
        share = SHARE_CROWDED if is_crowded else SHARE
        if self._waiting[address] >= share * (HOST_SHARES if address == self.host else 1):
            return False
        if flight is None:
            return len(self._flights) < IN_FLIGHT_MAX and bool(self.upstreams.servers())
        # A server that asks us what we ask it will not know.
        return flight.asking != address and len(flight.waiting) < WAITING_MAX

    async def finish(self, timeout_s: float) -> None:
        """Wait for answers under way; then whoever still waits asks again, as after any loss."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
        for task in self._running:
            task.cancel()

    async def _fly(self, key: Key, flight: Flight) -> None:
        rest = None
        try:
            async with asyncio.timeout(WHOLE_S):
                rest = await self._ask_in_turn(key, flight)
        except TimeoutError:
            pass
        finally:
            self._flights.pop(key, None)
            self._leave(flight)
        for outside, reply in flight.waiting.values():
            reply(_response(outside, rest) if rest else _failed(outside))

    def _leave(self, flight: Flight) -> None:
        self._waiting.subtract(address for address, _, _ in flight.waiting)
        for address, _, _ in flight.waiting:
            if not self._waiting[address]:
                del self._waiting[address]

    async def _ask_in_turn(self, key: Key, flight: Flight) -> Rest | None:
        """Ask one server after the other, silent ones again. A refusal is better than no answer."""
        refusals: dict[Server, Rest] = {}
        for server in self.upstreams.servers() * ROUNDS:
            if server in refusals:
                continue
            flight.asking = server.address
            try:
                rest = await _exchange(key, server)
            except (TimeoutError, OSError, WireError, EOFError):
                continue
            if rest.extended or rest.flags & wire.RCODE in _NO_ANSWERS:
                refusals[server] = rest
                continue
            self.upstreams.answered(server)
            return rest
        return next((rest for rest in refusals.values() if not rest.extended), None)


def _key(outside: Outside) -> Key:
    question = outside.question.lower()[:-4] + outside.question[-4:]
    return Key(question, outside.dnssec_ok, outside.checking_disabled, outside.over_tcp)


async def _exchange(key: Key, server: Server) -> Rest:
    """Ask one server: over UDP, and if its answer is too long for that and wanted whole, TCP."""
    number = secrets.token_bytes(2)
    query = number + _query(key)
    async with asyncio.timeout(ATTEMPT_S):
        rest = await _over_udp(query, key.question, server)
        if rest.flags & wire.TRUNCATED and key.over_tcp:
            rest = await _over_tcp(query, key.question, server)
    return rest


def _query(key: Key) -> bytes:
    flags = wire.RECURSE | (wire.CHECKING_DISABLED if key.checking_disabled else 0)
    edns = Edns(wire.UDP_SIZE, 0, key.dnssec_ok)
    return wire.head(flags, 0, 0, 1) + key.question + wire.opt(edns)


async def _over_udp(query: bytes, question: bytes, server: Server) -> Rest:
    """Ask from a port of its own, which the kernel chooses by chance; hear only that server."""
    loop = asyncio.get_running_loop()
    with socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        channel.connect(_address(server))
        channel.send(query)
        while True:
            data = await loop.sock_recv(channel, _UDP_BUFFER)
            if data[:2] == query[:2]:
                try:
                    return wire.read_response(data, question)
                except WireError:  # a guess, or a fault; the right one may follow
                    continue


async def _over_tcp(query: bytes, question: bytes, server: Server) -> Rest:
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        writer.write(len(query).to_bytes(2) + query)
        size = int.from_bytes(await reader.readexactly(2))
        data = await reader.readexactly(size)
    finally:
        writer.transport.abort()
    if data[:2] != query[:2]:
        raise WireError("an answer with another id")
    return wire.read_response(data, question)


def _address(server: Server) -> tuple[str, int] | tuple[str, int, int, int]:
    if server.family == socket.AF_INET:
        return server.address, server.port
    address, _, link = server.address.partition("%")
    return address, server.port, 0, socket.if_nametoindex(link) if link else 0


def _response(outside: Outside, rest: Rest) -> bytes:
    shape = outside.shape
    flags = wire.RESPONSE | wire.RECURSE | wire.CAN_RECURSE | rest.flags & _KEPT_FLAGS
    counts, records = rest.counts, rest.records
    size = wire.HEADER_SIZE + len(outside.question) + len(records) + len(shape.opt)
    if size > shape.limit:
        flags, counts, records = flags | wire.TRUNCATED, (0, 0, 0), b""
    answers, authorities, additional = counts
    head = wire.head(flags, answers, authorities, additional + bool(shape.opt))
    return b"".join((outside.number, head, outside.question, records, shape.opt))


def _failed(outside: Outside) -> bytes:
    return error(outside.number, outside.question, outside.shape, wire.SERVFAIL)
