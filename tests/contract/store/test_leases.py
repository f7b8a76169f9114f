"""Leases: keys that vanish when nobody keeps them."""

import pytest

from katgen.leader.store import LeaseError, Store, Transaction
from tests.contract.store.world import StillClock, next_of, put, values


async def held(store: Store, lease: int, **texts: str) -> int:
    puts = {key: value.encode() for key, value in texts.items()}
    return await store.commit(Transaction(puts=puts, lease=lease))


async def test_the_keys_of_a_lapsed_lease_go_in_one_transaction(
    store: Store, clock: StillClock
) -> None:
    lease = await store.grant(10)
    await put(store, other="1")
    await held(store, lease, a="1", b="2")
    watch = store.watch("", 2)
    await clock.advance(10)
    assert await next_of(watch) == [(3, "a", None), (3, "b", None)]
    assert await values(store) == {"other": "1"}


async def test_a_lease_lives_as_long_as_it_is_kept(store: Store, clock: StillClock) -> None:
    lease = await store.grant(10)
    await held(store, lease, a="1")
    watch = store.watch("", 1)
    for _ in range(3):
        await clock.advance(9)
        assert await store.keep_alive(lease)
    assert await values(store) == {"a": "1"}
    await clock.advance(9)
    assert await values(store) == {"a": "1"}
    await clock.advance(1)
    assert await next_of(watch) == [(2, "a", None)]


async def test_the_shorter_of_two_leases_ends_first(store: Store, clock: StillClock) -> None:
    long, short = await store.grant(100), await store.grant(5)
    await held(store, long, long="1")
    await held(store, short, short="1")
    watch = store.watch("", 2)
    await clock.advance(5)
    assert await next_of(watch) == [(3, "short", None)]
    await clock.advance(95)
    assert await next_of(watch) == [(4, "long", None)]


async def test_a_lapsed_lease_is_not_kept_alive(store: Store, clock: StillClock) -> None:
    lease = await store.grant(10)
    await clock.advance(10)
    assert not await store.keep_alive(lease)


async def test_a_revoked_lease_takes_its_keys_along(store: Store) -> None:
    lease = await store.grant(10)
    await held(store, lease, a="1")
    await store.revoke(lease)
    assert await values(store) == {}
    assert not await store.keep_alive(lease)


async def test_revoking_what_is_gone_changes_nothing(store: Store) -> None:
    lease = await store.grant(10)
    await store.revoke(lease)
    await store.revoke(lease)
    assert (await store.list("")).revision == 0


async def test_nothing_is_written_under_a_lease_that_is_gone(
    store: Store, clock: StillClock
) -> None:
    revoked, lapsed = await store.grant(100), await store.grant(10)
    await store.revoke(revoked)
    await clock.advance(10)
    for lease in (revoked, lapsed, 99):
        with pytest.raises(LeaseError, match=f"the lease {lease} is gone"):
            await held(store, lease, a="1")
    assert await values(store) == {}


async def test_a_key_belongs_to_the_lease_of_its_last_write(store: Store) -> None:
    first, second = await store.grant(10), await store.grant(10)
    await held(store, first, moved="1", freed="1", kept="1")
    await held(store, second, moved="2")
    await put(store, freed="2")
    await store.revoke(first)
    assert await values(store) == {"moved": "2", "freed": "2"}


async def test_leases_have_different_numbers(store: Store) -> None:
    first = await store.grant(10)
    await store.revoke(first)
    assert await store.grant(10) > first > 0
