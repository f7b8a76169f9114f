"""Who is ready, as agents say it (spec §6.3): kept in memory, passed on to whom it concerns.

Nothing of this makes a plan or is stored: after a restart agents say it again. Only the node where
an instance runs speaks of it; the last word stands until that node says another.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from katgen.endpoints import DRAINING, READY
from katgen.leader import events
from katgen.leader.agents.received import NOTES_MAX
from katgen.leader.clock import Clock, until_first
from katgen.leader.cluster import Cluster
from katgen.leader.endpoints.fanout import Draining, Subscriber
from katgen.leader.endpoints.places import Places, namespace_of
from katgen.leader.events import Happening
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.protocol import EndpointKnown, EndpointRecord, EndpointRecords, Note, ToAgent

BATCH_S: Final = 0.05
"""What comes so soon after a batch goes together with the next."""
EARLY_MAX: Final = 10_000
"""Records that one node may send before it is known what runs where."""

_LOG: Final = logging.getLogger(__name__)


class Chronicle(Protocol):
    """Where events go (`katgen.leader.events.Chronicle`)."""

    def record(self, *happenings: Happening) -> None:
        """Take note."""


class Endpoints:
    """Sessions call `arrived`, `left`, `told` and `taken`; `tell` sends a node a message."""

    def __init__(
        self,
        tell: Callable[[NodeName, ToAgent], None],
        cluster: Cluster,
        clock: Clock,
        chronicle: Chronicle,
    ) -> None:
        self._tell, self._cluster, self._clock = tell, cluster, clock
        self._chronicle = chronicle
        self._places = Places()
        self._records: dict[InstanceKey, EndpointRecord] = {}
        self._owners: dict[InstanceKey, NodeName] = {}
        self._nodes: dict[NodeName, Subscriber] = {}
        self._early: dict[NodeName, EndpointRecords] = {}
        self._known_of: set[NodeName] = set()
        """Nodes that have told of all their instances since this leader began."""
        self._draining = Draining(self._known)
        self._news = asyncio.Event()

    # -- what sessions say

    def arrived(self, node: NodeName) -> None:
        """Take note that a node begins anew: what it said before may be from before its boot."""
        self._follow_plan()
        self._early.pop(node, None)
        self._cluster.spoken.discard(node)
        self._subscribe(node)

    def _subscribe(self, node: NodeName) -> None:
        """Have a node hear all that concerns it.

        That this is all there is, it hears only if every node has spoken since this leader began:
        what others know of a node that has not must stay.
        """
        others = self._places.owners() - {node}
        made = self._nodes[node] = Subscriber(is_full=bool(others) and others <= self._known_of)
        made.pending = {
            one: record
            for one, record in self._records.items()
            if self._owners[one] != node and self._places.concerns(node, one)
        }
        self._news.set()

    def left(self, node: NodeName) -> None:
        """Send a node nothing any more; what it said stands, until it says more."""
        self._nodes.pop(node, None)
        self._cluster.spoken.discard(node)
        self._draining.left(node)

    def told(self, node: NodeName, said: EndpointRecords) -> None:
        """Take in what a node says of its own instances, and pass it on."""
        self._follow_plan()
        if self._places.rendered is None:  # it is not known yet what runs where
            before = self._early.get(node, EndpointRecords(()))
            self._early[node] = EndpointRecords(
                (*before.records, *said.records)[-EARLY_MAX:],
                notes=(*before.notes, *said.notes)[-NOTES_MAX:],
            )
            return
        every = {o.instance for o in said.records} | {o.instance for o in said.notes}
        strange = {one for one in every if not self._places.may_speak(node, one)}
        if strange:
            fields = {"node": node, "instance": min(strange), "count": len(strange)}
            _LOG.warning(
                "a node speaks of what it does not run, ignoring", extra={"fields": fields}
            )
        for one in said.records:
            if one.instance not in strange:
                self._take(node, one)
        self._chronicle.record(*(_noted(node, n) for n in said.notes if n.instance not in strange))
        if said.full:
            self._known_of.add(node)
            if node in self._nodes:
                self._cluster.spoken.add(node)
            self._cluster.may_step()
        self._cluster.notify()
        self._news.set()

    def taken(self, node: NodeName, number: int) -> None:
        """Take in that news hold on a node."""
        subscriber = self._nodes.get(node)
        if subscriber is not None:
            self._draining.taken(node, subscriber.taken(number))
            self._news.set()

    def _take(self, node: NodeName, record: EndpointRecord) -> None:
        known = self._records.get(record.instance)
        if known is not None and known.boot == record.boot:
            if record.sequence < known.sequence:
                return
            if record.sequence == known.sequence and record.state != DRAINING:
                return
        self._records[record.instance], self._owners[record.instance] = record, node
        before = self._cluster.endpoints.get(record.instance, "")
        self._cluster.endpoints[record.instance] = record.state
        if record.state != before:
            self._cluster.may_step(_workload_of(record.instance))
        self._chronicle.record(*_happenings(node, record, before))
        heard_by = (n for n in self._nodes if n != node)
        others = [n for n in heard_by if self._places.concerns(n, record.instance)]
        for one in others:
            self._nodes[one].pending[record.instance] = record
        if record.state == DRAINING:
            self._draining.ask(node, record, others, self._clock.monotonic())

    def _known(self, owner: NodeName, record: EndpointRecord) -> None:
        self._tell(owner, EndpointKnown(record.instance, record.boot, record.sequence))

    # -- the plan

    def _follow_plan(self) -> None:
        """Forget what no plan has, and have nodes hear of namespaces that are new to them."""
        rendered, before = self._cluster.rendered, self._places.rendered
        if rendered is not None and rendered is not before:
            news = self._places.replace(rendered, self._cluster.mark)
            if before is None:
                self._begin()
            elif news:
                self._introduce(news)
            if before is not None and before.nodes.keys() - rendered.nodes.keys():
                lost = [k for k, node in self._owners.items() if node not in rendered.nodes]
                self._forget(lost)
        self._forget(self._places.gone(self._cluster.applied))

    def _begin(self) -> None:
        """Take in what was said before it was known what runs where."""
        early, self._early = self._early, {}
        for node, said in early.items():
            self.told(node, EndpointRecords(said.records, full=True, notes=said.notes))
        for node in [*self._nodes]:
            self._subscribe(node)

    def _introduce(self, news: Mapping[NodeName, frozenset[str]]) -> None:
        for node, namespaces in news.items():
            subscriber = self._nodes.get(node)
            if subscriber is None:
                continue
            for one, record in self._records.items():
                if namespace_of(one) in namespaces and self._owners[one] != node:
                    subscriber.pending[one] = record

    def _forget(self, instances: Iterable[InstanceKey]) -> None:
        for one in instances:
            self._records.pop(one, None)
            self._owners.pop(one, None)
            self._cluster.endpoints.pop(one, None)
            for subscriber in self._nodes.values():
                subscriber.pending.pop(one, None)

    # -- on their way

    async def run(self) -> None:
        """Send what there is to say, and keep up with the plan, for ever."""
        while True:
            self._news.clear()
            self._follow_plan()
            now = self._clock.monotonic()
            self._draining.forget(now)
            waits = [self._send(node, one, now) for node, one in [*self._nodes.items()]]
            await self._clock.sleep(BATCH_S)
            await self._until_news(min((one for one in waits if one), default=0.0))

    def _send(self, node: NodeName, subscriber: Subscriber, now: float) -> float:
        """Send what may be sent, and return for how long the rest has to wait."""
        subscriber.forget_sent(now)
        news = subscriber.news(now)
        if news is not None:
            self._tell(node, news)
        return subscriber.wait_s(now) if subscriber.pending else 0.0

    async def _until_news(self, at_most_s: float) -> None:
        late_s = at_most_s or None
        await until_first(self._clock, late_s, news=self._news.wait(), plan=self._until_planned())

    async def _until_planned(self) -> None:
        """Wait for another plan, or for a node that follows one."""
        cluster, places = self._cluster, self._places
        while cluster.rendered is places.rendered and not places.is_over(cluster.applied):
            await cluster.changed()


def _noted(node: NodeName, note: Note) -> Happening:
    workload = WorkloadKey(note.instance.rpartition("/")[0])
    return events.of_workload(workload, note.reason, f"{note.instance}: {note.text}", node)


def _workload_of(instance: InstanceKey) -> WorkloadKey:
    return WorkloadKey(instance.rpartition("/")[0])


def _happenings(node: NodeName, record: EndpointRecord, before: str) -> Iterable[Happening]:
    """Yield what people are to hear: who becomes ready, and who is so no more.

    One that is not ready yet is no news: everyone begins so.
    """
    workload = _workload_of(record.instance)
    if record.state == READY and before != READY:
        yield events.of_workload(workload, "Ready", f"{record.instance} is ready", node)
    elif before == READY and record.state != READY:
        word = "drains" if record.state == DRAINING else "is not ready any more"
        reason = "Draining" if record.state == DRAINING else "NotReady"
        yield events.of_workload(workload, reason, f"{record.instance} {word}", node)
