"""The pipeline at 5,000 nodes and 100,000 instances, in one process on one core.

Run alone (`python -m tests.bench.scale`), so that its peak memory is the pipeline's and not that of
other measurements; it prints JSON.
"""

import os
import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import TypeVar

import msgspec

from katgen.model.specs import Specs
from katgen.names import WorkloadKey
from katgen.plan import Step, advance, start
from katgen.render.change import rerender
from katgen.render.cluster import Rendered, render
from tests.bench import synthetic

T = TypeVar("T")
NODES, WORKLOADS, REPLICAS = 5_000, 1_000, 100
CHANGES = 20
FEW = 20
TARGETS = {
    "schedule and allocate, s": "",
    "render and digest, s": "",
    "the whole, s": "2",
    "peak memory, MiB": "400",
    "of it specs and inventory, MiB": "",
    "a workload of 20 changed, median ms": "10",
    "a workload of 20 changed, worst ms": "",
    "a workload of 20 changed: units rendered": "20",
    "a workload of 20 changed: nodes rendered": "20",
    "a workload of 20 changed: shared sets rendered": "1",
    "a workload of 20 changed: workloads reconciled": "1",
    "a workload of 100 changed, median ms": "10",
    "a workload of 100 changed, worst ms": "",
    "a workload of 100 changed: units rendered": "100",
    "a workload of 100 changed: nodes rendered": "100",
}
"""What the page shows, and what it aims at."""
FIRST_CHANGED = 2
"""With both selectors, the dearest kind of workload."""


def main() -> None:
    """Measure, and print one JSON object."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    specs, inventory = _specs(), synthetic.inventory(NODES)
    before_mib = _peak_mib()
    step, plan_s = _timed(lambda: start(specs, inventory))
    rendered, render_s = _timed(lambda: render(step.state.plan))
    figures = {
        "schedule and allocate, s": plan_s,
        "render and digest, s": render_s,
        "the whole, s": plan_s + render_s,
        "instances": rendered.counters.units,
        "peak memory, MiB": _peak_mib(),
        "of it specs and inventory, MiB": before_mib,
    }
    for replicas, first in ((REPLICAS, FIRST_CHANGED), (FEW, WORKLOADS)):
        step, rendered, found = _changes(step, rendered, replicas, first)
        figures |= found
    sys.stdout.buffer.write(msgspec.json.encode(figures))


def _specs() -> Specs:
    """Return large workloads that make up the instances, and a few small ones besides."""
    specs = synthetic.specs(WORKLOADS, REPLICAS)
    few = {
        synthetic.workload_key(number): synthetic.objects(number, FEW)
        for number in range(WORKLOADS, WORKLOADS + 3 * CHANGES)
    }
    return replace(specs, workloads=dict(sorted({**specs.workloads, **few}.items())))


def _changes(
    step: Step, rendered: Rendered, replicas: int, first: int
) -> tuple[Step, Rendered, dict[str, float]]:
    """Change the image of one workload after another, each on top of the one before."""
    seconds, state = [], step.state
    for number in range(CHANGES):
        key, specs = _changed(state.plan.specs, first + 3 * number, replicas)
        begin = perf_counter()
        step = advance(state, specs, [key])
        state, rendered = step.state, rerender(rendered, step.state.plan)
        seconds.append(perf_counter() - begin)
    counters, delta = rendered.counters, step.delta
    what = f"a workload of {replicas} changed"
    figures: dict[str, float] = {
        f"{what}, median ms": statistics.median(seconds) * 1000,
        f"{what}, worst ms": max(seconds) * 1000,
        f"{what}: units rendered": counters.units,
        f"{what}: nodes rendered": counters.nodes,
        f"{what}: shared sets rendered": counters.shared_sets,
        f"{what}: workloads reconciled": delta.reconciled,
    }
    return step, rendered, figures


def _changed(specs: Specs, number: int, replicas: int) -> tuple[WorkloadKey, Specs]:
    key = synthetic.workload_key(number)
    objects = synthetic.objects(number, replicas, "registry.example/shop/web:2")
    return key, replace(specs, workloads={**specs.workloads, key: objects})


def _timed(act: Callable[[], T]) -> tuple[T, float]:
    begin = perf_counter()
    made = act()
    return made, perf_counter() - begin


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
