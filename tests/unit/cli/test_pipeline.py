"""What stands between a plan and its files."""

from dataclasses import replace

import pytest

from katgen.cli.pipeline import Loaded, planned
from katgen.errors import RefusedError
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import WorkloadKey
from tests.bench import synthetic

KEY = WorkloadKey("n0/web")
SOME = synthetic.specs(1, 1)
MACHINES = synthetic.inventory(2)


def _loaded(image: str, **spec: object) -> Loaded:
    whole = {"type": "Service", "source": {"image": image}, "replicas": 2, **spec}
    metadata = {"name": "web", "namespace": "n0"}
    workload = Workload.model_validate({"kind": "Workload", "metadata": metadata, "spec": whole})
    return Loaded(replace(SOME, workloads={KEY: WorkloadObjects(workload)}), MACHINES)


def test_an_instance_that_cannot_be_replaced_refuses_the_plan() -> None:
    parent = planned(_loaded("registry.example/web:1"))
    nowhere = _loaded("registry.example/web:2", nodeSelector={"disk": "none"})
    with pytest.raises(RefusedError) as caught:
        planned(replace(nowhere, parent=parent))
    assert str(caught.value) == (
        "n0/web: 2 of its instances run an older revision, and no node can take the new one; "
        "make room for it, or loosen what it asks of a node"
    )


def test_a_replacement_that_finds_a_node_is_planned() -> None:
    parent = planned(_loaded("registry.example/web:1"))
    after = planned(replace(_loaded("registry.example/web:2"), parent=parent))
    one = after.workloads[KEY]
    assert {placement.revision for placement in one.placements} == {one.revision}
