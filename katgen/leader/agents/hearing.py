"""What agents say of their own accord, taken in: who is there, and what they report."""

from collections.abc import Callable
from dataclasses import dataclass, field

from katgen.leader import events
from katgen.leader.agents import machines
from katgen.leader.agents.received import problem_of
from katgen.leader.agents.roll import Roll
from katgen.leader.agents.sessions import Sessions
from katgen.leader.clock import Clock
from katgen.leader.cluster import Cluster
from katgen.leader.events import Chronicle, Happening
from katgen.leader.holds import after_nodes_changed
from katgen.leader.metrics.prometheus import Metrics
from katgen.leader.publisher import Signs
from katgen.leader.rollouts.steady import runs
from katgen.leader.store import Store
from katgen.model.cluster import ClusterSpec
from katgen.names import NodeName
from katgen.protocol import Facts, Heartbeat, Hello, Report, Settings, SignedRecord
from katgen.validate.objects import DEFAULT_CLUSTER


@dataclass(frozen=True, slots=True)
class LoopPorts:
    """What the loop works with. `uid` is the cluster's."""

    store: Store
    signer: Signs
    sessions: Sessions
    clock: Clock
    cluster: Cluster
    chronicle: Chronicle
    uid: str
    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, slots=True)
class Calls:
    """What the loop is called for: another pass, to show what is going on, a node that left."""

    wake: Callable[[], None]
    tell: Callable[[], None]
    forget: Callable[[NodeName], None]


class Hearing:
    """See the module: `sessions.Listener`. `finished` are the runs of Jobs that are complete."""

    def __init__(self, ports: LoopPorts, roll: Roll, loop: Calls) -> None:
        self._ports, self._roll, self._loop = ports, roll, loop
        self._cluster, self._clock = ports.cluster, ports.clock
        self.finished: machines.Finished = {}
        spec = DEFAULT_CLUSTER.spec
        self._settings = Settings(spec.agent_tick_seconds, spec.drift_policy)

    def record(self) -> SignedRecord | None:
        """Return what must run, if anything has been committed."""
        return self._cluster.committed.signed if self._cluster.committed else None

    def arrived(self, hello: Hello) -> None:
        """Take note that a node has a session."""
        node = hello.node
        self._cluster.connected = self._ports.sessions.connected()
        self._cluster.heard[node] = self._clock.now()
        self._cluster.applied[node] = (hello.epoch, hello.generation)
        self._ports.sessions.tell(node, self._settings)
        self._roll.arrived(node)
        self._learn(node, hello.facts)
        self.nodes_changed()

    def left(self, node: NodeName) -> None:
        """Take note that a node has no session any more."""
        self._cluster.connected = self._ports.sessions.connected()
        self._loop.forget(node)
        self._roll.left(node)
        self._cluster.may_step()
        self._loop.tell()

    def heard(self, node: NodeName, message: Report | Heartbeat) -> None:
        """Take in a report."""
        cluster = self._cluster
        cluster.heard[node] = self._clock.now()
        if isinstance(message, Heartbeat):
            return
        message = cluster.own(message)
        before = cluster.reports.get(node)
        cluster.reports[node] = message
        cluster.applied[node] = (message.epoch, message.generation)
        cluster.runs[node] = runs(cluster.runs.get(node, {}), message, self._clock.monotonic())
        if message.facts is not None and self._learn(node, message.facts):
            self.nodes_changed()
        if before is None or (before.generation, before.sync) != (message.generation, message.sync):
            cluster.may_step()
            if cluster.is_short:  # the last one to give up a number may be this node
                self._loop.wake()
        plan = cluster.plan
        if plan is not None:
            self._ports.chronicle.record(*events.of_report(plan, before, message))
            finished = machines.finished(self.finished, plan, message)
            if finished is not self.finished:
                self.finished = finished
                self._loop.wake()
        self._loop.tell()

    def _learn(self, node: NodeName, facts: Facts) -> bool:
        """Take in a machine's facts, and return whether they are new; what cannot be stays out."""
        cluster, plan = self._cluster, self._cluster.plan
        others = {name: cluster.facts[name] for name in cluster.connected if name in cluster.facts}
        before = plan.inventory if plan else machines.NOTHING
        problem = problem_of(facts) or machines.taken_key(node, facts, others, before)
        if problem:
            cluster.doubted[node] = f"reports what no plan can use: {problem}"
            happening = Happening("", "Node", node, "Unfit", cluster.doubted[node], node)
            self._ports.chronicle.record(happening)
            return False
        known = cluster.facts.get(node)
        cluster.facts[node] = facts
        return cluster.doubted.pop(node, "") != "" or known != facts

    def nodes_changed(self) -> None:
        """Have the loop look again: nodes, or what is known of them, are others."""
        self._cluster.holds = after_nodes_changed(self._cluster.holds.values())
        self._loop.wake()
        self._loop.tell()

    def tell_settings(self, spec: ClusterSpec) -> None:
        """Tell agents what they have to know of the configuration, if it is news."""
        settings = Settings(spec.agent_tick_seconds, spec.drift_policy)
        if settings != self._settings:
            self._settings = settings
            for node in sorted(self._cluster.connected):
                self._ports.sessions.tell(node, settings)
