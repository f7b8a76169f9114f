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
from katgen.planned import Inventory
from katgen.render.change import rerender
from katgen.render.cluster import Rendered, render
from tests.bench import synthetic

T = TypeVar("T")
NODES, WORKLOADS, REPLICAS = 5_000, 1_000, 100
CHANGES = 20
TARGETS = {
    "schedule and allocate, s": "",
    "render and digest, s": "",
    "the whole, s": "2",
    "peak memory, MiB": "400",
    "of it specs and inventory, MiB": "",
    "one workload of 100 changed, median ms": "10",
    "one workload of 100 changed, worst ms": "",
    "its units rendered": "100",
    "its nodes rendered": "100",
    "its shared sets rendered": "1",
    "its workloads reconciled": "1",
}
"""What the page shows, and what it aims at."""
FIRST_CHANGED = 2
"""With both selectors, the dearest kind of workload."""


def main() -> None:
    """Measure, and print one JSON object."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    specs, inventory = synthetic.specs(WORKLOADS, REPLICAS), synthetic.inventory(NODES)
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
        **_changes(step, rendered, inventory),
    }
    sys.stdout.buffer.write(msgspec.json.encode(figures))


def _changes(step: Step, rendered: Rendered, inventory: Inventory) -> dict[str, float]:
    """Change the image of one workload after another, each on top of the one before."""
    seconds, state = [], step.state
    for number in range(CHANGES):
        key, specs = _changed(state.plan.specs, FIRST_CHANGED + 3 * number)
        begin = perf_counter()
        step = advance(state, specs, [key])
        state, rendered = step.state, rerender(rendered, step.state.plan)
        seconds.append(perf_counter() - begin)
        if state.plan.inventory is not inventory:
            raise AssertionError("a change of one workload is no change of the inventory")
    counters, delta = rendered.counters, step.delta
    return {
        "one workload of 100 changed, median ms": statistics.median(seconds) * 1000,
        "one workload of 100 changed, worst ms": max(seconds) * 1000,
        "its units rendered": counters.units,
        "its nodes rendered": counters.nodes,
        "its shared sets rendered": counters.shared_sets,
        "its workloads reconciled": delta.reconciled,
    }


def _changed(specs: Specs, number: int) -> tuple[WorkloadKey, Specs]:
    key = synthetic.workload_key(number)
    objects = synthetic.objects(number, REPLICAS, "registry.example/shop/web:2")
    return key, replace(specs, workloads={**specs.workloads, key: objects})


def _timed(act: Callable[[], T]) -> tuple[T, float]:
    begin = perf_counter()
    made = act()
    return made, perf_counter() - begin


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
