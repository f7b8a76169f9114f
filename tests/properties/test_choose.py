"""The lazy heaps against the plain definition: the best of all nodes that may take the instance."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from katgen.model.specs import Specs
from katgen.names import WorkloadKey
from katgen.plan import PlanState, start
from katgen.planned import Inventory
from katgen.schedule.needs import needs_of
from katgen.schedule.pool import COARSE
from katgen.schedule.turn import Board, Turn
from tests.properties.worlds import nodes, worlds
from tests.unit.schedule.world import inventory, node, requests, specs, workload

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
NONE = -1


def board_of(state: PlanState) -> Board:
    index = state.index

    def where(key: WorkloadKey) -> list[int]:
        planned = state.plan.workloads.get(key)
        return [index.table.index[p.node] for p in planned.placements] if planned else []

    bin_pack = state.plan.specs.cluster.spec.scheduling == "BinPack"
    return Board(index.table, index.pools, index.catalog, index.quotas, where, bin_pack)


def best_of_all(turn: Turn) -> int:
    """Look at every node."""
    table = turn.table
    able = [i for i in range(len(table.names)) if table.open[i] and turn.admits(i) and turn.fits(i)]
    return min(able, key=turn.rank, default=NONE)


def devices(turn: Turn, i: int) -> tuple[int, ...]:
    needs = turn.needs
    free = turn.table.free_gpus(i, needs.gpu_vendor) if needs.gpu_count else ()
    return free[: needs.gpu_count]


@quick
@given(worlds(), worlds(), nodes())
def test_the_chosen_node_is_the_best_of_all(
    placed: Specs, further: Specs, machines: Inventory
) -> None:
    board = board_of(start(placed, machines).state)
    for key, objects in further.workloads.items():
        turn = Turn(board, needs_of(key, objects))
        taken: list[tuple[int, tuple[int, ...]]] = []
        while len(taken) < 7:
            expected = best_of_all(turn)
            assert turn.choose() == expected
            if expected == NONE:
                break
            taken.append((expected, devices(turn, expected)))
            turn.take(*taken[-1], new_address=True)
        for i, gpus in taken[::2]:
            turn.leave(i, turn.needs, gpus)
            turn.table.slots_free[i] += 1
            assert turn.choose() == best_of_all(turn)
        turn.finish()


@quick
@given(worlds(), worlds(), nodes())
def test_filling_is_choosing_and_taking(placed: Specs, further: Specs, machines: Inventory) -> None:
    for key, objects in further.workloads.items():
        needs = needs_of(key, objects)
        one, other = (board_of(start(placed, machines).state) for _ in range(2))
        turn = Turn(one, needs)
        if not turn.is_plain:
            continue
        filled = turn.fill(5)
        assert filled == taken_one_by_one(Turn(other, needs), len(filled))
        assert one.table.key == other.table.key
        assert turn.choose() == best_of_all(turn)


def taken_one_by_one(turn: Turn, count: int) -> list[int]:
    found = []
    for _ in range(count):
        i = turn.choose()
        turn.take(i, (), new_address=True)
        found.append(i)
    return found


RACKS = [
    {"spread": [{"topologyKey": "rack", "maxSkew": 1}]},
    {
        "affinity": {
            "workload": {"required": [{"matchLabels": {"app": "x"}, "topologyKey": "rack"}]}
        }
    },
    {
        "affinity": {
            "workload": {"preferred": [{"matchLabels": {"app": "x"}, "topologyKey": "rack"}]}
        }
    },
    {
        "affinity": {
            "antiWorkload": {"required": [{"matchLabels": {"app": "x"}, "topologyKey": "rack"}]}
        }
    },
    {
        "affinity": {
            "antiWorkload": {"preferred": [{"matchLabels": {"app": "x"}, "topologyKey": "rack"}]}
        }
    },
]


@pytest.mark.parametrize("app", ["x", "y"])
@pytest.mark.parametrize("rule", RACKS)
def test_a_topology_of_many_domains_is_no_exception(rule: dict[str, Any], app: str) -> None:
    """More racks than divide nodes into groups, two nodes in each, one rack half as large."""
    racks = [node(f"n{n}", {"rack": f"r{n // 2}"}, cpu="4") for n in range(2 * (COARSE + 6) - 1)]
    others = workload("others", 5, labels={"app": "x"}, container=requests("1"))
    written = specs(others, workload("web", 0, labels={"app": app}, **rule))
    state = start(written, inventory(*racks)).state
    key = WorkloadKey("shop/web")
    turn = Turn(board_of(state), needs_of(key, written.workloads[key]))
    for _ in range(5):
        expected = best_of_all(turn)
        assert turn.choose() == expected
        if expected != NONE:
            turn.take(expected, (), new_address=True)
    for i in list(turn.own):
        turn.leave(i, turn.needs, ())
        assert turn.choose() == best_of_all(turn)
