"""A store whose revisions begin at 0, whatever was written to its etcd before."""

from collections.abc import AsyncIterator
from dataclasses import replace

from katgen.leader.store import Change, CompactedError, Item, Listing, Store, Transaction

Changes = tuple[Change, ...]


class ShiftedStore(Store):
    """`base` is the revision that counts as 0."""

    def __init__(self, store: Store, base: int) -> None:
        self._store, self._base = store, base

    async def get(self, key: str) -> Item | None:
        found = await self._store.get(key)
        return self._item(found) if found else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        found = await self._store.list(prefix, after=after, limit=limit)
        return Listing(tuple(map(self._item, found.items)), found.revision - self._base, found.more)

    async def commit(self, transaction: Transaction) -> int:
        expected = {key: n and n + self._base for key, n in transaction.expected.items()}
        return await self._store.commit(replace(transaction, expected=expected)) - self._base

    def watch(self, prefix: str, after: int) -> "ShiftedWatch":
        return ShiftedWatch(self._store.watch(prefix, after + self._base), self._base)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision + self._base)

    async def grant(self, ttl_s: float) -> int:
        return await self._store.grant(ttl_s)

    async def keep_alive(self, lease: int) -> bool:
        return await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self._store.revoke(lease)

    async def close(self) -> None:
        await self._store.close()

    def _item(self, item: Item) -> Item:
        return replace(item, created=item.created - self._base, modified=item.modified - self._base)


class ShiftedWatch(AsyncIterator[Changes]):
    """A watch of such a store."""

    def __init__(self, watch: AsyncIterator[Changes], base: int) -> None:
        self._watch, self._base = watch, base

    async def __anext__(self) -> Changes:
        try:
            changes = await anext(self._watch)
        except CompactedError as err:
            raise CompactedError(err.oldest - self._base) from err
        return tuple(
            replace(one, revision=one.revision - self._base, created=one.created - self._base)
            for one in changes
        )
