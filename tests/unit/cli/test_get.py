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
        "NAMESPACE  NAME     STATE    RESTARTS  NODE  ADDRESS      SINCE\n"
        "shop       db/0-1   failed   3         b     10.100.1.11  25m\n"
        "shop       web/0-3  running  0         a     10.100.0.10  25m\n"
        "shop       web/1-4  running  0         b     10.100.1.10  25m\n"
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
    assert leader.lines == ["GET /n/shop/configs labelSelector=tier=front,a=b"]


def test_instances_have_the_labels_of_their_workloads(leader: FakeLeader, capsys: Captured) -> None:
    leader.answer("GET /n/shop/workloads", {"items": [workload()]})
    assert printed(capsys, "get", "inst", "-n", "shop", "-l", "tier=front", "-o", "name") == (
        "instance/web/0-3\ninstance/web/1-4\n"
    )
    assert leader.lines[0] == "GET /n/shop/workloads labelSelector=tier=front"


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
        (["wl", "-w"], "-w comes with watches, which are not built yet"),
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
