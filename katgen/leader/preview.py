"""What a change would do, from the functions that then do it (spec §1, promise 3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from katgen.leader.answers import Held, NodePreview, Preview, Trouble
from katgen.leader.candidate import Drafted
from katgen.leader.desired import Wanted
from katgen.leader.holds import Fault, Hold, Reason
from katgen.names import NodeName, WorkloadKey, split_key
from katgen.planned import Plan
from katgen.planview import FileDiff, PlanView, plan_view
from katgen.render.cluster import Rendered


@dataclass(frozen=True, slots=True)
class Trial:
    """A dry run: the objects as they would be, and what is known to be wrong with some."""

    want: Wanted
    faults: Mapping[WorkloadKey, Fault] = field(default_factory=dict)
    holds: Mapping[WorkloadKey, Hold] = field(default_factory=dict)


def preview(before: Rendered | None, found: Drafted, trial: Trial, generation: int) -> Preview:
    """Return what a drafted plan would change. `generation` is the number it would get."""
    parent = before.plan.generation if before else 0
    held = tuple(_held(found, trial))
    candidate = found.candidate
    if candidate is None:
        digest = before.root.digest if before else ""
        unplaced = tuple(_unplaced(before.plan)) if before else ()
        return Preview(parent, parent, digest, {}, unplaced, held=held)
    view = plan_view(before, candidate.rendered)
    return Preview(
        generation=generation,
        parent=parent,
        digest=candidate.rendered.root.digest,
        nodes=dict(_nodes(view)),
        unplaced=tuple(_unplaced(candidate.plan)),
        held=held,
    )


def _nodes(view: PlanView) -> Iterator[tuple[NodeName, NodePreview]]:
    for name, actions in view.actions.items():
        files = [one for one in view.files if name in one.nodes]
        yield name, NodePreview(tuple(actions), "".join(map(_text, files)))


def _text(one: FileDiff) -> str:
    return "".join(f"{line}\n" for line in one.lines)


def _unplaced(plan: Plan) -> Iterator[Trouble]:
    for key, planned in plan.workloads.items():
        for one in planned.unplaced:
            reasons = "; ".join(refusal.reason for refusal in one.refusals)
            what = f"instance {one.ordinal} has no node: {reasons or 'there is no node'}"
            yield Trouble(key, what, f"katcall explain {key} says more")


def _held(found: Drafted, trial: Trial) -> Iterator[Held]:
    causes: dict[WorkloadKey, Hold | Fault] = {**trial.holds, **trial.faults, **found.faults}
    waiting = {key: Fault(Reason.WAITS, text) for key, text in found.target.waiting.items()}
    for key, cause in sorted({**waiting, **causes}.items()):
        yield Held(*split_key(key), cause.reason.value, cause.message)
