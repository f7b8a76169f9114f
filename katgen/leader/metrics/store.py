"""A store that is measured. It does what the store does, and nothing else."""

from collections.abc import AsyncIterator

from katgen.leader.metrics.prometheus import Metrics
from katgen.leader.store import Change, Item, Listing, Store, Transaction


class MeasuredStore:
    """See the module. `revision` is the newest one that anybody was told."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics
        self.revision = 0

    async def get(self, key: str) -> Item | None:
        """As the store does."""
        with self._metrics.storing("get"):
            return await self._store.get(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        """As the store does."""
        with self._metrics.storing("list"):
            listing = await self._store.list(prefix, after=after, limit=limit)
        self.revision = max(self.revision, listing.revision)
        return listing

    async def commit(self, transaction: Transaction) -> int:
        """As the store does."""
        with self._metrics.storing("commit"):
            revision = await self._store.commit(transaction)
        self.revision = max(self.revision, revision)
        return revision

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """As the store does; a watch has no end to measure."""
        return self._store.watch(prefix, after)

    async def compact(self, revision: int) -> None:
        """As the store does."""
        with self._metrics.storing("compact"):
            await self._store.compact(revision)

    async def grant(self, ttl_s: float) -> int:
        """As the store does."""
        with self._metrics.storing("grant"):
            return await self._store.grant(ttl_s)

    async def keep_alive(self, lease: int) -> bool:
        """As the store does."""
        with self._metrics.storing("keep_alive"):
            return await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        """As the store does."""
        with self._metrics.storing("revoke"):
            await self._store.revoke(lease)

    async def close(self) -> None:
        """As the store does."""
        await self._store.close()
