"""The rollouts that are under way: how each gets on, kept in memory and shown to everybody.

What is decided of them is in `stepping` and `progress`. A leader that begins again finds them in
the plan.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from katgen.leader import events
from katgen.leader.agents.bundles import touched
from katgen.leader.clock import Clock
from katgen.leader.cluster import Cluster
from katgen.leader.events import Chronicle
from katgen.leader.rollouts import progress
from katgen.leader.rollouts.stepping import Look, Pace, Paces
from katgen.names import NodeName, WorkloadKey
from katgen.planned import Plan
from katgen.render.cluster import Rendered


@dataclass(eq=False, slots=True)
class Pacing:
    """Call `begin` with a plan from the store, `committed` with new ones, `look` before use."""

    cluster: Cluster
    clock: Clock
    chronicle: Chronicle
    paces: Paces = field(default_factory=dict)
    _looked: float = 0.0

    def sight(self, plan: Plan | None) -> Look:
        """Return what is known now."""
        cluster = self.cluster
        return Look(
            endpoints=cluster.endpoints,
            reports=cluster.reports,
            connected=cluster.connected,
            spoken=cluster.spoken,
            lost=cluster.not_ready,
            now=self.clock.monotonic(),
            missing=self._missing(plan),
        )

    def _missing(self, plan: Plan | None) -> frozenset[NodeName]:
        """Return the lost nodes; what the leader before knew of them holds until one is heard."""
        cluster = self.cluster
        if plan is None:
            return frozenset()
        known = plan.inventory.lost - cluster.heard.keys()
        return (known | cluster.not_ready) & plan.inventory.nodes.keys()

    def begin(self, plan: Plan) -> None:
        """Take up the rollouts that a stored plan is in the middle of."""
        self._put(progress.begun(plan, self.clock.monotonic()))

    def committed(self, before: Rendered | None, after: Rendered) -> None:
        """Take note of a plan, by its files."""
        plan, old = after.plan, before.plan if before else None
        if self.paces or plan.inventory.available:
            now, lost = self.clock.monotonic(), plan.inventory.lost
            made = Pace(plan.generation, now, touched(before, after), now, lost=lost)
            self._put(progress.committed(self.paces, old, plan, made))

    def weighed(self, keys: Collection[WorkloadKey], plan: Plan) -> None:
        """Take note that a plan has been thought of for some workloads."""
        self._put(progress.weighed(self.paces, keys, plan.inventory.lost))

    def look(self, plan: Plan | None, held: Collection[WorkloadKey]) -> None:
        """Take in who is ready now, who is held back, and how late it is."""
        if plan is None or not self.paces:
            return
        before, sight = self.paces, self.sight(plan)
        self._looked = sight.now
        self._put(progress.followed(before, plan, sight, held))
        for key, pace in self.paces.items():
            if pace.stall is not None and before[key].stall is None:
                said = events.of_workload(key, "ProgressDeadlineExceeded", pace.stall.text)
                self.chronicle.record(said)
        for key in before.keys() - self.paces.keys():
            if key in plan.workloads:
                text = f"every instance is of revision {plan.workloads[key].revision}"
                self.chronicle.record(events.of_workload(key, "RolledOut", text))

    def next_moment(self, plan: Plan | None) -> float | None:
        """Return when to look again if nothing happens."""
        if plan is None:
            return None
        return progress.next_moment(self.paces, plan.specs, self._looked)

    def _put(self, paces: Paces) -> None:
        if paces != self.paces:
            self.paces = paces
            self.cluster.rolling = {k: p.stall.text if p.stall else "" for k, p in paces.items()}
            self.cluster.notify()
