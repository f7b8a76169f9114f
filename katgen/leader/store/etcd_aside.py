"""Values that do not fit in their transaction: written aside before, and taken in by it.

etcd takes 1.5 MiB in one request by default, and the first plan of a large cluster has more. Its
largest values are then written to keys of their own, in as many requests as they need, and the
transaction writes where they are. So it is one transaction all the same: whoever reads sees all of
it or nothing. A value aside never changes, and is there at every revision at which something points
to it; so the two are always read at one revision.

An intent says that values are on their way. It has a lease; the transaction needs it and ends it.
Once it is gone, its values belong to items, or to nobody and are swept away.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from katgen.leader.store import Change, Item, StoreError
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_calls import GRANT, TXN, Calls
from katgen.leader.store.etcd_keys import (
    COMPARES,
    Space,
    below,
    deleting,
    is_there,
    pointed,
    putting,
    read,
)
from katgen.leader.store.etcd_reads import Reads, Span

INTENT_S: Final = 60
"""How long values may be on their way."""
_BATCH: Final = 2**20
"""Bytes of values in one request."""

Valued = TypeVar("Valued", Item, Change)


class Aside:
    """Knows the values aside of one cluster. `is_dirty`: some may belong to nobody."""

    def __init__(self, calls: Calls, reads: Reads, space: Space) -> None:
        self._calls, self._reads, self._space = calls, reads, space
        self._pointing: set[str] = set()
        self.is_dirty = True

    async def resolved(self, found: Sequence[Valued], of: int) -> tuple[Valued, ...]:
        """Return what was read at a revision, with its values. May raise CompactedError."""
        wanted: dict[str, list[str]] = {}
        for one in found:
            if number := pointed(one.value or b""):
                wanted.setdefault(number, []).append(one.key)
        values = [await self._values(number, keys, of) for number, keys in wanted.items()]
        aside = {key: value for some in values for key, value in some.items()}
        return tuple(_valued(one, aside) for one in found)

    def note(self, changes: Iterable[Change]) -> None:
        """Take note of changes, as they are in etcd: they may leave a value behind."""
        for one in changes:
            if one.key in self._pointing:
                self._pointing.discard(one.key)
                self.is_dirty = True
            if pointed(one.value or b""):
                self._pointing.add(one.key)

    async def put(self, values: Mapping[str, bytes]) -> str:
        """Write values aside, and return their number. Raises StoreError."""
        self.is_dirty = True
        number = secrets.token_hex(8)
        intent = self._space.intent(number)
        granted = await self._calls.ask(GRANT, pb.LeaseGrantRequest(TTL=INTENT_S))
        begun = [putting(intent, b"", granted.ID)]
        await self._calls.ask(TXN, pb.TxnRequest(success=begun))
        for batch in _batches(values):
            puts = [putting(self._space.aside(number, key), values[key]) for key in batch]
            request = pb.TxnRequest(compare=[is_there(intent)], success=puts)
            if not (await self._calls.ask(TXN, request)).succeeded:
                raise StoreError(f"etcd took longer than {INTENT_S} s for a large transaction")
        return number

    async def sweep(self) -> None:
        """Delete the values of nobody. May raise CompactedError; then repeat it."""
        self.is_dirty = False
        try:
            await self._sweep()
        except BaseException:
            self.is_dirty = True
            raise

    async def _sweep(self) -> None:
        space = self._space
        asides = await self._reads.span(Span(*below(space.asides), keys_only=True))
        of = asides.revision
        intents = await self._reads.span(Span(*below(space.intents), keys_only=True), of)
        begun = {space.intended(one.key) for one in intents.items}
        self.is_dirty = bool(begun)  # they come to some end
        settled = [one.key for one in asides.items if space.put_aside(one.key)[0] not in begun]
        for at in range(0, len(settled), COMPARES):
            left = await self._of_nobody(settled[at : at + COMPARES], of)
            if left:
                await self._calls.ask(TXN, pb.TxnRequest(success=list(map(deleting, left))))

    async def _of_nobody(self, raws: Sequence[bytes], of: int) -> list[bytes]:
        """Return which values aside no item has."""
        where = {raw: self._space.put_aside(raw) for raw in raws}
        keys = [self._space.item(key) for _, key in where.values()]
        items = (await self._reads.each(sorted(set(keys)), keys_only=False, of=of)).items
        had = {(pointed(one.value), self._space.key(one.key)) for one in items}
        self._pointing |= {key for number, key in where.values() if (number, key) in had}
        return [raw for raw, place in where.items() if place not in had]

    async def _values(self, number: str, keys: Sequence[str], of: int) -> dict[str, bytes]:
        raws = {self._space.aside(number, key): key for key in keys}
        span = Span(min(raws), max(raws) + b"\0")
        found = (await self._reads.span(span, of)).items
        values = {raws[one.key]: one.value for one in found if one.key in raws}
        missing = sorted(raws.values() - values.keys())
        if missing:
            raise StoreError(f"etcd has lost the value of {missing[0]}: restore a backup of it")
        return values


def _valued(one: Valued, aside: Mapping[str, bytes]) -> Valued:
    if one.value is None or not one.value.startswith(b"\0"):
        return one
    return replace(one, value=aside[one.key] if pointed(one.value) else read(one.value))


def _batches(values: Mapping[str, bytes]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for key, value in values.items():
        if batch and (size + len(value) > _BATCH or len(batch) == COMPARES):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += len(value)
    if batch:
        yield batch
