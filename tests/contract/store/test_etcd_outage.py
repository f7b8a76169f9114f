"""An etcd that goes away, comes back, is full, stands still, or is another one."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from katgen.leader import pki
from katgen.leader.store import CompactedError, StoreError, Transaction
from katgen.leader.store.etcd import EtcdStore
from katgen.leader.store.etcd_calls import Credentials, Members
from tests.contract.store.etcd_server import EtcdServer, credentials, running
from tests.contract.store.world import DEADLINE_S, delete, next_of, put, values, watched

UID = "one"
BACK_S = 3.0
"""After an etcd is back until calls succeed again."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with running(tmp_path) as etcd:
        yield etcd


@pytest.fixture
async def store(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    opened = await EtcdStore.open(server.members, UID, found=True)
    yield opened
    await opened.close()


async def restarted(server: EtcdServer) -> float:
    """Start it again; return the time at which it serves."""
    await asyncio.to_thread(server.start)
    return time.monotonic()


async def succeeds(call: Callable[[], Awaitable[int]]) -> float:
    """Call until it is answered; return the time then."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await call()
            except StoreError:
                await asyncio.sleep(0.02)
            else:
                return time.monotonic()


async def test_calls_fail_during_an_outage_and_succeed_soon_after(
    server: EtcdServer, store: EtcdStore
) -> None:
    await put(store, a="1")
    server.kill()
    for call in (store.get("a"), store.list(""), put(store, a="2"), store.grant(10)):
        with pytest.raises(StoreError, match=r"etcd at https://127.0.0.1:\d+ is away"):
            await call
    back = await restarted(server)
    assert await succeeds(lambda: put(store, b="1")) - back < BACK_S
    assert (await values(store))["b"] == "1"


async def test_a_watch_goes_on_over_a_restart_with_a_deletion_between(
    server: EtcdServer, store: EtcdStore
) -> None:
    await put(store, a="1", b="1")
    revision = (await store.list("")).revision
    watch = store.watch("", revision)
    waiting = asyncio.create_task(next_of(watch))
    server.kill()
    back = await restarted(server)
    server.control("del", f"/kat/{UID}/k/a")  # nothing of ours hears of it
    assert await waiting == [(revision + 1, "a", None)]
    assert time.monotonic() - back < BACK_S
    await succeeds(lambda: put(store, c="1"))
    assert (await next_of(watch))[0][1:] == ("c", "1")


async def test_no_write_is_lost_or_shown_twice_over_many_restarts(
    server: EtcdServer, store: EtcdStore
) -> None:
    watch = store.watch("n", (await store.list("")).revision)
    written: list[tuple[int, str]] = []
    ends = asyncio.Event()

    async def write() -> None:
        n = 0
        while not ends.is_set():
            n += 1
            try:
                written.append((await put(store, n=str(n)), str(n)))
            except StoreError:
                await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    for _ in range(3):
        await asyncio.sleep(0.2)  # amid writes: there is no event to wait for
        server.kill()
        await restarted(server)
        await succeeds(lambda: put(store, other="1"))
    ends.set()
    await writing
    await succeeds(lambda: put(store, n="end"))
    seen = await watched(watch, (await store.list("")).revision)
    shown = [(revision, value) for revision, _, value in seen]
    assert [revision for revision, _ in shown] == sorted({revision for revision, _ in shown})
    assert set(written) <= set(shown)


async def test_a_watch_survives_a_compaction_at_its_own_deletion(store: EtcdStore) -> None:
    """etcd before 3.5.18 forgets a deletion at the very revision that it is compacted to."""
    await put(store, a="1")
    revision = await delete(store, "a")
    await store.compact(revision)
    assert await next_of(store.watch("", revision - 1)) == [(revision, "a", None)]


async def test_a_watch_that_was_away_for_too_long_is_told_so(
    server: EtcdServer, store: EtcdStore
) -> None:
    revision = await put(store, a="1")
    waiting = asyncio.create_task(next_of(store.watch("", revision)))
    server.kill()
    await asyncio.to_thread(forgetting, server, revision + 2)
    await restarted(server)
    with pytest.raises(CompactedError) as gone:
        await waiting
    assert gone.value.oldest == revision + 3
    await succeeds(lambda: put(store, b="1"))
    watch = store.watch("", revision + 2)
    assert [change[1:] for change in await next_of(watch)] == [("b", "1")]


def forgetting(server: EtcdServer, revision: int) -> None:
    """Have it change what the watch must show, and forget that, where the store cannot see it."""
    server.start(hidden=True)
    server.control("del", f"/kat/{UID}/k/a")
    server.control("put", "other", "1")
    server.control("compact", str(revision))
    server.kill()


async def test_what_the_watch_cannot_read_is_passed_over_and_everybody_reads_anew(
    server: EtcdServer, store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    revision = await put(store, a="1")
    waiting = asyncio.create_task(next_of(store.watch("", revision)))
    server.control("put", f"/kat/{UID}/k/\udcff", "1")  # a byte that is no UTF-8
    with pytest.raises(CompactedError) as gone:
        await waiting
    assert gone.value.oldest == revision + 2
    watch = store.watch("", revision + 1)
    assert await put(store, b="1") == revision + 2
    assert await next_of(watch) == [(revision + 2, "b", "1")]
    assert "the watch of etcd failed, and begins anew" in caplog.text


async def test_a_watch_that_ends_is_told_and_nobody_waits_for_it(
    store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    revision = await put(store, a="1")
    waiting = asyncio.create_task(next_of(store.watch("", revision)))
    (following,) = (one for one in asyncio.all_tasks() if one.get_name() == "store watch")
    following.cancel()
    with pytest.raises(StoreError, match="the store is closed"):
        await waiting
    begun = time.monotonic()
    with pytest.raises(StoreError, match="etcd has written it, and nothing is watched any more"):
        await put(store, b="1")
    assert time.monotonic() - begun < 3
    assert "store watch has ended" in caplog.text


async def test_an_etcd_that_stands_still_is_given_up_in_time(
    server: EtcdServer, store: EtcdStore
) -> None:
    await put(store, a="1")
    server.freeze()
    begin = time.monotonic()
    with pytest.raises(StoreError, match=r"did not answer within 5 s.*nothing is known"):
        await put(store, a="2")
    assert 4 < time.monotonic() - begin < 7
    server.thaw()
    await succeeds(lambda: put(store, a="3"))
    assert await values(store) == {"a": "3"}


async def test_a_full_etcd_says_what_to_do_and_then_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, "--quota-backend-bytes", "2000000") as server:
        store = await EtcdStore.open(server.members, UID, found=True)
        told = r"etcd at \S+ is full: compact and defragment it .* `etcdctl alarm disarm`"
        with pytest.raises(StoreError, match=told):
            await filled(store)
        before = await store.list("")
        assert before.items
        await asyncio.to_thread(make_room, server, before.revision)
        assert await put(store, after="1") > before.revision
        assert [item.key for item in (await store.list("")).items] == ["after", "k"]
        await store.close()


async def filled(store: EtcdStore) -> None:
    for _ in range(20):
        await store.commit(Transaction({"k": bytes(500_000)}))


def make_room(server: EtcdServer, revision: int) -> None:
    """Do what it says."""
    server.control("compact", str(revision))
    server.control("defrag")
    server.control("alarm", "disarm")


async def test_an_etcd_that_was_emptied_takes_nothing(server: EtcdServer, store: EtcdStore) -> None:
    await put(store, a="1")
    server.control("del", "", "--prefix")
    with pytest.raises(StoreError, match="etcd has lost this cluster"):
        await put(store, a="2")


async def test_a_certificate_that_etcd_does_not_take_is_named(server: EtcdServer) -> None:
    own, stranger = credentials(server.ca), credentials(pki.make_ca("stranger"))
    of_a_server = pki.issue_server(server.ca, ["localhost"], ["127.0.0.1"])
    told = "ends TLS; most likely it refuses the client's certificate: that must be one for clients"
    for one in (
        replace(stranger, ca=own.ca),
        replace(own, certificate=of_a_server.certificate, key=of_a_server.key),
    ):
        assert told in await refusal(server, one)


async def test_a_key_of_another_certificate_is_named(server: EtcdServer) -> None:
    own, other = credentials(server.ca), credentials(server.ca)
    told = "cannot be asked: the certificate is not that of the key"
    assert told in await refusal(server, replace(own, key=other.key))


async def test_an_etcd_of_another_ca_is_not_believed(server: EtcdServer) -> None:
    own, stranger = credentials(server.ca), credentials(pki.make_ca("stranger"))
    told = "has a certificate that the CA file does not vouch for"
    assert told in await refusal(server, replace(own, ca=stranger.ca))


async def test_an_etcd_of_another_name_is_not_believed(tmp_path: Path) -> None:
    with running(tmp_path, name="etcd.example", address="192.0.2.1") as server:
        told = await refusal(server, credentials(server.ca))
    assert "has a certificate of another name or address" in told


async def refusal(server: EtcdServer, given: Credentials) -> str:
    """Return why a store does not open."""
    endpoints = server.members.endpoints
    with pytest.raises(StoreError, match=f"etcd at {endpoints[0]} ") as refused:
        await EtcdStore.open(Members(endpoints, given), UID)
    return str(refused.value)


ROLES = """\
user add root --no-password
user grant-role root root
role add kat
role grant-permission kat --prefix=true readwrite /kat/
user add kat --no-password
user grant-role kat kat
auth enable"""


async def test_a_user_who_may_read_and_write_its_prefix_is_enough(server: EtcdServer) -> None:
    for line in ROLES.splitlines():
        server.control(*line.split())
    store = await EtcdStore.open(server.members, UID, found=True)
    revision = await put(store, a="1")
    watch = store.watch("", revision)
    assert await delete(store, "a") == revision + 1
    assert await next_of(watch) == [(revision + 1, "a", None)]
    lease = await store.grant(10)
    await store.commit(Transaction({"b": b"1"}, lease=lease))
    assert await store.keep_alive(lease)
    await store.revoke(lease)
    await store.compact(revision + 1)
    await store.close()


async def test_a_member_that_is_away_is_passed_over(server: EtcdServer) -> None:
    endpoints = ("https://127.0.0.1:1", *server.members.endpoints)
    members = replace(server.members, endpoints=endpoints)
    store = await EtcdStore.open(members, UID, found=True)
    await put(store, a="1")
    assert await values(store) == {"a": "1"}
    await store.close()


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("http://10.0.0.1:2379", "only etcd on this machine is spoken to without TLS"),
        ("http://localhost.example:2379", "only etcd on this machine"),
        ("https://10.0.0.1:2379", "TLS needs a CA, a certificate and its key"),
        ("10.0.0.1:2379", "is not https://HOST:PORT"),
    ],
)
def test_what_would_send_secrets_in_the_clear_is_refused(endpoint: str, told: str) -> None:
    with pytest.raises(StoreError, match=told):
        Members((endpoint,))
