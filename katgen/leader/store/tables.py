"""The store's tables: what one transaction does to them, and how they are read.

Everything here happens inside a transaction of SQLite that the caller begins and ends.
"""

import sqlite3
from collections import deque

from katgen.leader.store import (
    Change,
    CompactedError,
    ConflictError,
    FencedError,
    Item,
    LeaseError,
    Listing,
    Transaction,
)
from katgen.leader.store.feed import PAGE, Changes, Page
from katgen.leader.store.limits import Memory, past

Done = tuple[int, Changes]
"""A result, and what to publish."""


class Tables:
    """The writer's view. Fields repeat what the tables say; `load` after a rollback."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory) -> None:
        self._sql, self._memory = connection, memory
        self.load()

    def load(self) -> None:
        """Read anew what the fields repeat."""
        self._revision, self._oldest, self._token = self._sql.execute(
            "SELECT revision, oldest, token FROM state"
        ).fetchone()
        sizes = "SELECT revision, sum(coalesce(length(value), 0)) FROM history GROUP BY revision"
        self._sizes: deque[tuple[int, int]] = deque(self._sql.execute(f"{sizes} ORDER BY revision"))
        self._size = sum(size for _, size in self._sizes)

    def commit(self, transaction: Transaction, *, has_lease: bool) -> Done:
        """See Store.commit. Whatever is refused is refused before the first write.

        `has_lease`: the time of the transaction's lease, if it names one, has not passed.
        """
        self._refuse(transaction, has_lease=has_lease and self._is_granted(transaction.lease))
        if transaction.token > self._token:
            self._token = transaction.token
            self._save()
        return self._write(transaction)

    def grant(self, ttl_s: float) -> Done:
        """Return a new lease's number."""
        row = self._sql.execute("INSERT INTO leases (ttl_s) VALUES (?) RETURNING id", (ttl_s,))
        return row.fetchone()[0], ()

    def end(self, lease: int) -> Done:
        """Delete a lease and its keys. One that is gone already is no fault."""
        self._sql.execute("DELETE FROM leases WHERE id = ?", (lease,))
        held = "SELECT key FROM items WHERE lease = ? AND lease != 0"
        keys = [row[0] for row in self._sql.execute(held, (lease,))]
        return self._write(Transaction(deletes=keys))

    def compact(self, revision: int) -> Done:
        """Forget the history before a revision, at most all but the current one."""
        revision = min(revision, self._revision)
        while self._sizes and self._sizes[0][0] < revision:
            self._size -= self._sizes.popleft()[1]
        self._forget_before(max(self._oldest, revision))
        return self._revision, ()

    def _is_granted(self, lease: int) -> bool:
        if not lease:
            return True
        rows = self._sql.execute("SELECT 1 FROM leases WHERE id = ?", (lease,))
        return rows.fetchone() is not None

    def _refuse(self, transaction: Transaction, *, has_lease: bool) -> None:
        token = transaction.token
        if token and token < self._token:
            raise FencedError(f"the token {self._token} has written, {token} is old")
        if not has_lease:
            raise LeaseError(f"the lease {transaction.lease} is gone")
        conflicts = [k for k, n in transaction.expected.items() if self._at(k)[1] != n]
        if conflicts:
            raise ConflictError(sorted(conflicts))

    def _at(self, key: str) -> tuple[int, int]:
        """Return the revisions at which a key was created and modified; zeros if it is not."""
        row = self._sql.execute("SELECT created, modified FROM items WHERE key = ?", (key,))
        return row.fetchone() or (0, 0)

    def _write(self, transaction: Transaction) -> Done:
        gone = [key for key in set(transaction.deletes) if self._at(key)[0]]
        if not gone and not transaction.puts:
            return self._revision, ()
        self._revision += 1
        changes = []
        for key in sorted((*transaction.puts, *gone)):
            value = transaction.puts.get(key)
            created = self._at(key)[0] or self._revision
            self._put(Change(key, value, self._revision, created), transaction.lease)
            changes.append(Change(key, value, self._revision, created))
        self._save()
        self._trim(sum(len(change.value or b"") for change in changes))
        return self._revision, tuple(changes)

    def _put(self, change: Change, lease: int) -> None:
        if change.value is None:
            self._sql.execute("DELETE FROM items WHERE key = ?", (change.key,))
        else:
            self._sql.execute(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)",
                (change.key, change.value, change.created, change.revision, lease),
            )
        self._sql.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?)",
            (change.revision, change.key, change.value, change.created),
        )

    def _trim(self, size: int) -> None:
        """Take note of the current revision's size, and forget what is too much."""
        self._sizes.append((self._revision, size))
        self._size += size
        oldest = self._oldest
        while len(self._sizes) > 1 and (
            len(self._sizes) > self._memory.revisions or self._size > self._memory.size_bytes
        ):
            revision, freed = self._sizes.popleft()
            self._size -= freed
            oldest = revision + 1
        self._forget_before(oldest)

    def _forget_before(self, oldest: int) -> None:
        if oldest > self._oldest:
            self._sql.execute("DELETE FROM history WHERE revision < ?", (oldest,))
            self._oldest = oldest
            self._save()

    def _save(self) -> None:
        self._sql.execute(
            "UPDATE state SET revision = ?, oldest = ?, token = ?",
            (self._revision, self._oldest, self._token),
        )


def get(sql: sqlite3.Connection, key: str) -> Item | None:
    """Return a key's item, or None."""
    rows = sql.execute("SELECT key, value, created, modified FROM items WHERE key = ?", (key,))
    row = rows.fetchone()
    return Item(*row) if row else None


def listing(sql: sqlite3.Connection, prefix: str, after: str, limit: int) -> Listing:
    """Return the items below a prefix and after a key, and the revision that this is of."""
    query = "SELECT key, value, created, modified FROM items WHERE key >= ? AND key > ?"
    values: list[str | int] = [prefix, after]
    if end := past(prefix):
        query += " AND key < ?"
        values.append(end)
    rows = sql.execute(f"{query} ORDER BY key LIMIT ?", (*values, limit + 1 if limit else -1))
    items = tuple(Item(*row) for row in rows)
    revision = sql.execute("SELECT revision FROM state").fetchone()[0]
    shown = items[:limit] if limit else items
    return Listing(shown, revision, len(shown) < len(items))


def page(sql: sqlite3.Connection, after: int) -> Page:
    """Return some transactions after a revision. Raises CompactedError."""
    revision, oldest = sql.execute("SELECT revision, oldest FROM state").fetchone()
    if after + 1 < oldest:
        raise CompactedError(oldest)
    reached = max(after, min(after + PAGE, revision))
    rows = sql.execute(
        "SELECT key, value, revision, created FROM history WHERE revision > ? AND revision <= ?"
        " ORDER BY revision, key",
        (after, reached),
    )
    found: dict[int, list[Change]] = {}
    for row in rows:
        found.setdefault(row[2], []).append(Change(*row))
    return Page(tuple(map(tuple, found.values())), reached, reached >= revision)


def leases(sql: sqlite3.Connection) -> dict[int, float]:
    """Return every lease's time to live, in seconds."""
    return dict(sql.execute("SELECT id, ttl_s FROM leases"))
