"""The users' objects in the store: read, applied and deleted as whole valid sets."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from katgen.errors import Problem
from katgen.leader.answers import Changed
from katgen.leader.clock import Clock
from katgen.leader.documents import (
    PREFIX,
    Incoming,
    ObjectKey,
    Stored,
    encode,
    incoming,
    key_from_path,
    parsed,
)
from katgen.leader.draft import Before, Draft, Draftsman
from katgen.leader.errors import MissingError, TakenError
from katgen.leader.feeds.objects import ObjectsFeed
from katgen.leader.secrets import SecretBox
from katgen.leader.standing import Grounds
from katgen.leader.store import ConflictError, Item, Store, Transaction
from katgen.leader.store.limits import check
from katgen.parse import Parsed

__all__ = ["Applied", "ObjectKey", "Objects", "Snapshot", "Stored"]

_TRIES: Final = 5
"""Another leader or the loop may write in between; then the change is worked out anew."""
_NOTHING: Final[Mapping[ObjectKey, int]] = {}
_FEW: Final = 4
_QUICK_S: Final = 0.005
"""Of CPU time: what keeps everybody else waiting for no longer needs no thread."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects of one moment, by key; `revision` is the store's."""

    objects: Before
    revision: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a change did, or would do. `objects` is the whole resulting set."""

    revision: int
    changed: tuple[Changed, ...]
    objects: Before
    notes: tuple[Problem, ...] = ()

    @property
    def after(self) -> tuple[Stored, ...]:
        """The whole resulting set."""
        return tuple(self.objects.values())


@dataclass(frozen=True, slots=True)
class _Change:
    """How a change is drafted, and the kinds of what it is about, one for each object."""

    drafted: Callable[[Before], Draft]
    kinds: tuple[str, ...]


class Objects:
    """Keeps the set of all objects valid: every change is validated with all others."""

    def __init__(self, store: Store, secrets: SecretBox, clock: Clock) -> None:
        self._store, self._box, self._clock = store, secrets, clock
        self._writing = asyncio.Lock()
        self._grounds = Grounds()
        self._feed: ObjectsFeed | None = None
        self._took_s: dict[tuple[str, ...], float] = {}
        self.written = 0
        """The last revision that was written here."""

    def follow(self, feed: ObjectsFeed) -> None:
        """Take the objects from what follows the store, instead of reading all of them anew."""
        self._feed = feed

    async def snapshot(self) -> Snapshot:
        """Return all objects of one moment, with all that was written here."""
        feed = self._feed
        if feed is not None and await feed.caught_up(self.written):
            return Snapshot(dict(feed.objects), feed.revision)
        return await self._read()

    async def _latest(self) -> Snapshot:
        """Return a snapshot for a write, and say what has changed since the one before."""
        feed = self._feed
        if feed is not None and await feed.caught_up(self.written):
            self._grounds.note(feed.changed_keys())
            return Snapshot(dict(feed.objects), feed.revision)
        return await self._read()

    async def _read(self) -> Snapshot:
        self._grounds.note(None)
        listing = await self._store.list(PREFIX)
        found = map(_stored, listing.items)
        return Snapshot({one.key: one for one in found}, listing.revision)

    async def all(self) -> tuple[Stored, ...]:
        """Return all objects, by key."""
        return tuple((await self.snapshot()).objects.values())

    async def get(self, key: ObjectKey) -> Stored | None:
        """Return an object, with all that was written here."""
        feed = self._feed
        if feed is not None and await feed.caught_up(self.written):
            return feed.objects.get(key)
        item = await self._store.get(key.path)
        return _stored(item) if item else None

    @staticmethod
    def parsed(stored: Iterable[Stored]) -> Parsed:
        """Return stored objects as `validate.check` takes them; of Secrets only the keys."""
        return parsed(stored)

    async def apply(
        self,
        documents: Parsed | Incoming,
        *,
        expected: Mapping[ObjectKey, int] = _NOTHING,
        drop: Collection[ObjectKey] = (),
        dry: bool = False,
    ) -> Applied:
        """Create or replace objects, and drop some, all or nothing.

        `expected` maps keys to revisions, 0 for "must not exist", besides the resourceVersions in
        the documents. Raises InputError with all problems, TakenError.
        """
        given = documents if isinstance(documents, Incoming) else incoming(documents)
        wanted = {**given.expected, **expected}

        def drafted(before: Before) -> Draft:
            _compare(wanted, before)
            return self._draftsman().applied(given, before, drop)

        kinds = (*(str(one.value.get("kind")) for one in given.parsed.documents), *_kinds(drop))
        return await self._carry_out(_Change(drafted, kinds), dry=dry)

    async def delete(
        self,
        keys: Collection[ObjectKey],
        *,
        expected: Mapping[ObjectKey, int] = _NOTHING,
        dry: bool = False,
    ) -> Applied:
        """Delete objects; a Workload takes what belongs to it along.

        Raises MissingError, and TakenError if something needs one of them.
        """

        def drafted(before: Before) -> Draft:
            missing = sorted(key for key in keys if key not in before)
            if missing:
                raise MissingError(f"there is no {missing[0]}")
            _compare(expected, before)
            return self._draftsman().removed(keys, before)

        return await self._carry_out(_Change(drafted, tuple(_kinds(keys))), dry=dry)

    def _draftsman(self) -> Draftsman:
        return Draftsman(self._box, self._clock.now(), self._grounds)

    async def _carry_out(self, change: _Change, *, dry: bool) -> Applied:
        for number in range(_TRIES):
            async with self._writing:
                # After a conflict with somebody else's write, what the store itself says.
                before = await (self._read() if number else self._latest())
                draft = await self._draft(change, before.objects)
                transaction = _transaction(draft, before)
                check(transaction)
                if dry or not (draft.puts or draft.deletes):
                    return _applied(draft, before.revision)
                try:
                    revision = await self._store.commit(transaction)
                except ConflictError:
                    continue
                self.written = max(self.written, revision)
            return _applied(draft, revision)
        raise TakenError("somebody else keeps changing the same objects; try again")

    async def _draft(self, change: _Change, before: Before) -> Draft:
        """Draft here what has proved to be quick, which saves every write two changes of thread.

        Validation of thousands of objects takes seconds, in which agents must be heard.
        """
        kinds = tuple(sorted(change.kinds))

        def timed() -> Draft:
            begun, is_done = time.thread_time(), False
            try:
                draft = change.drafted(before)
                is_done = True
                return draft
            finally:
                took_s = time.thread_time() - begun
                # What was refused early proves nothing; what was refused late is slow all the same.
                if len(kinds) <= _FEW and (is_done or took_s >= _QUICK_S):
                    self._took_s[kinds] = took_s

        if self._grounds.is_warm and self._took_s.get(kinds, _QUICK_S) < _QUICK_S:
            return timed()
        return await asyncio.to_thread(timed)


def _kinds(keys: Iterable[ObjectKey]) -> Iterator[str]:
    return (key.kind for key in keys)


def _transaction(draft: Draft, before: Snapshot) -> Transaction:
    touched = {*draft.puts, *draft.deletes}
    return Transaction(
        puts={key.path: encode(one) for key, one in draft.puts.items()},
        deletes=tuple(key.path for key in draft.deletes),
        expected={
            key.path: before.objects[key].revision if key in before.objects else 0
            for key in touched
        },
    )


def _compare(expected: Mapping[ObjectKey, int], before: Before) -> None:
    for key, revision in expected.items():
        found = before.get(key)
        if revision == 0 and found is not None:
            raise TakenError(f"{key} exists already")
        if revision and found is None:
            raise TakenError(f"{key} is gone; leave resourceVersion out to make it anew")
        if found is not None and found.revision != revision:
            raise TakenError(
                f"somebody else changed {key}: its resourceVersion is {found.revision}, "
                f"and yours {revision}; get it again"
            )


def _applied(draft: Draft, revision: int) -> Applied:
    return Applied(revision, draft.changed, draft.after, draft.notes)


def _stored(item: Item) -> Stored:
    document = msgspec.json.decode(item.value, type=dict)
    return Stored(key_from_path(item.key), document, item.modified)
