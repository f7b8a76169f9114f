"""Which nodes are there: a node that has had no session for too long is NotReady.

Heartbeats live in memory; the store hears of a change of condition alone (spec §6.1).
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from katgen.leader.clock import Clock, shown_time, until_first
from katgen.leader.cluster import Cluster
from katgen.leader.events import Chronicle, Happening
from katgen.leader.store import Store, StoreError, Transaction
from katgen.names import NodeName

_LOG: Final = logging.getLogger(__name__)
PREFIX: Final = "nodes/"
DEFAULT_TIMEOUT_S: Final = 60.0
RETURN_S: Final = 10.0
"""How long a change waits for a node that was here: agents come again within seconds."""


class Condition(msgspec.Struct, frozen=True):
    """Ready or NotReady, and since when (RFC 3339)."""

    condition: str
    since: str


@dataclass(eq=False, slots=True)
class Roll:
    """Call `left` and `arrived` as sessions end and begin."""

    store: Store
    clock: Clock
    cluster: Cluster
    chronicle: Chronicle
    _absent: dict[NodeName, float] = field(default_factory=dict)
    _unwritten: dict[NodeName, Condition] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, nodes: Iterable[NodeName]) -> None:
        """Give nodes a full timeout from now on: a new leader has heard of none yet."""
        for node in nodes:
            self.left(node)

    def left(self, node: NodeName) -> None:
        """Take note that a node has no session."""
        self._absent[node] = self.clock.monotonic()
        self._news.set()

    def arrived(self, node: NodeName) -> None:
        """Take note that a node has a session."""
        self._absent.pop(node, None)
        if node in self.cluster.not_ready:
            self.cluster.not_ready.discard(node)
            self._turned(node, "Ready", "the node is connected again")

    def _turned(self, node: NodeName, condition: str, message: str) -> None:
        self._unwritten[node] = Condition(condition, shown_time(self.clock.now()))
        self.chronicle.record(Happening("", "Node", node, f"Node{condition}", message, node))
        self.cluster.may_step()
        self.cluster.notify()
        self._news.set()

    async def returned(self) -> bool:
        """Wait a moment if nobody is connected but somebody may be back soon; whether one is."""
        until = self.clock.monotonic() + RETURN_S
        while not self.cluster.connected and self._absent:
            left_s = until - self.clock.monotonic()
            if left_s <= 0:
                break
            await self.cluster.news(self.clock, left_s)
        return bool(self.cluster.connected)

    async def run(self) -> None:
        """Mark nodes and write it down, for ever."""
        while True:
            self._news.clear()
            self._mark()
            await self._write()
            await self._until_due()

    def _timeout_s(self) -> float:
        plan = self.cluster.plan
        return plan.specs.cluster.spec.node_loss_timeout_seconds if plan else DEFAULT_TIMEOUT_S

    def _mark(self) -> None:
        now, timeout_s = self.clock.monotonic(), self._timeout_s()
        for node in [n for n, at in self._absent.items() if now - at >= timeout_s]:
            del self._absent[node]
            self.cluster.not_ready.add(node)
            self._turned(node, "NotReady", f"the node has had no connection for {timeout_s:g} s")

    async def _write(self) -> None:
        puts = {f"{PREFIX}{n}": msgspec.json.encode(one) for n, one in self._unwritten.items()}
        if not puts:
            return
        written = dict(self._unwritten)
        try:
            await self.store.commit(Transaction(puts))
        except StoreError as err:
            _LOG.warning("a node's condition cannot be written, later then: %s", err)
            return
        for node, one in written.items():
            if self._unwritten.get(node) is one:
                del self._unwritten[node]

    async def _until_due(self) -> None:
        if not self._absent:
            await self._news.wait()
            return
        due = min(self._absent.values()) + self._timeout_s()
        late_s = max(0.0, due - self.clock.monotonic())
        await until_first(self.clock, late_s, news=self._news.wait())
