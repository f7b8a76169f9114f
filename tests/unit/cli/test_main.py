import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from katgen.cli.main import COMMANDS, run
from tests.environment import REPOSITORY


def katcall(
    *arguments: str, environment: dict[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run katcall as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from katgen.cli.main import main; main()", *arguments],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command_and_the_exit_codes() -> None:
    printed = katcall("--help").stdout
    assert all(f"  {name} " in printed for name in COMMANDS)
    codes = (
        "0 fine, 1 problems in the input, 2 usage, 3 refused, 4 no leader, 5 not all of it runs."
    )
    assert f"Exit codes: {codes}" in " ".join(printed.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = katcall(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: katcall {command} ")


def test_help_imports_no_command_and_no_model() -> None:
    script = """
import sys
from katgen.cli.main import run
run(["--help"])
slow = {"msgspec", "pydantic", "rich", "yaml"}
print(sorted({name.split(".")[0] for name in sys.modules} & slow))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("plann",),
        ("validate",),
        ("validate", "--colour", "-f", "x"),
        ("plan", "--offline"),
        ("plan", "-f", "x", "--nodes", "y"),
        ("plan", "--offline", "-f", "x", "--context", "y"),
        ("validate", "-f", "-", "--nodes", "-"),
        ("render", "-f", "x", "--cluster", "-", "--parent", "-", "-o", "out"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = katcall(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: katcall" in done.stderr


def test_input_with_problems_is_exit_code_1_and_says_so_on_standard_error() -> None:
    done = katcall("validate", "-f", "-", text="kind: Cat\napiVersion: kat/v1alpha1\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].startswith("-:1:7 kind: unknown kind: ")
    assert done.stderr.splitlines()[-1] == "1 problem"


def test_problems_as_json_go_to_standard_output() -> None:
    done = katcall("validate", "-f", "nowhere.kat", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        '{\n  "problems": [\n    {\n      "file": "nowhere.kat",\n      "line": 0,\n'
        '      "column": 0,\n      "path": "",\n      "what": "no such file or directory",\n'
        '      "hint": "check the path"\n    }\n  ]\n}\n'
    )


def test_a_reader_that_goes_away_is_not_complained_about() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from katgen.cli.main import main; main()", "schema", "Workload"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141


def in_shell(redirected: str) -> tuple[int, str]:
    """Run katcall with redirections of the shell; return its exit code and standard error."""
    script = f'"$0" -c "from katgen.cli.main import main; main()" {redirected}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["--help", "schema Workload", "validate -f examples/shop"])
def test_output_that_cannot_be_written_is_exit_code_1(command: str) -> None:
    told = "katcall: standard output: No space left on device\n"
    code, errors = in_shell(f"{command} > /dev/full")
    assert (code, errors.splitlines(keepends=True)[-1]) == (1, told)
    assert "Traceback" not in errors


def test_output_that_is_not_wanted_is_not_written() -> None:
    assert in_shell("schema Workload >&-") == (0, "")


def test_problems_that_cannot_be_written_are_problems_all_the_same() -> None:
    assert in_shell("validate -f nowhere.kat 2> /dev/full") == (1, "")
    assert in_shell("validate -f nowhere.kat 2>&-") == (1, "")


@pytest.mark.parametrize("option", ["-f", "-f examples/shop --parent"])
def test_standard_input_that_is_closed_cannot_be_read(option: str) -> None:
    assert in_shell(f"render -o /nowhere/out {option} - <&-") == (
        1,
        "-: standard input is closed\n1 problem\n",
    )


def test_an_interrupt_is_exit_code_130_and_one_line(tmp_path: Path) -> None:
    """It waits on a pipe that nobody writes to, and says so by opening it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from katgen.cli.main import main; main()",
                "validate",
                "-f",
                pipe,
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child,
        pipe.open("wb"),
    ):  # returns once katcall has opened the other end
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
    assert (child.returncode, output, errors) == (130, "", "\nkatcall: interrupted\n")


def test_a_render_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from katgen.cli import main, tree
def files():
    yield tree.TreeFile("a", b"")
    os.kill(os.getpid(), signal.SIGTERM)
    yield tree.TreeFile("b", b"")
main.run = lambda _: tree.write_tree(tree.Path("out"), files())
main.main()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_a_fault_in_kat_says_so_and_is_exit_code_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr("katgen.cli.inputs.read", broken)
    assert run(["validate", "-f", "x"]) == 70
    assert capsys.readouterr().err.endswith(
        "ZeroDivisionError: broken\n"
        "katcall: this is a fault in KAT; please report it with the lines above\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_katcall_itself(shell: str) -> None:
    assert "_KATCALL_COMPLETE" in katcall("completion", shell).stdout


def test_the_shell_is_offered_the_commands_that_begin_so() -> None:
    asked = {"_KATCALL_COMPLETE": "bash_complete", "COMP_WORDS": "katcall v", "COMP_CWORD": "1"}
    assert katcall(environment=asked).stdout == "plain,validate\nplain,version\n"


def test_the_shell_is_offered_kinds() -> None:
    asked = {
        "_KATCALL_COMPLETE": "bash_complete",
        "COMP_WORDS": "katcall schema No",
        "COMP_CWORD": "2",
    }
    assert katcall(environment=asked).stdout == "plain,Node\n"


def test_control_characters_of_the_input_do_not_reach_the_terminal() -> None:
    done = katcall("validate", "-f", "\x1b[31mred.kat")
    assert "\x1b" not in done.stderr
    assert done.stderr.startswith("\\x1b[31mred.kat: no such file")
