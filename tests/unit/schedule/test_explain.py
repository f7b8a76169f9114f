"""Why a workload runs where it runs."""

import msgspec

from katgen.model.specs import Specs
from katgen.names import WorkloadKey
from katgen.plan import explain, make_plan
from katgen.planned import Inventory
from katgen.schedule.explain import Explanation, Score
from tests.unit.schedule.world import (
    host_port,
    inventory,
    node,
    requests,
    specs,
    with_data,
    workload,
)

WEB = WorkloadKey("shop/web")


def explained(written: Specs, machines: Inventory) -> Explanation:
    return explain(written, machines, make_plan(written, machines), WEB)


def verdicts(explanation: Explanation) -> dict[str, tuple[str, ...]]:
    return {v.node: v.reasons for v in explanation.nodes}


def test_every_node_is_told_with_every_reason_and_its_numbers() -> None:
    written = specs(
        workload("edge", 1, container=host_port(80), nodeSelector={"n": "c"}, priority=1),
        workload(
            "web", 1, container={**host_port(80), **requests("500m")}, nodeSelector={"n": "c"}
        ),
    )
    machines = inventory(
        node("a", cordoned=True, taints=("x=y:NoSchedule",)),
        node("b", {"n": "c"}, cpu="250m"),
        node("c", {"n": "c"}),
        node("d", {"n": "d"}, ready=False),
    )
    assert verdicts(explained(written, machines)) == {
        "c": (),
        "a": (
            "nodeSelector n=c: the node has no label n",
            "taint x=y:NoSchedule: not tolerated",
            "the node is cordoned",
        ),
        "b": ("cpu: wants 500m, 250m of 250m free", "host port 80/TCP: taken by shop/edge"),
        "d": ("nodeSelector n=c: the node's n is d", "the node is not ready"),
    }


def test_feasible_nodes_come_first_and_best_first_with_their_score() -> None:
    match = [{"key": "disk", "operator": "In", "values": ["ssd"]}]
    affinity = {"node": {"preferred": [{"match": match, "weight": 5}]}}
    written = specs(
        workload("big", 1, container=requests("1"), nodeSelector={"n": "a"}, priority=1),
        workload("web", 1, affinity=affinity),
    )
    machines = inventory(node("a", {"n": "a"}), node("b"), node("c", {"disk": "ssd"}))
    told = [(v.node, v.score, v.ordinals) for v in explained(written, machines).nodes]
    assert told == [
        ("c", Score(place=1, preference=5, own=0, load=0, instances=0), ("0",)),
        ("b", Score(place=2, preference=0, own=0, load=0, instances=0), ()),
        ("a", Score(place=3, preference=0, own=0, load=250, instances=1), ()),
    ]


def test_a_node_that_has_one_is_judged_as_if_it_were_still_to_come() -> None:
    written = specs(workload("web", 1, container={**host_port(80), **requests("4")}))
    explanation = explained(written, inventory(node("a", cpu="4")))
    assert verdicts(explanation) == {"a": ()}
    assert (explanation.placed, explanation.unplaced) == (1, ())


def test_quota_and_data_are_told_once() -> None:
    written = specs(workload("web", 2, **with_data()), quota={"instances": 1})
    explanation = explained(written, inventory(node("a"), node("b")))
    assert explanation.quota == ("quota of namespace shop: instances: 1 of 1 in use",)
    assert explanation.data == {"0": "a"}
    assert [u.ordinal for u in explanation.unplaced] == ["1"]


def test_a_workload_can_be_explained_before_it_is_planned() -> None:
    machines = inventory(node("a", cpu="1"))
    plan = make_plan(specs(), machines)
    written = specs(workload("web", 1, container=requests("2")))
    explanation = explain(written, machines, plan, WEB)
    assert verdicts(explanation) == {"a": ("cpu: wants 2, 1 of 1 free",)}


def test_an_explanation_is_json() -> None:
    explanation = explained(specs(workload("web", 1)), inventory(node("a")))
    assert msgspec.json.encode(explanation) == (
        b'{"workload":"shop/web","placed":1,"unplaced":[],"nodes":[{"node":"a","isFeasible":true,'
        b'"score":{"place":1,"preference":0,"own":0,"load":0,"instances":0},"ordinals":["0"]}]}'
    )


def test_explaining_changes_nothing() -> None:
    written = specs(workload("web", 3), workload("app", 2))
    machines = inventory(node("a"), node("b"))
    plan = make_plan(written, machines)
    assert explain(written, machines, plan, WEB) == explain(written, machines, plan, WEB)
