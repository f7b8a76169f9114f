"""A parent that somebody edited, or a disk garbled, is carried on from or refused."""

import json
import pathlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from katgen import check, plan
from katgen.cli.options import Named
from katgen.cli.pipeline import load, planned
from katgen.errors import KatError, SpecError
from katgen.names import WorkloadKey
from katgen.planned import Plan
from katgen.planview import plan_view
from katgen.render.cluster import render
from katgen.wire import plan_from_json, plan_json
from tests.environment import REPOSITORY
from tests.unit.schedule.world import inventory, node, specs, workload

Path = tuple[str | int, ...]


def loaded(example: str) -> Any:  # noqa: ANN401 -- what load returns
    return load(Named([str(REPOSITORY / "examples" / example)]))


FIRST, SECOND = loaded("shop"), loaded("shop-v2")
PARENT = plan_json(
    plan.make_plan(
        SECOND.specs, SECOND.inventory, plan.make_plan(FIRST.specs, FIRST.inventory, None)
    )
)


def places(value: object, at: Path = ()) -> list[Path]:
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [*([at] if at else []), *(p for key, item in inside for p in places(item, (*at, key)))]


EVERYWHERE = places(json.loads(PARENT))
NOTHING = object()
VALUES: tuple[object, ...] = (
    NOTHING, None, True, 0, -1, 1, 2**63, 3.5, "", "x", "0", "a", "é\n", "shop/web", "999.1.1.1",
    "10.100.0.10", "10.100.0.0/24", "10.100.0.0/33", [], {}, ["x"], {"x": 1},
)  # fmt: skip


def spoilt(place: Path, value: object) -> bytes:
    document = inner = json.loads(PARENT)
    for step in place[:-1]:
        inner = inner[step]
    if value is NOTHING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return json.dumps(document).encode()


def carried_on(parent: Plan) -> None:
    made = plan.make_plan(SECOND.specs, SECOND.inventory, parent)
    if not check.check(made, parent):
        plan_view(render(parent), render(made))


@given(st.sampled_from(EVERYWHERE), st.sampled_from(VALUES))
@settings(max_examples=150, deadline=None)
def test_a_spoilt_parent_is_refused_or_carried_on_from(place: Path, value: object) -> None:
    try:
        parent = plan_from_json(spoilt(place, value), "plan.json")
        if not check.check(parent, None):
            carried_on(parent)
    except KatError:
        pass


def test_the_parent_itself_needs_nothing() -> None:
    parent = plan_from_json(PARENT, "plan.json")
    made = plan.make_plan(SECOND.specs, SECOND.inventory, parent)
    assert made == parent
    assert plan_view(render(parent), render(made)).actions == {}


WEB = """
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec: {type: Service, source: {image: "localhost/app:1"}, isolation: %s}
"""


def test_a_parent_may_have_what_its_namespace_forbids_by_now_and_files_may_not(
    tmp_path: pathlib.Path,
) -> None:
    """A leader commits such a plan if it holds a workload back."""
    files = {name: tmp_path / name for name in ("parent.json", "old.kat", "new.kat")}
    parent = plan.make_plan(specs(workload("web", isolation="host-root")), inventory(node("n1")))
    files["parent.json"].write_bytes(plan_json(parent))
    files["old.kat"].write_text(WEB % "host-root")
    files["new.kat"].write_text(WEB % "userns")
    named = Named([str(files["new.kat"])], parent=str(files["parent.json"]))
    assert planned(load(named)).workloads[WorkloadKey("shop/web")].placements[0].node == "n1"
    with pytest.raises(SpecError, match="Namespace 'shop' does not allow host-root"):
        load(replace(named, files=[str(files["old.kat"])]))
