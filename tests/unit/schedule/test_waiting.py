"""Who waits for a place, and what brings them to look again."""

from typing import Any

from katgen.model.specs import Specs
from katgen.names import WorkloadKey
from katgen.plan import Delta, Step, advance, changed_workloads, start
from katgen.planned import Inventory
from tests.unit.schedule.world import inventory, node, places, reasons, requests, specs, workload

ONE = inventory(node("a", cpu="4"))
BIG = workload("web", 1, container=requests("3"))


def step(before: Specs, after: Specs, machines: Inventory = ONE) -> Step:
    return advance(start(before, machines).state, after, changed_workloads(before, after))


def holding(cpu: str, **spec: Any) -> Any:  # noqa: ANN401 -- a YAML document
    return workload("app", 1, container=requests(cpu), priority=1, **spec)


def delta(before: Specs, after: Specs) -> Delta:
    return step(before, after).delta


def test_a_change_that_frees_nothing_looks_at_nobody_else() -> None:
    other = specs(holding("2"), BIG, workload("new", 1, container=requests("1")))
    assert delta(specs(holding("2"), BIG), other).reconciled == 1


def test_a_change_that_frees_too_little_looks_at_nobody_else() -> None:
    made = step(specs(holding("3"), BIG), specs(holding("2"), BIG))
    assert (made.delta.reconciled, places(made.state.plan)) == (1, {})


def test_a_smaller_revision_makes_room_in_the_same_step() -> None:
    made = step(specs(holding("3"), BIG), specs(holding("1"), BIG))
    assert (made.delta.reconciled, places(made.state.plan)) == (2, {"0": "a"})


def test_who_is_deleted_makes_room_in_the_same_step() -> None:
    assert places(step(specs(holding("3"), BIG), specs(BIG)).state.plan) == {"0": "a"}


def test_a_replacement_in_place_makes_no_room() -> None:
    new = holding("3", source={"image": "localhost/app:2"})
    assert delta(specs(holding("3"), BIG), specs(new, BIG)).reconciled == 1


def test_quota_that_is_given_back_is_used_in_the_same_step() -> None:
    quota = {"instances": 2}
    before = specs(workload("app", 2, priority=1), workload("web", 1), quota=quota)
    after = specs(workload("app", 1, priority=1), workload("web", 1), quota=quota)
    assert places(step(before, after).state.plan) == {"0": "a"}


def test_a_larger_quota_is_used_at_once() -> None:
    before = specs(workload("web", 2), quota={"instances": 1})
    after = specs(workload("web", 2), quota={"instances": 2})
    assert places(step(before, after).state.plan) == {"0": "a", "1": "a"}


def test_who_is_no_longer_kept_away_comes_in_the_same_step() -> None:
    away = {"antiWorkload": {"required": [{"matchLabels": {"app": "web"}}]}}
    loud = workload("web", 1, labels={"app": "web"})
    before = specs(workload("app", 1, affinity=away, priority=1), loud)
    after = specs(workload("app", 1, priority=1), loud)
    made = step(before, after)
    assert places(made.state.plan) == {"0": "a"}
    assert "keeps app=web (node) away: 1 in a" in reasons(start(before, ONE).state.plan)["0"][0]


def test_company_that_arrives_is_joined_in_the_same_step() -> None:
    near = {"workload": {"required": [{"matchLabels": {"app": "db"}}]}}
    lonely = workload("web", 1, affinity=near)
    made = step(specs(lonely), specs(lonely, workload("db", 1, labels={"app": "db"})))
    assert places(made.state.plan) == {"0": "a"}


def test_a_successor_that_waits_gets_the_room_next_to_its_predecessor() -> None:
    small = workload("web", 1, container=requests("1"))
    grown = workload("web", 1, container=requests("4"))
    state = start(specs(holding("3"), small), ONE).state
    waiting = advance(state, specs(holding("3"), grown), [WorkloadKey("shop/web")]).state
    assert reasons(waiting.plan) == {"0": ["1x cpu: wants 4, 1 of 4 free"]}
    made = advance(waiting, specs(grown), [WorkloadKey("shop/app")])
    assert (places(made.state.plan), reasons(made.state.plan)) == ({"0": "a"}, {})
