"""A plan's view looks only at what can differ; it must see what a look at everything sees."""

import msgspec
import pytest

from katgen import parse, plan, validate
from katgen.bundle import Entry, entry
from katgen.diff import changes, diff
from katgen.inventory import inventory
from katgen.names import NodeName
from katgen.planned import Plan
from katgen.planview import plan_view
from katgen.render.cluster import Rendered, render

NODES = "\n---\n".join(
    f"{{apiVersion: kat/v1alpha1, kind: Node, metadata: {{name: {name}}}, "
    f"spec: {{advertiseAddress: 192.0.2.{number}}}, status: {{overlayNetwork: "
    f"{{publicKey: {key}, endpoint: '192.0.2.{number}:51820'}}}}}}"
    for number, (name, key) in enumerate(
        {
            "a": "We8EaJD79znnqO97q5bbXYM/QlxJ3vy9gQdxUiVNrjo=",
            "b": "ZEzk4f26EkOU1Q9yirW3qa9eJxGPEIQVkQzLe98QETo=",
            "c": "4iERjqHpnUN426xJIZRnk5DbWVFIZUbfkIyXNob5ZTo=",
        }.items(),
        1,
    )
)
CLUSTER = """
{apiVersion: kat/v1alpha1, kind: ClusterConfiguration, metadata: {name: c},
 spec: {clusterCIDR: 10.1.0.0/16, serviceCIDR: 10.2.0.0/16}}
---
"""
ISOLATED = (
    "{apiVersion: kat/v1alpha1, kind: Namespace, metadata: {name: one}, spec: {isolated: true}}"
)
WEB = """
---
{apiVersion: kat/v1alpha1, kind: Workload, metadata: {name: web, namespace: one},
 spec: {type: Service, replicas: 2, source: {image: 'localhost/web:1'},
        container: {volumeMounts: [{name: c, mountPath: /c}]},
        volumes: [{name: c, config: {name: conf}}]}}
---
{apiVersion: kat/v1alpha1, kind: VirtualLoadBalancer, metadata: {name: web, namespace: one},
 spec: {ports: [{port: 80}], ingress: [{host: web.example, servicePort: 80}]}}
---
{apiVersion: kat/v1alpha1, kind: Config, metadata: {name: conf, namespace: one}, data: {x: one}}
---
{apiVersion: kat/v1alpha1, kind: Workload, metadata: {name: db, namespace: two},
 spec: {type: DaemonService, source: {image: 'localhost/db:1'},
        container: {ports: [{containerPort: 1, hostPort: 1}]}}}
---
"""
ALL = CLUSTER + NODES + WEB
SECOND = NODES.split("\n---\n")[2]
WORLDS = {
    "itself": ALL,
    "another image": ALL.replace("web:1", "web:2"),
    "another content": ALL.replace("x: one", "x: two"),
    "an exclusive one": ALL.replace("db:1", "db:2"),
    "one replica less": ALL.replace("replicas: 2", "replicas: 1"),
    "no ingress": ALL.replace(", ingress: [{host: web.example, servicePort: 80}]", ""),
    "an isolated namespace": ALL + ISOLATED,
    "one node less": ALL.replace(SECOND, "").replace("---\n\n---", "---"),
    "another overlay": ALL.replace("/16}}", "/16, overlay: host-gateway}}"),
    "another domain": ALL.replace("/16}}", "/16, clusterDomain: x.example}}"),
    "nothing to run": CLUSTER + NODES,
}


def made(text: str, parent: Plan | None) -> Plan:
    found = validate.check(parse.parse([("x.kat", text.encode())]))
    assert found.specs is not None, found.problems
    return plan.make_plan(found.specs, inventory(found.nodes), parent)


def everything(rendered: Rendered, node: str) -> dict[str, Entry]:
    name = NodeName(node)
    if name not in rendered.nodes:
        return {}
    return {file.path: entry(file) for file in rendered.files(name)}


@pytest.fixture(scope="module")
def before() -> Rendered:
    return render(made(ALL, None))


@pytest.mark.parametrize("change", WORLDS)
def test_steps_and_files_are_those_of_a_look_at_everything(before: Rendered, change: str) -> None:
    after = render(made(WORLDS[change], before.plan))
    view = plan_view(before, after)
    nodes = sorted({*before.nodes, *after.nodes})
    pairs = {node: (everything(before, node), everything(after, node)) for node in nodes}
    steps = {node: diff(*pair) for node, pair in pairs.items()}
    assert view.actions == {node: actions for node, actions in steps.items() if actions}
    seen = [(file.change, node) for file in view.files for node in file.nodes]
    wanted = [(change, node) for node, pair in pairs.items() for change in changes(*pair)]
    assert sorted(map(_sortable, seen)) == sorted(map(_sortable, wanted))


def _sortable(item: tuple[object, str]) -> bytes:
    return msgspec.json.encode(item)


@pytest.mark.parametrize("change", sorted(WORLDS.keys() - {"itself"}))
def test_every_changed_content_has_a_diff(before: Rendered, change: str) -> None:
    after = render(made(WORLDS[change], before.plan))
    for file in plan_view(before, after).files:
        old, new = file.change.old, file.change.new
        if not old or not new or old.digest != new.digest:
            assert file.lines, file.change.path


def test_a_plan_differs_in_nothing_from_itself(before: Rendered) -> None:
    view = plan_view(before, before)
    assert (view.files, view.actions) == ((), {})


def test_files_that_change_alike_stand_there_once(before: Rendered) -> None:
    after = render(made(WORLDS["another image"], before.plan))
    zone = "/var/lib/kat/dns/one.kat.cluster.local.zone"
    nodes = [file.nodes for file in plan_view(before, after).files if file.change.path == zone]
    assert nodes == [("a", "b", "c")]
