"""DaemonServices and Jobs: which instances exist."""

import msgspec

from katgen.names import WorkloadKey
from katgen.plan import make_plan
from katgen.planned import Inventory, Plan
from tests.unit.schedule.world import (
    ids,
    inventory,
    node,
    places,
    reasons,
    requests,
    specs,
    workload,
)

JOB = WorkloadKey("shop/job")


def after(machines: Inventory, *runs: int) -> Inventory:
    return msgspec.structs.replace(machines, finished={JOB: frozenset(runs)})


def test_a_daemon_runs_on_every_node_under_the_nodes_name() -> None:
    plan = make_plan(specs(workload("web", type="DaemonService")), inventory(node("b"), node("a")))
    assert places(plan) == {"a": "a", "b": "b"}
    assert ids(plan) == ["a-1", "b-2"]


def test_a_daemon_is_nobody_where_labels_and_taints_do_not_want_it() -> None:
    machines = inventory(
        node("a", {"disk": "ssd"}), node("b"), node("c", {"disk": "ssd"}, taints=("x:NoSchedule",))
    )
    written = specs(workload("web", type="DaemonService", nodeSelector={"disk": "ssd"}))
    plan = make_plan(written, machines)
    assert (places(plan), reasons(plan)) == ({"a": "a"}, {})


def test_a_daemon_without_room_is_unplaced_there() -> None:
    machines = inventory(node("a"), node("b", cpu="1"), node("c", cordoned=True))
    written = specs(workload("web", type="DaemonService", container=requests("2")))
    plan = make_plan(written, machines)
    assert places(plan) == {"a": "a"}
    assert sorted(reasons(plan)) == ["b", "c"]


def test_a_new_node_gets_its_daemon_and_nobody_elses_moves() -> None:
    written = specs(workload("web", type="DaemonService"), workload("app", 2))
    parent = make_plan(written, inventory(node("b"), node("c")))
    plan = make_plan(written, inventory(node("a"), node("b"), node("c")), parent)
    assert ids(plan) == ["a-3", "b-1", "c-2"]
    assert ids(plan, "shop/app") == ids(parent, "shop/app")


def test_a_daemon_stays_where_a_label_changed_and_goes_where_its_selector_did() -> None:
    def chosen(value: str) -> Plan:
        selector = {"disk": value}
        return make_plan(
            specs(workload("web", type="DaemonService", nodeSelector=selector)), hdd, parent
        )

    written = specs(workload("web", type="DaemonService", nodeSelector={"disk": "ssd"}))
    parent = make_plan(written, inventory(node("a", {"disk": "ssd"})))
    hdd = inventory(node("a", {"disk": "tape"}), node("b", {"disk": "hdd"}))
    assert places(chosen("ssd")) == {"a": "a"}
    assert places(chosen("hdd")) == {"b": "b"}


def test_daemons_go_before_others_of_the_same_priority() -> None:
    written = specs(
        workload("app", 1, container=requests("3")),
        workload("web", type="DaemonService", container=requests("3")),
    )
    plan = make_plan(written, inventory(node("a")))
    assert (places(plan), places(plan, "shop/app")) == ({"a": "a"}, {})


def test_a_job_runs_as_many_as_may_run_at_once() -> None:
    machines = inventory(node("a"))
    written = specs(workload("job", job={"completions": 5, "parallelism": 2}))
    first = make_plan(written, machines)
    assert ids(first, JOB) == ["0-1", "1-2"]
    second = make_plan(written, after(machines, 0), first)
    assert ids(second, JOB) == ["1-2", "2-3"]
    last = make_plan(written, after(machines, 0, 1, 2, 4), second)
    assert ids(last, JOB) == ["3-4"]
    done = make_plan(written, after(machines, 0, 1, 2, 3, 4), last)
    assert ids(done, JOB) == []


def test_a_job_that_is_over_is_not_run_again_by_a_new_revision() -> None:
    machines = after(inventory(node("a")), 0)
    written = specs(workload("job", job={}))
    parent = make_plan(written, machines)
    again = specs(workload("job", job={}, source={"image": "localhost/app:2"}))
    assert ids(make_plan(again, machines, parent), JOB) == []


def test_a_scheduled_job_stands_ready_for_its_timer() -> None:
    machines = after(inventory(node("a")), 0)
    written = specs(workload("job", job={"schedule": "@daily"}))
    assert ids(make_plan(written, machines), JOB) == ["0-1"]


def test_a_service_without_replicas_has_one_and_with_none_none() -> None:
    plan = make_plan(specs(workload("web"), workload("off", 0)), inventory(node("a")))
    assert (ids(plan), ids(plan, "shop/off")) == (["0-1"], [])
