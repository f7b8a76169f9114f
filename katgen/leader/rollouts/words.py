"""What people are told of a rollout. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from katgen import names
from katgen.endpoints import READY, States
from katgen.model.probe import Probe
from katgen.model.specs import WorkloadObjects
from katgen.names import InstanceKey, NodeName, WorkloadKey
from katgen.planned import Placement, WorkloadPlan


@dataclass(frozen=True, slots=True)
class Subject:
    """A workload as it is planned, and the states of its instances."""

    key: WorkloadKey
    planned: WorkloadPlan
    objects: WorkloadObjects
    endpoints: States

    def new(self) -> list[Placement]:
        """Return the placements of the workload's own revision."""
        return [one for one in self.planned.placements if one.revision == self.planned.revision]

    def unready(self) -> list[Placement]:
        """Return those of them that are not ready."""
        return [p for p in self.new() if self.endpoints.get(self.name(p)) != READY]

    def name(self, placement: Placement) -> InstanceKey:
        """Return an instance's name."""
        return names.instance(self.key, placement.ordinal, placement.incarnation)


def wanted(planned: WorkloadPlan) -> int:
    """Return how many ordinals a workload has, placed or not."""
    placed = {one.ordinal for one in planned.placements}
    return len(placed.union(one.ordinal for one in planned.unplaced))


def rolling(of: Subject) -> str:
    """Return `2 of 3 updated, 1 ready`."""
    new = len(of.new())
    return f"{new} of {wanted(of.planned)} updated, {new - len(of.unready())} ready"


@dataclass(frozen=True, slots=True)
class Waits:
    """What a rollout waits for besides those that were never ready.

    The nodes `behind` have not applied the plan of that generation.
    """

    behind: Sequence[NodeName]
    generation: int
    connected: Collection[NodeName]
    lost: Collection[NodeName]
    were_ready: Collection[InstanceKey]


def stalled(of: Subject, waits: Waits, after_s: int) -> str:
    """Return why a rollout stands still, `after_s` after its last step."""
    missing = of.unready()
    ready = len(of.new()) - len(missing)
    head = f"rollout of {of.key} stands still: {ready} of {wanted(of.planned)} new instances ready"
    known = [one for one in missing if one.node not in waits.behind]
    if known:
        return f"{head}; {_unready(of, known[0], waits, after_s)}"
    if waits.behind:
        node = waits.behind[0]
        lacks = "" if node in waits.connected else "is not connected and "
        return f"{head}; node {node} {lacks}has not applied plan {waits.generation} for {after_s} s"
    return f"{head}; {refused(of.planned) or f'nothing has changed for {after_s} s'}"


def _unready(of: Subject, one: Placement, waits: Waits, after_s: int) -> str:
    name, probe = of.name(one), of.objects.workload.spec.container.readiness
    if one.node in waits.lost:
        return f"{name} is on {one.node}, which is not connected"
    since = "any more" if name in waits.were_ready else f"for {after_s} s"
    why = f" ({probe_text(probe)})" if probe else ""
    return f"{name} on {one.node} is not ready {since}{why}"


def starting(of: Subject) -> str:
    """Return who does not pass the readiness probe yet, '' if all do or there is none."""
    probe = of.objects.workload.spec.container.readiness
    missing = of.unready() if probe else []
    if probe is None or not missing:
        return ""
    number, one = len(of.planned.placements), missing[0]
    head = f"{number - len(missing)} of {number} ready"
    return f"{head}; {of.name(one)} on {one.node} is not ready ({probe_text(probe)})"


def refused(planned: WorkloadPlan) -> str:
    """Return why no node takes what has no place, '' if all has."""
    if not planned.unplaced:
        return ""
    reasons = "; ".join(refusal.reason for refusal in planned.unplaced[0].refusals)
    lacking = len(planned.unplaced)
    count = f"{lacking} instance{'' if lacking == 1 else 's'}"
    return f"no node can take {count}: {reasons or 'there is no node'}"


def probe_text(probe: Probe) -> str:
    """Return what a readiness probe asks: `readiness: http :8080/ready`."""
    if probe.http is not None:
        return f"readiness: http :{probe.http.port}{probe.http.path}"
    if probe.tcp is not None:
        return f"readiness: tcp :{probe.tcp.port}"
    return "readiness: exec"
