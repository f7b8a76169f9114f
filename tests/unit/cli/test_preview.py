"""A leader's plan looks as an offline one does."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from katgen.cli.main import run
from katgen.cli.options import Named
from katgen.cli.pipeline import load, planned
from katgen.cli.preview import split, view_of
from katgen.leader.answers import NodePreview, Preview
from katgen.names import NodeName
from katgen.planview import PlanView, plan_view
from katgen.render.cluster import render
from katgen.udiff import unified
from tests.environment import REPOSITORY
from tests.fakes.leader import FakeLeader

Captured = pytest.CaptureFixture[str]
FILES = ["-f", "examples/shop-v2", "--parent", "files/plan.json"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work beside the examples, with the plan of the shop in `files`."""
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(REPOSITORY / "examples")
    assert run(["render", "-f", "examples/shop", "-o", "files"]) == 0


def shop_view() -> PlanView:
    loaded = load(Named(["examples/shop-v2"], parent="files/plan.json"))
    assert loaded.parent is not None
    return plan_view(render(loaded.parent), render(planned(loaded)))


def shop_digest() -> str:
    loaded = load(Named(["examples/shop-v2"], parent="files/plan.json"))
    return render(planned(loaded)).root.digest


def nodes_of(view: PlanView) -> Mapping[NodeName, NodePreview]:
    """Return what a leader sends of a plan: each node's diffs as one text."""
    return {
        name: NodePreview(
            tuple(actions),
            "".join(f"{line}\n" for one in view.files if name in one.nodes for line in one.lines),
        )
        for name, actions in view.actions.items()
    }


@pytest.mark.parametrize("form", [(), ("--brief",), ("-o", "json")])
def test_the_same_plan_is_printed_the_same(
    leader: FakeLeader, capsys: Captured, form: tuple[str, ...]
) -> None:
    made = Preview(generation=2, parent=1, digest=shop_digest(), nodes=nodes_of(shop_view()))
    leader.answer("POST /plan", msgspec.to_builtins(made))
    capsys.readouterr()
    assert run(["plan", "--offline", *FILES, *form]) == 0
    offline = capsys.readouterr().out
    assert run(["plan", "-f", "examples/shop-v2", *form]) == 0
    assert capsys.readouterr().out == offline


@pytest.mark.parametrize("option", ["--dry-run", "--dry-run=server"])
def test_a_dry_run_is_a_plan(leader: FakeLeader, capsys: Captured, option: str) -> None:
    made = Preview(generation=2, parent=1, digest="", nodes=nodes_of(shop_view()))
    leader.answer("POST /apply", msgspec.to_builtins(made))
    capsys.readouterr()
    assert run(["apply", "-f", "examples/shop-v2", option]) == 0
    assert capsys.readouterr().out.endswith("2 to start, 2 to stop, 6 reloads on 3 nodes\n")
    assert [one.line for one in leader.asked] == ["POST /apply dryRun=1"]


def test_without_files_the_leader_says_what_is_pending(
    leader: FakeLeader, capsys: Captured
) -> None:
    made = {"generation": 7, "parent": 7, "digest": "", "nodes": {}}
    held = {"namespace": "shop", "name": "api", "reason": "ImagePullFailed", "message": "no such"}
    away = {"at": "shop/db", "what": "instance 0 has no node: none", "hint": "add one"}
    leader.answer("POST /plan", {**made, "held": [held], "unplaced": [away]})
    capsys.readouterr()
    assert run(["plan"]) == 3
    captured = capsys.readouterr()
    assert captured.out == "plan 7 -> 7\n\nnothing to do: every node has these files\n"
    assert captured.err == (
        "shop/db: instance 0 has no node: none; add one\n"
        "shop/api: held back: no such; correct it and apply again; what ran before still runs\n"
        "2 problems\n"
    )
    assert leader.asked[0].body == b""


def test_a_removed_line_that_looks_like_a_heading_is_a_line() -> None:
    first = unified("-- x\nb\n", "b\n", ("/a", "/a"))
    second = unified(None, "no newline", ("", "/b"))
    text = "".join(f"{line}\n" for line in (*first, *second))
    assert list(split(text)) == [tuple(first), tuple(second)]
    assert "--- x" in first


def test_an_empty_diff_has_no_file() -> None:
    assert list(split("")) == []


def test_files_of_several_nodes_are_shown_once() -> None:
    view = shop_view()
    again = view_of(Preview(generation=2, parent=1, digest="", nodes=nodes_of(view)))
    assert [(one.nodes, one.change.path) for one in again.files] == [
        (tuple(one.nodes), one.change.path) for one in view.files
    ]
