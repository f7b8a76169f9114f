"""How far a change is: from its revision in the store to what nodes say that runs."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Final

from katgen.leader.answers import Progress, Rollout
from katgen.leader.clock import Clock
from katgen.leader.cluster import Cluster
from katgen.leader.instances import rollout, units_of
from katgen.names import NodeName, WorkloadKey

DEADLINE_S: Final = 300.0
"""Without any progress, where no workload says otherwise."""
UNKNOWN_S: Final = 0.5
"""How long to wait for the watch to tell of a revision; then it changed no object."""
_SETTLED: Final = frozenset({"done", "failed"})


@dataclass(frozen=True, slots=True)
class Change:
    """What to follow. `generation` is the plan's that first had it considered, 0 before."""

    revision: int
    workloads: frozenset[WorkloadKey]
    generation: int = 0


async def follow(cluster: Cluster, clock: Clock, revision: int) -> AsyncIterator[Progress]:
    """Yield the progress of a change whenever it is another, to its end."""
    change = await _change(cluster, revision)
    last: Progress | None = None
    while True:
        if not change.generation and cluster.considered >= change.revision:
            change = Change(change.revision, change.workloads, cluster.mark[1])
        now = progress(cluster, change)
        if now != last:
            yield now
            last = now
        if now.phase in _SETTLED:
            return
        if not await _news(cluster, clock, _deadline_s(cluster, change.workloads)):
            yield _late(now, _deadline_s(cluster, change.workloads))
            return


async def _change(cluster: Cluster, revision: int) -> Change:
    """Return what a change was about; the watch may not have told yet, or nothing was changed."""
    try:
        async with asyncio.timeout(UNKNOWN_S):
            while (found := cluster.touched(revision)) is None:
                await cluster.changed()
            return Change(revision, found)
    except TimeoutError:
        return Change(0, frozenset())


async def _news(cluster: Cluster, clock: Clock, timeout_s: float) -> bool:
    """Wait for news; return whether there was any in time."""
    news = asyncio.create_task(cluster.changed(), name="news of the cluster")
    late = asyncio.create_task(clock.sleep(timeout_s), name="deadline of a change")
    try:
        await asyncio.wait({news, late}, return_when=asyncio.FIRST_COMPLETED)
        return news.done()
    finally:
        news.cancel()
        late.cancel()
        await asyncio.gather(news, late, return_exceptions=True)


def _deadline_s(cluster: Cluster, workloads: Collection[WorkloadKey]) -> float:
    plan = cluster.plan
    specs = plan.specs.workloads if plan else {}
    given = [
        specs[key].workload.spec.update_strategy.progress_deadline_seconds
        for key in workloads
        if key in specs
    ]
    return max(given, default=DEADLINE_S)


def progress(cluster: Cluster, change: Change) -> Progress:
    """Return how far a change is now."""
    sight = cluster.sight()
    units = units_of(cluster.reports.values())
    rollouts = tuple(rollout(key, sight, units) for key in sorted(change.workloads))
    _, generation = cluster.mark
    phase, message = _phase(cluster, change, rollouts)
    return Progress(phase, generation, rollouts, message)


def _phase(cluster: Cluster, change: Change, rollouts: Collection[Rollout]) -> tuple[str, str]:
    if not change.generation and cluster.considered < change.revision:
        return cluster.activity or "received", ""
    states = {one.state for one in rollouts}
    if "pulling" in states:
        return "resolving", ""
    bad = [one for one in rollouts if one.state in {"held", "failed"}]
    if bad:
        return "failed", f"{bad[0].namespace}/{bad[0].name}: {bad[0].message}"
    if cluster.trouble:
        return "failed", cluster.trouble
    behind = sorted(n for n in cluster.connected if _behind(cluster, n, change.generation))
    if behind:
        begun = any(_is_applying(cluster, node) for node in behind)
        return ("applying" if begun else "committed"), _problem(cluster, behind)
    return ("done" if states <= {"running"} else "applying"), _problem(cluster, cluster.connected)


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
    waiting = [f"{one.namespace}/{one.name}" for one in now.workloads if one.state != "running"]
    what = f"no progress for {timeout_s:g} s"
    message = f"{what}: {', '.join(waiting)}" if waiting else what
    told = f"{message}; {now.message}" if now.message else message
    return Progress("failed", now.generation, now.workloads, told)
