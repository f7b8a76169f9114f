"""The rollouts that are under way: how each gets on, kept in memory and shown to everybody.

What is decided of them is in `stepping`. A leader that begins again finds them in the plan.
"""

from dataclasses import dataclass, field

from katgen.leader import events, stepping
from katgen.leader.bundles import touched
from katgen.leader.clock import Clock
from katgen.leader.cluster import Cluster
from katgen.leader.events import Chronicle
from katgen.leader.stepping import Look, Pace, Paces
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

    def sight(self) -> Look:
        """Return what is known now."""
        cluster = self.cluster
        return Look(
            endpoints=cluster.endpoints,
            reports=cluster.reports,
            connected=cluster.connected,
            spoken=cluster.spoken,
            lost=cluster.not_ready,
            now=self.clock.monotonic(),
        )

    def begin(self, plan: Plan) -> None:
        """Take up the rollouts that a stored plan is in the middle of."""
        self._put(stepping.begun(plan, self.clock.monotonic()))

    def committed(self, before: Rendered | None, after: Rendered) -> None:
        """Take note of a plan, by its files."""
        plan, old = after.plan, before.plan if before else None
        if self.paces or plan.inventory.available:
            now = self.clock.monotonic()
            made = Pace(plan.generation, now, touched(before, after), now)
            self._put(stepping.committed(self.paces, old, plan, made))

    def look(self, plan: Plan | None) -> None:
        """Take in who is ready now, and how late it is."""
        if plan is None or not self.paces:
            return
        before, sight = self.paces, self.sight()
        self._looked = sight.now
        self._put(stepping.followed(before, plan, sight))
        for key, pace in self.paces.items():
            if pace.stalled and not before[key].stalled:
                said = events.of_workload(key, "ProgressDeadlineExceeded", pace.stalled)
                self.chronicle.record(said)
        for key in before.keys() - self.paces.keys():
            if key in plan.workloads:
                text = f"every instance is of revision {plan.workloads[key].revision}"
                self.chronicle.record(events.of_workload(key, "RolledOut", text))

    def next_moment(self, plan: Plan | None) -> float | None:
        """Return when to look again if nothing happens."""
        if plan is None:
            return None
        return stepping.next_moment(self.paces, plan.specs, self._looked)

    def _put(self, paces: Paces) -> None:
        if paces != self.paces:
            self.paces = paces
            self.cluster.rolling = {key: pace.stalled for key, pace in paces.items()}
            self.cluster.notify()
