"""Watches and the history that they read."""

import asyncio

import pytest

from katgen.leader.store import Change, CompactedError, Store, StoreError, Transaction
from katgen.leader.store.feed import PAGE, QUEUE
from katgen.leader.store.limits import Memory
from tests.contract.store.conftest import Opens
from tests.contract.store.world import DEADLINE_S, delete, next_of, put, watched


async def test_a_watch_shows_what_came_before_it_and_what_comes(store: Store) -> None:
    await put(store, a="1")
    await put(store, a="2")
    watch = store.watch("", 1)
    assert await next_of(watch) == [(2, "a", "2")]
    await put(store, a="3")
    assert await next_of(watch) == [(3, "a", "3")]


async def test_a_transaction_comes_as_one_sorted_by_key(store: Store) -> None:
    await put(store, b="1")
    watch = store.watch("", 1)
    await store.commit(Transaction(puts={"c": b"3", "a": b"2"}, deletes=["b"]))
    async with asyncio.timeout(DEADLINE_S):
        assert await anext(watch) == (
            Change("a", b"2", revision=2, created=2),
            Change("b", None, revision=2, created=1),
            Change("c", b"3", revision=2, created=2),
        )


async def test_a_watch_shows_its_prefix_alone(store: Store) -> None:
    await put(store, x_0="old", y="old")
    history, live = store.watch("x/", 0), store.watch("x/", 1)
    pending = asyncio.create_task(next_of(live))
    await put(store, y="1")
    await store.commit(Transaction(puts={"x/1": b"1", "xx": b"1", "y": b"2"}))
    assert await pending == [(3, "x/1", "1")]
    assert await watched(history, 3) == [(1, "x/0", "old"), (3, "x/1", "1")]


async def test_nothing_is_shown_of_a_refused_transaction(store: Store) -> None:
    watch = store.watch("", 0)
    with pytest.raises(Exception, match="somebody else changed a"):
        await store.commit(Transaction(puts={"b": b""}, expected={"a": 1}))
    await put(store, c="1")
    assert await next_of(watch) == [(1, "c", "1")]


@pytest.mark.parametrize("begins", [0, 137, 2 * PAGE])
async def test_nothing_is_lost_while_many_write(store: Store, begins: int) -> None:
    """Watches begin before, amid and after the writes, from the first page of history on."""
    per_writer = 40

    async def write(name: str) -> None:
        for n in range(per_writer):
            await store.commit(Transaction(puts={f"w/{name}": b"%d" % n, f"v/{name}": b""}))

    writers = [asyncio.create_task(write(f"{n:02}")) for n in range(16)]
    if begins:
        await watched(store.watch("", 0), begins)
    watches = [store.watch("w/", 0) for _ in range(3)]
    seen = await asyncio.gather(*(watched(watch, 16 * per_writer) for watch in watches))
    await asyncio.gather(*writers)
    assert seen[0] == seen[1] == seen[2]
    assert [revision for revision, _, _ in seen[0]] == list(range(1, 16 * per_writer + 1))
    by_writer = [value for _, key, value in seen[0] if key == "w/07"]
    assert by_writer == [str(n) for n in range(per_writer)]


async def test_whoever_wrote_finds_it_in_the_watch(store: Store) -> None:
    watch = store.watch("", 0)
    first = asyncio.create_task(next_of(watch))
    await put(store, a="0")
    await first
    for n in range(1, 5):
        await put(store, a=str(n))
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        assert waiting.done()


async def test_a_wait_that_is_cancelled_loses_nothing(store: Store) -> None:
    watch = store.watch("", 0)
    for n in range(20):
        waiting = asyncio.ensure_future(anext(watch))
        for _ in range(n % 4):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await put(store, a="1")
    assert await next_of(watch) == [(1, "a", "1")]


async def test_a_watch_of_the_future_begins_there(store: Store) -> None:
    watch = store.watch("", 2)
    waiting = asyncio.create_task(next_of(watch))
    for n in (1, 2, 3):
        await put(store, a=str(n))
    assert await waiting == [(3, "a", "3")]


async def test_the_history_before_a_compaction_is_gone(store: Store) -> None:
    for n in (1, 2, 3, 4):
        await put(store, a=str(n))
    await store.compact(3)
    with pytest.raises(CompactedError) as gone:
        await next_of(store.watch("", 1))
    assert gone.value.oldest == 3
    assert await watched(store.watch("", 2), 4) == [(3, "a", "3"), (4, "a", "4")]


async def test_compaction_leaves_items_and_their_revisions(store: Store) -> None:
    await put(store, a="1")
    await put(store, b="2")
    await store.compact(2)
    assert [(i.key, i.created) for i in (await store.list("")).items] == [("a", 1), ("b", 2)]
    assert await put(store, c="3") == 3


async def test_compaction_never_reaches_into_the_future(store: Store) -> None:
    await put(store, a="1")
    await store.compact(99)
    watch = store.watch("", 1)
    await put(store, a="2")
    assert await next_of(watch) == [(2, "a", "2")]


async def test_an_earlier_compaction_brings_nothing_back(store: Store) -> None:
    for n in (1, 2, 3):
        await put(store, a=str(n))
    await store.compact(3)
    await store.compact(1)
    with pytest.raises(CompactedError):
        await next_of(store.watch("", 0))


async def test_a_watch_that_has_caught_up_outlives_compaction(store: Store) -> None:
    watch = store.watch("", 0)
    await put(store, a="1")
    await next_of(watch)
    waiting = asyncio.create_task(next_of(watch))
    await store.compact(1)
    await delete(store, "a")
    assert await waiting == [(2, "a", None)]


async def test_a_consumer_that_is_too_slow_is_told_so(store: Store) -> None:
    watch, quick = store.watch("", 0), store.watch("", 0)
    await put(store, a="0")
    await next_of(watch)
    await next_of(quick)
    idle = asyncio.create_task(next_of(watch))  # both have caught up and live on what comes
    await put(store, a="1")
    await idle
    reading = asyncio.create_task(watched(quick, QUEUE + 3))
    for _ in range(QUEUE // 64):
        await asyncio.gather(*(put(store, a=str(n)) for n in range(64)))
    await put(store, a="one too many")
    with pytest.raises(CompactedError) as slow:
        await next_of(watch)
    assert slow.value.oldest == QUEUE + 4
    assert len(await reading) == QUEUE + 2


async def test_a_watch_that_has_not_begun_to_read_is_never_too_slow(store: Store) -> None:
    watch = store.watch("", 0)
    await asyncio.gather(*(put(store, a=str(n)) for n in range(QUEUE + 10)))
    assert [r for r, _, _ in await watched(watch, QUEUE + 10)] == list(range(1, QUEUE + 11))


async def test_history_is_bounded_by_number(opens: Opens) -> None:
    store = await opens(Memory(revisions=3))
    for n in (1, 2, 3, 4, 5):
        await put(store, a=str(n))
    with pytest.raises(CompactedError) as gone:
        await next_of(store.watch("", 1))
    assert gone.value.oldest == 3
    assert [r for r, _, _ in await watched(store.watch("", 2), 5)] == [3, 4, 5]


async def test_history_is_bounded_by_size(opens: Opens) -> None:
    store = await opens(Memory(size_bytes=10))
    for _ in range(4):
        await put(store, a="four")
    with pytest.raises(CompactedError) as gone:
        await next_of(store.watch("", 0))
    assert gone.value.oldest == 3


async def test_the_last_transaction_is_kept_however_large(opens: Opens) -> None:
    store = await opens(Memory(size_bytes=10))
    await put(store, a="1")
    await put(store, a="longer than ten")
    assert await next_of(store.watch("", 1)) == [(2, "a", "longer than ten")]


async def test_closing_wakes_who_waits(store: Store) -> None:
    waiting = asyncio.create_task(next_of(store.watch("", 0)))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await waiting
