"""What holds for the repository itself."""

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import REPOSITORY

TOP = {
    *("katgen", "units", "nix", "agent", "examples", "tests", "docs", ".ci"),
    *("README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "flake.nix"),
    ".gitignore",
}
PRODUCT = ("agent", "katgen", "units")
FILE_LINES = 600
FUNCTION_LINES = 40
LONG_BY_NATURE = re.compile(
    r"LICENSE|.*\.lock|tests/golden/.*|docs/reference/.*|.*\.json|katgen/kat\.proto"
)
VAGUE_CLASS = re.compile(r".*(Manager|Helper|Handler|Base)")
VAGUE_MODULE = {"utils", "util", "common", "helpers", "misc"}
UNREASONED = re.compile(
    r"#\s*noqa(?!: [A-Z]+\d+(, [A-Z]+\d+)* -- \S)|#\s*type:\s*ignore(?!\[[-a-z, ]+\] +(--|#) \S)"
)
# In pieces, so that this file does not name them.
HOSTS = re.compile("|".join((r"deb\." + r"debian", r"pypi\." + "org", "python" + "hosted")))
LOCK_LINE = re.compile(
    r"#.*|[a-z0-9-]+==\S+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
)  # no index, no link, nothing without a hash


def tracked() -> list[Path]:
    """Return the files of the repository: committed ones, and those about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    paths = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    return sorted(path for path in paths if (REPOSITORY / path).is_file())


FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]


def text(path: Path) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8", errors="replace")


def test_the_top_level_is_the_agreed_one() -> None:
    assert {path.parts[0] for path in FILES} - TOP == set()


def test_every_package_is_listed_for_the_wheel() -> None:
    setup = tomllib.loads(text(Path("pyproject.toml")))["tool"]["setuptools"]
    found = {p.parent for p in PYTHON if p.name == "__init__.py" and p.parts[0] in PRODUCT}
    names = {"katgen.units" if p == Path("units") else ".".join(p.parts) for p in found}
    assert set(setup["packages"]) == names


def test_no_file_is_longer_than_600_lines() -> None:
    lengths = {str(p): text(p).count("\n") for p in FILES if not LONG_BY_NATURE.fullmatch(str(p))}
    assert {path: n for path, n in lengths.items() if n > FILE_LINES} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    long = [f"{p}:{node.lineno} {node.name}" for p in PYTHON for node in long_functions(p)]
    assert long == []


def test_no_class_or_module_has_a_name_that_says_nothing() -> None:
    classes = [
        f"{path}:{node.lineno} {node.name}"
        for path in PYTHON
        for node in ast.walk(ast.parse(text(path)))
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.fullmatch(node.name)
    ]
    modules = [str(path) for path in PYTHON if path.stem in VAGUE_MODULE]
    assert classes + modules == []


def test_every_exemption_from_a_checker_has_its_reason() -> None:
    found = [
        f"{path}:{token.start[0]} {token.string}"
        for path in PYTHON
        for token in comments(path)
        if UNREASONED.search(token.string)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("comment", "refused"),
    [
        ("# noqa: S603 -- the command is ours", False),
        ("# noqa: S603, S607 -- the command is ours", False),
        ("# noqa: S603", True),
        ("# noqa", True),
        ("# type: ignore[arg-type]  # checked above", False),
        ("# type: ignore[arg-type] -- checked above", False),
        ("# type: ignore[arg-type]", True),
        ("# type: ignore", True),
    ],
)
def test_an_exemption_without_a_reason_is_seen(comment: str, refused: bool) -> None:  # noqa: FBT001 -- a column of the table
    assert bool(UNREASONED.search(comment)) == refused


def test_no_file_names_a_package_mirror() -> None:
    assert [str(path) for path in FILES if HOSTS.search(text(path))] == []


def test_the_lock_files_hold_versions_and_hashes_only() -> None:
    locks = [path for path in FILES if path.suffix == ".lock"]
    assert [str(path) for path in locks] == [".ci/requirements-dev.lock", ".ci/requirements.lock"]
    odd = [
        line for path in locks for line in text(path).splitlines() if not LOCK_LINE.fullmatch(line)
    ]
    assert odd == []


def long_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a file that are too long, docstring and decorators included."""
    for node in ast.walk(ast.parse(text(path))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES:
            yield node


def comments(path: Path) -> Iterator[tokenize.TokenInfo]:
    for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
        if token.type == tokenize.COMMENT:
            yield token
