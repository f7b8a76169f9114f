"""Programs, really run."""

import os
from pathlib import Path

import pytest

from agent.ports import Ran, UnfitError
from agent.tools import KEPT_BYTES, Subprocesses

TOOLS = Subprocesses()


async def test_a_program_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGE", "seen")
    script = "echo $GIVEN$STRANGE; echo no >&2; exit 3"
    ran = await TOOLS.run(["sh", "-c", script], timeout_s=10, env={"GIVEN": "a"})
    assert ran == Ran(3, "a\n", "no\n")


async def test_a_missing_program_is_the_machines_fault() -> None:
    with pytest.raises(UnfitError, match=r"^no-such-program: No such file or directory"):
        await TOOLS.run(["no-such-program"], timeout_s=10, env={})


async def test_a_program_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"mkfifo {tmp_path}/open; sleep 1000 >{tmp_path}/open & read x <{tmp_path}/open"
    with pytest.raises(UnfitError, match=r"^sh has not ended after 0.5 s"):
        await TOOLS.run(["sh", "-c", script], timeout_s=0.5, env={})
    # Once nobody holds the other end, a writer that does not wait finds no reader, and no writer.
    with pytest.raises(OSError, match="No such device or address"):
        os.open(tmp_path / "open", os.O_WRONLY | os.O_NONBLOCK)
    reader = os.open(tmp_path / "open", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(reader, 1) == b""
    os.close(reader)


async def test_of_an_endless_output_no_more_than_a_bound_is_kept() -> None:
    script = f"head -c {KEPT_BYTES + 1} /dev/zero"
    ran = await TOOLS.run(["sh", "-c", script], timeout_s=30, env={})
    assert len(ran.stdout) == KEPT_BYTES


async def test_a_program_opens_what_it_is_given_like_a_file() -> None:
    text = b"line\n" * 100_000
    ran = await TOOLS.run(["sh", "-c", "wc -c </dev/stdin"], timeout_s=30, env={}, stdin=text)
    assert ran.stdout.strip() == "500000"


async def test_a_program_without_input_finds_none() -> None:
    assert await TOOLS.run(["cat"], timeout_s=10, env={}) == Ran(0, "", "")
