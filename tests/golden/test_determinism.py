"""The same objects give the same bytes, whatever the order of files, documents and hashes."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from katgen.cli import inputs
from tests.environment import REPOSITORY
from tests.golden.case import Case, golden_cases, rendered, tree_of

CASES = golden_cases()
SEPARATOR = b"\n---\n"


def name_of(case: Case) -> str:
    return case.name


def shuffled(paths: tuple[str, ...], folder: Path, seed: int) -> tuple[str, ...]:
    """Deal the documents of all files onto three files, in a random order."""
    if not paths:
        return ()
    documents = [d for _, text in inputs.read(paths) for d in (b"\n" + text).split(SEPARATOR)]
    random.Random(seed).shuffle(documents)  # noqa: S311 -- an order, not a secret
    folder.mkdir()
    for number in range(min(3, len(documents))):
        (folder / f"{number}.kat").write_bytes(SEPARATOR.join(documents[number::3]))
    return (str(folder),)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_order_of_files_and_documents_does_not_matter(case: Case, tmp_path: Path) -> None:
    want = tree_of(rendered(case))
    for seed in range(3):
        spec = shuffled(case.spec, tmp_path / f"spec{seed}", seed)
        parent = shuffled(case.parent, tmp_path / f"parent{seed}", seed)
        assert tree_of(rendered(Case(case.name, spec, parent, case.steps))) == want, f"seed {seed}"


def digest() -> str:
    """Return one digest over every file of every case."""
    total = hashlib.sha256()
    for case in CASES:
        for name, content in tree_of(rendered(case)).items():
            total.update(f"{case.name}/{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_seed_of_hashes_does_not_matter(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.test_determinism"],
        cwd=REPOSITORY,
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{digest()}\n"


if __name__ == "__main__":
    sys.stdout.write(f"{digest()}\n")
