"""Reading etcd: ranges page by page, all of one revision."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from katgen.leader.store import CompactedError
from katgen.leader.store.etcd_api import kv_pb2
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_calls import RANGE, READ_TXN, A, Calls, Method, Q, RefusedCallError
from katgen.leader.store.etcd_keys import flat, packed

_PAGE_BYTES: Final = 4 * 2**20
"""What an answer may have, roughly; etcd counts items, not bytes."""
_PAGE_ITEMS: Final = (100, 5000)
"""Of the first page, and of any."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of keys, `end` left out, and what of it is wanted."""

    key: bytes
    end: bytes
    keys_only: bool = False
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a range had at a revision; `more`: a limit cut it."""

    items: tuple[kv_pb2.KeyValue, ...]
    revision: int
    more: bool = False


class Reads:
    """Reads at one revision; `of` is that revision, or 0 for the present one."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def span(self, span: Span, of: int = 0) -> Found:
        """Return what is in a range. Raises CompactedError, StoreError."""
        found: list[kv_pb2.KeyValue] = []
        begin, size, revision = span.key, _PAGE_ITEMS[0], of
        while True:
            left = span.limit - len(found) if span.limit else size
            request = pb.RangeRequest(
                key=begin,
                range_end=span.end,
                revision=revision,
                limit=min(size, left),
                keys_only=span.keys_only,
            )
            answer = await self._asked(RANGE, request, revision)
            revision = revision or answer.header.revision
            found += answer.kvs
            is_full = span.limit != 0 and len(found) >= span.limit
            if not answer.more or is_full:
                return Found(tuple(found), revision, answer.more)
            begin = found[-1].key + b"\0"
            mean = 1 + answer.ByteSize() // len(answer.kvs)
            size = max(1, min(_PAGE_ITEMS[1], _PAGE_BYTES // mean))

    async def each(self, keys: Sequence[bytes], *, keys_only: bool, of: int = 0) -> Found:
        """Return those of some keys that are there."""
        ranges = (pb.RangeRequest(key=key, keys_only=keys_only, revision=of) for key in keys)
        looks = [pb.RequestOp(request_range=one) for one in ranges]
        answer = await self._asked(READ_TXN, pb.TxnRequest(success=packed(looks)), of)
        return Found(tuple(looked(answer.responses)), of or answer.header.revision)

    async def _asked(self, method: Method[Q, A], request: Q, of: int) -> A:
        try:
            return await self._calls.ask(method, request)
        except RefusedCallError as err:
            if err.code is grpc.StatusCode.OUT_OF_RANGE:
                raise CompactedError(of + 1) from err
            raise


def looked(answers: Sequence[pb.ResponseOp]) -> Iterable[kv_pb2.KeyValue]:
    """Yield what looks at keys have found."""
    for answer in flat(answers):
        yield from answer.response_range.kvs
