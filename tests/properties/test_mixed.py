"""Whatever is applied and whoever is held back: a leader can read the plan that it commits."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from katgen.check import check_whole
from katgen.leader import planstore
from katgen.leader.candidate import Candidate, Ground, Input, drafted, numbered
from katgen.leader.desired import Resolved, Standing, Wanted, wanted
from katgen.leader.documents import ObjectKey, Stored
from katgen.leader.planstore import Committed
from katgen.leader.store.memory import MemoryStore
from katgen.names import WorkloadKey
from katgen.parse import parse
from katgen.planned import Plan
from katgen.protocol import SignedRecord
from katgen.validate import check
from katgen.wire import plan_from_json, plan_json
from tests.unit.schedule.world import inventory, node

NAMES = ("ant", "bee", "cat")
HOSTS = ("x.example.com", "y.example.com")
KEYS = ("a", "b")
SIGNED = SignedRecord("{}", "c2lnbmVk", "0123456789abcdef")
MACHINES = inventory(node("n1"), node("n2"))


@dataclass(frozen=True)
class Apply:
    """A valid set of objects, and the workloads that are held back at that time."""

    text: str
    held: frozenset[WorkloadKey]


@st.composite
def applies(draw: st.DrawFn) -> Apply:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    owners = {host: draw(st.sampled_from((None, *names))) for host in HOSTS}
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    roots = [name for name in names if draw(st.booleans())]
    documents = [_namespace(is_root=bool(roots)), _config(draw(st.sampled_from("12")))]
    documents.append(_document("Secret", "tls", f"data: {{{_data(keys)}}}"))
    for name in names:
        isolation = "host-root" if name in roots else "userns"
        key = draw(st.sampled_from((*keys, "")))
        documents.append(_workload(name, isolation, key, is_mounting=draw(st.booleans())))
        documents.append(_balancer(name, [h for h in HOSTS if owners[h] == name]))
    held = frozenset(WorkloadKey(f"shop/{name}") for name in NAMES if draw(st.booleans()))
    return Apply("\n---\n".join(documents), held)


def _document(kind: str, name: str, rest: str) -> str:
    namespace = "" if kind == "Namespace" else ", namespace: shop"
    metadata = f"metadata: {{name: {name}{namespace}}}"
    return f"apiVersion: kat/v1alpha1\nkind: {kind}\n{metadata}\n{rest}"


def _namespace(*, is_root: bool) -> str:
    return _document("Namespace", "shop", f"spec: {{allowHostRoot: {str(is_root).lower()}}}")


def _config(content: str) -> str:
    return _document("Config", "conf", f'data: {{file: "{content}"}}')


def _data(keys: Sequence[str]) -> str:
    return ", ".join(f"{key}: ''" for key in (*keys, "tls.crt", "tls.key"))


def _workload(name: str, isolation: str, key: str, *, is_mounting: bool) -> str:
    """Return a Service; `key` is what of the Secret it wants as a variable, '' for nothing."""
    env = f"{{name: V, valueFrom: {{secret: {{name: tls, key: {key}}}}}}}" if key else ""
    mounts, volume = (
        ("{name: c, mountPath: /c}", "{name: c, config: {name: conf}}") if is_mounting else ("", "")
    )
    container = f"{{env: [{env}], volumeMounts: [{mounts}]}}"
    spec = f"source: {{image: 'localhost/{name}:1'}}, isolation: {isolation}"
    return _document(
        "Workload",
        name,
        f"spec: {{type: Service, {spec}, container: {container}, volumes: [{volume}]}}",
    )


def _balancer(name: str, hosts: Sequence[str]) -> str:
    ingress = ", ".join(f"{{host: {h}, servicePort: 80, tls: {{secretName: tls}}}}" for h in hosts)
    return _document(
        "VirtualLoadBalancer", name, f"spec: {{ports: [{{port: 80}}], ingress: [{ingress}]}}"
    )


def want(text: str) -> Wanted:
    parsed = parse([("test.kat", text.encode())])
    assert check(parsed).problems == ()
    stored = []
    for one in parsed.documents:
        kind, metadata = str(one.value["kind"]), one.value["metadata"]
        assert isinstance(metadata, dict)
        namespace = str(metadata.get("namespace", "-"))
        document = {**one.value, "metadata": {**metadata, "uid": "u"}}
        stored.append(Stored(ObjectKey(kind, namespace, str(metadata["name"])), document, 0))
    return wanted(stored)


def following(before: Candidate | None, apply: Apply) -> Candidate | None:
    """Return what is committed next; None if nothing is to be done."""
    now = want(apply.text)
    standing = base = None
    if before is not None:
        specs = before.plan.specs
        standing = Standing(specs, dict.fromkeys(specs.workloads, "u"))
        base = Ground(before.state, before.rendered)
    images = Resolved(now.specs.workloads, frozenset())
    found = drafted(Input(now, images, standing, base, MACHINES, apply.held)).candidate
    number = before.plan.generation + 1 if before else 1
    return numbered(found, number) if found else None


async def reloaded(history: Sequence[Plan]) -> Plan:
    """Return what is loaded once these plans were committed in turn."""
    store, before = MemoryStore(), None
    for plan in history:
        after = Committed(plan, 1, SIGNED)
        every = frozenset(plan.workloads)
        revision = before.revision if before else 0
        await store.commit(planstore.transaction(before, after, every, revision))
        before = await planstore.load(store)
    assert before is not None
    return before.plan


@settings(max_examples=150, deadline=None)
@given(st.lists(applies(), min_size=2, max_size=4))
def test_what_is_committed_is_read_again_and_no_host_leads_to_two(history: list[Apply]) -> None:
    plans: list[Plan] = []
    last: Candidate | None = None
    for apply in history:
        made = following(last, apply)
        if made is None:
            continue
        last = made
        plan = made.plan
        plans.append(plan)
        assert asyncio.run(reloaded(plans)) == plan
        assert plan_json(plan_from_json(plan_json(plan), "p")) == plan_json(plan)
        assert check_whole(plan) == ()
        balancers = (one.load_balancer for one in plan.specs.workloads.values())
        hosts = Counter(i.host for one in balancers if one for i in one.spec.ingress)
        assert max(hosts.values(), default=1) == 1
