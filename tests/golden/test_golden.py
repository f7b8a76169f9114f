"""Every case's files: the exact set, then the bytes; `pytest --bless` writes them anew.

A case is a folder with `spec/`, and as needed `nodes.kat`, `parent/` and `steps` from the one to
the other; adding one is adding a folder. `want/<node>.files` lists what a file's bytes do not say.
"""

import shutil
from pathlib import Path

import pytest

from tests.golden.case import (
    EXAMPLES,
    Case,
    contents,
    golden_cases,
    rendered,
    tree_of,
    trees,
    wanted,
)
from tests.oracles.oracle import Oracle

CASES = golden_cases()


def name_of(case: Case) -> str:
    return case.name


def bless(case: Case) -> None:
    shutil.rmtree(case.want, ignore_errors=True)
    for name, content in tree_of(rendered(case)).items():
        path = case.want / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_node_gets_exactly_these_files(case: Case, *, blesses: bool) -> None:
    if blesses:
        bless(case)
    want, got = wanted(case), tree_of(rendered(case))
    assert sorted(got) == sorted(want)
    for name, content in want.items():
        assert got[name].decode() == content.decode(), name


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_real_tools_take_every_file(case: Case, oracle: Oracle) -> None:
    complaints = [
        f"{node}: {complaint}"
        for node, files in trees(rendered(case)).items()
        for complaint in oracle.check_tree(contents(files))
    ]
    assert complaints == []


def test_every_example_is_a_case() -> None:
    read = {str(Path(path).resolve()) for case in CASES for path in (*case.spec, *case.parent)}
    assert {str(path) for path in EXAMPLES.iterdir() if path.is_dir()} <= read
