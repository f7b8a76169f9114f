"""`katcall plan --offline`."""

import sys
from collections.abc import Sequence

import click

from katgen.cli import options
from katgen.cli.exits import Exit
from katgen.cli.output import (
    Form,
    has_colour,
    print_json,
    print_problems,
    problem_fields,
)
from katgen.cli.pipeline import load, planned, unplaced
from katgen.cli.plantext import lines, sign
from katgen.diff import Change, Verb
from katgen.errors import Problem
from katgen.planned import Plan
from katgen.planview import PlanView, plan_view
from katgen.render.cluster import render


@click.command("plan", short_help="Show what would change on every node.")
@click.option("--offline", is_flag=True, help="Compare with --parent; ask no leader.")
@options.files
@options.cluster
@options.nodes
@options.parent
@click.option("--brief", is_flag=True, help="Name the changed files without their diffs.")
@options.allow_unplaced
@options.form
@options.ending
def command(
    *, offline: bool, brief: bool, allow_unplaced: bool, form: Form, **given: options.Given
) -> int:
    """Show what would change on every node: each file's diff, and what happens to each unit.

    Without --parent everything is new. Nothing is written.
    """
    options.require_offline(is_given=offline)
    loaded = load(options.named(given))
    made = planned(loaded)
    before = render(loaded.parent) if loaded.parent else None
    view = plan_view(before, render(made))
    missing = unplaced(made)
    if form is Form.JSON:
        print_json(_as_json(made, view, missing))
    else:
        coloured = has_colour(sys.stdout)
        for line in lines(made, view, is_brief=brief):
            click.echo(line, color=coloured)
        if missing:
            print_problems(missing, form)
    return Exit.REFUSED if missing and not allow_unplaced else Exit.FINE


def _as_json(made: Plan, view: PlanView, missing: Sequence[Problem]) -> dict[str, object]:
    counts = view.counts()
    return {
        "parent": made.parent,
        "generation": made.generation,
        "files": [
            {
                "path": one.change.path,
                "oldPath": one.change.old.path if one.change.old else "",
                "change": _change(one.change),
                "nodes": one.nodes,
                "diff": "".join(f"{line}\n" for line in one.lines),
            }
            for one in view.files
        ],
        "actions": view.actions,
        "summary": {**{verb.value: counts[verb] for verb in Verb}, "nodes": len(view.actions)},
        "unplaced": [problem_fields(problem) for problem in missing],
    }


def _change(change: Change) -> str:
    if change.is_kept:
        return "pending"
    return {"+": "added", "-": "removed", "~": "changed"}[sign(change)]
