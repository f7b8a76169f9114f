"""The commands that ask a leader, apart from get, apply and login, which have their own files."""

import json
from pathlib import Path

import pytest

from katgen.cli.main import run
from tests.fakes.leader import FakeLeader
from tests.fakes.shop import DRIFT

Captured = pytest.CaptureFixture[str]
WRITTEN = {
    "resourceVersion": "41",
    "changed": [{"kind": "Workload", "namespace": "shop", "name": "web", "result": "configured"}],
}
DONE = {"phase": "done", "generation": 8}
SAID = "Workload shop/web configured\ndone: plan 8\n"


@pytest.fixture
def writable(leader: FakeLeader) -> FakeLeader:
    """Return a leader that takes every change of the workload `web`."""
    for verb in ("scale", "restart", "rollback"):
        leader.answer(f"POST /n/shop/workloads/web/{verb}", WRITTEN)
    leader.stream("GET /changes/41", DONE)
    return leader


def printed(capsys: Captured, *arguments: str) -> str:
    assert run(arguments) == 0
    return capsys.readouterr().out


def test_scale(writable: FakeLeader, capsys: Captured) -> None:
    assert printed(capsys, "scale", "workload", "web", "--replicas", "3", "-n", "shop") == SAID
    assert json.loads(writable.asked[0].body) == {"replicas": 3}


def test_restart(writable: FakeLeader, capsys: Captured) -> None:
    assert printed(capsys, "restart", "workload/web", "-n", "shop") == SAID
    assert writable.lines == ["POST /n/shop/workloads/web/restart", "GET /changes/41"]


@pytest.mark.parametrize(("options", "number"), [((), 0), (("--to", "3"), 3)])
def test_rollback(
    writable: FakeLeader, capsys: Captured, options: tuple[str, ...], number: int
) -> None:
    assert printed(capsys, "rollback", "workload", "web", "-n", "shop", *options) == SAID
    assert json.loads(writable.asked[0].body) == {"to": number}


@pytest.mark.usefixtures("leader")
def test_rollback_lists_what_there_is_to_go_back_to(capsys: Captured) -> None:
    assert printed(capsys, "rollback", "web", "-n", "shop", "--list") == (
        "N  AGE  PLAN  IMAGE\n1  3d   5     localhost/web:0\n"
    )


def test_one_workload_at_a_time_is_scaled(leader: FakeLeader, capsys: Captured) -> None:
    assert run(["scale", "web", "db", "--replicas", "1"]) == 2
    assert "one workload at a time" in capsys.readouterr().err
    assert leader.asked == []


class TestDelete:
    def test_by_name_waits_until_it_is_gone(self, leader: FakeLeader, capsys: Captured) -> None:
        leader.answer("DELETE /n/shop/workloads/web", {"resourceVersion": "41"})
        leader.stream("GET /changes/41", DONE)
        assert printed(capsys, "delete", "workload", "web", "-n", "shop") == (
            "Workload shop/web deleted\ndone: plan 8\n"
        )
        assert leader.lines == ["DELETE /n/shop/workloads/web", "GET /changes/41"]

    def test_of_files_takes_what_is_used_after_its_users(
        self, leader: FakeLeader, tmp_path: Path
    ) -> None:
        """What goes with its workload is not deleted by itself."""
        kinds = ("Config", "VirtualLoadBalancer", "Workload")
        head = "apiVersion: kat/v1alpha1\nkind: {}\nmetadata: {{name: web, namespace: shop}}\n"
        (tmp_path / "all.kat").write_text("---\n".join(head.format(kind) for kind in kinds))
        leader.answer("DELETE /n/shop/workloads/web", {"resourceVersion": "41"})
        leader.answer("DELETE /n/shop/configs/web", {"resourceVersion": "42"})
        assert run(["delete", "-f", str(tmp_path), "--no-wait"]) == 0
        assert leader.lines == ["DELETE /n/shop/workloads/web", "DELETE /n/shop/configs/web"]

    def test_of_what_is_in_use_is_refused(self, leader: FakeLeader, capsys: Captured) -> None:
        problem = {"at": "shop/web", "what": "uses the Config 'conf'", "hint": "delete it first"}
        leader.refuse("DELETE /n/shop/configs/conf", 409, "in use", problem)
        assert run(["delete", "cm", "conf", "-n", "shop"]) == 3
        assert capsys.readouterr().err == (
            "shop/web: uses the Config 'conf'; delete it first\n1 problem\n"
        )

    def test_of_several_tells_what_is_gone_before_one_is_refused(
        self, leader: FakeLeader, capsys: Captured
    ) -> None:
        leader.answer("DELETE /n/shop/workloads/web", {"resourceVersion": "41"})
        problem = {"at": "shop/web", "what": "uses the Config 'conf'", "hint": "delete it first"}
        leader.refuse("DELETE /n/shop/configs/conf", 409, "in use", problem)
        assert run(["delete", "workload/web", "cm/conf", "-n", "shop"]) == 3
        assert capsys.readouterr().out == "Workload shop/web deleted\n"
        assert run(["delete", "workload/web", "cm/conf", "-n", "shop", "--json"]) == 3
        assert capsys.readouterr().err == "Workload shop/web deleted\n"

    def test_of_what_is_not_there(self, leader: FakeLeader, capsys: Captured) -> None:
        assert run(["delete", "cm", "none", "--ignore-not-found"]) == 0
        assert run(["delete", "cm", "none"]) == 1
        assert leader.lines == ["DELETE /n/default/configs/none"] * 2
        assert capsys.readouterr().out == ""

    def test_what_stops_is_said_to_stop(self, leader: FakeLeader, capsys: Captured) -> None:
        leader.answer("DELETE /n/shop/workloads/web", {"resourceVersion": "41"})
        leaving = {"namespace": "shop", "name": "web", "wanted": 0, "running": 2}
        stopping = {**leaving, "state": "waiting", "message": "stopping"}
        gone = {**leaving, "running": 0, "state": "running", "message": "deleted"}
        applying = {"phase": "applying", "generation": 8, "workloads": [stopping]}
        leader.stream("GET /changes/41", applying, {**DONE, "workloads": [gone]})
        assert printed(capsys, "delete", "workload", "web", "-n", "shop") == (
            "Workload shop/web deleted\napplying generation 8\n"
            "shop/web: stopping\nshop/web: deleted\ndone: plan 8\n"
        )

    @pytest.mark.usefixtures("leader")
    def test_an_instance_is_its_workloads(self, capsys: Captured) -> None:
        assert run(["delete", "instance", "web/0-3"]) == 2
        assert "scale or delete its workload" in capsys.readouterr().err


class TestLogs:
    @pytest.mark.usefixtures("leader")
    def test_several_instances_are_told_apart_and_colour_nothing(self, capsys: Captured) -> None:
        assert printed(capsys, "logs", "web", "-n", "shop") == (
            "web/0-3 | GET / 200\nweb/1-4 | GET /\\x1b[31m 404\n"
        )

    def test_one_instance_speaks_alone(self, leader: FakeLeader, capsys: Captured) -> None:
        line = {"time": 1700000000.25, "instance": "web/0-3", "text": "GET / 200"}
        leader.stream("GET /n/shop/workloads/web/logs", line)
        assert printed(capsys, "logs", "web/0-3", "-n", "shop", "-t") == (
            "2023-11-14T22:13:20.250000Z GET / 200\n"
        )
        assert leader.lines[-1] == "GET /n/shop/workloads/web/logs tail=100 instance=web/0-3"

    @pytest.mark.parametrize(
        ("options", "query"),
        [
            (("-f", "--since", "10m"), "follow=1 since=600"),
            (("--since", "1h30m", "--tail", "5"), "since=5400 tail=5"),
            (("--all",), ""),
            (("--all", "--system"), "everything=1"),
        ],
    )
    def test_how_far_back(self, leader: FakeLeader, options: tuple[str, ...], query: str) -> None:
        assert run(["logs", "web", "-n", "shop", *options]) == 0
        assert leader.lines[-1] == f"GET /n/shop/workloads/web/logs {query}".strip()

    def test_a_line_has_one_end(self, leader: FakeLeader, capsys: Captured) -> None:
        line = {"time": 1, "instance": "web/0-3", "text": "  hello\n"}
        leader.stream("GET /n/shop/workloads/web/logs", line)
        assert printed(capsys, "logs", "web/0-3", "-n", "shop") == "  hello\n"

    def test_a_time_that_no_calendar_has_is_cut(self, leader: FakeLeader, capsys: Captured) -> None:
        line = {"time": 1e300, "instance": "web/0-3", "text": "hello"}
        leader.stream("GET /n/shop/workloads/web/logs", line)
        assert printed(capsys, "logs", "web/0-3", "-n", "shop", "-t") == (
            "2242-03-16T12:56:32.000000Z hello\n"
        )

    def test_a_node_that_cannot_be_asked_is_a_remark_and_logs_are_not_whole(
        self, leader: FakeLeader, capsys: Captured
    ) -> None:
        leader.stream(
            "GET /n/shop/workloads/web/logs", {"time": 0, "instance": "", "text": "node b: away"}
        )
        assert run(["logs", "web", "-n", "shop"]) == 5
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "node b: away\n")

    @pytest.mark.usefixtures("leader")
    def test_a_length_of_time_that_is_none(self, capsys: Captured) -> None:
        assert run(["logs", "web", "--since", "yesterday"]) == 2
        assert "'yesterday' is no length of time; write 90s, 10m or 1h30m" in (
            capsys.readouterr().err
        )

    @pytest.mark.usefixtures("leader")
    def test_a_workload_without_instances(self, capsys: Captured) -> None:
        assert run(["logs", "none", "-n", "shop"]) == 1
        assert capsys.readouterr().err.startswith("shop/none has no instance; ")


class TestDescribe:
    @pytest.mark.usefixtures("leader")
    def test_a_workload(self, capsys: Captured) -> None:
        assert printed(capsys, "describe", "workload", "web", "-n", "shop") == (
            "Workload:  shop/web\n"
            "Type:      Service\n"
            "Image:     localhost/web:1\n"
            "Status:    running\n"
            "Replicas:  2\n"
            "Labels:    tier=front\n"
            "Requests:  cpu=100m, memory=64Mi\n"
            "Ports:     8080/TCP on the node's 80\n"
            "Service:   80 -> 8080\n"
            "Created:   3h1m ago\n"
            "Version:   2\n"
            "\n"
            "NAME     READY  STATE    RESTARTS  NODE  ADDRESS      SINCE\n"
            "web/0-3  yes    running  0         a     10.100.0.10  25m\n"
            "web/1-4  yes    running  0         b     10.100.1.10  25m\n"
            "\n"
            "INSTANCE  UNIT\n"
            "web/0-3   kat.shop.web.0-3.service\n"
            "web/1-4   kat.shop.web.1-4.service\n"
            "\n"
            "Events\n"
            "AGE  COUNT  REASON  OBJECT       MESSAGE\n"
            "25m  3      Failed  workload/db  kat.shop.db.0-1.service: exit code 1\n"
        )

    @pytest.mark.usefixtures("leader")
    def test_a_workload_that_is_held_back(self, capsys: Captured) -> None:
        shown = printed(capsys, "describe", "workload", "db", "-n", "shop")
        since = "2026-11-21T10:00:00Z"
        assert f"Held back:  ImagePullFailed, since {since}: manifest unknown\n" in shown
        assert "Runs:       revision 41aa, image localhost/db:8\n" in shown

    @pytest.mark.usefixtures("leader")
    def test_an_instance_that_failed_shows_its_last_lines(self, capsys: Captured) -> None:
        shown = printed(capsys, "describe", "instance", "db/0-1", "-n", "shop")
        assert shown.startswith("Instance:   shop/db/0-1\nState:      failed, for 25m\n")
        assert (
            "\nLast lines of db/0-1 (exit code 1)\n  starting\n  no space left on device\n" in shown
        )

    @pytest.mark.usefixtures("leader")
    def test_a_workloads_name_stands_for_its_instances(self, capsys: Captured) -> None:
        shown = printed(capsys, "describe", "instance", "web", "-n", "shop")
        assert "\n\nInstance:   shop/web/1-4\n" in shown

    @pytest.mark.usefixtures("leader")
    def test_a_node_with_problems(self, capsys: Captured) -> None:
        shown = printed(capsys, "describe", "node", "b")
        assert "Sync:       degraded\n" in shown
        assert "\nProblems\n  /etc/kat/kat.nft: syntax error\n" in shown
        assert shown.endswith("2 of its files or units were changed by hand: katcall diff b\n")

    @pytest.mark.usefixtures("leader")
    def test_other_kinds_are_for_get(self, capsys: Captured) -> None:
        assert run(["describe", "config", "web"]) == 2
        assert "describe tells of workload, instance, node, not config" in capsys.readouterr().err


@pytest.mark.usefixtures("leader")
def test_diff_shows_what_somebody_changed(capsys: Captured) -> None:
    assert printed(capsys, "diff") == (
        f"== b\nedited: /etc/kat/kat.nft\n{DRIFT['diff']}stopped: kat.shop.db.0-1.service\n"
        "\n2 differences on 2 nodes\n"
    )


@pytest.mark.usefixtures("leader")
def test_diff_of_a_node_as_it_should_be(capsys: Captured) -> None:
    assert printed(capsys, "diff", "a") == "0 differences on 1 node\n"


def test_events_of_a_workload(leader: FakeLeader, capsys: Captured) -> None:
    assert printed(capsys, "events", "db", "-n", "shop") == (
        "AGE  COUNT  REASON  OBJECT       MESSAGE\n"
        "25m  3      Failed  workload/db  kat.shop.db.0-1.service: exit code 1\n"
    )
    assert leader.lines == ["GET /events namespace=shop workload=db limit=500"]


@pytest.mark.usefixtures("leader")
def test_explain_asks_the_leader(capsys: Captured) -> None:
    assert printed(capsys, "explain", "web", "-n", "shop") == (
        "shop/web: 2 instances; 1 of 2 nodes could take one\n"
        "\n"
        "NODE  HAS  RANK  LOAD   INSTANCES  WHY NOT\n"
        "a     0    1     2.5 %  3\n"
        "b     1                            unschedulable\n"
        "\n"
        "BinPack: of nodes that are equal otherwise, the fuller one is better\n"
    )


def test_top_takes_cpu_over_the_nodes_own_clock(
    leader: FakeLeader, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("katgen.cli.top.INTERVAL_S", 0)
    usage = {"namespace": "shop", "name": "web/0-3", "node": "a", "memoryBytes": 60 << 20}
    leader.reply_later("GET /usage", {"items": [{**usage, "time": 102.0, "cpuNs": 5_500_000_000}]})
    assert printed(capsys, "top", "-n", "shop") == (
        "NAME     CPU   MEMORY  NODE\nweb/0-3  250m  60Mi    a\n"
    )


def test_top_shows_no_memory_where_none_is_accounted(
    leader: FakeLeader, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("katgen.cli.top.INTERVAL_S", 0)
    usage = {"namespace": "shop", "name": "web/0-3", "node": "a", "memoryBytes": 0}
    leader.answer("GET /usage", {"items": [{**usage, "time": 102.0, "cpuNs": 0}]})
    assert printed(capsys, "top", "-n", "shop") == (
        "NAME     CPU  MEMORY  NODE\nweb/0-3  0m   -       a\n"
    )


@pytest.mark.usefixtures("leader")
def test_version_tells_of_both(capsys: Captured) -> None:
    shown = printed(capsys, "version").splitlines()
    assert shown[0].startswith("katcall ")
    assert shown[1:] == ["leader 0.1.0, cluster shop, plan 7"]


def test_version_of_katcall_alone_asks_nobody(leader: FakeLeader, capsys: Captured) -> None:
    assert printed(capsys, "version", "--client").count("\n") == 1
    assert leader.asked == []
