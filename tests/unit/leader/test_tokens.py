"""Tokens are known while the store is away; one that is deleted opens nothing from then on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import msgspec
import pytest

from katgen.leader.app import Manners
from katgen.leader.limits import Limits, Rate
from katgen.leader.store import Change, Item, Listing, StoreError, Transaction
from katgen.leader.store.feed import QUEUE
from katgen.leader.store.memory import MemoryStore
from katgen.leader.tokens import PREFIX, NewToken, Tokens, make_token
from tests.unit.leader.api import Api, api
from tests.unit.leader.given import config

DEADLINE_S = 10.0
TURNS = 100
"""Of the event loop."""
CONFIGS = "/v1alpha1/n/default/configs"


class Remote(MemoryStore):
    """A store that can be away: calls fail, and watches are silent until it is back, as etcd's.

    `is_watchable`: or else watches fail, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._there = asyncio.Event()
        self._there.set()
        self.is_watchable = True
        self.gets = 0

    def leave(self) -> None:
        self._there.clear()

    def come_back(self) -> None:
        self._there.set()

    def _refuse(self) -> None:
        if not self._there.is_set():
            raise StoreError("etcd is away")

    async def get(self, key: str) -> Item | None:
        self._refuse()
        self.gets += 1
        return await super().get(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        self._refuse()
        return await super().list(prefix, after=after, limit=limit)

    async def commit(self, transaction: Transaction) -> int:
        self._refuse()
        return await super().commit(transaction)

    async def by_another(self, **puts: bytes) -> None:
        """Change keys of tokens, from where the store is still reached; an empty value deletes."""
        deletes = [f"tokens/{key}" for key, value in puts.items() if not value]
        await super().commit(
            Transaction({f"tokens/{k}": value for k, value in puts.items() if value}, deletes)
        )

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:  # type: ignore[override]  # -- an iterator all the same
        if not self.is_watchable:
            raise StoreError("the store cannot be watched")
        async for changes in super().watch(prefix, after):
            await self._there.wait()
            yield changes


async def written(store: MemoryStore, name: str = "ann", role: str = "admin") -> NewToken:
    new = make_token(name, role, "t")
    await store.commit(Transaction(puts={new.path: new.value}))
    return new


@asynccontextmanager
async def following(store: Remote) -> AsyncIterator[Tokens]:
    """Yield tokens that are kept in memory."""
    tokens = Tokens(store)
    task = asyncio.create_task(tokens.run())
    try:
        yield tokens
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_unasked(store: Remote, act: Callable[[], Awaitable[object]]) -> None:
    """Act until that asks nothing of the store any more."""
    async with asyncio.timeout(DEADLINE_S):
        before = -1
        while store.gets != before:
            before = store.gets
            await act()
            await asyncio.sleep(0)


async def until_remembered(tokens: Tokens, store: Remote, new: NewToken) -> None:
    """Wait until a token is known without asking for it."""
    await until_unasked(store, lambda: tokens.find(new.text))
    assert await tokens.find(new.text) == new.token


async def until_nobody(tokens: Tokens, new: NewToken) -> None:
    for _ in range(TURNS):
        if await tokens.find(new.text) is None:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{new.path} lives on")


async def test_a_token_is_known_while_the_store_is_away() -> None:
    store = Remote()
    ann = await written(store)
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        bob = await written(store, "bob")
        await until_remembered(tokens, store, bob)
        store.leave()
        assert await tokens.find(ann.text) == ann.token
        assert await tokens.find(bob.text) == bob.token


async def test_the_secret_counts_also_while_the_store_is_away() -> None:
    store = Remote()
    ann, bob = await written(store), await written(store, "bob")
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        store.leave()
        assert await tokens.find(f"{ann.text[:17]}{bob.text[17:]}") is None


async def test_of_a_token_that_was_never_seen_nobody_can_say_while_the_store_is_away() -> None:
    store = Remote()
    ann = await written(store)
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        store.leave()
        with pytest.raises(StoreError):
            await tokens.find(make_token("eve", "admin", "t").text)


async def test_a_deleted_token_is_forgotten_with_its_deletion() -> None:
    store = Remote()
    ann = await written(store)
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        await store.commit(Transaction(deletes=[ann.path]))
        await asyncio.sleep(0)  # a turn of the loop; a request takes more
        assert await tokens.find(ann.text) is None
        store.leave()
        with pytest.raises(StoreError):  # nor is it remembered
            await tokens.find(ann.text)


async def test_a_token_that_was_deleted_meanwhile_opens_nothing_once_the_store_is_back() -> None:
    store = Remote()
    ann = await written(store)
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        store.leave()
        await store.by_another(**{ann.path.removeprefix(PREFIX): b""})
        assert await tokens.find(ann.text) == ann.token
        store.come_back()
        await until_nobody(tokens, ann)


async def test_a_changed_role_counts() -> None:
    store = Remote()
    ann = await written(store)
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        guest = replace(ann, token=msgspec.structs.replace(ann.token, role="guest"))
        await store.commit(Transaction(puts={ann.path: guest.value}))
        await until_remembered(tokens, store, guest)


async def test_who_cannot_be_told_of_all_changes_reads_anew() -> None:
    store = Remote()
    ann = await written(store)
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        store.leave()
        await store.by_another(**{ann.path.removeprefix(PREFIX): b""})
        for number in range(QUEUE + 10):  # more than a watch keeps
            await store.by_another(other=b"%d" % number)
        store.come_back()
        await until_nobody(tokens, ann)
        bob = await written(store, "bob")
        await until_remembered(tokens, store, bob)


async def test_a_store_that_cannot_be_watched_is_asked_each_time() -> None:
    store = Remote()
    store.is_watchable = False
    ann = await written(store)
    async with following(store) as tokens:
        assert await tokens.find(ann.text) == ann.token
        await store.commit(Transaction(deletes=[ann.path]))
        assert await tokens.find(ann.text) is None


@pytest.mark.parametrize("content", [b"?", b'{"\xff": 1}'])
async def test_a_record_that_cannot_be_read_is_nobody_s_and_harms_no_other(content: bytes) -> None:
    store = Remote()
    ann, broken = await written(store), make_token("bob", "admin", "t")
    await store.commit(Transaction(puts={broken.path: content}))
    async with following(store) as tokens:
        await until_remembered(tokens, store, ann)
        assert await tokens.find(broken.text) is None


async def test_who_only_looks_is_answered_while_the_store_is_away() -> None:
    store = Remote()
    async with api(store=store) as kat:
        assert (await kat.write("POST", "/v1alpha1/apply", config("a"))).status == 200
        await until_unasked(store, lambda: kat.ask("GET", CONFIGS))
        store.leave()
        for path in (CONFIGS, f"{CONFIGS}/a", "/v1alpha1/version", "/v1alpha1/instances"):
            assert (await kat.ask("GET", path)).status == 200, path
        refused = await kat.write("POST", "/v1alpha1/apply", config("b"))
        assert refused.status == 503
        assert (await refused.json())["detail"] == "the store: etcd is away"
    await store.close()


FEW = Manners(Limits(strangers=Rate(0.001, 5)))


async def asked_with(kat: Api, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return (await kat.ask("GET", "/v1alpha1/version", headers=headers)).status


async def made_up(kat: Api, count: int = 8) -> list[int]:
    """Ask with so many tokens that nobody has been given; return the statuses."""
    return [await asked_with(kat, make_token("eve", "admin", "t").text) for _ in range(count)]


async def test_what_strangers_make_up_costs_the_store_no_more_than_their_limit() -> None:
    store = Remote()
    async with api(store=store, manners=FEW) as kat:
        await until_unasked(store, lambda: asked_with(kat, kat.token))
        before = store.gets
        assert await made_up(kat) == [401, 401, 401, 401, 401, 429, 429, 429]
        assert store.gets == before + 5
        assert await asked_with(kat, kat.token) == 200  # from the same address
    await store.close()


async def test_strangers_are_counted_while_the_store_is_away() -> None:
    store = Remote()
    async with api(store=store, manners=FEW) as kat:
        await until_unasked(store, lambda: asked_with(kat, kat.token))
        store.leave()
        assert await made_up(kat) == [503, 503, 503, 503, 503, 429, 429, 429]
        assert await asked_with(kat, kat.token) == 200
        store.come_back()
    await store.close()


async def test_who_is_not_in_memory_yet_is_no_stranger() -> None:
    store = Remote()
    store.is_watchable = False
    async with api(store=store, manners=FEW) as kat:
        bob = await written(store, "bob")
        assert [await asked_with(kat, bob.text) for _ in range(8)] == [200] * 8
        assert await made_up(kat, 1) == [401]
    await store.close()
