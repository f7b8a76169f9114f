"""Every way in which a leader gives no answer, or a bad one."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from katgen.cli.connection import Leader, Request
from katgen.cli.contexts import Chosen, Context
from katgen.cli.exits import Exit
from katgen.cli.failures import LeaderError
from katgen.cli.main import run
from tests.fakes.leader import TOKEN, FakeLeader, Reply, fake_leader, write_context

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
OTHER = f"kat_ffffffffffff_{'x' * 43}"


def told(capsys: Captured) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removesuffix("1 problem\n")


@pytest.mark.usefixtures("leader")
def test_nobody_listens(capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setenv("KATCALL_SERVER", "https://127.0.0.1:1")
    assert run(["get", "nodes"]) == 4
    assert told(capsys) == (
        "cannot reach https://127.0.0.1:1: connection refused; "
        "is kat-leader running? systemctl status kat-leader\n"
    )


@pytest.mark.usefixtures("leader")
def test_a_name_that_nobody_knows(capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setenv("KATCALL_SERVER", "https://leader.invalid:9115")
    assert run(["get", "nodes"]) == 4
    assert told(capsys) == (
        "cannot reach https://leader.invalid:9115: its name is not known; "
        "correct the server: katcall login --server\n"
    )


def test_a_leader_of_another_ca_is_not_shown_the_token(
    leader: FakeLeader, capsys: Captured, monkeypatch: Patch
) -> None:
    """The system's CAs do not know it either."""
    monkeypatch.setenv("KATCALL_SERVER", f"{leader.url}/")
    assert run(["get", "nodes"]) == 4
    assert told(capsys) == (
        f"cannot reach {leader.url}/: its certificate is not trusted: self-signed certificate; "
        "katcall login --ca FILE trusts another CA\n"
    )
    assert leader.asked == []


def test_an_unknown_token(leader: FakeLeader, capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setenv("KATCALL_TOKEN", OTHER)
    assert run(["get", "nodes"]) == 3
    assert told(capsys) == (
        "this token is not known; katcall login --token-file FILE gives another token\n"
    )
    assert len(leader.asked) == 1


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, 3, "no; ask for a token with a role that may\n"),
        (404, 1, "no; katcall get shows what there is\n"),
        (409, 3, "no; look at what is there now, then try again\n"),
        (413, 1, "no\n"),
        (503, 4, "the leader failed: 503 no; journalctl -u kat-leader says more of request r-17\n"),
    ],
)
def test_a_refusal_says_what_to_do(
    leader: FakeLeader, capsys: Captured, status: int, code: int, expected: str
) -> None:
    leader.refuse("GET /nodes", status, "no")
    assert run(["get", "nodes"]) == code
    assert told(capsys) == expected


def test_a_proxys_page_is_no_answer(leader: FakeLeader, capsys: Captured) -> None:
    leader.replies["GET /nodes"] = Reply(status=502, text="<html>Bad Gateway</html>")
    assert run(["get", "nodes"]) == 4
    assert told(capsys) == (
        "the leader failed: 502 Bad Gateway; journalctl -u kat-leader says more of request r-17\n"
    )


def test_an_answer_of_another_shape(leader: FakeLeader, capsys: Captured) -> None:
    leader.answer("GET /nodes", ["a"])
    assert run(["get", "nodes"]) == 4
    assert f"the answer of {leader.url} is not understood" in told(capsys)


def test_an_answer_that_does_not_come_in_time(leader: FakeLeader) -> None:
    leader.stream("GET /nodes", is_open=True)
    asked = Leader(Chosen("", Context(leader.url, leader.ca, TOKEN)), 0.2)
    with pytest.raises(LeaderError, match=r"no answer from .* within 0\.2 s") as caught:
        asked.ask(Request("/nodes"), dict[str, object])
    assert caught.value.exit is Exit.UNREACHABLE


def test_a_context_that_is_not_there(leader: FakeLeader, capsys: Captured) -> None:
    assert leader.url
    assert run(["get", "nodes", "--context", "other"]) == 1
    config = os.environ["KATCALL_CONFIG"]
    assert told(capsys) == f"there is no context 'other' in {config}; there are fake\n"


@pytest.mark.usefixtures("leader")
def test_no_context_at_all(capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setenv("KATCALL_CONFIG", "/nowhere/config.json")
    assert run(["get", "nodes"]) == 1
    assert told(capsys).startswith("no leader is known: /nowhere/config.json has no context; ")


@pytest.mark.usefixtures("leader")
def test_a_config_file_that_is_broken(capsys: Captured) -> None:
    Path(os.environ["KATCALL_CONFIG"]).write_text("{")
    assert run(["get", "nodes"]) == 1
    assert "config.json: Input data was truncated; correct it, or remove it" in told(capsys)


@pytest.mark.usefixtures("leader")
def test_a_leader_without_tls_is_none(capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setenv("KATCALL_SERVER", "http://127.0.0.1:9115")
    assert run(["get", "nodes"]) == 1
    assert told(capsys) == (
        "'http://127.0.0.1:9115' is no address of a leader; it has the form https://ADDRESS:9115\n"
    )


def test_the_environment_needs_no_file(
    leader: FakeLeader, capsys: Captured, monkeypatch: Patch, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text(leader.ca)
    monkeypatch.setenv("KATCALL_CONFIG", "/nowhere/config.json")
    monkeypatch.setenv("KATCALL_SERVER", leader.url)
    monkeypatch.setenv("KATCALL_CA", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KATCALL_TOKEN", TOKEN)
    assert run(["version"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "leader 0.1.0, cluster shop, plan 7"


class TestLogin:
    def test_a_new_context_is_asked_then_kept_for_its_owner_only(
        self, leader: FakeLeader, capsys: Captured, monkeypatch: Patch, tmp_path: Path
    ) -> None:
        config = tmp_path / "fresh/kat/config.json"
        monkeypatch.setenv("KATCALL_CONFIG", str(config))
        (tmp_path / "ca.crt").write_text(leader.ca)
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        files = ["--ca", str(tmp_path / "ca.crt"), "--token-file", str(tmp_path / "token")]
        assert run(["login", "--server", leader.url, *files]) == 0
        assert capsys.readouterr().out == f"context shop: cluster shop at {leader.url}\n"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert json.loads(config.read_text()) == {
            "current": "shop",
            "contexts": {"shop": {"server": leader.url, "ca": leader.ca, "token": TOKEN}},
        }

    def test_a_token_that_is_refused_is_not_kept(self, leader: FakeLeader, tmp_path: Path) -> None:
        before = (tmp_path / "config.json").read_text()
        (tmp_path / "token").write_text(OTHER)
        assert leader.url
        assert run(["login", "--token-file", str(tmp_path / "token")]) == 3
        assert (tmp_path / "config.json").read_text() == before

    @pytest.mark.parametrize("text", ["kat_secret", f"{TOKEN} x", "-----BEGIN", "kat_\x00\xff"])
    def test_what_is_no_token_is_neither_sent_nor_shown(
        self, leader: FakeLeader, capsys: Captured, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "token").write_text(text)
        assert run(["login", "--token-file", str(tmp_path / "token")]) == 1
        assert told(capsys) == (
            f"what is given as the token for {leader.url} is none; "
            "it is one line: kat_, 12 digits, _, 43 letters; katcall login --token-file FILE\n"
        )
        assert leader.asked == []

    def test_further_lines_of_the_file_are_not_the_token(
        self, leader: FakeLeader, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text(f"{TOKEN}\nuser: me\n")
        assert leader.url
        assert run(["login", "--token-file", str(tmp_path / "token")]) == 0
        assert json.loads((tmp_path / "config.json").read_text())["contexts"]["fake"]["token"] == (
            TOKEN
        )

    def test_a_file_that_cannot_be_written_leaves_no_draft(
        self, leader: FakeLeader, monkeypatch: Patch, tmp_path: Path
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        before = sorted(tmp_path.iterdir())
        assert leader.url
        assert run(["login", "fake"]) == 1
        assert sorted(tmp_path.iterdir()) == before

    def test_the_list_shows_no_token(self, leader: FakeLeader, capsys: Captured) -> None:
        assert run(["login"]) == 0
        assert capsys.readouterr().out == f"   NAME  SERVER\n*  fake  {leader.url}\n"

    def test_a_name_makes_its_context_the_current_one(
        self, leader: FakeLeader, tmp_path: Path
    ) -> None:
        context = {"server": leader.url, "ca": leader.ca, "token": TOKEN}
        both = {"current": "fake", "contexts": {"fake": context, "other": context}}
        (tmp_path / "config.json").write_text(json.dumps(both))
        assert run(["login", "other"]) == 0
        assert json.loads((tmp_path / "config.json").read_text())["current"] == "other"


def test_names_for_the_shell_come_from_the_leader(leader: FakeLeader, capsys: Captured) -> None:
    from click.shell_completion import ShellComplete  # noqa: PLC0415 -- beside its only use

    from katgen.cli.main import katcall  # noqa: PLC0415 -- the same

    shell = ShellComplete(katcall, {}, "katcall", "_KATCALL_COMPLETE")
    words = ["get", "workloads", "-n", "shop"]
    assert [one.value for one in shell.get_completions(words, "w")] == ["web"]
    words = ["describe", "-n", "shop", "instance"]
    assert [one.value for one in shell.get_completions(words, "db")] == ["db/0-1"]
    assert [one.value for one in shell.get_completions(["get", "wl", "-n"], "s")] == ["shop"]
    words = ["get", "workloads", "-n", "shop"]
    leader.stream("GET /n/shop/workloads", is_open=True)
    assert shell.get_completions(words, "w") == []
    assert capsys.readouterr().err == ""


def test_two_leaders_have_two_contexts(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("KATCALL_CONFIG", str(tmp_path / "config.json"))
    with fake_leader() as one, fake_leader() as other:
        write_context(one, tmp_path / "config.json")
        known = json.loads((tmp_path / "config.json").read_text())
        known["contexts"]["other"] = {"server": other.url, "ca": other.ca, "token": TOKEN}
        (tmp_path / "config.json").write_text(json.dumps(known))
        run(["get", "nodes", "--context", "other"])
        assert (one.lines, other.lines) == ([], ["GET /nodes limit=500"])
