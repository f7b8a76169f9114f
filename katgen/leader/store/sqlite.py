"""The embedded store: one SQLite file, durable before anybody hears of a write."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from katgen.leader.store import Item, Listing, Store, StoreError, Transaction
from katgen.leader.store import tables as reading
from katgen.leader.store.feed import Feed, Page, Watcher
from katgen.leader.store.leases import BootClock, LeaseClock, Leases
from katgen.leader.store.limits import Memory, check
from katgen.leader.store.schema import Lock, fault, opened
from katgen.leader.store.tables import Tables
from katgen.leader.store.writer import Work, Writer

T = TypeVar("T")


class SqliteStore(Store):
    """Made by `open`. Belongs to the event loop that it was opened on."""

    def __init__(self, file: "_File", clock: LeaseClock) -> None:
        self._file = file
        self._reads = ThreadPoolExecutor(1, "store reader")
        self._feed = Feed(self._page)
        self._writer = Writer(file.writer, file.tables, file.path, self._feed.publish)
        self._leases = Leases(clock, self._end)
        self._is_closed = False
        for lease, ttl_s in file.leases.items():
            self._leases.add(lease, ttl_s)

    @classmethod
    async def open(
        cls, path: Path, *, clock: LeaseClock | None = None, memory: Memory | None = None
    ) -> Self:
        """Open a store's file, or make it. Its directory must exist.

        Raises StoreError: another process has it open, it is damaged, of a newer version, or not
        KAT's at all, or the disk does not let us.
        """
        file = await asyncio.to_thread(_File, path, memory or Memory())
        return cls(file, clock or BootClock())

    async def get(self, key: str) -> Item | None:
        """See Store."""
        return await self._read(lambda sql: reading.get(sql, key))

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        """See Store."""
        return await self._read(lambda sql: reading.listing(sql, prefix, after, limit))

    async def commit(self, transaction: Transaction) -> int:
        """See Store."""
        check(transaction)
        has_lease = not transaction.lease or self._leases.is_alive(transaction.lease)
        return await self._write(lambda tables: tables.commit(transaction, has_lease=has_lease))

    def watch(self, prefix: str, after: int) -> Watcher:
        """See Store."""
        return self._feed.watch(prefix, after)

    async def compact(self, revision: int) -> None:
        """See Store."""
        await self._write(lambda tables: tables.compact(revision))

    async def grant(self, ttl_s: float) -> int:
        """See Store."""
        lease = await self._write(lambda tables: tables.grant(ttl_s))
        self._leases.add(lease, ttl_s)
        return lease

    async def keep_alive(self, lease: int) -> bool:
        """See Store. Costs no write: after a restart a lease has its full time anyway."""
        self._refuse_if_closed()
        return self._leases.renew(lease)

    async def revoke(self, lease: int) -> None:
        """See Store."""
        await self._end(lease)
        self._leases.drop(lease)

    async def close(self) -> None:
        """See Store. Writes that were under way are finished."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._leases.close()
        await asyncio.to_thread(self._writer.stop)
        self._feed.close()
        await asyncio.to_thread(self._reads.shutdown)
        await asyncio.to_thread(self._file.close)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise StoreError("the store is closed")

    async def _write(self, work: Work) -> int:
        self._refuse_if_closed()
        return await self._writer.carry_out(work)

    async def _end(self, lease: int) -> None:
        await self._write(lambda tables: tables.end(lease))

    async def _page(self, after: int) -> Page:
        return await self._read(lambda sql: reading.page(sql, after))

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reads, self._file.read, read)


class _File:
    """The file, locked and open."""

    def __init__(self, path: Path, memory: Memory) -> None:
        self.path = path
        self._lock = Lock(path)
        try:
            self.writer, self._reader = opened(path)
            self.tables, self.leases = self._loaded(memory)
        except BaseException:
            self._lock.release()
            raise

    def _loaded(self, memory: Memory) -> tuple[Tables, dict[int, float]]:
        try:
            return Tables(self.writer, memory), reading.leases(self.writer)
        except BaseException as err:
            self._reader.close()
            self.writer.close()
            if isinstance(err, sqlite3.Error):
                raise fault(err, self.path) from err
            raise

    def read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Read at one point in time. Raises StoreError."""
        try:
            with self._reader:
                self._reader.execute("BEGIN")
                return read(self._reader)
        except sqlite3.Error as err:
            raise fault(err, self.path) from err

    def close(self) -> None:
        """Close what the writer has not."""
        self._reader.close()
        self._lock.release()
