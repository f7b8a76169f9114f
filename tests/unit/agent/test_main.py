"""How `kat-agent` ends, and what it says then."""

import subprocess
import sys

import click
import pytest

from agent import main
from agent.main import COMMANDS, run
from katgen.errors import Problem, RefusedError, Source


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: kat-agent {name} ")


def test_the_overview_imports_no_command() -> None:
    script = "import sys; from agent.main import run; run(['--help']); print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "reset " in said
    assert "aiohttp" not in said.split()
    assert "dbus_fast" not in said.split()


@pytest.mark.parametrize("arguments", [["dance"], ["init", "--no-such"], ["verify"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    assert run(arguments) == 2


ENDS = [
    (RefusedError([Problem(Source("overlay"), "no", "do")]), 3, "kat-agent: overlay: no; do\n"),
    (OSError(28, "No space left on device", "/x"), 1, "No space left on device: '/x'\n"),
    (KeyboardInterrupt(), 130, "kat-agent: interrupted\n"),
    (click.exceptions.Abort(), 130, "kat-agent: interrupted\n"),
    (ZeroDivisionError("?"), 70, "kat-agent: this is a fault in KAT"),
]


@pytest.mark.parametrize(("error", "code", "text"), ENDS)
def test_every_error_has_its_code_and_its_words(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(main.Commands, "get_command", lambda *_: failing)
    assert run(["any"]) == code
    assert text in capsys.readouterr().err
