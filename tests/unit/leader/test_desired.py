"""What to plan for: what is stored, less what is held."""

from typing import Any

from katgen.leader.desired import Resolved, Standing, Target, Wanted, joined, target, wanted
from katgen.leader.documents import ObjectKey, Stored
from katgen.names import WorkloadKey
from tests.unit.leader.given import WITH_CONFIG, config, read, workload

WEB, API = WorkloadKey("default/web"), WorkloadKey("default/api")


def want(*texts: str, revision: int = 1, uid: str = "u") -> Wanted:
    stored = []
    for document in read(*texts).documents:
        value: dict[str, Any] = dict(document.value)
        value["metadata"] = {**value["metadata"], "uid": uid}
        name = value["metadata"]["name"]
        stored.append(Stored(ObjectKey(str(value["kind"]), "default", name), value, revision))
    return wanted(stored)


def planned_for(new: Wanted, old: Wanted, *held: WorkloadKey, uid: str = "u") -> Target:
    standing = Standing(old.specs, dict.fromkeys(old.specs.workloads, uid))
    return target(new, Resolved(new.specs.workloads, frozenset()), standing, held)


def args(aim: Target, key: WorkloadKey = WEB) -> tuple[str, ...]:
    return aim.specs.workloads[key].workload.spec.container.args


OLD = workload("web", "container: {args: [old]}")
NEW = workload("web", "container: {args: [new]}")


def test_a_change_is_planned_for() -> None:
    aim = planned_for(want(NEW, revision=2), want(OLD))
    assert (args(aim), set(aim.changed), aim.differs) == (("new",), {WEB}, True)


def test_a_held_workload_keeps_what_stands_and_the_others_go_on() -> None:
    aim = planned_for(want(NEW, workload("api"), revision=2), want(OLD), WEB)
    assert (args(aim), set(aim.changed)) == (("old",), {API})


def test_a_new_workload_that_is_held_is_left_out() -> None:
    aim = planned_for(want(OLD, workload("api")), want(OLD), API)
    assert (list(aim.specs.workloads), aim.differs) == ([WEB], False)


def test_a_held_workload_that_is_deleted_goes() -> None:
    aim = planned_for(want(workload("api")), want(OLD, workload("api")), WEB)
    assert (list(aim.specs.workloads), set(aim.changed)) == ([API], {WEB})


def test_a_held_workload_keeps_its_config() -> None:
    old = want(config(content="a"), workload("web", WITH_CONFIG))
    new = want(config(content="b"), workload("web", WITH_CONFIG), revision=2)
    assert planned_for(new, old).changed == {WEB}
    aim = planned_for(new, old, WEB)
    assert aim.specs.configs[WorkloadKey("default/conf")].data == {"file": "a"}
    assert not aim.differs


def test_a_workload_made_anew_goes_first() -> None:
    aim = planned_for(want(OLD, uid="second"), want(OLD, uid="first"), uid="first")
    assert not aim.specs.workloads
    assert (set(aim.changed), set(aim.recreated)) == ({WEB}, {WEB})


def test_what_did_not_change_is_the_same_object() -> None:
    old = want(OLD, workload("api"))
    known = dict(old.known)
    known[ObjectKey("Workload", "default", "web")] = want(NEW, revision=2).known[
        ObjectKey("Workload", "default", "web")
    ]
    new = joined(known, old)
    assert new.specs.workloads[API] is old.specs.workloads[API]
    assert planned_for(new, old).changed == {WEB}


def test_another_revision_of_any_of_its_objects_is_another_version() -> None:
    texts = config(), workload("web", WITH_CONFIG)
    assert want(*texts).version(WEB) == want(*texts).version(WEB)
    assert want(*texts).version(WEB) != want(*texts, revision=2).version(WEB)


def test_what_cannot_be_read_is_a_fault_of_its_workload() -> None:
    broken = Stored(
        ObjectKey("Workload", "default", "web"),
        {"kind": "Workload", "metadata": {"name": "web", "uid": "u"}, "spec": {"type": "Robot"}},
        3,
    )
    found = wanted([broken])
    assert found.faults[WEB].startswith("this leader cannot read it: ")
    assert found.specs.workloads == {}
