import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from katgen.cli.main import run
from katgen.cli.packing import pack
from katgen.leader.uploads import unpacked
from tests.environment import REPOSITORY
from tests.fakes.leader import FakeLeader, Reply

Captured = pytest.CaptureFixture[str]
START = (sys.executable, "-c", "from katgen.cli.main import main; main()")
WRITTEN = {
    "resourceVersion": "41",
    "changed": [
        {"kind": "Workload", "namespace": "shop", "name": "web", "result": "configured"},
        {"kind": "Namespace", "namespace": "", "name": "shop", "result": "unchanged"},
    ],
    "notes": [{"at": "web.kat:3:1 spec", "what": "has no limits", "hint": "set them"}],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a file to apply."""
    monkeypatch.chdir(tmp_path)
    Path("web.kat").write_text("kind: Workload\n")
    return tmp_path


def state(phase: str, state: str = "", running: int = 0, message: str = "") -> dict[str, Any]:
    rollout = {
        "namespace": "shop", "name": "web", "wanted": 2, "running": running, "state": state,
        "message": message,
    }  # fmt: skip
    return {"phase": phase, "generation": 8, "workloads": [rollout] if state else []}


DONE = state("done", "running", 2)


def test_apply_says_what_changed_and_how_far_it_is_line_by_line(
    leader: FakeLeader, capsys: Captured
) -> None:
    leader.answer("POST /apply", WRITTEN)
    pulling = state("applying", "pulling", 0, "copying blob 3 of 7")
    leader.stream(
        "GET /changes/41",
        state("resolving"),
        pulling,
        pulling,
        state("applying", "starting", 1),
        DONE,
    )
    assert run(["apply", "-f", "web.kat"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "Workload shop/web configured\n"
        "Namespace shop unchanged\n"
        "resolving generation 8\n"
        "applying generation 8\n"
        "shop/web: pulling, 0 of 2 running; copying blob 3 of 7\n"
        "shop/web: starting, 1 of 2 running\n"
        "shop/web: running, 2 of 2 running\n"
        "done: plan 8\n"
    )
    assert captured.err == "note: web.kat:3:1 spec: has no limits; set them\n"


def test_the_files_travel_as_one_archive(leader: FakeLeader) -> None:
    leader.answer("POST /apply", WRITTEN)
    assert run(["apply", "-f", "web.kat", "--force", "--no-wait"]) == 0
    (asked,) = leader.asked
    assert (asked.line, asked.media) == ("POST /apply force=1", "application/gzip")
    with tarfile.open(fileobj=io.BytesIO(asked.body)) as archive:
        assert archive.getnames() == ["web.kat"]


def test_a_workload_that_is_held_back_fails_the_apply_with_the_registrys_words(
    leader: FakeLeader, capsys: Captured
) -> None:
    leader.answer("POST /apply", WRITTEN)
    leader.stream("GET /changes/41", state("failed", "held", 2, "manifest unknown: web:2"))
    assert run(["apply", "-f", "web.kat"]) == 5
    assert capsys.readouterr().err.splitlines()[1] == (
        "shop/web: held back: manifest unknown: web:2; "
        "correct it and apply again; what ran before still runs"
    )


def test_of_a_new_workload_that_is_held_back_nothing_ran_before(
    leader: FakeLeader, capsys: Captured
) -> None:
    leader.answer("POST /apply", WRITTEN)
    held = {"namespace": "shop", "name": "web", "wanted": 0, "running": 0, "state": "held"}
    leader.stream("GET /changes/41", {"phase": "failed", "workloads": [{**held, "message": "no"}]})
    assert run(["apply", "-f", "web.kat"]) == 5
    assert capsys.readouterr().err.splitlines()[1] == (
        "shop/web: held back: no; correct it and apply again"
    )


def test_an_apply_that_changes_nothing_says_that_an_earlier_one_still_waits(
    leader: FakeLeader, capsys: Captured
) -> None:
    web = {"kind": "Workload", "namespace": "shop", "name": "web", "result": "unchanged"}
    leader.answer("POST /apply", {"resourceVersion": "41", "changed": [web]})
    held = {"namespace": "shop", "name": "web", "reason": "ImagePullFailed", "message": "no such"}
    pending = {"generation": 8, "parent": 8, "digest": "", "nodes": {}}
    away = [{"at": one, "what": "has no node", "hint": ""} for one in ("shop/web", "shop/db")]
    leader.answer("POST /plan", {**pending, "held": [held], "unplaced": away})
    assert run(["apply", "-f", "web.kat"]) == 5
    assert capsys.readouterr().err == (
        "shop/web: has no node\n"
        "shop/web: held back: no such; correct it and apply again; what ran before still runs\n"
        "2 problems\n"
    )
    leader.answer("POST /plan", pending)
    assert run(["apply", "-f", "web.kat"]) == 0
    assert capsys.readouterr().out == "Workload shop/web unchanged\n"


def test_a_workload_that_fails_points_to_its_logs(leader: FakeLeader, capsys: Captured) -> None:
    leader.answer("POST /apply", WRITTEN)
    leader.stream("GET /changes/41", state("failed", "failed", 0, "exit code 1"))
    assert run(["apply", "-f", "web.kat"]) == 5
    assert capsys.readouterr().err.splitlines()[1] == (
        "shop/web: failed: exit code 1; "
        "katcall logs web -n shop and katcall describe workload web -n shop say more"
    )


def test_what_takes_too_long_goes_on_and_is_exit_code_5(
    leader: FakeLeader, capsys: Captured
) -> None:
    leader.answer("POST /apply", WRITTEN)
    leader.stream("GET /changes/41", state("applying", "starting", 1), is_open=True)
    assert run(["apply", "-f", "web.kat", "--timeout", "1s"]) == 5
    assert capsys.readouterr().err.splitlines()[1] == (
        "shop/web: not done after 1 s: starting, 1 of 2 running; "
        "it goes on; katcall get instances and katcall events show how"
    )


def test_a_leader_that_restarts_meanwhile_is_asked_again(
    leader: FakeLeader, capsys: Captured
) -> None:
    leader.answer("POST /apply", WRITTEN)
    leader.stream("GET /changes/41", state("applying"))
    leader.later["GET /changes/41"] = [Reply(lines=(DONE,))]
    assert run(["apply", "-f", "web.kat"]) == 0
    assert capsys.readouterr().err.splitlines()[1] == (
        "the leader stopped telling of the change; the change goes on; asking again"
    )


def test_problems_of_the_files_look_as_those_of_validate(
    leader: FakeLeader, capsys: Captured, tmp_path: Path
) -> None:
    """Also of files whose names are not fit for an archive."""
    outside = tmp_path / "other.kat"
    outside.write_text("kind: Config\n")
    at = {"what": "unknown key", "hint": "did you mean image?"}
    problems = ({"at": "+1.kat:7:5 spec.imag", **at}, {"at": "web.kat:2", **at})
    leader.refuse("POST /apply", 422, "the files have problems", *problems)
    assert run(["apply", "-f", "web.kat", "-f", str(outside)]) == 1
    assert capsys.readouterr().err == (
        f"{outside}:7:5 spec.imag: unknown key; did you mean image?\n"
        "web.kat:2: unknown key; did you mean image?\n"
        "2 problems\n"
    )


def test_problems_as_json_keep_their_places(leader: FakeLeader, capsys: Captured) -> None:
    leader.refuse("POST /apply", 422, "no", {"at": "web.kat:7:5 spec.a b", "what": "w", "hint": ""})
    assert run(["apply", "-f", "web.kat", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        {"file": "web.kat", "line": 7, "column": 5, "path": "spec.a b", "what": "w", "hint": ""}
    ]


def test_programs_get_one_object(leader: FakeLeader, capsys: Captured) -> None:
    leader.answer("POST /apply", WRITTEN)
    leader.stream("GET /changes/41", state("applying"), DONE)
    assert run(["apply", "-f", "web.kat", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["resourceVersion"], told["progress"]["phase"]) == ("41", "done")


def test_ctrl_c_ends_the_wait_and_says_that_the_change_goes_on(leader: FakeLeader) -> None:
    leader.answer("POST /apply", {"resourceVersion": "41"})
    leader.stream("GET /changes/41", state("applying"), is_open=True)
    with subprocess.Popen(
        [*START, "apply", "-f", "web.kat"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert leader.sent.wait(30)
        assert child.stdout is not None
        assert child.stdout.readline() == "applying generation 8\n"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert errors == (
        "\nkatcall waits no longer; the change goes on (resource version 41)\n"
        "katcall: interrupted\n"
    )


def test_a_terminal_shows_a_live_view_and_keeps_its_last_state(leader: FakeLeader) -> None:
    leader.answer("POST /apply", {"resourceVersion": "41"})
    leader.stream("GET /changes/41", state("applying", "starting", 1), DONE)
    code, shown = in_terminal("apply", "-f", "web.kat")
    assert code == 0
    assert shown.endswith(
        "shop/web  \x1b[32mrunning\x1b[0m  2 of 2\r\n\x1b[?25h\x1b[32mdone: plan 8\x1b[0m\r\n"
    )


def in_terminal(*arguments: str) -> tuple[int, str]:
    """Run katcall on a terminal of its own; return its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [*START, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as child:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        os.close(ours)
    return child.returncode, shown.decode()


def test_what_is_packed_a_leader_unpacks() -> None:
    packed = pack([str(REPOSITORY / "examples/shop"), "web.kat"])
    files = dict(unpacked(packed.body))
    assert {packed.names[name]: content for name, content in files.items()} == {
        "web.kat": b"kind: Workload\n",
        **{str(path): path.read_bytes() for path in (REPOSITORY / "examples/shop").rglob("*.kat")},
    }


def test_the_same_files_make_the_same_archive() -> None:
    assert pack(["web.kat"]).body == pack(["./web.kat"]).body
