"""The commands from the outside: what they write, print and end with."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from katgen.bundle import Manifest
from katgen.cli.main import run
from katgen.cli.options import Named
from katgen.cli.pipeline import load, planned
from katgen.errors import EncodeError, SpecError
from katgen.render.cluster import render
from katgen.wire import manifest_from_json

WEB = """\
apiVersion: kat/v1alpha1
kind: Workload
metadata: {name: web}
spec:
  type: Service
  replicas: 2
  source: {image: "localhost/web:1"}
"""
TOO_BIG = WEB.replace(
    "replicas: 2",
    "replicas: 3\n  container: {resources: {requests: {cpu: '3'}}}",
)
NODES = """\
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: alpha}
status: {capacity: {cpu: "4"}}
---
apiVersion: kat/v1alpha1
kind: Node
metadata: {name: beta}
status: {capacity: {cpu: "4"}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a workload, a larger one, and two nodes."""
    monkeypatch.chdir(tmp_path)
    Path("web.kat").write_text(WEB)
    Path("big.kat").write_text(TOO_BIG)
    Path("nodes.kat").write_text(NODES)
    return tmp_path


def names(path: str) -> list[str]:
    return sorted(p.name for p in Path(path).iterdir())


def test_render_writes_a_tree_for_each_node_its_manifest_the_plan_and_sums() -> None:
    assert run(["render", "-f", "web.kat", "--nodes", "nodes.kat", "-o", "out"]) == 0
    assert names("out") == [
        "SHA256SUMS",
        "alpha",
        "alpha.manifest.json",
        "beta",
        "beta.manifest.json",
        "plan.json",
    ]
    assert names("out/beta/etc/containers/systemd/kat") == ["kat.default.web.1-2.container"]


def test_without_nodes_there_is_one_named_local() -> None:
    assert run(["render", "-f", "web.kat", "-o", "out"]) == 0
    assert names("out/local/etc/containers/systemd/kat") == [
        "kat.default.web.0-1.container",
        "kat.default.web.1-2.container",
    ]


def test_a_manifest_names_every_own_file_with_its_digest_and_mode() -> None:
    run(["render", "-f", "web.kat", "-o", "out"])
    manifest = manifest_from_json(Path("out/local.manifest.json").read_bytes(), "")
    assert manifest.entries
    for entry in manifest.entries:
        path = Path(f"out/local{entry.path}")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.digest
        assert path.stat().st_mode & 0o7777 == entry.mode


def test_the_root_covers_a_manifest_as_compact_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What is written is the same manifest, laid out for people."""
    run(["render", "-f", "web.kat", "-o", "out", "--json"])
    root = render(planned(load(Named(["web.kat"])))).root
    assert json.loads(capsys.readouterr().out)["root"] == root.digest
    written = msgspec.json.decode(Path("out/local.manifest.json").read_bytes(), type=Manifest)
    compact = msgspec.json.encode(written, order="deterministic")
    assert root.manifests == {"local": hashlib.sha256(compact).hexdigest()}


def test_rendering_again_with_the_parent_gives_the_same_bytes_and_generation() -> None:
    run(["render", "-f", "web.kat", "-o", "out"])
    before = Path("out/SHA256SUMS").read_text()
    assert run(["render", "-f", "web.kat", "--parent", "out/plan.json", "-o", "out"]) == 0
    assert Path("out/SHA256SUMS").read_text() == before


def test_render_says_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    run(["render", "-f", "web.kat", "--nodes", "nodes.kat", "-o", "out"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NODE   INSTANCES  FILES"
    assert lines[1].startswith("alpha  1          ")
    assert lines[-1].startswith("plan 1: ")
    assert lines[-1].endswith(" files in out")


def test_a_directory_of_other_files_is_refused_and_left_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine").mkdir()
    Path("mine/letter").write_text("dear")
    assert run(["render", "-f", "web.kat", "-o", "mine"]) == 3
    assert names("mine") == ["letter"]
    assert capsys.readouterr().err == (
        "mine: 1 file not written by KAT: letter; KAT replaces only what it wrote: move them away, "
        "or name another directory\n1 problem\n"
    )


def test_an_instance_without_a_node_refuses_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", "big.kat", "--nodes", "nodes.kat", "-o", "out"]) == 3
    assert not Path("out").exists()
    assert capsys.readouterr().err == (
        "default/web: 1 of 3 instances has no node: cpu: wants 3, 1 of 4 free (2 nodes); "
        "katcall explain --offline default/web says more\n1 problem\n"
    )


def test_the_rest_is_written_if_that_is_allowed() -> None:
    arguments = ["render", "-f", "big.kat", "--nodes", "nodes.kat", "-o", "out"]
    assert run([*arguments, "--allow-unplaced"]) == 0
    assert names("out/alpha/etc/containers/systemd/kat") == ["kat.default.web.0-1.container"]


def test_a_plan_with_an_instance_without_a_node_is_shown_and_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["plan", "--offline", "-f", "big.kat", "--nodes", "nodes.kat"]) == 3
    captured = capsys.readouterr()
    assert captured.out.startswith("plan 0 -> 1\n")
    assert captured.err.startswith("default/web: 1 of 3 instances has no node: ")


def test_a_directory_that_cannot_be_made_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", "web.kat", "-o", "web.kat/out"]) == 1
    assert capsys.readouterr().err == (
        "web.kat/out: not a directory; name another directory\n1 problem\n"
    )


def test_the_name_of_the_draft_is_nobodys_business(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "-f", "web.kat", "-o", "/proc/x"]) == 1
    assert capsys.readouterr().err == (
        "/proc/x: no such file or directory; name another directory\n1 problem\n"
    )


def test_files_that_nodes_share_are_one_inode() -> None:
    run(["render", "-f", "web.kat", "--nodes", "nodes.kat", "-o", "out"])
    alpha, beta = Path("out/alpha"), Path("out/beta")
    common = "etc/systemd/system/kat.default.target"
    assert (alpha / common).samefile(beta / common)
    own = {p.relative_to(alpha) for p in alpha.rglob("*") if p.is_file() and p.stat().st_nlink == 1}
    assert Path("etc/containers/systemd/kat/kat.default.web.0-1.container") in own


def test_a_value_that_no_grammar_carries_is_one_line_and_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Validation refuses such values, as far as is known; so one is put in its way."""

    def gap(_: object) -> None:
        raise EncodeError("'a b' cannot be the name of an nft object")

    monkeypatch.setattr("katgen.cli.render.rendered_from", gap)
    assert run(["render", "-f", "web.kat", "-o", "out"]) == 3
    assert capsys.readouterr().err == (
        "'a b' cannot be the name of an nft object; validation should have refused it: "
        "this is a gap in KAT, please report it\n1 problem\n"
    )
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--cluster", "nodes.kat", "-f", "nodes.kat"],
            (
                "nodes.kat: --cluster needs a ClusterConfiguration, and here is none; "
                "name a file that has one, or leave --cluster out"
            ),
        ),
        (
            ["--nodes", "cluster.kat", "-f", "cluster.kat"],
            (
                "cluster.kat: --nodes needs a Node, and here is none; "
                "name a file that has one, or leave --nodes out"
            ),
        ),
        (
            ["--nodes", "all.kat"],
            (
                "all.kat:12:7 kind: --nodes takes no ClusterConfiguration; "
                "give the file with -f, too or instead"
            ),
        ),
    ],
)
def test_what_an_option_is_for_has_to_be_in_its_file(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cluster.kat").write_text(cluster("kat"))
    Path("all.kat").write_text(f"{NODES}---\n{cluster('kat')}")
    assert run(["validate", "-f", "web.kat", *options]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [message, "1 problem"]


@pytest.mark.parametrize(
    "options",
    [
        ["--nodes", "all.kat", "--cluster", "all.kat"],
        ["--nodes", "all.kat", "-f", "all.kat"],
        ["--nodes", "all.kat", "-f", "."],
    ],
)
def test_a_file_of_several_kinds_fits_if_it_is_named_for_all(options: list[str]) -> None:
    Path("cluster").write_text(cluster("kat"))
    Path("all.kat").write_text(f"{NODES}---\n{cluster('kat')}")
    Path("nodes.kat").unlink()
    Path("big.kat").unlink()
    assert run(["validate", "-f", "web.kat", *options]) == 0


def test_a_mistyped_kind_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nodes.kat").write_text("apiVersion: kat/v1alpha1\nkind: Nod\nmetadata: {name: a}\n")
    assert run(["validate", "-f", "web.kat", "--nodes", "nodes.kat"]) == 1
    assert capsys.readouterr().err.endswith("\n1 problem\n")


def test_an_empty_name_is_shown() -> None:
    with pytest.raises(SpecError) as caught:
        load(Named([""]))
    assert str(caught.value) == "'': no such file or directory; check the path"


def test_a_parent_that_is_no_plan_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--offline", "-f", "web.kat", "--parent", "nodes.kat"]) == 1
    assert capsys.readouterr().err.startswith("nodes.kat: JSON is malformed")


def cluster(name: str) -> str:
    return (
        "apiVersion: kat/v1alpha1\nkind: ClusterConfiguration\n"
        f"metadata: {{name: {name}}}\n"
        "spec: {clusterCIDR: 10.50.0.0/16, serviceCIDR: 10.51.0.0/16}\n"
    )


def test_a_parent_of_another_cluster_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        Path(f"{name}.kat").write_text(cluster(name))
    run(["render", "-f", "web.kat", "--cluster", "one.kat", "-o", "out"])
    capsys.readouterr()
    arguments = ["plan", "--offline", "-f", "web.kat", "--cluster", "two.kat"]
    assert run([*arguments, "--parent", "out/plan.json"]) == 3
    assert capsys.readouterr().err == (
        "out/plan.json: is a plan of the cluster 'one', and the files are of 'two'; "
        "name the parent of this cluster\n1 problem\n"
    )


def test_what_the_files_leave_out_the_parent_stands_in_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither the cluster's settings nor its nodes are forgotten, and so nothing moves."""
    Path("one.kat").write_text(cluster("one"))
    run(["render", "-f", "web.kat", "-f", "one.kat", "--nodes", "nodes.kat", "-o", "out"])
    capsys.readouterr()
    assert run(["plan", "--offline", "-f", "web.kat", "--parent", "out/plan.json"]) == 0
    assert capsys.readouterr().out == ("plan 0 -> 1\n\nnothing to do: every node has these files\n")


def test_everything_is_new_without_a_parent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--offline", "--json", "-f", "web.kat"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {file["change"] for file in shown["files"]} == {"added"}
    assert {action["verb"] for action in shown["actions"]["local"]} == {
        "write",
        "reload",
        "daemon-reload",
        "start",
    }


def test_a_workload_that_is_gone_is_stopped_before_its_file_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(["render", "-f", "web.kat", "-o", "out"])
    Path("other.kat").write_text(WEB.replace("name: web", "name: other"))
    capsys.readouterr()
    run(["plan", "--offline", "--json", "-f", "other.kat", "--parent", "out/plan.json"])
    shown = json.loads(capsys.readouterr().out)
    steps = [(a["verb"], a.get("unit") or a["path"]) for a in shown["actions"]["local"]]
    stop = steps.index(("stop", "kat.default.web.0-1.service"))
    delete = ("delete", "/etc/containers/systemd/kat/kat.default.web.0-1.container")
    assert stop < steps.index(delete)


def test_validate_counts_what_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", "web.kat", "--nodes", "nodes.kat"]) == 0
    assert capsys.readouterr().out == "valid: 1 Workload, 2 Nodes\n"


def test_validate_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", "web.kat", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"problems": [], "notes": []}


def test_the_example_is_valid_renders_and_is_never_overwritten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["init-example", "demo"]) == 0
    assert run(["validate", "-f", "demo"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "valid: 1 Workload, 1 VirtualLoadBalancer, 2 Nodes"
    assert captured.err == ""
    assert run(["render", "-f", "demo", "-o", "out"]) == 0
    assert run(["init-example", "demo"]) == 3
    assert "demo/nodes.kat: exists; KAT overwrites no file" in capsys.readouterr().err
