"""Nodes with the tree's KAT on them."""

import tomllib
from collections.abc import Iterator

import pytest

from tests.environment import REPOSITORY
from tests.lab import Node, host

EXPLICIT = "import sys; sys.path.insert(0, '/usr/lib/kat'); import katgen.cli.main as m; print(m)"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with host(kat=True) as booted:
        yield booted


def test_every_program_of_the_wheel_is_in_the_path(node: Node) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    found = node.run(["sh", "-c", "ls /usr/bin/kat*"]).stdout.split()
    assert found == [f"/usr/bin/{name}" for name in sorted(project["scripts"])]


def test_katcall_runs_from_its_own_directory_for_every_user(node: Node) -> None:
    said = node.run(["runuser", "-u", "nobody", "--", "katcall", "version"]).stdout
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert said.startswith(f"katcall {version}")


def test_katcall_is_byte_compiled_for_the_node_s_python(node: Node) -> None:
    shown = node.run(["python3", "-I", "-v", "-c", EXPLICIT]).stderr
    assert "# code object from '/usr/lib/kat/katgen/cli/__pycache__/main.cpython-313.pyc'" in shown


def test_a_bare_node_has_no_kat() -> None:
    with host() as bare:
        assert bare.run(["sh", "-c", "ls /usr/lib/kat /usr/bin/kat*"], check=False).stdout == ""
