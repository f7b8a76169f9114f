"""A plan on standard output, for people or programs."""

import sys
from collections.abc import Sequence

import click

from katgen.cli.output import Form, has_colour, print_json, problem_fields
from katgen.cli.plantext import Head, lines, sign
from katgen.diff import Change, Verb
from katgen.errors import Problem
from katgen.planview import PlanView


def show(
    head: Head, view: PlanView, missing: Sequence[Problem], form: Form, *, is_brief: bool
) -> None:
    """Print a plan. `missing` are instances without a node, which JSON lists."""
    if form is Form.JSON:
        print_json(_as_json(head, view, missing))
        return
    coloured = has_colour(sys.stdout)
    for line in lines(head, view, is_brief=is_brief):
        click.echo(line, color=coloured)


def _as_json(head: Head, view: PlanView, missing: Sequence[Problem]) -> dict[str, object]:
    counts = view.counts()
    return {
        "parent": head.parent,
        "generation": head.generation,
        "digest": head.digest,
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
