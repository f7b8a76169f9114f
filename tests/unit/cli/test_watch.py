"""`-w`: what is printed, and how it goes on. Each watch here ends when the token is revoked."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from katgen.cli.main import run
from tests.environment import REPOSITORY
from tests.fakes.leader import FakeLeader, Reply, refused

Captured = pytest.CaptureFixture[str]
CONFIGS = "GET /n/shop/configs"
REVOKED = refused(401, "this token is not known")
ENDED = "this token is not known; katcall login --token-file FILE gives another token\n1 problem\n"
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from katgen.cli.main import main; main()"
)
"""A shell's background jobs ignore SIGINT, and so would this one."""


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("katgen.cli.follow.PAUSES_S", (0.0,))


def config(name: str, **data: str) -> dict[str, Any]:
    return {"kind": "Config", "metadata": {"name": name, "namespace": "shop"}, "data": data}


def told(kind: str, shown: dict[str, Any], version: str) -> dict[str, Any]:
    return {"type": kind, "object": shown, "resourceVersion": version}


def there(*shown: dict[str, Any], version: str = "40") -> tuple[dict[str, Any], ...]:
    """Return the first lines of a watch."""
    lines = [{"type": "ADDED", "object": one} for one in shown]
    return (*lines, bookmark(version))


def bookmark(version: str) -> dict[str, Any]:
    return told("BOOKMARK", {"kind": "Config", "metadata": {"resourceVersion": version}}, version)


def watched(capsys: Captured, *arguments: str, stderr: str = ENDED) -> str:
    assert run([*arguments, "-n", "shop"]) == 3
    captured = capsys.readouterr()
    assert captured.err == stderr
    return captured.out


def test_first_what_is_there_then_a_row_for_each_change(
    leader: FakeLeader, capsys: Captured
) -> None:
    first = there(config("a", x="1"), config("long-name"))
    changed = told("MODIFIED", config("a", x="1", y="2"), "41")
    new = told("ADDED", config("b"), "42")
    gone = told("DELETED", config("long-name"), "43")
    leader.in_turn(CONFIGS, Reply(lines=(*first, changed, new, gone)), REVOKED)
    assert watched(capsys, "get", "cm", "-w") == (
        "NAME       FILES  AGE\n"
        "a          1\n"
        "long-name  0\n"
        "a          2\n"
        "b          0\n"
        "long-name  0  (deleted)\n"
    )
    assert leader.lines[0] == f"{CONFIGS} watch=1"


def test_a_change_that_no_column_shows_is_no_row(leader: FakeLeader, capsys: Captured) -> None:
    changed = told("MODIFIED", config("a", x="2"), "41")
    leader.in_turn(CONFIGS, Reply(lines=(*there(config("a", x="1")), changed)), REVOKED)
    assert watched(capsys, "get", "cm", "-w") == "NAME  FILES  AGE\na     1\n"


def test_json_has_every_change_and_each_object_is_a_line(
    leader: FakeLeader, capsys: Captured
) -> None:
    changed = told("MODIFIED", config("a", x="2"), "41")
    leader.in_turn(CONFIGS, Reply(lines=(*there(config("a", x="1")), changed)), REVOKED)
    lines = watched(capsys, "get", "cm", "-w", "-o", "json", stderr="").splitlines()
    assert [json.loads(line) for line in lines[:2]] == [config("a", x="1"), config("a", x="2")]


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("yaml", "---\nkind: Config\nmetadata:\n  name: a\n  namespace: shop\ndata: {}\n"),
        ("name", "config/a\n"),
    ],
)
def test_other_forms(leader: FakeLeader, capsys: Captured, form: str, printed: str) -> None:
    leader.in_turn(CONFIGS, Reply(lines=there(config("a"))), REVOKED)
    assert watched(capsys, "get", "cm", "-w", "-o", form) == printed


def test_what_became_of_each_can_be_told(leader: FakeLeader, capsys: Captured) -> None:
    gone = told("DELETED", config("a"), "41")
    leader.in_turn(CONFIGS, Reply(lines=(*there(config("a")), gone)), REVOKED)
    assert watched(capsys, "get", "cm", "-w", "--output-watch-events") == (
        "EVENT     NAME  FILES  AGE\nADDED     a     0\nDELETED   a     0\n"
    )


def test_without_what_is_there(leader: FakeLeader, capsys: Captured) -> None:
    new = told("ADDED", config("b"), "41")
    leader.in_turn(CONFIGS, Reply(lines=(*there(config("a")), new)), REVOKED)
    assert watched(capsys, "get", "cm", "--watch-only", "-o", "name") == "config/b\n"


def test_a_lost_connection_is_gone_on_from_the_last_line(
    leader: FakeLeader, capsys: Captured
) -> None:
    new, newer = told("ADDED", config("b"), "41"), told("ADDED", config("c"), "43")
    leader.in_turn(
        CONFIGS,
        Reply(lines=(*there(config("a")), new, bookmark("42")), is_cut=True),
        refused(503, "the store: starting"),
        Reply(lines=(newer,)),
        REVOKED,
    )
    assert run(["get", "cm", "-n", "shop", "-w", "-o", "name"]) == 3
    captured = capsys.readouterr()
    assert captured.out == "config/a\nconfig/b\nconfig/c\n"
    assert [line.partition(" resourceVersion=")[2] for line in leader.lines] == [
        "", "42", "42", "43",
    ]  # fmt: skip
    assert captured.err.count("asking again") == 1


def test_a_connection_that_is_lost_at_first_doubles_nothing(
    leader: FakeLeader, capsys: Captured
) -> None:
    """Who has not seen the bookmark cannot resume; what was sent before it is not printed."""
    leader.in_turn(
        CONFIGS,
        Reply(lines=there(config("a"))[:-1], is_cut=True),
        Reply(lines=there(config("a"))),
        REVOKED,
    )
    assert run(["get", "cm", "-n", "shop", "-w", "-o", "name"]) == 3
    assert capsys.readouterr().out == "config/a\n"


@pytest.mark.parametrize(
    "gone",
    [
        refused(410, "this version is not of this leader"),
        Reply(lines=({"type": "ERROR", "object": {"status": 410, "detail": "slow"}},)),
    ],
)
def test_what_the_leader_does_not_remember_is_listed_and_compared(
    leader: FakeLeader, capsys: Captured, gone: Reply
) -> None:
    before = there(config("a", x="1"), config("b"), config("c"))
    after = there(config("a", x="2"), config("c"), config("d"), version="7")
    leader.in_turn(CONFIGS, Reply(lines=before), gone, Reply(lines=after), REVOKED)
    assert watched(capsys, "get", "cm", "-w", "-o", "name", "--output-watch-events") == (
        "ADDED     config/a\nADDED     config/b\nADDED     config/c\n"
        "MODIFIED  config/a\nADDED     config/d\nDELETED   config/b\n"
    )
    assert leader.lines[1:] == [
        f"{CONFIGS} watch=1 resourceVersion=40",
        f"{CONFIGS} watch=1",
        f"{CONFIGS} watch=1 resourceVersion=7",
    ]


def test_what_another_leader_tells_anew_is_not_printed_again(
    leader: FakeLeader, capsys: Captured
) -> None:
    again = {"type": "MODIFIED", "object": config("a", x="1")}
    new = told("MODIFIED", config("a", x="2"), "41")
    leader.in_turn(
        CONFIGS, Reply(lines=there(config("a", x="1"))), Reply(lines=(again, new)), REVOKED
    )
    assert watched(capsys, "get", "cm", "-w", "-o", "name") == "config/a\nconfig/a\n"


def test_that_a_node_was_heard_of_again_is_no_news(leader: FakeLeader, capsys: Captured) -> None:
    def node(heard: str) -> dict[str, Any]:
        status = {"condition": "Ready", "lastHeartbeatTime": heard}
        return {"kind": "Node", "metadata": {"name": "a"}, "status": status}

    leader.in_turn(
        "GET /nodes",
        Reply(lines=there(node("2026-11-21T10:00:00Z"), version="x-1")),
        refused(410, "this version is not of this leader"),
        Reply(lines=there(node("2026-11-21T10:00:05Z"), version="y-1")),
        REVOKED,
    )
    assert run(["get", "nodes", "-w", "-o", "name"]) == 3
    assert capsys.readouterr().out == "node/a\n"


def test_what_never_worked_is_not_tried_again(leader: FakeLeader, capsys: Captured) -> None:
    leader.refuse(CONFIGS, 503, "the store: gone")
    assert run(["get", "cm", "-n", "shop", "-w"]) == 4
    assert leader.lines == [f"{CONFIGS} watch=1"]
    assert "asking again" not in capsys.readouterr().err


def test_nothing_yet_is_a_remark(leader: FakeLeader, capsys: Captured) -> None:
    leader.in_turn(CONFIGS, Reply(lines=there()), REVOKED)
    remark = "there are no configs in the namespace 'shop' yet\n"
    assert watched(capsys, "get", "cm", "-w", stderr=remark + ENDED) == ""


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("cm a", "GET /n/shop/configs fieldSelector=metadata.name=a watch=1"),
        ("inst web", "GET /n/shop/instances fieldSelector=workload=web watch=1"),
        ("inst/web/0-3", "GET /n/shop/instances fieldSelector=metadata.name=web/0-3 watch=1"),
        ("plan 7", "GET /plans fieldSelector=generation=7 watch=1"),
        ("ev web", "GET /events namespace=shop fieldSelector=name=web watch=1"),
    ],
)
def test_a_name_that_is_not_there_is_not_waited_for(
    leader: FakeLeader, capsys: Captured, words: str, asked: str
) -> None:
    leader.in_turn(f"{' '.join(asked.split()[:2])}", Reply(lines=there()), REVOKED)
    assert run(["get", *words.split(), "-n", "shop", "-w"]) == 1
    assert leader.lines == [asked]
    assert "there is no" in capsys.readouterr().err


def test_events_of_a_workload_go_on_and_old_ones_that_make_room_are_not_told(
    leader: FakeLeader, capsys: Captured
) -> None:
    one = {"namespace": "shop", "kind": "Workload", "name": "db", "reason": "Failed"}
    first = {**one, "message": "exit code 1", "count": 1}
    again, gone = told("MODIFIED", {**first, "count": 2}, "x-2"), told("DELETED", first, "x-3")
    leader.in_turn("GET /events", Reply(lines=(*there(first), again, gone)), REVOKED)
    assert watched(capsys, "events", "db", "-w") == (
        "AGE    COUNT  REASON            OBJECT            MESSAGE\n"
        "       1      Failed            workload/db       exit code 1\n"
        "       2      Failed            workload/db       exit code 1\n"
    )
    assert leader.lines[0] == "GET /events namespace=shop workload=db watch=1"


def test_wide_rows_of_workloads_name_their_nodes(leader: FakeLeader, capsys: Captured) -> None:
    web = leader.replies["GET /n/shop/workloads/web"].value
    assert isinstance(web, dict)
    leader.in_turn("GET /n/shop/workloads", Reply(lines=there(web)), REVOKED)
    row = watched(capsys, "get", "wl", "-w", "-o", "wide").splitlines()[1]
    assert row == "web   Service  2/2    running             3h1m   a, b   localhost/web:1"


@contextmanager
def katcall(tmp_path: Path, stdout: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a watch as a process of its own, with a terminal for everything but standard output."""
    environment = {**os.environ, "KATCALL_CONFIG": str(tmp_path / "config.json")}
    argv = [sys.executable, "-c", INTERRUPTIBLE, "get", "cm", "-n", "shop", "-w", "-o", "name"]
    with subprocess.Popen(
        argv, cwd=REPOSITORY, env=environment, stdout=stdout, stderr=subprocess.PIPE
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_pipe_has_each_line_at_once_and_an_interrupt_is_130(
    leader: FakeLeader, tmp_path: Path
) -> None:
    leader.stream(CONFIGS, *there(config("a")), is_open=True)
    with katcall(tmp_path, subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"config/a\n"  # while the watch goes on
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
    assert (child.returncode, output, errors) == (130, b"", b"")


def test_in_a_terminal_too(leader: FakeLeader, tmp_path: Path) -> None:
    leader.stream(CONFIGS, *there(config("a")), is_open=True)
    ours, theirs = pty.openpty()
    with katcall(tmp_path, theirs) as child:
        assert os.read(ours, 100) == b"config/a\r\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    os.close(ours)
    os.close(theirs)


def test_a_reader_that_has_gone_ends_it_without_news(leader: FakeLeader, tmp_path: Path) -> None:
    leader.stream(CONFIGS, *there(config("a")), is_open=True)
    read, write = os.pipe()
    with katcall(tmp_path, write) as child:
        os.close(write)
        assert os.read(read, 100) == b"config/a\n"
        os.close(read)
        assert child.wait(30) == 141
