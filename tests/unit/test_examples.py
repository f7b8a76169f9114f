from pathlib import Path

import pytest

from katgen.parse import parse
from katgen.validate import Checked, check
from tests.environment import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
CONVENTIONS = {
    "Workload": "workload.kat",
    "VirtualLoadBalancer": "VirtualLoadBalancer.kat",
    "JobDefinition": "job.kat",
    "BuildDefinition": "build.kat",
    "Config": "config.kat",
    "Secret": "secret.kat",
    "Namespace": "namespace.kat",
    "ClusterConfiguration": "cluster.kat",
    "Node": "nodes.kat",
}


def files(example: Path) -> list[Path]:
    return sorted(example.rglob("*.kat")) if example.is_dir() else [example]


def checked(example: Path) -> Checked:
    return check(parse((str(f.relative_to(EXAMPLES)), f.read_bytes()) for f in files(example)))


@pytest.mark.parametrize("example", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_has_no_problem(example: Path) -> None:
    assert [str(problem) for problem in checked(example).problems] == []


# Settings of clusters, beside the folders, are named for what they set.
@pytest.mark.parametrize(
    "file",
    [path for example in EXAMPLES.iterdir() if example.is_dir() for path in files(example)],
    ids=lambda f: str(f.relative_to(EXAMPLES)),
)
def test_files_of_examples_are_named_for_their_kind(file: Path) -> None:
    kinds = {document.value["kind"] for document in parse([("", file.read_bytes())]).documents}
    assert {CONVENTIONS[str(kind)] for kind in kinds} == {file.name}


def test_the_two_shops_differ_in_an_image_and_a_variable() -> None:
    changes = []
    for old in files(EXAMPLES / "shop"):
        new = EXAMPLES / "shop-v2" / old.relative_to(EXAMPLES / "shop")
        lines = zip(old.read_text().splitlines(), new.read_text().splitlines(), strict=True)
        changes += [(before.strip(), after.strip()) for before, after in lines if before != after]
    assert changes == [
        (
            "image: docker.io/postgrest/postgrest:v12.2.3",
            "image: docker.io/postgrest/postgrest:v12.2.8",
        ),
        (
            '- {name: PGRST_DB_POOL, value: "10"}',
            '- {name: PGRST_DB_POOL, value: "20"}',
        ),
    ]


def test_the_shop_has_three_nodes_and_four_workloads() -> None:
    found = checked(EXAMPLES / "shop")
    assert [node.metadata.name for node in found.nodes] == ["a", "b", "c"]
    assert found.specs is not None
    assert list(found.specs.workloads) == ["shop/api", "shop/backup", "shop/db", "shop/web"]
