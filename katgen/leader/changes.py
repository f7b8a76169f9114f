"""How far a change is: from its revision in the store to what nodes say that runs."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from katgen.leader.answers import Progress, Rollout
from katgen.leader.clock import Clock
from katgen.leader.cluster import Cluster
from katgen.leader.instances import units_of
from katgen.leader.rollouts.steady import unsteady_s as unsteady_s_of
from katgen.leader.rollouts.stepping import any_rolling
from katgen.leader.rollouts.workloads import placed, rollout
from katgen.names import InstanceKey, NodeName, WorkloadKey

DEADLINE_S: Final = 300.0
"""Without any progress, where no workload says otherwise."""
UNKNOWN_S: Final = 0.5
"""How long to wait for the watch to tell of a revision; then it changed no object."""
LOADING_S: Final = 60.0
"""How long to wait for a leader that reads its objects."""
ROLLING_S: Final = 2.0
"""What a rollout is given beyond its deadline, so that the loop says first why it stands still."""
_SETTLED: Final = frozenset({"done", "failed"})


@dataclass(frozen=True, slots=True)
class Change:
    """What to follow. `generation` is the plan's that first had all of it, None before.

    In a rollout it is that of the last step so far; `is_rolling` says that more may come.
    `restarts` are how often instances had been started again when the following began.
    """

    revision: int
    workloads: frozenset[WorkloadKey]
    generation: int | None = None
    is_rolling: bool = False
    restarts: Mapping[InstanceKey, int] = field(default_factory=dict)


async def follow(cluster: Cluster, clock: Clock, revision: int) -> AsyncIterator[Progress]:
    """Yield the progress of a change whenever it is another, to its end."""
    change = await _change(cluster, revision)
    last: Progress | None = None
    since = clock.monotonic()
    while True:
        change = _carried_on(cluster, change)
        now, unsteady_s = progress(cluster, change, clock.monotonic())
        if now != last:
            yield now
            last, since = now, clock.monotonic()
            if now.phase in _SETTLED:
                return
            continue  # there may have been news while the reader had the line
        timeout_s = _deadline_s(cluster, change.workloads)
        left_s = since + timeout_s - clock.monotonic()
        left_s += ROLLING_S if cluster.rolling.keys() & change.workloads else 0.0
        if left_s <= 0 and not unsteady_s:
            yield _late(now, timeout_s)
            return
        await cluster.news(clock, unsteady_s or left_s)


def _carried_on(cluster: Cluster, change: Change) -> Change:
    """Return a change with the plan that carries it out; in a rollout that is another one soon."""
    if not _is_carried_out(cluster, change):
        return change
    if change.generation is not None and not change.is_rolling:
        return change
    is_rolling = any_rolling(change.workloads, cluster.plan)
    return replace(change, generation=cluster.mark[1], is_rolling=is_rolling)


def _is_carried_out(cluster: Cluster, change: Change) -> bool:
    """Whether the committed plan has all that was changed."""
    return cluster.considered >= change.revision and change.workloads.isdisjoint(cluster.left)


async def _change(cluster: Cluster, revision: int) -> Change:
    """Return what a change was about; the watch may not have told yet, or nothing was changed.

    A leader that has just been started reads the objects first; by their revisions it knows what
    was changed last.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(LOADING_S):
            while not cluster.seen:
                await cluster.changed()
    found = None
    with suppress(TimeoutError):
        async with asyncio.timeout(UNKNOWN_S):
            while (found := cluster.touched(revision)) is None:
                await cluster.changed()
    units = units_of(cluster.reports.values())
    restarts = {key: unit.restarts for key, unit in units.items()}
    if found is None:
        return Change(cluster.seen, frozenset(), restarts=restarts)
    return Change(revision, found, restarts=restarts)


def _deadline_s(cluster: Cluster, workloads: Collection[WorkloadKey]) -> float:
    plan = cluster.plan
    specs = plan.specs.workloads if plan else {}
    given = [
        specs[key].workload.spec.update_strategy.progress_deadline_seconds
        for key in workloads
        if key in specs
    ]
    return max(given, default=DEADLINE_S)


def progress(cluster: Cluster, change: Change, now: float) -> tuple[Progress, float]:
    """Return how far a change is, and for how long it must stay so before it is done."""
    sight = replace(cluster.sight(), restarts=change.restarts)
    if cluster.considered < change.revision:
        sight = replace(sight, left=change.workloads)
    units = units_of(cluster.reports.values())
    rollouts = tuple(rollout(key, sight, units) for key in sorted(change.workloads))
    phase, message = _phase(cluster, change, rollouts)
    unsteady_s = 0.0
    if phase == "done":
        found = (one for key in change.workloads for one in placed(key, sight, units))
        unsteady_s = unsteady_s_of(found, cluster.runs, now)
        phase = "applying" if unsteady_s > 0 else phase
    return Progress(phase, _number(cluster, change), rollouts, message), max(0.0, unsteady_s)


def _number(cluster: Cluster, change: Change) -> int:
    """Return the number of the plan that has the change, or may get it; 0 if there is none yet."""
    if change.generation is not None:
        return change.generation
    return cluster.proposed if cluster.activity == "proposing" else 0


def _phase(cluster: Cluster, change: Change, rollouts: Collection[Rollout]) -> tuple[str, str]:
    if cluster.considered < change.revision:
        return cluster.activity or "received", ""
    if any(one.state == "pulling" for one in rollouts):
        return "resolving", ""
    bad = [one for one in rollouts if one.state in {"held", "failed"}]
    told = [f"{one.namespace}/{one.name}: {one.message}" for one in bad]
    if told or cluster.trouble:
        return "failed", told[0] if told else cluster.trouble
    return _on_the_way(cluster, change, rollouts)


def _on_the_way(cluster: Cluster, change: Change, rollouts: Collection[Rollout]) -> tuple[str, str]:
    absent = "" if cluster.connected or not change.workloads else "no node is connected"
    if change.generation is None:
        return cluster.activity or "received", absent
    behind = sorted(n for n in cluster.connected if _behind(cluster, n, change.generation))
    if behind or absent:
        begun = any(_is_applying(cluster, node) for node in behind)
        return ("applying" if begun else "committed"), absent or _problem(cluster, behind)
    is_done = all(one.state == "running" for one in rollouts)
    return ("done" if is_done else "applying"), _problem(cluster, cluster.connected)


def _behind(cluster: Cluster, node: NodeName, generation: int) -> bool:
    report = cluster.reports.get(node)
    return report is None or report.generation < generation or report.sync == "applying"


def _is_applying(cluster: Cluster, node: NodeName) -> bool:
    report = cluster.reports.get(node)
    return report is not None and report.sync == "applying"


def _problem(cluster: Cluster, nodes: Collection[NodeName]) -> str:
    for node in sorted(nodes):
        report = cluster.reports.get(node)
        if report is not None and report.problems:
            one = report.problems[0]
            return f"node {node}: {one.path + ': ' if one.path else ''}{one.text}"
    return ""


def _late(now: Progress, timeout_s: float) -> Progress:
    waiting = [_words(one) for one in now.workloads if one.state != "running"]
    what = f"no progress for {timeout_s:g} s"
    message = f"{what}: {', '.join(waiting)}" if waiting else what
    told = f"{message}; {now.message}" if now.message else message
    return Progress("failed", now.generation, now.workloads, told)


def _words(one: Rollout) -> str:
    name = f"{one.namespace}/{one.name}"
    return f"{name}: {one.message}" if one.message else name
