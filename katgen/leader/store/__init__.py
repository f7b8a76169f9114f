"""What the leader keeps: keys with values, revisions, compare-and-swap, watches, leases.

Two backends will keep one contract (`tests/contract`): SQLite, and etcd. Keys are text with `/`,
values bytes. Every transaction that changes something gets the next *revision*; an item carries the
revisions of its creation and of its last change. The semantics are etcd's, so that its backend
need not imitate another.

KatError
├── StoreError       no answer: nothing is known of a write that was under way
├── ConflictError    the answer is no: somebody else was first
├── FencedError      no, and the leadership is lost
├── LeaseError       no: the keys would belong to a lease that is gone
├── TooLargeError    no: the value must be cut by whoever made it
└── CompactedError   of a watch: list again
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from katgen.errors import KatError

VALUE_MAX: Final = 2**20
"""Bytes of one value: what etcd takes with room to spare. Larger records are cut by their owner."""


class StoreError(KatError):
    """The store cannot answer now. Nothing is known of a write that was under way."""


class ConflictError(KatError):
    """A compare failed: nothing was written. `keys` are those that had another revision."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"somebody else changed {', '.join(keys)}")


class FencedError(KatError):
    """A higher fencing token has written: this leader has lost its lease. Nothing was written."""


class LeaseError(KatError):
    """The lease of a transaction is gone. Nothing was written."""


class TooLargeError(KatError):
    """A value has more than VALUE_MAX bytes. Nothing was written."""


class CompactedError(KatError):
    """The history before `oldest` is gone: list again, then watch from there."""

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest
        super().__init__(f"revisions before {oldest} are compacted")


@dataclass(frozen=True, slots=True)
class Item:
    """A key with its value. Revisions start at 1."""

    key: str
    value: bytes = field(repr=False)
    created: int
    modified: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Items by key, of one revision of the whole store; `more`: a limit cut it."""

    items: tuple[Item, ...]
    revision: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One key's change in a transaction; `value` is None if it was deleted."""

    key: str
    value: bytes | None = field(repr=False)
    revision: int
    created: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """Writes that happen together or not at all.

    `expected` maps keys to the revision that they must have been modified at, 0 for "must not
    exist". `lease` makes the keys of `puts` vanish with that lease; 0 for none. `token` is the
    writer's fencing token: a transaction with a token lower than the highest seen is refused; 0
    writes without one.
    """

    puts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    deletes: Sequence[str] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    lease: int = 0
    token: int = 0


class Store(Protocol):
    """The interface. Every method may raise StoreError."""

    async def get(self, key: str) -> Item | None:
        """Return a key's item, or None."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        """Return the items whose keys begin with `prefix` and come after `after`, sorted by key."""

    async def commit(self, transaction: Transaction) -> int:
        """Carry out a transaction durably and return its revision (the current one if empty).

        Deleting what is not there changes nothing. A refused transaction is refused for the first
        of: FencedError, LeaseError, ConflictError. Raises TooLargeError; ValueError if a key is
        empty, or both put and deleted.
        """

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """Yield every later transaction's changes below `prefix`, in order, none left out.

        `after` is a revision, as from a listing. Raises CompactedError if its successor is gone;
        a consumer that is too slow gets it too, and lists again. Ends never by itself. The store
        forgets old history by itself: a revision to watch from is good for some time only.
        """

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`; current items stay."""

    async def grant(self, ttl_s: float) -> int:
        """Return a new lease; keys written under it vanish if nobody keeps it alive for so long."""

    async def keep_alive(self, lease: int) -> bool:
        """Start the lease's time anew; False if it is gone."""

    async def revoke(self, lease: int) -> None:
        """End a lease now, with its keys."""

    async def close(self) -> None:
        """Release everything; watches end with StoreError."""
