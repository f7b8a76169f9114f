import json
from pathlib import Path

import pytest

from katgen.cli.main import run

FILES = """\
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: big}
status: {capacity: {cpu: "4", memory: 8Gi}}
---
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: closed}
spec: {unschedulable: true}
---
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: small}
status: {capacity: {cpu: "2", memory: 2Gi}}
---
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: tainted}
spec: {taints: [{key: dedicated, value: db, effect: NoSchedule}]}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec:
  type: Service
  source: {image: "localhost/web:1"}
  container: {resources: {requests: {cpu: "3"}}}
---
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web, namespace: test}
spec:
  type: Service
  replicas: 2
  source: {image: "localhost/web:1"}
  container: {resources: {requests: {cpu: "500m"}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.kat").write_text(FILES)


def explain(*arguments: str) -> int:
    return run(["explain", "--offline", "-f", "all.kat", *arguments])


def test_every_node_says_why_or_why_not_with_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("shop/web") == 0
    assert capsys.readouterr().out.splitlines() == [
        "shop/web: 1 instance; 1 of 4 nodes could take one",
        "",
        "NODE     HAS  RANK  LOAD    INSTANCES  WHY NOT",
        "big      0    1     12.5 %  1",
        "closed                                 the node is cordoned",
        "small                                  cpu: wants 3, 1500m of 2 free",
        "tainted                                taint dedicated=db:NoSchedule: not tolerated",
        "",
        "MostEmpty: of nodes that are equal otherwise, the emptier one is better",
    ]


def test_a_name_that_two_namespaces_have_is_asked_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("web") == 1
    assert capsys.readouterr().err == (
        "web: is the name of 2 workloads: shop/web, test/web; say which\n1 problem\n"
    )


def test_a_name_that_nothing_has_is_answered_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert explain("wep") == 1
    assert capsys.readouterr().err == (
        "wep: is no workload of these files; there are shop/web, test/web\n1 problem\n"
    )


def test_programs_get_the_same_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("test/web", "-o", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["workload"], shown["placed"]) == ("test/web", 2)
    assert [(node["node"], node["isFeasible"]) for node in shown["nodes"]] == [
        ("small", True),
        ("big", True),
        ("closed", False),
        ("tainted", False),
    ]


def test_files_are_for_offline_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--nodes", "all.kat", "shop/web"]) == 2
    assert "--nodes goes with --offline only" in capsys.readouterr().err
