"""Every Config and Secret that a workload's objects name, and where none of them may be lost."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from katgen.leader.cluster import Cluster
from katgen.leader.desired import Resolved, Standing, Target, Wanted, joined, target, wanted
from katgen.leader.documents import ObjectKey, Stored, encode
from katgen.leader.stock import Stock
from katgen.leader.store import Change
from katgen.leader.store.memory import MemoryStore
from katgen.model.kinds import KINDS
from katgen.model.shape import fields, object_in
from katgen.model.spec import Spec
from katgen.names import WorkloadKey
from katgen.parse import parse
from katgen.plan import changed_workloads, start
from katgen.plan.past import earlier
from katgen.revision import named_by, referenced_by, revision
from katgen.validate.objects import gather
from katgen.validate.references import named
from katgen.wire import plan_from_json, plan_json
from tests.unit.leader.given import StandingClock
from tests.unit.schedule.world import inventory, node

SHOP = """
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec:
  type: Service
  source: {image: localhost/web:1}
  container:
    env: [{name: PW, valueFrom: {secret: {name: db, key: password}}}]
    volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b}]
  volumes: [{name: a, config: {name: conf}}, {name: b, secret: {name: mounted}}]
---
apiVersion: kat/v1alpha1
kind: VirtualLoadBalancer
metadata: {name: web, namespace: shop}
spec:
  ports: [{port: 80}]
  ingress:
    - {host: a.example.com, servicePort: 80, tls: {secretName: web-tls}}
    - {host: b.example.com, servicePort: 80, tls: {secretName: db}}
    - {host: c.example.com, servicePort: 80}
---
apiVersion: kat/v1alpha1
kind: Config
metadata: {name: conf, namespace: shop}
data: {file: a}
"""
SECRETS = {"db": ("password", "tls.crt", "tls.key"), "mounted": ("a",), "web-tls": ("tls.crt",)}
WEB = WorkloadKey("shop/web")
CONFIGS = ("shop/conf",)
NAMED = ("shop/db", "shop/mounted", "shop/web-tls")


def stored(revision: int = 1, text: str = SHOP, **secrets: tuple[str, ...]) -> list[Stored]:
    """Return the shop, and its Secrets of this revision, of which some have other keys."""
    documents: list[dict[str, Any]] = [
        dict(one.value) for one in parse([("x", text.encode())]).documents
    ]
    other = {name.replace("_", "-"): keys for name, keys in secrets.items()}
    for name, keys in {**SECRETS, **other}.items():
        metadata = {"name": name, "namespace": "shop"}
        data = dict.fromkeys(keys, "")
        documents.append({"kind": "Secret", "metadata": metadata, "data": data})
    return [stored_object(one, revision) for one in documents]


def stored_object(document: dict[str, Any], revision: int) -> Stored:
    document["metadata"] = {**document["metadata"], "uid": "u"}
    kind = str(document["kind"])
    key = ObjectKey(kind, "shop", document["metadata"]["name"])
    return Stored(key, document, revision if kind == "Secret" else 1)


def want(revision: int = 1, text: str = SHOP, **secrets: tuple[str, ...]) -> Wanted:
    return wanted(stored(revision, text, **secrets))


def aim(new: Wanted, old: Wanted | None = None, *held: WorkloadKey) -> Target:
    standing = Standing(old.specs, {WEB: "u"}) if old else None
    return target(new, Resolved(new.specs.workloads, frozenset()), standing, held)


def test_what_is_named_is_what_validation_looks_for() -> None:
    mentions = {(one.kind, one.to) for one in named(gather(parse([("x", SHOP.encode())])).objects)}
    configs, secrets = named_by(want().specs.workloads[WEB])
    assert (configs, secrets) == (CONFIGS, NAMED)
    assert mentions == {("Config", k) for k in configs} | {("Secret", k) for k in secrets}


def test_no_other_field_of_the_model_names_a_config_or_secret() -> None:
    parts = ("Workload", "VirtualLoadBalancer", "JobDefinition", "BuildDefinition")
    found = {f"{kind}{path}" for kind in parts for path in naming(KINDS[kind])}
    assert found == {
        "Workload.spec.container.env.valueFrom.secret",
        "Workload.spec.sidecars.env.valueFrom.secret",
        "Workload.spec.volumes.config",
        "Workload.spec.volumes.secret",
        "VirtualLoadBalancer.spec.ingress.tls.secretName",
    }


def naming(model: type[Spec], at: str = "") -> Iterator[str]:
    for name, info in fields(model).items():
        inner = object_in(info.annotation)
        if "secret" in name.lower() or "config" in name.lower():
            yield f"{at}.{name}"
        elif inner is not None:
            yield from naming(inner, f"{at}.{name}")


def test_a_certificate_does_not_roll_instances() -> None:
    objects, specs = want().specs.workloads[WEB], want().specs
    alone = replace(objects, load_balancer=None)
    other = want(web_tls=("x",)).specs
    made = revision(alone, referenced_by(alone.workload, specs))
    assert revision(objects, referenced_by(objects.workload, specs)) == made
    assert revision(objects, referenced_by(objects.workload, other)) == made


def test_a_plan_has_the_certificate_that_a_load_balancer_names_and_can_be_read() -> None:
    specs = aim(want()).specs
    assert tuple(specs.secrets) == NAMED
    plan = start(specs, inventory(node("n1"))).state.plan
    assert plan_from_json(plan_json(plan), "p") == plan


def test_a_held_workload_keeps_the_certificate_that_it_knows() -> None:
    old = want()
    new = want(2, SHOP.replace(", tls: {secretName: web-tls}", ""), web_tls=("other",))
    assert "shop/web-tls" not in aim(new, old).specs.secrets
    specs = aim(new, old, WEB).specs
    assert specs.secrets[WorkloadKey("shop/web-tls")] == ("tls.crt",)


def test_a_held_workload_that_wants_other_keys_of_a_secret_can_be_read() -> None:
    other = SHOP.replace("name: web,", "name: api,").replace("example.com", "example.org")
    api = other.replace("key: password", "key: token")
    old, new = want(text=SHOP), want(2, f"{SHOP}\n---\n{api}", db=("token", "tls.crt", "tls.key"))
    specs = aim(new, old, WEB).specs
    assert specs.secrets[WorkloadKey("shop/db")] == SECRETS["db"]
    plan = start(specs, inventory(node("n1"))).state.plan
    assert plan_from_json(plan_json(plan), "p") == plan


def test_what_a_load_balancer_names_is_part_of_a_workloads_version() -> None:
    known = want().known
    certificate = ObjectKey("Secret", "shop", "web-tls")
    touched = joined({**known, certificate: replace(known[certificate], revision=2)})
    assert touched.version(WEB) != want().version(WEB)


def test_another_certificate_is_a_change_of_its_workload() -> None:
    old, new = aim(want()).specs, aim(want(2, web_tls=("other",)), want()).specs
    assert changed_workloads(old, new) == {WEB}
    assert aim(want(2, web_tls=("other",)), want()).changed == {WEB}


def test_an_earlier_revision_keeps_its_certificates() -> None:
    specs = want().specs
    assert tuple(earlier(specs, WEB).secrets) == NAMED


@pytest.mark.parametrize("name", ["db", "mounted", "web-tls"])
def test_a_secret_that_changes_is_news_of_the_workload_that_names_it(name: str) -> None:
    cluster = Cluster()
    stock = Stock(MemoryStore(), cluster, StandingClock(), lambda _: None)
    stock.take([Change(one.key.path, encode(one.document), 1, 1) for one in stored()])
    (secret,) = (one for one in stored() if one.key == ObjectKey("Secret", "shop", name))
    stock.take([Change(secret.key.path, encode(secret.document), 2, 1)])
    assert cluster.touched(2) == frozenset({WEB})
