"""One transaction in etcd: compares, writes, and the reason if it is refused.

Every transaction needs `head` as it was created: an etcd that was emptied or is another cluster's
takes none. `head` holds the highest fencing token, and is written with every transaction.

etcd compares 64 keys here at most. Of a transaction that expects more, all keys are read at one
revision and compared here; then it needs `head` unchanged since. Other writes of this store wait
meanwhile. A lease that ends writes no `head`, so keys with a lease are compared by etcd always.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import grpc

from katgen.leader.store import (
    ConflictError,
    FencedError,
    LeaseError,
    StoreError,
    TooLargeError,
    Transaction,
)
from katgen.leader.store.etcd_api import kv_pb2
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_aside import Aside
from katgen.leader.store.etcd_calls import TIME_TO_LIVE, TXN, Calls, RefusedCallError
from katgen.leader.store.etcd_keys import (
    COMPARES,
    MAX_REQUEST,
    Space,
    created_at,
    deleting,
    flat,
    is_there,
    looking,
    marking,
    modified_at,
    packed,
    pointer,
    putting,
    raising,
    token_below,
    written,
)
from katgen.leader.store.etcd_reads import Reads, looked

FEW: Final = COMPARES - 4
"""Keys that etcd compares; the rest are `head`'s and an intent's."""
_TRIES: Final = 20
_POINTER_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Cluster:
    """What stands for a cluster in etcd. `born` is the revision at which its head was created."""

    space: Space
    born: int


@dataclass(frozen=True, slots=True)
class Written:
    """The revision that a transaction has, and whether any item has changed."""

    revision: int
    is_change: bool


@dataclass(frozen=True, slots=True)
class _Draft:
    """What becomes of a transaction: etcd's values to put, keys to delete, revisions to compare."""

    transaction: Transaction
    puts: Mapping[str, bytes]
    deletes: Sequence[bytes]
    expected: Mapping[bytes, int]
    intent: bytes = b""


class Commits:
    """Writes transactions."""

    def __init__(self, calls: Calls, reads: Reads, cluster: Cluster, aside: Aside) -> None:
        self._calls, self._reads, self._aside = calls, reads, aside
        self._space, self._born = cluster.space, cluster.born
        self._alone = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()

    async def carry_out(self, transaction: Transaction) -> Written:
        """Carry out a transaction that is in order. Raises as Store.commit does."""
        if len(transaction.expected) <= FEW:
            await self._open.wait()
            return await self._tried(transaction)
        async with self._alone:
            self._open.clear()
            try:
                return await self._tried(transaction)
            finally:
                self._open.set()

    async def _tried(self, transaction: Transaction) -> Written:
        for _ in range(_TRIES):
            draft = await self._drafted(transaction)
            request = await self._request(draft)
            answer = await self._ask(request, transaction.lease)
            if answer.succeeded:
                deleted = (one.response_delete_range.deleted for one in flat(answer.responses))
                # An intent is deleted too, but then something is put as well.
                return Written(answer.header.revision, bool(transaction.puts) or any(deleted))
            await self._refuse(transaction, draft.expected, looked(answer.responses))
        raise StoreError("others write to this cluster in etcd all the time: nothing was written")

    async def _ask(self, request: pb.TxnRequest, lease: int) -> pb.TxnResponse:
        try:
            return await self._calls.ask(TXN, request)
        except RefusedCallError as err:
            if lease and err.code is grpc.StatusCode.NOT_FOUND:
                raise LeaseError(f"the lease {lease} is gone") from err
            raise

    async def _drafted(self, transaction: Transaction) -> _Draft:
        expected = {self._space.item(key): n for key, n in transaction.expected.items()}
        if len(expected) > FEW:
            expected = await self._compared(transaction)
        gone = [self._space.item(key) for key in sorted(set(transaction.deletes))]
        if gone and not transaction.puts:
            there = await self._reads.each(gone, keys_only=True)
            gone = gone if there.items else []
        puts = {key: written(value) for key, value in sorted(transaction.puts.items())}
        return _Draft(transaction, puts, gone, expected)

    async def _compared(self, transaction: Transaction) -> dict[bytes, int]:
        """Compare many keys here; return what etcd is to compare then."""
        keys = {self._space.item(key): n for key, n in transaction.expected.items()}
        found = await self._reads.each([self._space.head, *keys], keys_only=False)
        await self._refuse(transaction, keys, found.items)
        there = {one.key: one for one in found.items}
        leased = {key: n for key, n in keys.items() if key in there and there[key].lease}
        if len(leased) >= FEW:
            raise TooLargeError(f"{len(leased)} expected keys have a lease, {FEW - 1} may")
        return {**leased, self._space.head: _modified(there, self._space.head)}

    async def _request(self, draft: _Draft) -> pb.TxnRequest:
        """Return the request; what makes it too large is put aside first."""
        request = self._built(draft)
        excess = request.ByteSize() - MAX_REQUEST
        if excess <= 0:
            return request
        large = _largest(draft.puts, excess)
        values = {key: draft.transaction.puts[key] for key in large}
        number = await self._aside.put(values)
        puts = {**draft.puts, **dict.fromkeys(large, pointer(number))}
        request = self._built(replace(draft, puts=puts, intent=self._space.intent(number)))
        if request.ByteSize() > MAX_REQUEST:
            keys = len(draft.puts) + len(draft.deletes)
            raise TooLargeError(f"{keys} keys are too many for one transaction in etcd")
        return request

    def _built(self, draft: _Draft) -> pb.TxnRequest:
        token, lease = draft.transaction.token, draft.transaction.lease
        compare = [created_at(self._space.head, self._born)]
        compare += [token_below(self._space.head, token + 1)] if token else []
        compare += [modified_at(key, n) for key, n in draft.expected.items()]
        compare += [is_there(draft.intent)] if draft.intent else []
        puts = [putting(self._space.item(key), one, lease) for key, one in draft.puts.items()]
        writes = [*puts, *map(deleting, draft.deletes)]
        if writes:
            writes += [marking(self._space.head, token)]
            writes += [deleting(draft.intent)] if draft.intent else []
        elif token:
            writes = [raising(self._space.head, token)]
        others = [key for key in draft.expected if key != self._space.head]
        looks = [looking(self._space.head, keys_only=False), *map(looking, others)]
        return pb.TxnRequest(compare=compare, success=packed(writes), failure=packed(looks))

    async def _refuse(
        self,
        transaction: Transaction,
        expected: Mapping[bytes, int],
        found: Iterable[kv_pb2.KeyValue],
    ) -> None:
        """Raise why a transaction is refused, if what was found of `expected` tells."""
        there = {one.key: one for one in found}
        head = there.get(self._space.head)
        if head is None or head.create_revision != self._born:
            raise StoreError("etcd has lost this cluster: it was emptied, or an old state is back")
        highest = int.from_bytes(head.value, "big")
        if transaction.token and transaction.token < highest:
            raise FencedError(f"the token {highest} has written, {transaction.token} is old")
        wrong = [raw for raw, n in expected.items() if _modified(there, raw) != n]
        wrong = [raw for raw in wrong if raw != self._space.head]
        if wrong:
            await self._refuse_lease(transaction.lease)
            raise ConflictError(sorted(map(self._space.key, wrong)))

    async def _refuse_lease(self, lease: int) -> None:
        if not lease:
            return
        answer = await self._calls.ask(TIME_TO_LIVE, pb.LeaseTimeToLiveRequest(ID=lease))
        if answer.TTL <= 0:
            raise LeaseError(f"the lease {lease} is gone")


def _modified(there: Mapping[bytes, kv_pb2.KeyValue], key: bytes) -> int:
    return there[key].mod_revision if key in there else 0


def _largest(values: Mapping[str, bytes], excess: int) -> list[str]:
    """Return the keys of the largest values, so many that without them it is `excess` less."""
    keys = []
    for key in sorted(values, key=lambda key: len(values[key]), reverse=True):
        if excess <= 0:
            break
        keys.append(key)
        excess -= len(values[key]) - _POINTER_BYTES
    return keys
