"""Keys, values, revisions and transactions."""

import asyncio

import pytest

from katgen.leader.store import (
    VALUE_MAX,
    ConflictError,
    FencedError,
    Item,
    Store,
    StoreError,
    TooLargeError,
    Transaction,
)
from tests.contract.store.world import delete, put, values


async def test_what_was_put_is_there_with_its_revisions(store: Store) -> None:
    assert await put(store, a="1") == 1
    assert await put(store, b="2") == 2
    assert await put(store, a="3") == 3
    assert await store.get("a") == Item("a", b"3", created=1, modified=3)
    assert await store.get("b") == Item("b", b"2", created=2, modified=2)


async def test_what_was_never_put_is_none(store: Store) -> None:
    assert await store.get("a") is None


async def test_the_same_value_again_is_a_change(store: Store) -> None:
    await put(store, a="1")
    assert await put(store, a="1") == 2


async def test_a_deleted_key_is_created_anew(store: Store) -> None:
    await put(store, a="1")
    assert await delete(store, "a") == 2
    assert await store.get("a") is None
    await put(store, a="2")
    assert await store.get("a") == Item("a", b"2", created=3, modified=3)


async def test_deleting_what_is_not_there_changes_nothing(store: Store) -> None:
    await put(store, a="1")
    assert await delete(store, "b", "c") == 1


async def test_an_empty_transaction_returns_the_current_revision(store: Store) -> None:
    assert await store.commit(Transaction()) == 0
    await put(store, a="1")
    assert await store.commit(Transaction(expected={"a": 1})) == 1


async def test_any_bytes_are_a_value(store: Store) -> None:
    value = bytes(range(256))
    await store.commit(Transaction(puts={"a": value, "empty": b""}))
    assert [item.value for item in (await store.list("")).items] == [value, b""]


async def test_a_transaction_is_one_revision(store: Store) -> None:
    await put(store, gone="1")
    puts = {"b": b"2", "a": b"1"}
    assert await store.commit(Transaction(puts=puts, deletes=["gone"])) == 2
    listing = await store.list("")
    assert [(i.key, i.modified) for i in listing.items] == [("a", 2), ("b", 2)]


async def test_a_put_with_the_right_revision_is_written(store: Store) -> None:
    await put(store, a="1")
    assert await store.commit(Transaction(puts={"a": b"2"}, expected={"a": 1})) == 2


async def test_a_conflict_names_every_key_and_writes_nothing(store: Store) -> None:
    await put(store, a="1", b="1", c="1")
    await put(store, b="2")
    transaction = Transaction(
        puts={"a": b"9", "new": b"9"},
        deletes=["c"],
        expected={"c": 1, "b": 1, "missing": 4, "a": 0},
    )
    with pytest.raises(ConflictError) as refused:
        await store.commit(transaction)
    assert refused.value.keys == ("a", "b", "missing")
    assert await values(store) == {"a": "1", "b": "2", "c": "1"}
    assert (await store.list("")).revision == 2


async def test_of_many_that_create_one_key_one_wins(store: Store) -> None:
    claims = [
        store.commit(Transaction(puts={"a": b"%d" % n}, expected={"a": 0})) for n in range(20)
    ]
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    won = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, int)]
    assert len(won) == 1
    assert await values(store) == {"a": str(won[0])}
    assert (await store.list("")).revision == 1


async def test_counting_with_compare_and_swap_loses_no_count(store: Store) -> None:
    async def count() -> None:
        while True:
            item = await store.get("n")
            number, revision = (int(item.value), item.modified) if item else (0, 0)
            write = Transaction(puts={"n": b"%d" % (number + 1)}, expected={"n": revision})
            try:
                await store.commit(write)
            except ConflictError:
                continue
            return

    await asyncio.gather(*(count() for _ in range(16)))
    assert await values(store) == {"n": "16"}


async def test_a_list_is_sorted_by_key_below_its_prefix(store: Store) -> None:
    await put(store, a_b="1", a_a="2", a="3", ab="4", b="5", a_B="6")
    listing = await store.list("a/")
    assert [item.key for item in listing.items] == ["a/B", "a/a", "a/b"]
    assert not listing.more


async def test_keys_sort_by_code_points(store: Store) -> None:
    keys = ["\ud7ff", "\ue000", "\uffff", "\U0001f600", "\U0010ffff", "\U0010ffffz", "z", "é"]
    await store.commit(Transaction(puts=dict.fromkeys(keys, b"")))
    assert [item.key for item in (await store.list("")).items] == sorted(keys)
    assert [item.key for item in (await store.list("\ud7ff")).items] == ["\ud7ff"]
    found = await store.list("\U0010ffff")
    assert [item.key for item in found.items] == ["\U0010ffff", "\U0010ffffz"]


async def test_a_prefix_is_no_pattern(store: Store) -> None:
    await store.commit(Transaction(puts={"a%": b"", "ab": b"", "a_": b"", "A%": b""}))
    assert [item.key for item in (await store.list("a%")).items] == ["a%"]


async def test_pages_of_a_list_are_the_list(store: Store) -> None:
    await put(store, a_1="", a_2="", a_3="", a_4="", a_5="", b="")
    first = await store.list("a/", limit=2)
    second = await store.list("a/", after=first.items[-1].key, limit=2)
    third = await store.list("a/", after=second.items[-1].key, limit=2)
    pages = [([item.key for item in p.items], p.more) for p in (first, second, third)]
    assert pages == [(["a/1", "a/2"], True), (["a/3", "a/4"], True), (["a/5"], False)]


async def test_a_limit_that_just_suffices_cuts_nothing(store: Store) -> None:
    await put(store, a_1="", a_2="")
    assert not (await store.list("a/", limit=2)).more


async def test_after_before_the_prefix_leaves_nothing_out(store: Store) -> None:
    await put(store, b_1="", b_2="")
    assert len((await store.list("b/", after="a")).items) == 2


async def test_a_list_is_of_one_revision_while_others_write(store: Store) -> None:
    async def write() -> None:
        for n in range(50):
            await store.commit(Transaction(puts=dict.fromkeys("abc", b"%d" % n)))

    writing = asyncio.create_task(write())
    while not writing.done():
        listing = await store.list("")
        assert {(i.value, i.modified) for i in listing.items} <= {
            (b"%d" % (listing.revision - 1), listing.revision)
        }
    await writing


async def test_a_lower_fencing_token_writes_nothing(store: Store) -> None:
    await store.commit(Transaction(puts={"a": b"new"}, token=7))
    with pytest.raises(FencedError, match="the token 7 has written, 6 is old"):
        await store.commit(Transaction(puts={"a": b"old"}, token=6, expected={"a": 99}))
    assert await values(store) == {"a": "new"}


async def test_the_same_and_no_fencing_token_write(store: Store) -> None:
    await store.commit(Transaction(puts={"a": b"1"}, token=7))
    await store.commit(Transaction(puts={"a": b"2"}, token=7))
    await store.commit(Transaction(puts={"a": b"3"}))
    assert await values(store) == {"a": "3"}


async def test_a_token_counts_without_any_write(store: Store) -> None:
    await store.commit(Transaction(token=7))
    with pytest.raises(FencedError):
        await store.commit(Transaction(token=6))


async def test_a_token_of_a_refused_transaction_does_not_count(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.commit(Transaction(token=7, expected={"a": 1}))
    await store.commit(Transaction(puts={"a": b"1"}, token=6))


async def test_a_value_that_is_too_large_is_refused_by_name_and_size(store: Store) -> None:
    await store.commit(Transaction(puts={"a": bytes(VALUE_MAX)}))
    told = "the value of big has 1048577 bytes; the store takes 1048576"
    with pytest.raises(TooLargeError, match=told):
        await store.commit(Transaction(puts={"b": b"", "big": bytes(VALUE_MAX + 1)}))
    assert await store.get("b") is None


@pytest.mark.parametrize(
    "transaction",
    [
        Transaction(puts={"": b""}),
        Transaction(puts={"a": b""}, deletes=["a"]),
        Transaction(puts={"\ud800": b""}),
    ],
    ids=["no key", "put and deleted", "no text"],
)
async def test_a_transaction_that_makes_no_sense_is_refused(
    store: Store, transaction: Transaction
) -> None:
    with pytest.raises(ValueError, match=r"empty|both|surrogates"):
        await store.commit(transaction)
    assert (await store.list("")).revision == 0


async def test_a_writer_that_is_cancelled_harms_nobody(store: Store) -> None:
    tasks = [asyncio.create_task(put(store, **{f"k{n}": "1"})) for n in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [n for n, outcome in enumerate(done) if not isinstance(outcome, int)] == [3]
    assert {f"k{n}" for n in range(10)} - (await values(store)).keys() <= {"k3"}


async def test_a_closed_store_answers_nobody(store: Store) -> None:
    watch = store.watch("", 0)
    await store.close()
    await store.close()
    calls = [
        store.get("a"), store.list(""), store.commit(Transaction()), store.compact(1),
        store.grant(1), store.keep_alive(1), store.revoke(1), anext(watch),
        anext(store.watch("", 0)),
    ]  # fmt: skip
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreError] * len(calls)
