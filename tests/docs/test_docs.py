"""Every block of every document does what it says; `pytest tests/docs --bless` writes it anew."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from katgen import parse, validate
from tests.docs.blocks import Block, Command, blocks, commands, is_match
from tests.environment import REPOSITORY

DOCUMENTS = sorted(
    path
    for path in (REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"))
    if path.exists() and "adr" not in path.parts
)
LANGUAGES = {"console", "yaml", "text", "json", "ini", "python", "sh"}
MARK = "=== end of a command ==="
MAKES = re.compile(r"(make [a-z-]+\n)+")


def name_of(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user who has installed katcall."""
    programs = tmp_path / "programs"
    programs.mkdir()
    katcall = programs / "katcall"
    # Not as a `#!` line, which ends at the first blank of the interpreter's path.
    start = f"exec '{sys.executable}' -c 'from katgen.cli.main import main; main()'"
    katcall.write_text(f'#!/bin/sh\n{start} "$@"\n')
    katcall.chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "LC_ALL": "C.UTF-8",
        "HOME": str(tmp_path),
    }


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    return folder


def run_block(block: Block, scratch: Path, shell: dict[str, str]) -> list[tuple[str, ...]]:
    """Run a block's commands in one shell; return what each prints."""
    script = "".join(
        f"{command.text}\nlast=$?; echo '{MARK}'; (exit $last)\n" for command in commands(block)
    )
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=scratch,
        env=shell,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return [tuple(part.splitlines()) for part in done.stdout.split(f"{MARK}\n")]


def told(command: Command, printed: tuple[str, ...]) -> str:
    return "\n".join(
        (f"line {command.line}: {command.text}", "shown:", *command.output, "printed:", *printed)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_commands_of_a_document_print_what_it_shows(
    document: Path, scratch: Path, shell: dict[str, str], *, blesses: bool
) -> None:
    differences = []
    text = document.read_text()
    for block in blocks(document):
        if block.file:
            (scratch / block.file).write_text(block.body)
        if block.language != "console" or block.reason or block.story:
            continue
        pairs = list(zip(commands(block), run_block(block, scratch, shell), strict=False))
        differences += [told(c, printed) for c, printed in pairs if not is_match(c.output, printed)]
        text = text.replace(block.body, "".join(f"{shown(c, p)}" for c, p in pairs))
    if blesses:
        document.write_text(text)
    else:
        assert differences == [], "\n".join(differences)


def shown(command: Command, printed: tuple[str, ...]) -> str:
    """Return a command as a document shows it, with what it printed now if nothing is left out."""
    output = command.output if "…" in command.output else printed
    lines = (f"$ {command.text}".replace("\n", "\n> "), *output)
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_objects_of_a_document_are_valid(document: Path) -> None:
    for block in blocks(document):
        if block.language == "yaml":
            found = validate.check(parse.parse([(document.name, block.body.encode())]))
            alone = [p for p in found.problems if "there is no" not in p.what]
            assert alone == [], f"the block at line {block.line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_document_has_no_block_that_no_test_understands(document: Path) -> None:
    for block in blocks(document):
        assert block.language in LANGUAGES, f"the block at line {block.line}"
        if block.language == "sh" and not block.reason:
            assert MAKES.fullmatch(block.body), f"the block at line {block.line}"


LINK = re.compile(r"\[[^]]*\]\((?!https?:)([^)#]+)[^)]*\)")


@pytest.mark.parametrize(
    "document",
    [*DOCUMENTS, *sorted((REPOSITORY / "docs/adr").glob("*.md"))],
    ids=name_of,
)
def test_every_link_to_a_file_has_its_file(document: Path) -> None:
    targets = LINK.findall(document.read_text())
    assert [t for t in targets if not (document.parent / t).exists()] == []
