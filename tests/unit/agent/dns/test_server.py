"""Over real sockets: questions over UDP and TCP, connections' bounds, the agent's word."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.message
import pytest

from agent.dns import server as module
from agent.dns.clients import Clients
from agent.dns.forward import Forwarder
from agent.dns.listening import opened
from agent.dns.server import Server, heard
from agent.dns.settings import Network, Settings
from agent.dns.upstreams import Upstreams
from tests.unit.agent.dns.served import SHOP, question, served, shown

CLUSTER = Network(10 << 24, 255 << 24)
ALL = Clients(CLUSTER, lambda _: True)
STRANGERS = Clients(CLUSTER, lambda _: False)
"""To whom 127.0.0.1 is not their own."""
HOST = "10.100.0.1"
WEB = dns.message.make_query(f"web.{SHOP}", "A")
ANSWER = [f"web.{SHOP} 30 IN A 10.101.0.1"]


@asynccontextmanager
async def listening(clients: Clients = ALL) -> AsyncIterator[int]:
    """Serve the shop's zone; the value is the port."""
    loop = asyncio.get_running_loop()
    sockets = opened("127.0.0.1", 0)
    async with asyncio.TaskGroup() as tasks:
        upstreams = Upstreams(Path("/nowhere"), Settings("x", (), CLUSTER, (), HOST))
        made = Server(served(), Forwarder(upstreams, tasks, HOST), clients)
        loop.add_reader(sockets.udp[0], made.drain, sockets.udp[0])
        listener = await asyncio.start_server(made.converse, sock=sockets.tcp[0])
        try:
            yield sockets.udp[0].getsockname()[1]
        finally:
            loop.remove_reader(sockets.udp[0])
            listener.close()
            sockets.udp[0].close()


async def udp(query: dns.message.Message, port: int) -> dns.message.Message:
    return await dns.asyncquery.udp(query, "127.0.0.1", 5, port)


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection without a word."""
    try:
        async with asyncio.timeout(5):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_both_transports_answer() -> None:
    async with listening() as port:
        over_udp = await udp(WEB, port)
        over_tcp = await dns.asyncquery.tcp(WEB, "127.0.0.1", 5, port)
    assert shown(over_udp.answer) == shown(over_tcp.answer) == ANSWER


async def test_what_is_malformed_ends_nothing() -> None:
    async with listening() as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            for data in (b"", b"\0", bytes(12), bytes(2000), b"\xff" * 600):
                channel.sendto(data, ("127.0.0.1", port))
            assert shown((await udp(WEB, port)).answer) == ANSWER


async def test_several_questions_on_one_connection_are_answered_in_their_order() -> None:
    names = [f"web.{SHOP}", f"0.web.{SHOP}", f"nope.{SHOP}", "www.example.com."]
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for name in names:
            data = question(name)
            writer.write(len(data).to_bytes(2) + data)
        codes = []
        for _ in names:
            size = int.from_bytes(await reader.readexactly(2))
            codes.append(dns.message.from_wire(await reader.readexactly(size)).rcode())
        writer.close()
    assert codes == [0, 0, 3, 2]


@pytest.mark.parametrize("data", [b"\x00\x05abcde", b"\xff\xff", b"\x00\x00"])
async def test_a_connection_that_makes_no_sense_is_ended(data: bytes) -> None:
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        assert await closed(reader)
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\x00", b"\x00\x30abc"])
async def test_a_connection_that_says_nothing_is_ended(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    async with listening() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await closed(reader)
        writer.close()


async def test_one_client_has_so_many_connections_and_others_still_get_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "OF_ONE_MAX", 2)
    async with listening() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader)
        other = await dns.asyncquery.tcp(WEB, "127.0.0.1", 5, port, source="127.0.0.2")
        assert shown(other.answer) == ANSWER
        for _, one in (*held, (reader, writer)):
            one.close()


async def test_a_place_that_is_free_again_is_given_away() -> None:
    async with listening() as port:
        for _ in range(module.OF_ONE_MAX * 2):
            message = await dns.asyncquery.tcp(WEB, "127.0.0.1", 5, port)
            assert shown(message.answer) == ANSWER


@pytest.mark.parametrize("name", [f"web.{SHOP}", f"nope.{SHOP}", "www.example.com."])
async def test_strangers_are_refused(name: str) -> None:
    async with listening(STRANGERS) as port:
        query = dns.message.make_query(name, "A")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(5)
            channel.connect(("127.0.0.1", port))
            loop = asyncio.get_running_loop()
            for data in (b"", bytes(3), b"\0\0\x80" + bytes(20), query.to_wire()):
                channel.send(data)
            channel.setblocking(False)  # noqa: FBT003 -- the only way to say it
            async with asyncio.timeout(5):
                response = await loop.sock_recv(channel, 4096)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader)
        writer.close()
    assert response == query.to_wire()[:2] + b"\x81\x85" + bytes(8)


async def test_the_machine_itself_is_answered_under_any_of_its_addresses() -> None:
    async with listening(Clients(CLUSTER)) as port:
        assert shown((await udp(WEB, port)).answer) == ANSWER


def test_the_agents_words_are_taken_together() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)  # noqa: FBT003 -- the only way to say it
        for name in (b"shop", b"shop", b"default", b"\xff"):
            theirs.send(name)
        taken: list[set[str]] = []
        heard(ours, taken.append)
    assert taken == [{"shop", "default", "\ufffd"}]


async def test_at_the_end_a_question_on_its_way_is_answered_and_nobody_idle_waited_for() -> None:
    loop, idle, asks = asyncio.get_running_loop(), socket.socketpair(), socket.socketpair()
    async with asyncio.TaskGroup() as tasks:
        upstreams = Upstreams(Path("/nowhere"), Settings("x", (), CLUSTER, (), HOST))
        made = Server(served(), Forwarder(upstreams, tasks, HOST), ALL)
        for ours, _ in (idle, asks):
            tasks.create_task(made.converse(*await asyncio.open_connection(sock=ours)))
        reader, writer = await asyncio.open_connection(sock=asks[1])
        began = loop.time()
        ending = tasks.create_task(made.finish(5))
        await asyncio.sleep(0)
        data = WEB.to_wire()
        writer.write(len(data).to_bytes(2) + data)
        size = int.from_bytes(await reader.readexactly(2))
        assert shown(dns.message.from_wire(await reader.readexactly(size)).answer) == ANSWER
        assert await closed(reader)
        await ending
        assert loop.time() - began < 2
        writer.close()
    idle[1].close()
