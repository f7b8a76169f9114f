"""A step of a rollout renders what it makes, however many instances the workload has."""

from katgen.model.specs import Specs
from katgen.names import InstanceKey, WorkloadKey
from katgen.plan import advance, start
from katgen.planned import Plan
from katgen.render.change import rerender
from katgen.render.cluster import Counters, render
from tests.unit.schedule.world import inventory, node, specs, workload

WEB = WorkloadKey("shop/web")
COUNT = 30
NODES = [node(name, cpu="64", memory="512Gi") for name in "abcdef"]


def written(version: int) -> Specs:
    image = {"image": f"localhost/web:{version}"}
    return specs(workload("web", COUNT, balanced=True, source=image), workload("api", 3))


def every(plan: Plan) -> frozenset[InstanceKey]:
    placed = plan.workloads[WEB].placements
    return frozenset(InstanceKey(f"{WEB}/{p.ordinal}-{p.incarnation}") for p in placed)


def test_a_rollout_renders_each_new_instance_once() -> None:
    state = start(written(1), inventory(*NODES)).state
    rendered = render(state.plan)
    costs: list[Counters] = []
    changed = [WEB]
    while True:
        step = advance(state, written(2), changed, {WEB: every(state.plan)})
        if not step.delta.workloads:
            break
        state, changed = step.state, []
        rendered = rerender(rendered, state.plan)
        assert rendered.root == render(state.plan).root
        costs.append(rendered.counters)
    assert len(costs) == COUNT + 1
    assert [one.units for one in costs] == [1] * COUNT + [0]
    assert {one.nodes for one in costs} <= {1, 2}
    assert {one.shared_sets for one in costs} == {1}
