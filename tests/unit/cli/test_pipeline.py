"""What stands between a plan and its files."""

from dataclasses import replace

from katgen.cli.pipeline import Loaded, planned, unplaced
from katgen.model.specs import WorkloadObjects
from katgen.model.workload import Workload
from katgen.names import WorkloadKey
from katgen.planned import Plan
from katgen.render.cluster import render
from tests.bench import synthetic

KEY = WorkloadKey("n0/web")
SOME = synthetic.specs(1, 1)
MACHINES = synthetic.inventory(2)


def _loaded(image: str, **spec: object) -> Loaded:
    whole = {"type": "Service", "source": {"image": image}, "replicas": 2, **spec}
    metadata = {"name": "web", "namespace": "n0"}
    workload = Workload.model_validate({"kind": "Workload", "metadata": metadata, "spec": whole})
    return Loaded(replace(SOME, workloads={KEY: WorkloadObjects(workload)}), MACHINES)


def _units(made: Plan) -> dict[str, bytes]:
    files = [file for node in made.inventory.nodes for file in render(made).files(node)]
    found = {file.path: file.content for file in files if file.path.endswith(".container")}
    assert len(found) == len(made.workloads[KEY].placements)
    return found


def _that_fits_nowhere(parent: Plan) -> Plan:
    nowhere = _loaded("registry.example/web:2", nodeSelector={"disk": "none"})
    return planned(replace(nowhere, parent=parent))


def test_an_instance_that_cannot_be_replaced_goes_on_as_it_is() -> None:
    parent = planned(_loaded("registry.example/web:1"))
    after = _that_fits_nowhere(parent)
    assert after.workloads[KEY].placements == parent.workloads[KEY].placements
    assert _units(after) == _units(parent)


def test_an_ordinal_that_goes_on_as_it_is_counts_once() -> None:
    (problem,) = unplaced(_that_fits_nowhere(planned(_loaded("registry.example/web:1"))))
    assert str(problem) == (
        "n0/web: 2 of 2 instances have no node: nodeSelector disk=none: the node's disk is ssd "
        "(2 nodes); 2 go on as they are; katcall explain --offline n0/web says more"
    )


def test_a_replacement_that_finds_a_node_is_planned() -> None:
    parent = planned(_loaded("registry.example/web:1"))
    after = planned(replace(_loaded("registry.example/web:2"), parent=parent))
    one = after.workloads[KEY]
    assert {placement.revision for placement in one.placements} == {one.revision}
