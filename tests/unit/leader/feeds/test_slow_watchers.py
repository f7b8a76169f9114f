"""Watchers that read nothing cost little, and are dropped; nobody else waits for them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from katgen.leader.app import Manners
from katgen.leader.feeds.watches import BATCH_BYTES
from katgen.leader.limits import Limits, Rate
from katgen.leader.routes.listing import SEND_BYTES, Pace
from katgen.leader.store import Transaction
from tests.unit.leader.api import Api, api
from tests.unit.leader.watching import is_bookmark, watching

CONFIGS = "/v1alpha1/n/default/configs"
DEADLINE_S = 20.0
WRITES = 200
SIZE = 50_000
"""Of each: 10 MB in all."""
ONE = Limits(people=Rate(1e6, 1e6), watches=1)
MANY = 100
TOO_MANY = 1_100
"""Of that size are more than the ring has room for."""


@asynccontextmanager
async def silent(kat: Api, query: str = "watch=1") -> AsyncIterator[socket.socket]:
    """Ask for a watch, read that it begins, and then nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)  # noqa: FBT003 -- socket's own
        await loop.sock_connect(made, ("127.0.0.1", kat.client.port))
        head = f"GET {CONFIGS}?{query} HTTP/1.1\r\nHost: kat\r\nAuthorization: Bearer {kat.token}"
        await loop.sock_sendall(made, f"{head}\r\n\r\n".encode())
        assert (await loop.sock_recv(made, 12)).endswith(b" 200")
        yield made


async def write(kat: Api, number: int) -> None:
    text = f"{number}:{'x' * SIZE}"
    document = (
        '{"kind":"Config","metadata":{"namespace":"default","name":"big"},'
        f'"data":{{"text":"{text}"}}}}'
    )
    await kat.store.commit(Transaction({"objects/Config/default/big": document.encode()}))


async def left(made: socket.socket) -> int:
    """Read what comes until the connection ends, and return how much that was."""
    loop, size = asyncio.get_running_loop(), 0
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(DEADLINE_S):
            while part := await loop.sock_recv(made, 1 << 20):
                size += len(part)
    return size


async def room(kat: Api) -> None:
    """Wait until there is room for another watch: until that of another has ended."""
    async with asyncio.timeout(DEADLINE_S):
        while (answer := await kat.ask("GET", CONFIGS, params={"watch": "1"})).status == 429:
            await answer.read()
    assert answer.status == 200
    answer.close()


def waiting_bytes(kat: Api) -> list[int]:
    """Return what the process keeps for each connection until it can be sent."""
    runner = kat.client.server.runner
    assert runner is not None
    assert runner.server is not None
    transports = [one.transport for one in runner.server.connections]
    return [one.get_write_buffer_size() for one in transports if one is not None]


async def test_a_watcher_that_reads_nothing_is_dropped_and_little_is_kept_for_it() -> None:
    async with api(manners=Manners(ONE, Pace(write_s=1.0))) as kat, silent(kat) as made:
        most = 0
        for number in range(WRITES):
            await write(kat, number)
            await kat.feeds.current("Config")
            await asyncio.sleep(0)
            most = max(most, *waiting_bytes(kat))
        assert 0 < most < SEND_BYTES + BATCH_BYTES + 2 * SIZE
        await room(kat)
        assert await left(made) < WRITES * SIZE / 4


async def test_a_client_that_has_gone_is_noticed_with_the_next_news() -> None:
    async with api(manners=Manners(ONE, Pace(bookmark_s=0.2))) as kat:
        async with silent(kat):
            refused = await kat.ask("GET", CONFIGS, params={"watch": "1"})
            assert refused.status == 429
        await room(kat)


async def test_who_reads_does_not_wait_for_who_does_not() -> None:
    async with api(manners=Manners(pace=Pace(write_s=DEADLINE_S))) as kat:
        async with silent(kat), silent(kat), watching(kat, CONFIGS) as watch:
            await watch.until(is_bookmark)
            for number in range(60):
                await write(kat, number)
            seen = [await watch.next() for _ in range(60)]
        assert [line["object"]["data"]["text"].partition(":")[0] for line in seen if line] == [
            str(number) for number in range(60)
        ]


async def filled(kat: Api) -> None:
    """Store MANY more objects of that size."""
    for number in range(MANY):
        document = (
            f'{{"kind":"Config","metadata":{{"namespace":"default","name":"old-{number}"}},'
            f'"data":{{"text":"{"x" * SIZE}"}}}}'
        )
        path = f"objects/Config/default/old-{number}"
        await kat.store.commit(Transaction({path: document.encode()}))


async def test_who_is_slow_with_what_is_there_keeps_nothing_of_what_was_there_before() -> None:
    """The first list is given up once the news after it are gone: it could not go on anyway."""
    async with api(manners=Manners(pace=Pace(write_s=DEADLINE_S))) as kat:
        await filled(kat)
        await kat.feeds.current("Config")
        async with silent(kat) as made:
            for number in range(TOO_MANY):
                await write(kat, number)
                await kat.feeds.current("Config")
            size, last = await rest(made)
        assert b'"status":410' in last
        assert size < MANY * SIZE / 2


async def rest(made: socket.socket) -> tuple[int, bytes]:
    """Read to the end of an answer; return how much there was, and the last of it."""
    loop, size, last = asyncio.get_running_loop(), 0, b""
    async with asyncio.timeout(DEADLINE_S):
        while b"0\r\n\r\n" not in last:
            part = await loop.sock_recv(made, 1 << 20)
            assert part, "it was cut"
            size, last = size + len(part), last[-1000:] + part
    return size, last


async def test_a_slow_reader_that_lost_its_place_is_told_to_list_again() -> None:
    """What it has not read yet is not kept for it: it has a number in a ring, and that is gone."""
    async with api(manners=Manners(pace=Pace(write_s=DEADLINE_S))) as kat:
        await write(kat, 0)
        await kat.feeds.current("Config")
        async with silent(kat) as made:
            for number in range(1, TOO_MANY):
                await write(kat, number)
                await kat.feeds.current("Config")
            _, last = await rest(made)
        assert b'{"type":"ERROR","object":' in last
        assert b'"status":410' in last
