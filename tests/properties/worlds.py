"""Arbitrary worlds for planning, small enough that everything collides."""

from typing import Any

from hypothesis import strategies as st

from katgen.model.specs import Specs, WorkloadObjects
from katgen.planned import Inventory, Node
from tests.unit.schedule.world import inventory, node, specs, workload

ZONES = ("a", "b", "c")
NAMES = ("ant", "bee", "cat", "dog", "eel", "fox")


def _maybe(strategy: st.SearchStrategy[Any], often: int = 3) -> st.SearchStrategy[Any]:
    """Give nothing `often` times out of `often` + 1."""
    return st.one_of(*[st.none()] * often, strategy)


_taints = st.sampled_from(
    ("dedicated=db:NoSchedule", "old=yes:PreferNoSchedule", "down=now:NoExecute")
)
_terms = st.fixed_dictionaries(
    {
        "matchLabels": st.sampled_from(({"app": "x"}, {"app": "y"})),
        "topologyKey": st.sampled_from(("node", "zone")),
        "weight": st.integers(1, 3),
    }
)


@st.composite
def nodes(draw: st.DrawFn, names: tuple[str, ...] = ("n1", "n2", "n3", "n4", "n5")) -> Inventory:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    return inventory(*[draw(_node(name)) for name in chosen])


@st.composite
def _node(draw: st.DrawFn, name: str) -> Node:
    zone = draw(st.sampled_from((*ZONES, "")))
    labels = {"disk": draw(st.sampled_from(("ssd", "hdd")))} | ({"zone": zone} if zone else {})
    taint = draw(_maybe(_taints, 5))
    return node(
        name,
        labels,
        cpu=draw(st.sampled_from(("1", "2", "4", None))),
        memory=draw(st.sampled_from(("1Gi", "4Gi", None))),
        taints=(taint,) if taint else (),
        cordoned=draw(st.sampled_from((False, False, False, True))),
        ready=draw(st.sampled_from((True, True, True, False))),
        gpus=draw(_maybe(st.just({"nvidia.com/gpu": 3}))),
    )


@st.composite
def objects(draw: st.DrawFn, name: str) -> WorkloadObjects:
    kind = draw(st.sampled_from(("Service", "Service", "Service", "DaemonService", "Job")))
    spec: dict[str, Any] = {"type": kind, "container": draw(_containers())}
    spec |= draw(_placing())
    if draw(st.sampled_from((False, False, False, True))):
        spec["volumes"] = [{"name": "data", "simpleClusterStorage": {}}]
        spec["container"]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return workload(
        name,
        draw(st.integers(0, 5)) if kind == "Service" else None,
        labels={"app": draw(st.sampled_from(("x", "y", "z")))},
        balanced=kind != "Job" and draw(st.booleans()),
        job=draw(_jobs()) if kind == "Job" else None,
        **spec,
    )


def _jobs() -> st.SearchStrategy[dict[str, Any]]:
    runs = {"completions": st.integers(1, 4), "parallelism": st.integers(1, 3)}
    return st.one_of(st.fixed_dictionaries(runs), st.just({"schedule": "@daily"}))


@st.composite
def _containers(draw: st.DrawFn) -> dict[str, Any]:
    requests = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "cpu": st.sampled_from(("250m", "1", "3")),
                "memory": st.sampled_from(("256Mi", "1Gi")),
            },
        )
    )
    resources: dict[str, Any] = {"requests": requests}
    gpu = draw(_maybe(st.integers(1, 2), 5))
    if gpu:
        resources["gpu"] = {"count": gpu}
    container: dict[str, Any] = {"args": [draw(st.sampled_from("12"))], "resources": resources}
    port = draw(_maybe(st.just(80), 5))
    if port:
        container["ports"] = [{"containerPort": 80, "hostPort": port}]
    return container


@st.composite
def _placing(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what of a spec says where instances may run."""
    disk = draw(_maybe(st.sampled_from(("ssd", "hdd"))))
    skew = draw(_maybe(st.integers(1, 2)))
    key = draw(st.sampled_from(("zone", "node")))
    return {
        "priority": draw(st.sampled_from((0, 0, 1))),
        "nodeSelector": {"disk": disk} if disk else {},
        "tolerations": [{"operator": "Exists"}] if draw(_maybe(st.just(1))) else [],
        "spread": [{"topologyKey": key, "maxSkew": skew}] if skew else [],
        "affinity": draw(_affinities()),
    }


@st.composite
def _affinities(draw: st.DrawFn) -> dict[str, Any]:
    affinity: dict[str, Any] = {}
    for side in ("workload", "antiWorkload"):
        terms = {how: draw(_maybe(_terms, 7)) for how in ("required", "preferred")}
        affinity[side] = {how: [term] for how, term in terms.items() if term}
    zone = draw(_maybe(st.sampled_from(ZONES), 5))
    if zone:
        match = [{"key": "zone", "operator": "In", "values": [zone]}]
        affinity["node"] = {"preferred": [{"match": match, "weight": 2}]}
    return affinity


@st.composite
def worlds(draw: st.DrawFn) -> Specs:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    quota = draw(_maybe(st.just({"instances": 6, "cpu": "6"}), 5))
    policy = draw(st.sampled_from(("MostEmpty", "MostEmpty", "BinPack")))
    return specs(
        *[draw(objects(name)) for name in names], quota=quota, settings={"scheduling": policy}
    )
