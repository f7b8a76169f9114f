"""Planning alone, at 5,000 nodes and 100,000 instances.

Run alone (`python -m tests.bench.plan_bench`): it prints JSON. `floor` is the barest loop that
places as many instances with one heap and no rules, for a comparison between machines.
"""

import statistics
import sys
from collections.abc import Iterable
from dataclasses import replace
from heapq import heapreplace
from time import process_time

import msgspec

from katgen.check import check
from katgen.model.specs import Specs
from katgen.plan import PlanState, advance, make_plan, start
from tests.bench import synthetic

NODES, INSTANCES = 5_000, 100_000
NEW_IMAGE = "registry.example/shop/web:2"


def main() -> None:
    """Measure, and print one JSON object."""
    sys.stdout.buffer.write(msgspec.json.encode(measure()))


def measure() -> dict[str, float]:
    """Return the figures: seconds, or milliseconds where the name says so."""
    figures = {"floor, s": floor_s()}
    inventory = synthetic.inventory(NODES)
    for replicas in (20, 100):
        specs = synthetic.specs(INSTANCES // replicas, replicas)
        begin = process_time()
        state = start(specs, inventory).state
        figures[f"all, {replicas} instances each, s"] = process_time() - begin
        figures[f"one of {replicas} changed, median ms"] = changed_ms(state, replicas)
        other = with_image(specs, 7, replicas, NEW_IMAGE)
        begin = process_time()
        make_plan(other, inventory, state.plan)
        figures[f"one of {replicas} changed, without an index, s"] = process_time() - begin
        begin = process_time()
        if check(state.plan):
            raise AssertionError("the plan breaks an invariant")
        figures[f"checked, {replicas} instances each, s"] = process_time() - begin
    figures["one changed in a full cluster, median ms"] = full_ms()
    return figures


def floor_s() -> float:
    """Return how long the placing of as many equal instances takes, without anything else."""
    begin = process_time()
    used = [0] * NODES
    heap = list(range(NODES))
    for _ in range(INSTANCES):
        i = heap[0] & 0xFFFFF
        used[i] += 1
        heapreplace(heap, used[i] << 20 | i)
    return process_time() - begin


def with_image(specs: Specs, number: int, replicas: int, image: str) -> Specs:
    """Return the specs with another image for one workload."""
    key = synthetic.workload_key(number)
    workloads = {**specs.workloads, key: synthetic.objects(number, replicas, image)}
    return replace(specs, workloads=workloads)


def changed_ms(state: PlanState, replicas: int) -> float:
    """Return the median time of one workload after another getting another image."""
    changes = range(1, 20)
    return statistics.median(step_ms(state, changes, replicas))


def step_ms(state: PlanState, numbers: Iterable[int], replicas: int) -> list[float]:
    """Take one step for each of the workloads."""
    taken = []
    for number in numbers:
        specs = with_image(state.plan.specs, number, replicas, NEW_IMAGE)
        key = synthetic.workload_key(number)
        begin = process_time()
        state = advance(state, specs, [key]).state
        taken.append((process_time() - begin) * 1000)
    return taken


def full_ms() -> float:
    """Return the same where half of all workloads wait for a place."""
    nodes = dict(list(synthetic.inventory(NODES).nodes.items())[:400])
    inventory = msgspec.structs.replace(synthetic.inventory(1), nodes=nodes)
    state = start(synthetic.specs(INSTANCES // 20, 20), inventory).state
    return statistics.median(step_ms(state, range(1, 20), 20))


if __name__ == "__main__":
    main()
