"""A plan in the middle of a rollout as bytes: earlier revisions, and who is ready."""

from typing import Any

import msgspec
import pytest

from katgen import names
from katgen.errors import SpecError
from katgen.model.specs import Specs
from katgen.names import InstanceKey, WorkloadKey
from katgen.plan import advance, start
from katgen.planned import Plan
from katgen.wire import plan_from_json, plan_json
from tests.unit.schedule.world import inventory, node, specs, workload

WEB = WorkloadKey("shop/web")
MOUNT: dict[str, Any] = {
    "volumes": [{"name": "conf", "config": {"name": "conf"}}],
    "container": {"volumeMounts": [{"name": "conf", "mountPath": "/etc/web"}]},
}


def written(text: str) -> Specs:
    return specs(workload("web", 2, **MOUNT), configs={"conf": {"a": text}})


def in_the_middle() -> Plan:
    """Return the first step of a rollout of another Config's content."""
    state = start(written("1"), inventory(node("n1"))).state
    placed = state.plan.workloads[WEB].placements
    ready = frozenset(names.instance(WEB, p.ordinal, p.incarnation) for p in placed)
    return advance(state, written("2"), [WEB], {WEB: ready}).state.plan


PLAN = in_the_middle()
OLD = PLAN.workloads[WEB].placements[0].revision


def test_what_earlier_instances_are_made_of_comes_back() -> None:
    found = plan_from_json(plan_json(PLAN), "p")
    assert found == PLAN
    assert found.earlier[WEB][OLD].configs[WorkloadKey("shop/conf")].data == {"a": "1"}
    assert found.inventory.available == {
        WEB: frozenset({InstanceKey("shop/web/0-1"), InstanceKey("shop/web/1-2")})
    }


def test_a_plan_without_earlier_revisions_says_nothing_of_them() -> None:
    plan = start(written("1"), inventory(node("n1"))).state.plan
    assert b"earlier" not in plan_json(plan)
    assert b"available" not in plan_json(plan)


def test_what_a_namespace_forbids_by_now_is_read_if_it_runs_still() -> None:
    state = start(specs(workload("web", 2, isolation="host-root")), inventory(node("n1"))).state
    placed = state.plan.workloads[WEB].placements
    ready = frozenset(names.instance(WEB, p.ordinal, p.incarnation) for p in placed)
    plan = advance(state, specs(workload("web", 2)), [WEB], {WEB: ready}).state.plan
    assert plan_from_json(plan_json(plan), "p") == plan


def edited(*path: str, value: object) -> bytes:
    document = msgspec.json.decode(plan_json(PLAN))
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return msgspec.json.encode(document)


KNOWN = msgspec.json.decode(plan_json(PLAN))["earlier"][WEB]
OBJECTS = ("earlier", WEB, OLD, "objects", "workload")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (edited("earlier", "../web", value=KNOWN), "'../web' is not <namespace>/<name>"),
        (edited("earlier", "shop/db", value=KNOWN), "shop/db has instances of an earlier revision"),
        (edited("earlier", WEB, "../x", value=KNOWN[OLD]), "'../x' is not a revision"),
        (edited(*OBJECTS, "metadata", "name", value="db"), "holds, or is, the document of another"),
        (edited(*OBJECTS, "spec", "type", value="Thing"), "spec.type"),
        (edited("earlier", WEB, OLD, "configs", value={}), "shop/conf"),
        (edited("inventory", "available", "a b", value=[]), "'a b' is not <namespace>/<name>"),
        (
            edited("inventory", "available", WEB, value=["shop/db/0-1"]),
            "'shop/db/0-1' is not one of its instances",
        ),
    ],
)
def test_what_kat_would_not_have_written_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_from_json(data, "p")
    assert message in str(caught.value)
