"""Instances of an earlier revision, beside the new ones: their files are what they were."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from katgen import names
from katgen.model.specs import Specs
from katgen.names import NodeName, WorkloadKey
from katgen.plan import PlanState, advance, start
from katgen.planned import Inventory, Plan
from katgen.render.change import rerender
from katgen.render.cluster import Rendered, render
from tests.bench import synthetic
from tests.unit.schedule.world import specs, workload

WEB = WorkloadKey("shop/web")
Spec = Mapping[str, Any]
MOUNT: Spec = {
    "volumes": [{"name": "conf", "config": {"name": "conf"}}],
    "container": {"volumeMounts": [{"name": "conf", "mountPath": "/etc/web"}]},
}
BUILT: Spec = {
    "source": {
        "git": {
            "url": "https://git.example.org/web.git",
            "commit": "0123456789abcdef0123456789abcdef01234567",
        }
    }
}


def web(text: str = "1", **spec: Any) -> Specs:  # noqa: ANN401 -- a YAML document
    return specs(workload("web", 2, balanced=True, **spec), configs={"conf": {"a": text}})


def image(tag: str, **spec: Any) -> Specs:  # noqa: ANN401 -- a YAML document
    return web(source={"image": f"localhost/app:{tag}"}, **spec)


MACHINES = synthetic.inventory(2)


def begun(before: Specs, after: Specs) -> tuple[Plan, Plan]:
    """Return the plan of `before`, and the first step from it to `after`."""
    state = start(before, MACHINES).state
    return state.plan, step(state, after).plan


def step(state: PlanState, after: Specs) -> PlanState:
    placed = state.plan.workloads[WEB].placements
    ready = frozenset(names.instance(WEB, p.ordinal, p.incarnation) for p in placed)
    return advance(state, after, [WEB], {WEB: ready}).state


def files(rendered: Rendered) -> dict[tuple[NodeName, str], bytes]:
    return {(n, f.path): f.content for n in rendered.nodes for f in rendered.files(n)}


def units(rendered: Rendered) -> dict[str, bytes]:
    """Return the instances' unit files by their names."""
    found = {path.rpartition("/")[2]: content for (_, path), content in files(rendered).items()}
    return {name: text for name, text in found.items() if name.endswith(".container")}


def lines(text: bytes, start: str) -> list[str]:
    return [line for line in text.decode().splitlines() if line.startswith(start)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (image("1"), image("2")),
        (web("1", **MOUNT), web("2", **MOUNT)),
        (image("1"), image("2", isolation="host-root")),
        (image("1", isolation="host-root"), image("2")),
        (web(**BUILT), image("2")),
        (image("1"), replace(image("2"), configs={})),
    ],
    ids=["image", "config", "to host-root", "from host-root", "build", "config goes"],
)
def test_an_earlier_instances_unit_is_what_it_was_byte_for_byte(
    before: Specs, after: Specs
) -> None:
    parent, plan = begun(before, after)
    old, now = units(render(parent)), units(render(plan))
    assert sorted(old) == ["kat.shop.web.0-1.container", "kat.shop.web.1-2.container"]
    assert sorted(now) == sorted([*old, "kat.shop.web.0-3.container"])
    assert {name: now[name] for name in old} == old


def test_each_unit_has_the_image_of_its_revision() -> None:
    _, plan = begun(image("1"), image("2"))
    images = {name: lines(text, "Image=") for name, text in units(render(plan)).items()}
    assert images == {
        "kat.shop.web.0-1.container": ["Image=localhost/app:1"],
        "kat.shop.web.0-3.container": ["Image=localhost/app:2"],
        "kat.shop.web.1-2.container": ["Image=localhost/app:1"],
    }


def config_files(rendered: Rendered) -> dict[str, list[str]]:
    """Return the texts of a Config's files on each node."""
    found: dict[str, list[str]] = {}
    for (node, path), content in sorted(files(rendered).items()):
        if path.startswith("/var/lib/kat/config/"):
            found.setdefault(node, []).append(content.decode())
    return {node: sorted(texts) for node, texts in found.items()}


def test_a_config_that_is_mounted_as_it_was_stays_where_it_is_mounted() -> None:
    _, plan = begun(web("old", **MOUNT), web("new", **MOUNT))
    where = {f"{p.ordinal}-{p.incarnation}": p.node for p in plan.workloads[WEB].placements}
    assert where == {"0-1": "node-00000", "0-3": "node-00000", "1-2": "node-00001"}
    assert config_files(render(plan)) == {"node-00000": ["new", "old"], "node-00001": ["old"]}


def test_a_config_that_nobody_mounts_any_more_as_it_was_goes() -> None:
    after = web("new", **MOUNT)
    state = start(web("old", **MOUNT), MACHINES).state
    for _ in range(4):
        state = step(state, after)
    assert config_files(render(state.plan)) == {"node-00000": ["new"], "node-00001": ["new"]}


def test_the_build_unit_that_an_earlier_instance_requires_stays() -> None:
    _, plan = begun(web(**BUILT), image("2"))
    rendered = render(plan)
    assert lines(units(rendered)["kat.shop.web.1-2.container"], "Requires=") == [
        "Requires=kat-nft.service kat.shop.web-build.service"
    ]
    built = "/etc/containers/systemd/kat/kat.shop.web.build"
    assert ("node-00001", built) in files(rendered)


def test_both_instances_of_an_ordinal_are_candidates() -> None:
    _, plan = begun(image("1"), image("2"))
    text = files(render(plan))[NodeName("node-00000"), "/var/lib/kat/services/shop.json"].decode()
    candidates = [line for line in text.splitlines() if line.startswith('{"instance"')]
    assert [line.split('"')[3] for line in candidates] == [
        "shop/web/0-1",
        "shop/web/0-3",
        "shop/web/1-2",
    ]


def history(*written: Specs) -> Iterator[tuple[PlanState, Specs]]:
    """Yield states, and what each goes on to: two steps towards each, six to the last."""
    state = start(written[0], MACHINES).state
    for after in (*(w for one in written[1:] for w in (one, one)), *written[-1:] * 4):
        yield state, after
        state = step(state, after)


@pytest.mark.parametrize(
    "written",
    [
        (image("1"), image("2")),
        (web("1", **MOUNT), web("2", **MOUNT), web("3", **MOUNT)),
        (web("1", **MOUNT), web("2", **MOUNT), web("1", **MOUNT)),
        (web("1", **MOUNT), image("2"), replace(image("2"), configs={})),
        (web(**BUILT), image("2"), web(**BUILT)),
    ],
    ids=["image", "two edits", "back again", "config goes", "build"],
)
def test_each_step_renders_as_if_all_was_rendered(written: tuple[Specs, ...]) -> None:
    rendered: Rendered | None = None
    for state, after in history(*written):
        rendered = rendered or render(state.plan)
        plan: Plan = step(state, after).plan
        rendered = rerender(rendered, plan)
        assert rendered.root == render(plan).root


def test_the_inventory_of_a_step_has_the_machines_of_its_parent_as_they_are() -> None:
    parent, plan = begun(image("1"), image("2"))
    machines: Inventory = plan.inventory
    assert machines.nodes is parent.inventory.nodes
