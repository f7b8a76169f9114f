"""The store in an etcd of the user's own: the cluster's keys below `/kat/<cluster uid>/`.

Revisions are etcd's. If others write to the same etcd, some belong to none of our transactions.
"""

import asyncio
import logging
import math
import re
from contextlib import suppress
from typing import Final, Self

from katgen.leader.store import (
    CompactedError,
    Item,
    LeaseError,
    Listing,
    Store,
    StoreError,
    Transaction,
)
from katgen.leader.store.etcd_api import rpc_pb2 as pb
from katgen.leader.store.etcd_aside import Aside
from katgen.leader.store.etcd_calls import (
    COMPACT,
    GRANT,
    RANGE,
    REVOKE,
    STATUS,
    TXN,
    Calls,
    Members,
    RefusedCallError,
)
from katgen.leader.store.etcd_commit import Cluster, Commits
from katgen.leader.store.etcd_keys import Space, below, founding, item
from katgen.leader.store.etcd_reads import Reads, Span
from katgen.leader.store.etcd_watch import Stream
from katgen.leader.store.feed import Watcher
from katgen.leader.store.leases import BootClock, LeaseClock, Leases
from katgen.leader.store.limits import Memory, check

OLDEST: Final = (3, 5, 8)
"""Older ones say of a watch that it has shown everything when it has not."""
UPKEEP_S: Final = 60.0
_LOG: Final = logging.getLogger(__name__)


class EtcdStore(Store):
    """Made by `open`. Belongs to the event loop that it was opened on."""

    def __init__(self, calls: Calls, cluster: Cluster, clock: LeaseClock, memory: Memory) -> None:
        self._calls, self._space = calls, cluster.space
        self._reads = Reads(calls)
        self._aside = Aside(calls, self._reads, cluster.space)
        self._commits = Commits(calls, self._reads, cluster, self._aside)
        self._stream = Stream(calls, cluster.space, self._aside, memory)
        self._leases = Leases(clock, self._end)
        self._compacted = 0
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._is_closing = False

    @classmethod
    async def open(
        cls,
        members: Members,
        uid: str,
        *,
        found: bool = False,
        clock: LeaseClock | None = None,
        memory: Memory | None = None,
    ) -> Self:
        """Connect to the etcd that has a cluster; `found` begins it there, if it is not.

        Raises StoreError: no member answers, it is too old, or it does not have the cluster.
        """
        calls = Calls(members)
        try:
            await _refuse_if_old(calls)
            space = Space(uid)
            if found:
                await calls.ask(TXN, founding(space.head))
            head = await calls.ask(RANGE, pb.RangeRequest(key=space.head))
            cluster = _cluster(space, head, f"the etcd at {calls.where} has nothing of {uid}")
            store = cls(calls, cluster, clock or BootClock(), memory or Memory())
        except BaseException:
            await calls.close()
            raise
        store._start(head.header.revision)
        return store

    def _start(self, revision: int) -> None:
        self._stream.reached = revision
        self._tasks = (
            asyncio.create_task(self._stream.run(), name="store watch"),
            asyncio.create_task(self._upkeep(), name="store upkeep"),
        )
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a task that is not there any more. It ends with the store alone."""
        if not self._is_closing:
            fault = None if task.cancelled() else task.exception()
            _LOG.critical("the %s has ended, restart the leader", task.get_name(), exc_info=fault)
            self._stream.close()

    async def get(self, key: str) -> Item | None:
        """See Store."""
        raw = self._space.item(key)
        found = await self._listed(Span(raw, raw + b"\0"))
        return found.items[0] if found.items else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Listing:
        """See Store."""
        begin, end = below(self._space.items + prefix)
        if after:
            begin = max(begin, self._space.item(after) + b"\0")
        if begin >= end:
            return Listing((), (await self._reads.span(Span(self._space.head, b""))).revision)
        return await self._listed(Span(begin, end, limit=limit))

    async def _listed(self, span: Span) -> Listing:
        while True:
            try:
                found = await self._reads.span(span)
                items = [item(self._space, one) for one in found.items]
                resolved = await self._aside.resolved(items, found.revision)
            except CompactedError:
                continue  # it took so long that its revision is gone: read anew
            return Listing(resolved, found.revision, found.more)

    async def commit(self, transaction: Transaction) -> int:
        """See Store. Besides, StoreError is raised if its own watch does not show the change."""
        check(transaction)
        self._calls.refuse_if_closed()
        lease = transaction.lease
        if self._leases.is_known(lease) and not self._leases.is_alive(lease):
            raise LeaseError(f"the lease {lease} is gone")
        done = await self._commits.carry_out(transaction)
        if done.is_change:
            await self._stream.shown(done.revision)
        return done.revision

    def watch(self, prefix: str, after: int) -> Watcher:
        """See Store."""
        return self._stream.feed.watch(prefix, after)

    async def compact(self, revision: int) -> None:
        """See Store. It is the whole etcd that forgets, also what others have in it."""
        current = (await self.list("", limit=1)).revision
        await self._compact(min(revision, current))

    async def grant(self, ttl_s: float) -> int:
        """See Store. The time of a lease is counted here; etcd ends it if nobody is here."""
        begun = self._leases.now()
        answer = await self._calls.ask(GRANT, pb.LeaseGrantRequest(TTL=max(1, math.ceil(ttl_s))))
        self._leases.add(answer.ID, ttl_s, begun)
        return answer.ID

    async def keep_alive(self, lease: int) -> bool:
        """See Store."""
        self._calls.refuse_if_closed()
        begun = self._leases.now()
        if self._leases.is_known(lease) and not self._leases.is_alive(lease):
            return False
        if await self._calls.keep_alive(lease) > 0:
            return self._leases.renew(lease, begun) or not self._leases.is_known(lease)
        self._leases.drop(lease)
        return False

    async def revoke(self, lease: int) -> None:
        """See Store."""
        await self._end(lease)
        self._leases.drop(lease)

    async def close(self) -> None:
        """See Store."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await self._leases.close()
        self._stream.close()
        await self._calls.close()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, StoreError):
                await task

    async def _end(self, lease: int) -> None:
        try:
            await self._calls.ask(REVOKE, pb.LeaseRevokeRequest(ID=lease))
        except RefusedCallError as err:
            if "lease not found" not in err.said:
                raise

    async def _upkeep(self) -> None:
        """Have etcd forget what nobody is promised, and values of nobody."""
        while True:
            try:
                if self._aside.is_dirty:
                    await self._aside.sweep()
                await self._compact(self._stream.bounds.oldest)
            except (StoreError, CompactedError) as err:
                _LOG.warning("the upkeep of etcd is put off: %s", err)
            except Exception:  # noqa: BLE001 -- without it etcd would grow for ever
                self._calls.refuse_if_closed()
                _LOG.exception("the upkeep of etcd failed, trying again in %g s", UPKEEP_S)
            await asyncio.sleep(UPKEEP_S)

    async def _compact(self, revision: int) -> None:
        """Let etcd keep one revision more than is promised (see `etcd_watch`)."""
        self._stream.bounds.forget(revision)
        last = revision - 1
        if last <= self._compacted:
            return
        try:
            await self._calls.ask(COMPACT, pb.CompactionRequest(revision=last))
        except RefusedCallError as err:
            if "compacted" not in err.said:
                raise
        self._compacted = last


def _cluster(space: Space, head: pb.RangeResponse, missing: str) -> Cluster:
    if not head.kvs:
        raise StoreError(f"{missing}: it is another one, or was emptied; then restore its backup")
    return Cluster(space, head.kvs[0].create_revision)


async def _refuse_if_old(calls: Calls) -> None:
    version = (await calls.ask(STATUS, pb.StatusRequest())).version
    found = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if found < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise StoreError(f"the etcd at {calls.where} is {version}; KAT needs {least} or later")
