"""Two versions of Python, with two hash seeds, render the same bytes."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.environment import CACHE, REPOSITORY, refuse
from tests.lab.process import finish
from tests.oracles.cell import Cell, cell
from tests.oracles.oracle import Oracle

OTHER = CACHE / "other-python"
EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").iterdir() if path.is_dir())
RENDER = """
import sys
from katgen.cli.main import run
source, target, *names = sys.argv[1:]
print(*sys.version_info[:2])
for name in names:
    assert run(["render", "-f", f"{source}/{name}", "-o", f"{target}/{name}"]) == 0, name
"""


def test_two_versions_of_python_render_the_same_bytes(oracle: Oracle, tmp_path: Path) -> None:
    if not OTHER.is_dir():
        refuse(f"what KAT needs for another Python in {OTHER} (make rootfs)")
    argv = [sys.executable, "-c", RENDER, str(REPOSITORY / "examples"), str(tmp_path), *EXAMPLES]
    here = finish(["env", "PYTHONHASHSEED=1", *argv]).checked(argv)
    with cell(oracle.enclosure, product()) as inside:
        there = render_in(inside)
        if version(there) == version(here.stdout):
            pytest.skip(f"this machine's Python is {version(there)} too")
        assert bytes_below(inside.enclosure.outside(f"{inside.root}/out")) == bytes_below(tmp_path)


def render_in(inside: Cell) -> str:
    """Render every example into the cell's /out, with its own Python and another hash seed."""
    settings = ["PYTHONHASHSEED=2", "PYTHONPATH=/kat:/packages", "LC_ALL=C"]
    argv = ["env", *settings, "python3", "-c", RENDER, "/kat/examples", "/out", *EXAMPLES]
    inside.run(["mkdir", "/out"])
    return inside.run(argv).checked(argv).stdout


def version(output: str) -> str:
    """Return the first line that RENDER printed."""
    return output.partition("\n")[0]


def product() -> Mapping[str, bytes]:
    """Return KAT and what it needs, by path in a cell."""
    parts = {
        REPOSITORY / "katgen": "/kat/katgen",
        REPOSITORY / "units": "/kat/katgen/units",
        REPOSITORY / "examples": "/kat/examples",
        OTHER: "/packages",
    }
    return {
        f"{where}{name}": content
        for folder, where in parts.items()
        for name, content in bytes_below(folder).items()
    }


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by `/path`; compiled ones aside."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in files}
