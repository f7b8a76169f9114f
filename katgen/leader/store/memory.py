"""The fake: a store that keeps nothing. Same contract, same order of checks."""

import asyncio
from collections import deque

from katgen.leader.store import (
    Change,
    CompactedError,
    ConflictError,
    FencedError,
    Item,
    LeaseError,
    Listing,
    Store,
    StoreError,
    Transaction,
)
from katgen.leader.store.feed import PAGE, Changes, Feed, Page, Watcher
from katgen.leader.store.leases import BootClock, LeaseClock, Leases
from katgen.leader.store.limits import Memory, check


class MemoryStore(Store):
    """Needs a running event loop only once it is used."""

    def __init__(self, clock: LeaseClock | None = None, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()
        self._items: dict[str, Item] = {}
        self._held: dict[str, int] = {}
        self._history: deque[Changes] = deque()
        self._size = 0
        self._revision, self._oldest, self._token, self._lease = 0, 1, 0, 0
        self._feed = Feed(self._page)
        self._leases = Leases(clock or BootClock(), self._end)
        self._closed = False

    async def _turn(self) -> None:
        """Let others run, as every real store does."""
        await asyncio.sleep(0)
        if self._closed:
            raise StoreError("the store is closed")

    async def get(self, key: str) -> Item | None:
        """See Store."""
        await self._turn()
        return self._items.get(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        """See Store."""
        await self._turn()
        keys = sorted(key for key in self._items if key.startswith(prefix) and key > after)
        shown = keys[:limit] if limit else keys
        items = tuple(self._items[key] for key in shown)
        return Listing(items, self._revision, len(shown) < len(keys))

    async def commit(self, transaction: Transaction) -> int:
        """See Store."""
        check(transaction)
        await self._turn()
        if transaction.token and transaction.token < self._token:
            raise FencedError(f"the token {self._token} has written, {transaction.token} is old")
        if transaction.lease and not self._leases.is_alive(transaction.lease):
            raise LeaseError(f"the lease {transaction.lease} is gone")
        conflicts = [k for k, n in transaction.expected.items() if self._modified(k) != n]
        if conflicts:
            raise ConflictError(sorted(conflicts))
        self._token = max(self._token, transaction.token)
        self._write(transaction)
        return self._revision

    def _modified(self, key: str) -> int:
        item = self._items.get(key)
        return item.modified if item else 0

    def _write(self, transaction: Transaction) -> None:
        gone = [key for key in set(transaction.deletes) if key in self._items]
        if not gone and not transaction.puts:
            return
        self._revision += 1
        changes = []
        for key in sorted((*transaction.puts, *gone)):
            value = transaction.puts.get(key)
            old = self._items.pop(key, None)
            created = old.created if old else self._revision
            if value is not None:
                self._items[key] = Item(key, value, created, self._revision)
                self._held[key] = transaction.lease
            changes.append(Change(key, value, self._revision, created))
        self._remember(tuple(changes))

    def _remember(self, changes: Changes) -> None:
        self._history.append(changes)
        self._size += _size(changes)
        memory = self._memory
        while len(self._history) > 1 and (
            len(self._history) > memory.revisions or self._size > memory.size_bytes
        ):
            self._forget_one()
        self._feed.publish([changes])

    def _forget_one(self) -> None:
        gone = self._history.popleft()
        self._size -= _size(gone)
        self._oldest = gone[0].revision + 1

    def watch(self, prefix: str, after: int) -> Watcher:
        """See Store."""
        return self._feed.watch(prefix, after)

    async def _page(self, after: int) -> Page:
        await self._turn()
        if after + 1 < self._oldest:
            raise CompactedError(self._oldest)
        reached = max(after, min(after + PAGE, self._revision))
        found = tuple(c for c in self._history if after < c[0].revision <= reached)
        return Page(found, reached, reached >= self._revision)

    async def compact(self, revision: int) -> None:
        """See Store."""
        await self._turn()
        revision = min(revision, self._revision)
        while self._history and self._history[0][0].revision < revision:
            self._forget_one()
        self._oldest = max(self._oldest, revision)

    async def grant(self, ttl_s: float) -> int:
        """See Store."""
        await self._turn()
        self._lease += 1
        self._leases.add(self._lease, ttl_s)
        return self._lease

    async def keep_alive(self, lease: int) -> bool:
        """See Store."""
        await self._turn()
        return self._leases.renew(lease)

    async def revoke(self, lease: int) -> None:
        """See Store."""
        await self._turn()
        self._leases.drop(lease)
        await self._end(lease)

    async def _end(self, lease: int) -> None:
        keys = [key for key in self._items if self._held[key] == lease]
        self._write(Transaction(deletes=keys))

    async def close(self) -> None:
        """See Store."""
        self._closed = True
        self._feed.close()
        await self._leases.close()


def _size(changes: Changes) -> int:
    return sum(len(change.value or b"") for change in changes)
