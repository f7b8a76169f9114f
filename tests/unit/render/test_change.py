"""Rendering after a change gives what rendering everything gives, whatever changed."""

from dataclasses import replace
from typing import Any

import pytest

from katgen.model.objects import BuildDefinition, Config
from katgen.model.specs import Specs, WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import WorkloadKey
from katgen.plan import make_plan
from katgen.render.change import rerender
from katgen.render.cluster import render
from tests.bench import synthetic

WEB, BUILT = WorkloadKey("n0/web"), WorkloadKey("n0/built")
CONF, SPARE = WorkloadKey("n0/conf"), WorkloadKey("n0/spare")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _workload(name: str, **spec: Any) -> Workload:  # noqa: ANN401 -- fields of a document
    whole = {"type": "Service", "source": {"image": "registry.example/web:1"}, **spec}
    metadata = {"name": name, "namespace": "n0"}
    return Workload.model_validate({"kind": "Workload", "metadata": metadata, "spec": whole})


def _mounting() -> WorkloadObjects:
    volumes = [{"name": "conf", "config": {"name": "conf"}}]
    mounts = [{"name": "conf", "mountPath": "/etc/web"}]
    return WorkloadObjects(_workload("web", volumes=volumes, container={"volumeMounts": mounts}))


def _built() -> WorkloadObjects:
    git = {"url": "https://git.example.org/web.git", "commit": COMMIT}
    metadata = {"name": "built", "namespace": "n0"}
    definition = {"kind": "BuildDefinition", "metadata": metadata}
    build = BuildDefinition.model_validate({**definition, "spec": {}})
    return WorkloadObjects(_workload("built", source={"git": git}), build=build)


def _config(name: str, text: str) -> Config:
    metadata = {"name": name, "namespace": "n0"}
    return Config.model_validate({"kind": "Config", "metadata": metadata, "data": {"a": text}})


def _base() -> Specs:
    some = synthetic.specs(3, 2)
    workloads = {**some.workloads, WEB: _mounting(), BUILT: _built()}
    configs = {CONF: _config("conf", "1"), SPARE: _config("spare", "1")}
    return replace(some, workloads=dict(sorted(workloads.items())), configs=configs)


def _without(mapping: Any, key: WorkloadKey) -> Any:  # noqa: ANN401 -- any of Specs' mappings
    return {k: v for k, v in mapping.items() if k != key}


BASE = _base()
AFTER = {
    "a Config that nobody mounts is edited": replace(
        BASE, configs={**BASE.configs, SPARE: _config("spare", "2")}
    ),
    "a Config that nobody mounts is deleted": replace(BASE, configs=_without(BASE.configs, SPARE)),
    "a mounted Config is edited": replace(
        BASE, configs={**BASE.configs, CONF: _config("conf", "2")}
    ),
    "a workload stops to mount a Config, which goes": replace(
        BASE,
        workloads={**BASE.workloads, WEB: WorkloadObjects(_workload("web"))},
        configs=_without(BASE.configs, CONF),
    ),
    "a built workload takes an image": replace(
        BASE, workloads={**BASE.workloads, BUILT: WorkloadObjects(_workload("built"))}
    ),
    "a built workload is deleted": replace(BASE, workloads=_without(BASE.workloads, BUILT)),
    "a service gets another port": replace(
        BASE,
        workloads={
            **BASE.workloads,
            synthetic.workload_key(0): replace(
                BASE.workloads[synthetic.workload_key(0)], load_balancer=None
            ),
        },
    ),
}


@pytest.mark.parametrize("what", AFTER)
def test_the_root_is_the_same_as_if_all_was_rendered(what: str) -> None:
    before = make_plan(BASE, synthetic.inventory(4))
    after = make_plan(AFTER[what], before.inventory, before)
    changed, whole = rerender(render(before), after), render(after)
    assert changed.root == whole.root
    assert changed.root != render(before).root
