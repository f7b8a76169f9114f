"""The cluster as the leader sees it now, in memory: written by the loop, read by the API."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from katgen import names
from katgen.endpoints import READY
from katgen.leader.agents.bundles import Bundles
from katgen.leader.answers import HeldBack, Instance, Status, WorkloadStatus
from katgen.leader.clock import Clock, shown_time, until_first
from katgen.leader.holds import Hold, Reason
from katgen.leader.instances import Units, instances, units_of
from katgen.leader.planstore import Committed
from katgen.leader.rollouts.steady import Run
from katgen.leader.rollouts.workloads import Sight, rollout
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.planned import Plan
from katgen.protocol import BundleAnswer, Facts, Report
from katgen.quantity import cpu_text, memory_text
from katgen.render.cluster import Rendered

REMEMBERED: Final = 1000
"""Changes of objects whose workloads are known, for who asks how far they are."""


@dataclass(eq=False, slots=True)
class Cluster:
    """See the module. Whoever changes something calls `notify`.

    `heard` is when a node was last heard of, Unix seconds; `applied` is the (epoch, generation)
    that it said it has. `pending` says what workloads wait for that are in no proposal yet, `unfit`
    what nodes said that could not take the last one.
    `activity` is what the loop does now (resolving, proposing or nothing), `proposed` the number of
    the plan that it proposes, `trouble` why it does not get on. All changes of objects up to the
    store's revision `seen` are known, with `wanted` as the workloads that are stored; those up to
    `considered` have been acted on, except for the workloads in `left`. `is_short`: somebody waits
    for a number that rests.
    """

    committed: Committed | None = None
    rendered: Rendered | None = None
    bundles: Bundles = field(init=False)
    reports: dict[NodeName, Report] = field(default_factory=dict)
    facts: dict[NodeName, Facts] = field(default_factory=dict)
    heard: dict[NodeName, float] = field(default_factory=dict)
    applied: dict[NodeName, tuple[int, int]] = field(default_factory=dict)
    connected: frozenset[NodeName] = frozenset()
    not_ready: set[NodeName] = field(default_factory=set)
    holds: Mapping[WorkloadKey, Hold] = field(default_factory=dict)
    pending: Mapping[WorkloadKey, str] = field(default_factory=dict)
    unfit: Mapping[NodeName, str] = field(default_factory=dict)
    doubted: dict[NodeName, str] = field(default_factory=dict)
    """Nodes that report what no plan can use, with the reason; what was known of them stays."""
    activity: str = ""
    trouble: str = ""
    is_short: bool = False
    proposed: int = 0
    seen: int = 0
    considered: int = 0
    wanted: Collection[WorkloadKey] = frozenset()
    left: frozenset[WorkloadKey] = frozenset()
    runs: dict[NodeName, Mapping[InstanceKey, Run]] = field(default_factory=dict)
    endpoints: dict[InstanceKey, str] = field(default_factory=dict)
    """The last state that agents told of instances: `katgen.endpoints`."""
    spoken: set[NodeName] = field(default_factory=set)
    """Nodes that have told the states of all their instances in the session that they have."""
    rolling: Mapping[WorkloadKey, str] = field(default_factory=dict)
    """Workloads whose instances are being replaced step by step, and why one stands still."""
    on_step: Callable[[], None] = lambda: None
    """Called when a rollout may go on; what else is said of instances makes no plan."""
    _pending_since: Mapping[WorkloadKey, float] = field(default_factory=dict)
    _requests: dict[int, str] = field(default_factory=dict)
    _touched: dict[int, frozenset[WorkloadKey]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Offer bundles for as long as one of the nodes here may ask for them."""
        self.bundles = Bundles(self._had_by_all)

    # -- news

    def notify(self) -> None:
        """Wake whoever waits for news."""
        self._changed.set()
        self._changed = asyncio.Event()

    def may_step(self, workload: WorkloadKey | None = None) -> None:
        """Say that something has changed on which steps of a rollout depend; None: of any."""
        if workload in self.rolling if workload is not None else self.rolling:
            self.on_step()

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next news after this call: look, call, then wait."""
        return self._changed.wait()

    async def news(self, clock: Clock, within_s: float) -> None:
        """Wait for the next change, so long at most."""
        await until_first(clock, within_s, news=self.changed())

    def touch(self, revision: int, workloads: Collection[WorkloadKey]) -> None:
        """Remember what a change of objects was about."""
        self._touched[revision] = self._touched.get(revision, frozenset()) | frozenset(workloads)
        while len(self._touched) > REMEMBERED:
            del self._touched[next(iter(self._touched))]

    def wrote(self, revision: int, request: str) -> None:
        """Remember which request wrote a revision."""
        self._requests[revision] = request
        while len(self._requests) > REMEMBERED:
            del self._requests[next(iter(self._requests))]

    def requests_after(self, revision: int) -> list[str]:
        """Return the requests that wrote what came after a revision and is known."""
        return [one for at, one in self._requests.items() if revision < at <= self.seen]

    def touched(self, revision: int) -> frozenset[WorkloadKey] | None:
        """Return the workloads that a change was about; None if it is not known (any more)."""
        return self._touched.get(revision)

    def wait_for(self, pending: Mapping[WorkloadKey, str], now: float) -> None:
        """Note what workloads wait for from now on, or still do."""
        self.pending = pending
        self._pending_since = {key: self._pending_since.get(key, now) for key in pending}

    # -- what the API shows

    @property
    def plan(self) -> Plan | None:
        """The last committed plan."""
        return self.committed.plan if self.committed else None

    @property
    def mark(self) -> tuple[int, int]:
        """Return (epoch, generation) of the last committed plan; zeros if there is none."""
        if self.committed is None:
            return 0, 0
        return self.committed.epoch, self.committed.plan.generation

    def ahead(self) -> str:
        """Return why nothing may be committed; '' if it may: no node has more than is stored here.

        A store that lost its plans would take from the nodes what they run.
        """
        for node, mark in sorted(self.applied.items()):
            if mark[1] and mark > self.mark:
                stored = f"generation {self.mark[1]}" if self.committed else "no plan"
                return (
                    f"node {node} runs generation {mark[1]} and the store has {stored}: nothing is "
                    "committed; restore a newer backup of the store, or `kat-agent reset` the node"
                )
        return ""

    def sight(self) -> Sight:
        """Return what instances and workloads are judged by."""
        return Sight(
            plan=self.plan,
            reports=self.reports,
            holds=self.holds,
            pending=self.pending,
            connected=self.connected,
            wanted=self.wanted,
            left=self.left,
            runs=self.runs,
            endpoints=self.endpoints,
            rolling=self.rolling,
        )

    def instances(self) -> Sequence[Instance]:
        """Return every placed instance with what its node reported of it."""
        units = units_of(self.reports.values())
        return instances(self.plan, units, self.endpoints) if self.plan else ()

    def workload_status(self, key: WorkloadKey) -> WorkloadStatus:
        """Return how a stored workload is."""
        return self.workload_statuses((key,))[key]

    def workload_statuses(
        self, keys: Sequence[WorkloadKey]
    ) -> Mapping[WorkloadKey, WorkloadStatus]:
        """Return how these stored workloads are."""
        sight, units = self.sight(), units_of(self.reports.values())
        bare = replace(sight, holds={}, pending={}, left=())
        return {key: self._workload_status(key, bare, units) for key in keys}

    def _workload_status(self, key: WorkloadKey, sight: Sight, units: Units) -> WorkloadStatus:
        plan = self.plan
        now = rollout(key, sight, units)
        planned = plan.workloads.get(key) if plan else None
        source = plan.specs.workloads[key].workload.spec.source if plan and planned else None
        return WorkloadStatus(
            wanted=now.wanted,
            running=now.running,
            ready=self._ready(key),
            state=now.state,
            message=now.message,
            revision=planned.revision if planned else "",
            image=(source.image or "") if source else "",
            held_back=self._held_back(key),
        )

    def _ready(self, key: WorkloadKey) -> int:
        """Return how many instances of a workload get traffic, as far as agents have said."""
        planned = self.plan.workloads.get(key) if self.plan else None
        found = (
            (names.instance(key, p.ordinal, p.incarnation) for p in planned.placements)
            if planned
            else ()
        )
        return sum(self.endpoints.get(one) == READY for one in found)

    def _held_back(self, key: WorkloadKey) -> HeldBack | None:
        if key in self.pending:
            since = shown_time(self._pending_since[key])
            return HeldBack(Reason.PULLING.value, self.pending[key], since)
        hold = self.holds.get(key)
        if hold is None:
            return None
        return HeldBack(hold.reason.value, hold.message, shown_time(hold.since))

    def node_status(self, node: NodeName) -> Status:
        """Return the status of a node, which may never have reported."""
        report, facts = self.reports.get(node), self.facts.get(node)
        status = {
            "condition": self._condition(node),
            "sync": self._sync(node, report),
            "workloadInstances": self._placed(node),
            **_machine(facts),
        }
        if node in self.heard:
            status["lastHeartbeatTime"] = shown_time(self.heard[node])
        if report is not None:
            status["generation"] = report.generation
            status["held"] = report.held
            status["drift"] = msgspec.to_builtins(report.drift)
            status["problems"] = msgspec.to_builtins(report.problems)
        if unfit := self.doubted.get(node) or self.unfit.get(node):
            status["unfit"] = unfit
        return status

    def _condition(self, node: NodeName) -> str:
        known = node in self.reports or node in self.connected or node in self.facts
        return "Ready" if known and node not in self.not_ready else "NotReady"

    def _sync(self, node: NodeName, report: Report | None) -> str:
        if report is None or node not in self.connected:
            return "late"
        behind = (report.epoch, report.generation) < self.mark
        return "late" if behind and report.sync == "in sync" else report.sync

    def _placed(self, node: NodeName) -> list[str]:
        placed = self.rendered.placed.get(node, ()) if self.rendered else ()
        return [
            f"{one.of.key}/{one.placement.ordinal}-{one.placement.incarnation}" for one in placed
        ]

    def own(self, report: Report) -> Report:
        """Return a report without units that are instances of no placement on its node.

        What a node says of others' instances, or of none, is nothing to go by.
        """
        if self.rendered is None:
            return report
        placed = frozenset(self._placed(report.node))
        units = tuple(one for one in report.units if not one.instance or one.instance in placed)
        return msgspec.structs.replace(report, units=units)

    def _had_by_all(self) -> int:
        applied = (self.applied.get(node, (0, 0))[1] for node in self.connected)
        return min(applied, default=self.mark[1])

    def bundle(self, node: NodeName, generation: int) -> BundleAnswer | None:
        """Return a node's part of a proposed or committed plan; None if it is neither."""
        return self.bundles.answer(node, generation)

    def contents(self, node: NodeName, digests: Collection[str]) -> Mapping[str, bytes]:
        """Return files by digest, of the node's own bundles only; unknown digests are left out."""
        return self.bundles.contents(node, digests)


def _machine(facts: Facts | None) -> dict[str, object]:
    if facts is None:
        return {}
    overlay = {"interface": facts.interface, "publicKey": facts.public_key}
    return {
        "capacity": {
            "cpu": cpu_text(facts.cpu_millis),
            "memory": memory_text(facts.memory_bytes),
            "customResources": {name: str(count) for name, count in facts.custom.items()},
        },
        "overlayNetwork": {name: value for name, value in overlay.items() if value},
        "versions": {k: v for k, v in msgspec.to_builtins(facts.versions).items() if v},
        "manifestVersions": list(facts.formats),
    }
