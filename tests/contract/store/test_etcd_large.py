"""Transactions that are larger than etcd takes by default: 128 operations, 1.5 MiB."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from katgen.leader.store import (
    VALUE_MAX,
    ConflictError,
    FencedError,
    LeaseError,
    StoreError,
    TooLargeError,
    Transaction,
)
from katgen.leader.store import etcd as etcd_module
from katgen.leader.store.etcd import EtcdStore
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_keys import MAX_OPS, packed
from tests.contract.store.etcd_server import EtcdServer
from tests.contract.store.world import DEADLINE_S, next_of, put

LARGE = {f"plan/{n:04}": b"%d " % n + bytes(5_000) for n in range(1_000)}


@pytest.fixture
def uid() -> str:
    return str(uuid4())


@pytest.fixture
async def store(etcd: EtcdServer, uid: str) -> AsyncIterator[EtcdStore]:
    opened = await EtcdStore.open(etcd.members, uid, found=True)
    yield opened
    await opened.close()


async def reopened(etcd: EtcdServer, uid: str) -> EtcdStore:
    return await EtcdStore.open(etcd.members, uid)


async def read(store: EtcdStore, prefix: str = "") -> dict[str, bytes]:
    return {item.key: item.value for item in (await store.list(prefix)).items}


@pytest.mark.parametrize("count", [64, 65, 128, 129, 4_097])
async def test_a_transaction_of_many_keys_is_one_revision(store: EtcdStore, count: int) -> None:
    revision = await store.commit(Transaction({f"k/{n:05}": b"1" for n in range(count)}))
    listing = await store.list("k/")
    assert len(listing.items) == count
    assert {item.modified for item in listing.items} == {revision}


async def test_a_first_plan_of_5_mb_is_one_revision_to_readers_and_watches(
    store: EtcdStore, etcd: EtcdServer, uid: str
) -> None:
    before = (await store.list("")).revision
    live = store.watch("", before)
    revision = await store.commit(Transaction(LARGE, expected={"plan/0000": 0}))
    seen = await anext(live)
    assert {change.key: change.value for change in seen} == LARGE
    assert {change.revision for change in seen} == {revision}
    other = await reopened(etcd, uid)
    assert await read(other) == LARGE
    assert (await anext(other.watch("", before))) == seen
    assert (await other.get("plan/0999")) == (await store.list("plan/0999")).items[0]
    await other.close()


async def test_a_reader_sees_all_of_a_large_transaction_or_nothing(store: EtcdStore) -> None:
    writing = asyncio.create_task(store.commit(Transaction(LARGE)))
    sizes = set()
    while not writing.done():
        sizes.add(len((await store.list("", limit=2_000)).items))
    await writing
    assert sizes <= {0, 1_000}


async def test_a_refused_large_transaction_leaves_nothing(store: EtcdStore) -> None:
    await put(store, a="1")
    with pytest.raises(ConflictError):
        await store.commit(Transaction(LARGE, expected={"a": 1}))
    assert list(await read(store)) == ["a"]


async def test_values_that_look_like_marks_come_back_as_they_were(store: EtcdStore) -> None:
    values = {"a": b"\0@1234", "b": b"\0=", "c": b"\0", "d": b"\0=\0=x", "e": b""}
    await store.commit(Transaction(values))
    assert await read(store) == values
    large = {**values, "x": b"\0@" + bytes(VALUE_MAX - 2), "y": bytes(VALUE_MAX)}
    await store.commit(Transaction(large))
    assert await read(store) == large


async def test_values_of_nobody_are_swept_away(
    store: EtcdStore, etcd: EtcdServer, uid: str
) -> None:
    await store.commit(Transaction(LARGE))
    aside = len(aside_keys(etcd, uid))
    assert aside > 500
    some = list(LARGE)[:10]
    await store.commit(Transaction(dict.fromkeys(some, b"small"), deletes=list(LARGE)[20:]))
    other = await reopened(etcd, uid)  # sweeps once it is open
    left = await asyncio.to_thread(swept, etcd, uid, 10)
    assert {key.rpartition("plan/")[2] for key in left} <= {f"{n:04}" for n in range(10, 20)}
    assert await read(other) == {key: LARGE[key] for key in list(LARGE)[10:20]} | dict.fromkeys(
        some, b"small"
    )
    await other.close()


def swept(etcd: EtcdServer, uid: str, most: int) -> list[str]:
    """Return the keys of values aside, once there are no more than `most`."""
    end = time.monotonic() + DEADLINE_S
    while len(left := aside_keys(etcd, uid)) > most and time.monotonic() < end:
        time.sleep(0.05)
    return left


def aside_keys(etcd: EtcdServer, uid: str) -> list[str]:
    return etcd.control("get", f"/kat/{uid}/aside/", "--prefix", "--keys-only").split()


async def test_a_thousand_expectations_are_one_compare(store: EtcdStore) -> None:
    keys = [f"k/{n:04}" for n in range(1_000)]
    await store.commit(Transaction(dict.fromkeys(keys, b"1"), expected=dict.fromkeys(keys, 0)))
    old = {item.key: item.modified for item in (await store.list("k/")).items}
    await store.commit(Transaction({"k/0007": b"2"}, deletes=["k/0009"]))
    with pytest.raises(ConflictError) as refused:
        await store.commit(Transaction(dict.fromkeys(keys, b"3"), expected={**old, "k/x": 1}))
    assert refused.value.keys == ("k/0007", "k/0009", "k/x")
    new = {item.key: item.modified for item in (await store.list("k/")).items} | {"k/0009": 0}
    await store.commit(Transaction(dict.fromkeys(keys, b"4"), expected=new))
    assert set((await read(store)).values()) == {b"4"}


async def test_a_lower_token_is_refused_of_a_thousand_expectations_too(store: EtcdStore) -> None:
    expected = {f"k/{n:04}": 0 for n in range(1_000)}
    await store.commit(Transaction(expected=expected, token=7))
    with pytest.raises(FencedError, match="the token 7 has written, 6 is old"):
        await store.commit(Transaction({"a": b""}, expected={**expected, "a": 9}, token=6))


async def test_of_two_stores_that_expect_much_one_wins(
    store: EtcdStore, etcd: EtcdServer, uid: str
) -> None:
    """Neither sees what the other one reads; `head` tells."""
    other = await reopened(etcd, uid)
    expected = {f"k/{n:04}": 0 for n in range(200)}

    async def count(one: EtcdStore) -> None:
        while True:
            item = await one.get("n")
            value, revision = (int(item.value), item.modified) if item else (0, 0)
            write = Transaction({"n": b"%d" % (value + 1)}, expected={**expected, "n": revision})
            try:
                await one.commit(write)
            except ConflictError:
                continue
            return

    await asyncio.gather(*(count(one) for one in [store, other] * 6))
    assert await read(store) == {"n": b"12"}
    await other.close()


async def test_large_transactions_come_through_while_others_write(store: EtcdStore) -> None:
    async def chatter(way: int) -> None:
        for n in range(100):
            await put(store, **{f"c{way}": str(n)})

    expected = {f"k/{n:04}": 0 for n in range(200)}
    talking = [asyncio.create_task(chatter(way)) for way in range(8)]
    for n in range(5):
        await store.commit(Transaction({"large": b"%d" % n}, expected=expected))
    await asyncio.gather(*talking)
    assert (await read(store))["large"] == b"4"


async def test_a_transaction_of_too_many_keys_says_so(store: EtcdStore) -> None:
    keys = {f"a/rather/long/key/of/a/small/value/{n:06}" * 4: b"1" for n in range(10_000)}
    with pytest.raises(TooLargeError, match="10000 keys are too many for one transaction in etcd"):
        await store.commit(Transaction(keys))


async def test_a_lease_of_nobody_refuses_a_large_transaction(store: EtcdStore) -> None:
    with pytest.raises(LeaseError, match="the lease 99 is gone"):
        await store.commit(Transaction(LARGE, lease=99))
    assert await read(store) == {}


async def test_etcd_itself_ends_the_lease_of_a_store_that_is_gone(
    store: EtcdStore, etcd: EtcdServer, uid: str
) -> None:
    gone = await reopened(etcd, uid)
    lease = await gone.grant(1)
    revision = await gone.commit(Transaction({"leader": b"1"}, lease=lease))
    watch = store.watch("", revision)
    await gone.close()
    assert [change[1:] for change in await next_of(watch)] == [("leader", None)]
    assert not await store.keep_alive(lease)


async def test_an_etcd_that_has_not_the_cluster_is_refused(etcd: EtcdServer) -> None:
    with pytest.raises(StoreError, match="has nothing of strange: it is another one"):
        await EtcdStore.open(etcd.members, "strange")


async def test_an_old_etcd_is_refused(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "OLDEST", (99, 0, 0))
    with pytest.raises(StoreError, match=r"is 3\.\d+\.\d+; KAT needs 99\.0\.0 or later"):
        await EtcdStore.open(etcd.members, "any")


@pytest.mark.parametrize("count", [1, 64, 65, 4_096, 4_097, 20_000])
def test_packed_operations_keep_their_order_and_etcds_bounds(count: int) -> None:
    looks = [
        pb.RequestOp(request_range=pb.RangeRequest(key=b"%d" % n, range_end=b""))
        for n in range(count)
    ]
    tree = packed(looks)
    assert flattened(tree) == [b"%d" % n for n in range(count)]
    assert widest(tree) <= MAX_OPS


def flattened(tree: list[pb.RequestOp]) -> list[bytes]:
    found = []
    for one in tree:
        inner = one.request_txn.success
        found += flattened(list(inner)) if inner else [one.request_range.key]
    return found


def widest(tree: list[pb.RequestOp]) -> int:
    """Return what etcd counts: the operations along a branch."""
    return len(tree) + max((widest(list(one.request_txn.success)) for one in tree), default=0)
