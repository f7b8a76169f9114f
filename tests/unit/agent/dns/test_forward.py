"""Other names: who is asked, how often, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import pytest

from agent.dns import forward, wire
from agent.dns.forward import Forwarder
from agent.dns.settings import Network, Settings
from agent.dns.upstreams import Server, Upstreams
from tests.unit.agent.dns.served import outside, question, served, shown
from tests.unit.agent.dns.upstream import Say, Upstream, is_silent, says, upstream

NAME = "www.example.com."
KAT = served()
HOST = "10.100.0.1"
CLIENT = ("10.100.0.10", 4000)
ANSWER = [f"{NAME} 60 IN A 192.0.2.80"]


class Fixed(Upstreams):
    """Servers of a test, on ports that nobody else has."""

    def __init__(self, servers: Sequence[Server]) -> None:
        nothing = Network(0, 0)
        super().__init__(Path("/nowhere"), Settings("x", (), nothing, (), HOST))
        self._servers = tuple(servers)

    def _look(self) -> None:
        """Keep them."""


@dataclass(slots=True)
class Asking:
    """A forwarder, and the responses that came from it, in their order."""

    forwarder: Forwarder
    responses: list[bytes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(
        self,
        data: bytes,
        source: tuple[str, int] = CLIENT,
        *,
        over_tcp: bool = False,
    ) -> None:
        self.forwarder.ask(outside(KAT, data, over_tcp=over_tcp), source, self._take)

    def _take(self, response: bytes) -> None:
        self.responses.append(response)
        self.came.set()

    async def messages(self, count: int) -> list[dns.message.Message]:
        """Return the responses once there are so many."""
        async with asyncio.timeout(10):
            while len(self.responses) < count:
                self.came.clear()
                await self.came.wait()
        return [dns.message.from_wire(one) for one in self.responses]

    async def response_to(self, name: str) -> dns.message.Message:
        """Return the first response to a question for this name, whenever others come."""
        asked = question(name)[wire.HEADER_SIZE :][: len(name) + 1]
        async with asyncio.timeout(10):
            while True:
                self.came.clear()
                for one in self.responses:
                    if one[wire.HEADER_SIZE :].startswith(asked):
                        return dns.message.from_wire(one)
                await self.came.wait()


@asynccontextmanager
async def asking(*upstreams: Upstream | Server) -> AsyncIterator[Asking]:
    servers = [
        one if isinstance(one, Server) else Server("127.0.0.1", one.port) for one in upstreams
    ]
    async with asyncio.TaskGroup() as tasks:
        forwarder = Forwarder(Fixed(servers), tasks, HOST)
        yield Asking(forwarder)
        await forwarder.finish(0)


async def once(say: Say, data: bytes, *, over_tcp: bool = False) -> dns.message.Message:
    async with upstream(say) as server, asking(server) as clients:
        clients.ask(data, over_tcp=over_tcp)
        (message,) = await clients.messages(1)
    return message


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have servers be given up soon."""
    monkeypatch.setattr(forward, "ATTEMPT_S", 0.1)


async def test_the_answer_is_passed_on_with_the_clients_own_id_and_case() -> None:
    data = question("wWw.eXample.com.")
    message = await once(says("192.0.2.80"), data)
    assert message.id == int.from_bytes(data[:2])
    assert str(message.question[0].name) == "wWw.eXample.com."
    assert shown(message.answer)[0].endswith("60 IN A 192.0.2.80")
    assert dns.flags.to_text(message.flags) == "QR RD RA"
    assert message.edns == -1


async def test_who_speaks_edns_gets_it() -> None:
    message = await once(says("192.0.2.80"), question(NAME, use_edns=0, want_dnssec=True))
    assert (message.edns, message.ednsflags, message.payload) == (0, 0x8000, 1232)


async def test_a_name_that_is_not_there_is_an_answer() -> None:
    assert (await once(says(code=3), question(NAME))).rcode() == 3


async def test_every_question_has_another_id_and_another_port() -> None:
    async with upstream(says("192.0.2.80")) as server, asking(server) as clients:
        for number in range(20):
            clients.ask(question(f"w{number}.example.com."))
        await clients.messages(20)
    assert len({query.id for query, _ in server.asked}) > 15
    assert len({port for _, port in server.sources}) > 15


@pytest.mark.usefixtures("quick")
async def test_an_answer_with_another_id_or_to_another_question_is_not_heard() -> None:
    def lies(query: dns.message.Message, _: str) -> dns.message.Message | bytes | None:
        other = dns.message.make_query("evil.example.", "A", id=query.id)
        return says("192.0.2.66")(other, "")

    def guesses(query: dns.message.Message, _: str) -> bytes:
        other = says("192.0.2.66")(query, "")
        assert isinstance(other, dns.message.Message)
        other.id ^= 1
        return other.to_wire()

    for say in (lies, guesses):
        assert (await once(say, question(NAME))).rcode() == 2


@pytest.mark.usefixtures("quick")
async def test_a_server_that_is_silent_is_followed_by_the_next_and_that_is_remembered() -> None:
    async with (
        upstream(is_silent) as silent,
        upstream(says("192.0.2.80")) as good,
        asking(silent, good) as clients,
    ):
        clients.ask(question(NAME))
        (message,) = await clients.messages(1)
        assert shown(message.answer) == ANSWER
        clients.ask(question("other.example.com."))
        await clients.messages(2)
    assert (len(silent.asked), len(good.asked)) == (1, 2)


async def test_a_server_that_is_not_there_costs_no_time() -> None:
    async with upstream(says("192.0.2.80")) as good:
        async with upstream(is_silent) as gone:
            pass
        async with asking(gone, good) as clients, asyncio.timeout(1):
            clients.ask(question(NAME))
            (message,) = await clients.messages(1)
    assert shown(message.answer) == ANSWER


async def test_a_server_that_fails_or_refuses_is_followed_by_the_next() -> None:
    async with (
        upstream(says(code=2)) as failing,
        upstream(says(code=5)) as refusing,
        upstream(says("192.0.2.80")) as good,
        asking(failing, refusing, good) as clients,
    ):
        clients.ask(question(NAME))
        (message,) = await clients.messages(1)
    assert shown(message.answer) == ANSWER
    assert (len(failing.asked), len(refusing.asked)) == (1, 1)


async def test_if_all_fail_the_first_failure_is_the_answer() -> None:
    assert (await once(says(code=5), question(NAME))).rcode() == 5


@pytest.mark.usefixtures("quick")
async def test_if_all_are_silent_it_is_a_failure_of_ours() -> None:
    message = await once(is_silent, question(NAME, use_edns=0))
    assert (message.rcode(), message.edns) == (2, 0)


async def test_without_servers_it_is_a_failure_at_once() -> None:
    async with asking() as clients:
        clients.ask(question(NAME))
        assert len(clients.responses) == 1


def cut(query: dns.message.Message, transport: str) -> dns.message.Message:
    """Be too long for UDP."""
    response = says("192.0.2.80")(query, "")
    assert isinstance(response, dns.message.Message)
    if transport == "udp":
        response.flags |= dns.flags.TC
        response.answer = []
    return response


async def test_an_answer_that_is_cut_is_passed_on_as_cut_over_udp() -> None:
    message = await once(cut, question(NAME))
    assert (dns.flags.to_text(message.flags), message.answer) == ("QR TC RD RA", [])


async def test_over_tcp_it_is_asked_for_again_and_passed_on_whole() -> None:
    message = await once(cut, question(NAME), over_tcp=True)
    assert (dns.flags.to_text(message.flags), shown(message.answer)) == ("QR RD RA", ANSWER)


async def test_what_this_client_cannot_take_is_cut() -> None:
    many = [f"192.0.2.{n}" for n in range(60)]
    small = await once(says(*many), question(NAME))
    assert (dns.flags.to_text(small.flags), small.answer) == ("QR TC RD RA", [])
    large = await once(says(*many), question(NAME, use_edns=0, payload=1232))
    assert len(large.answer[0]) == 60


async def test_one_question_of_many_is_asked_once() -> None:
    async with upstream(says("192.0.2.80")) as server, asking(server) as clients:
        for number in range(50):
            clients.ask(question(NAME), (f"10.100.0.{number}", 4000))
        messages = await clients.messages(50)
    assert len(server.asked) == 1
    assert {tuple(shown(one.answer)) for one in messages} == {tuple(ANSWER)}


async def test_a_client_that_repeats_itself_gets_one_response() -> None:
    async with upstream(says("192.0.2.80")) as server, asking(server) as clients:
        data = question(NAME)
        for _ in range(5):
            clients.ask(data)
        clients.ask(question("last.example.com."))
        await clients.messages(2)
    assert (len(clients.responses), len(server.asked)) == (2, 2)


async def test_there_is_a_bound_to_those_who_wait_and_to_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward, "WAITING_MAX", 3)
    monkeypatch.setattr(forward, "IN_FLIGHT_MAX", 2)
    async with upstream(is_silent) as server, asking(server) as clients:
        for number in range(4):
            clients.ask(question(NAME), (f"10.100.0.{number}", 4000))
        for number in range(2):
            clients.ask(question(f"w{number}.example.com."))
        refused = await clients.messages(2)
    assert [one.rcode() for one in refused] == [2, 2]


def knows_one(query: dns.message.Message, transport: str) -> dns.message.Message | bytes | None:
    """Be silent to any other question."""
    return says("192.0.2.80")(query, transport) if str(query.question[0].name) == NAME else None


async def test_who_asks_silent_servers_without_end_takes_no_place_of_others() -> None:
    """A container asks for more than there are places; then another one asks."""
    async with upstream(knows_one) as server, asking(server) as clients:
        for number in range(forward.IN_FLIGHT_MAX + 1):
            clients.ask(question(f"w{number}.example.com."), ("10.100.0.66", 4000))
            if number < forward.SHARE:
                await server.heard(number + 1)  # more at once than its socket holds would be lost
        clients.ask(question(NAME))
        found = await clients.response_to(NAME)
    assert (found.rcode(), shown(found.answer)) == (0, ANSWER)


async def test_while_many_ask_without_end_who_asks_little_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward, "IN_FLIGHT_MAX", 40)
    monkeypatch.setattr(forward, "SHARE", 10)
    monkeypatch.setattr(forward, "SHARE_CROWDED", 2)
    async with upstream(knows_one) as server, asking(server) as clients:
        for number in range(100):
            clients.ask(question(f"w{number}.example.com."), (f"10.100.0.{60 + number % 4}", 4000))
        refused = len(clients.responses)
        assert refused == 80
        clients.ask(question(NAME))
        assert shown((await clients.messages(refused + 1))[-1].answer) == ANSWER


async def test_one_who_repeats_a_question_under_other_ids_shuts_nobody_out_of_it() -> None:
    async with upstream(is_silent) as server, asking(server) as clients:
        for number in range(2 * forward.WAITING_MAX):
            clients.ask(question(NAME, id=number), ("10.100.0.66", 4000))
        refused = len(clients.responses)
        assert refused == 2 * forward.WAITING_MAX - forward.SHARE
        clients.ask(question(NAME))
        assert len(clients.responses) == refused


async def test_the_machine_itself_may_ask_for_more_at_once() -> None:
    async with upstream(is_silent) as server, asking(server) as clients:
        for number in range(1000):
            clients.ask(question(f"w{number}.example.com."), (HOST, 4000))
        assert clients.responses == []


async def test_a_place_that_was_taken_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "SHARE", 2)
    async with upstream(says("192.0.2.80")) as server, asking(server) as clients:
        for number in range(1, 6):
            clients.ask(question(f"w{number}.example.com."))
            clients.ask(question(f"w{number}.example.com."), (CLIENT[0], 5000))
            messages = await clients.messages(2 * number)
    assert {one.rcode() for one in messages} == {0}


@pytest.mark.usefixtures("quick")
async def test_servers_that_ask_each_other_in_a_circle_come_to_an_end() -> None:
    """The upstream asks us whatever we ask it, each time as another question."""
    async with asyncio.TaskGroup() as tasks:
        circle: Asking

        def asks_back(query: dns.message.Message, _: str) -> None:
            again = dns.message.make_query(str(query.question[0].name).upper(), "A", use_edns=0)
            circle.ask(again.to_wire(), ("10.100.0.1", 4000 + len(server.asked)))

        async with upstream(asks_back) as server:
            forwarder = Forwarder(Fixed([Server("127.0.0.1", server.port)]), tasks, HOST)
            circle = Asking(forwarder)
            circle.ask(question(NAME))
            messages = await circle.messages(4)
    assert len(server.asked) == 3  # one server, asked again because it is silent
    assert [one.rcode() for one in messages] == [2, 2, 2, 2]


async def test_a_server_that_asks_us_what_we_ask_it_is_told_so_at_once() -> None:
    async with asyncio.TaskGroup() as tasks:
        circle: Asking

        def asks_back(query: dns.message.Message, _: str) -> dns.message.Message:
            circle.ask(query.to_wire(), ("127.0.0.1", 4000))
            found = says(code=2)(query, "")
            assert isinstance(found, dns.message.Message)
            return found

        async with upstream(asks_back) as server, asyncio.timeout(1):
            forwarder = Forwarder(Fixed([Server("127.0.0.1", server.port)]), tasks, HOST)
            circle = Asking(forwarder)
            circle.ask(question(NAME))
            await circle.messages(2)
    assert len(server.asked) == 1
