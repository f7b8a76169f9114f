import json

import pytest
import yaml

from katgen.cli.main import run
from tests.fakes.leader import FakeLeader
from tests.fakes.shop import node, workload

EVENTS = """\
AGE  COUNT  REASON  OBJECT       MESSAGE
25m  3      Failed  workload/db  kat.shop.db.0-1.service: exit code 1
"""
Captured = pytest.CaptureFixture[str]


def printed(capsys: Captured, *arguments: str) -> str:
    assert run(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("leader")
def test_workloads_show_how_many_of_their_instances_run(capsys: Captured) -> None:
    assert printed(capsys, "get", "workloads", "-n", "shop") == (
        "NAME  TYPE     READY  STATUS                      AGE\n"
        "db    Service  0/1    held back: ImagePullFailed  3d\n"
        "web   Service  2/2    running                     3h1m\n"
    )  # fmt: skip


@pytest.mark.usefixtures("leader")
def test_all_namespaces_and_several_kinds(capsys: Captured) -> None:
    assert printed(capsys, "get", "wl,inst", "-A") == (
        "== workloads\n"
        "NAMESPACE  NAME  TYPE     READY  STATUS                      AGE\n"
        "shop       db    Service  0/1    held back: ImagePullFailed  3d\n"
        "shop       web   Service  2/2    running                     3h1m\n"
        "\n"
        "== instances\n"
        "NAMESPACE  NAME     READY  STATE    RESTARTS  NODE  ADDRESS      SINCE\n"
        "shop       db/0-1   no     failed   3         b     10.100.1.11  25m\n"
        "shop       web/0-3  yes    running  0         a     10.100.0.10  25m\n"
        "shop       web/1-4  yes    running  0         b     10.100.1.10  25m\n"
    )


@pytest.mark.usefixtures("leader")
def test_nodes_with_more_columns(capsys: Captured) -> None:
    line = printed(capsys, "get", "nodes", "-o", "wide").splitlines()[2]
    assert line == (
        "b     Ready      degraded  1          25m   0.1.0  192.0.2.1  4    8Gi     257      "
        "5.4.2   6.12"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("plans", "PLAN  AGE  ROOT          CHANGED\n7     25m  cdcdcdcdcdcd  shop/web\n"),
        ("secrets", "NAME  KEYS      AGE\ntls   crt, key  3h1m\n"),
        ("cm", "NAME      FILES  AGE\nweb-conf  1      3h1m\n"),
        ("vlb", "NAME  PORTS   AGE\nweb   80/TCP  3h1m\n"),
        ("ns", "NAME  ISOLATED  AGE\nshop            3h1m\n"),
        ("ev", EVENTS),
    ],
)
@pytest.mark.usefixtures("leader")
def test_every_kind_has_its_columns(capsys: Captured, kind: str, expected: str) -> None:
    assert printed(capsys, "get", kind, "-n", "shop") == expected


@pytest.mark.usefixtures("leader")
def test_one_object_is_printed_as_it_can_be_applied(capsys: Captured) -> None:
    document = yaml.safe_load(printed(capsys, "get", "workload", "web", "-n", "shop", "-o", "yaml"))
    assert document["kind"] == "Workload"
    assert document["spec"]["source"] == {"image": "localhost/web:1"}


@pytest.mark.usefixtures("leader")
def test_several_objects_are_a_list(capsys: Captured) -> None:
    told = json.loads(printed(capsys, "get", "wl", "web", "db", "-n", "shop", "-o", "json"))
    assert told["kind"] == "List"
    assert [one["metadata"]["name"] for one in told["items"]] == ["web", "db"]


@pytest.mark.usefixtures("leader")
def test_names_for_scripts(capsys: Captured) -> None:
    assert printed(capsys, "get", "wl,plans", "-n", "shop", "-o", "name") == (
        "workload/db\nworkload/web\nplan/7\n"
    )


@pytest.mark.usefixtures("leader")
def test_a_workloads_name_stands_for_its_instances(capsys: Captured) -> None:
    assert printed(capsys, "get", "inst", "web", "-n", "shop", "-o", "name") == (
        "instance/web/0-3\ninstance/web/1-4\n"
    )


def test_labels_are_the_leaders_to_compare(leader: FakeLeader) -> None:
    run(["get", "cm", "-n", "shop", "-l", "tier=front,a=b"])
    assert leader.lines == ["GET /n/shop/configs labelSelector=tier=front,a=b limit=500"]


def test_so_are_fields_also_of_instances(leader: FakeLeader) -> None:
    run(["get", "inst", "-A", "-l", "tier=front", "--field-selector", "node=b,state!=running"])
    assert leader.lines == [
        "GET /instances labelSelector=tier=front fieldSelector=node=b,state!=running limit=500"
    ]


def page(token: str, *documents: object) -> dict[str, object]:
    return {"kind": "ConfigList", "metadata": {"continue": token}, "items": [*documents]}


def test_a_long_list_comes_in_pages_and_is_one_list(leader: FakeLeader, capsys: Captured) -> None:
    one, two = ({"metadata": {"name": name}} for name in ("one", "two"))
    leader.answer("GET /n/shop/configs", page("next", one))
    leader.reply_later("GET /n/shop/configs", page("", two))
    assert printed(capsys, "get", "cm", "-n", "shop", "--chunk-size", "1", "-o", "name") == (
        "config/one\nconfig/two\n"
    )
    assert leader.lines == [
        "GET /n/shop/configs limit=1",
        "GET /n/shop/configs limit=1 continue=next",
    ]


def test_a_list_that_cannot_be_continued_is_asked_for_as_a_whole(leader: FakeLeader) -> None:
    leader.refuse("GET /n/shop/configs", 410, "what happened since is not remembered")
    leader.reply_later("GET /n/shop/configs", page("", workload()))
    assert run(["get", "cm", "-n", "shop"]) == 0
    assert leader.lines == ["GET /n/shop/configs limit=500", "GET /n/shop/configs"]


def test_everything_at_once_if_that_is_wanted(leader: FakeLeader) -> None:
    run(["get", "cm", "-n", "shop", "--chunk-size", "0"])
    assert leader.lines == ["GET /n/shop/configs"]


@pytest.mark.parametrize(
    ("state", "shown"), [("ready", "yes"), ("notready", "no"), ("draining", "draining"), ("", "-")]
)
def test_an_instance_says_whether_it_gets_traffic(
    leader: FakeLeader, capsys: Captured, state: str, shown: str
) -> None:
    one = {"metadata": {"name": "web/0-1"}, "state": "running", "endpoint": state}
    leader.answer("GET /n/shop/instances", {"items": [one]})
    assert printed(capsys, "get", "inst", "-n", "shop").splitlines()[1].split() == [
        "web/0-1", shown, "running",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "status", "shown"),
    [
        ({"type": "Service", "replicas": 3}, {"wanted": 2, "running": 2, "ready": 1}, "1/3"),
        ({"type": "Service", "replicas": 0}, {"wanted": 0, "running": 0, "ready": 0}, "0/0"),
        ({"type": "Service"}, {"wanted": 0, "running": 0, "ready": 0}, "0/1"),
        ({"type": "DaemonService"}, {"wanted": 4, "running": 4, "ready": 3}, "3/4"),
        ({"type": "Job"}, {"wanted": 1, "running": 1, "ready": 0}, "1/1"),
    ],
)
def test_a_workload_says_how_many_of_its_instances_get_traffic(
    leader: FakeLeader,
    capsys: Captured,
    spec: dict[str, object],
    status: dict[str, object],
    shown: str,
) -> None:
    one = {"kind": "Workload", "metadata": {"name": "web"}, "spec": spec, "status": status}
    leader.answer("GET /n/shop/workloads", {"items": [one]})
    assert printed(capsys, "get", "wl", "-n", "shop").splitlines()[1].split()[2] == shown


@pytest.mark.usefixtures("leader")
def test_none_is_a_remark_and_no_table(capsys: Captured) -> None:
    assert run(["get", "jobs"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "there are none in the namespace 'default'\n")


def test_what_a_node_says_of_itself_cannot_colour_a_terminal(
    leader: FakeLeader, capsys: Captured
) -> None:
    leader.answer("GET /nodes", {"items": [node("a", sync="\x1b[31mlate")]})
    assert "\\x1b[31mlate" in printed(capsys, "get", "nodes")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["wl,inst", "-w"], "-w goes with one kind, or one name"),
        (["wl", "web", "db", "-w"], "-w goes with one kind, or one name"),
        (["cc", "-w"], "-w does not go with clusterconfiguration"),
        (["wl", "web", "-l", "a=b"], "a selector does not go with names"),
        (["cc", "--field-selector", "a=b"], "there is but one clusterconfiguration"),
        (["cats"], "there is no kind 'cats'; there are workloads, instances, nodes"),
        (["wl", "web", "-A"], "a name is one of a namespace; use -n, not -A"),
        (["events", "-l", "a=b"], "-l does not go with events"),
        (["wl,no", "web"], "names go with one kind"),
    ],
)
@pytest.mark.usefixtures("leader")
def test_a_wrong_question_is_usage(capsys: Captured, arguments: list[str], told: str) -> None:
    assert run(["get", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.usefixtures("leader")
def test_an_instance_that_is_not_there(capsys: Captured) -> None:
    assert run(["get", "inst", "web/9-9", "-n", "shop"]) == 1
    assert capsys.readouterr().err == (
        "there is no instance 'web/9-9' in the namespace 'shop'; "
        "katcall get instances -n shop shows what there is\n1 problem\n"
    )
