"""A leader's plan, shown as an offline one is."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from katgen.bundle import Entry
from katgen.cli.connection import Leader, Request
from katgen.cli.exits import Exit
from katgen.cli.output import Form, print_problems
from katgen.cli.planshow import show
from katgen.cli.plantext import HEADER, Head
from katgen.cli.refusal import held_problem, problem
from katgen.diff import Change
from katgen.leader.answers import Preview
from katgen.planview import FileDiff, PlanView

if TYPE_CHECKING:
    from katgen.names import NodeName

_HUNK: Final = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NOTHING: Final = "/dev/null"


def show_plan(leader: Leader, request: Request, form: Form, *, is_brief: bool = False) -> int:
    """Ask for a plan and print it; 3 if an instance has no node, or a workload is held back."""
    made = leader.ask(request, Preview)
    missing = [
        *(problem(one, request.files) for one in (*made.problems, *made.unplaced)),
        *map(held_problem, made.held),
    ]
    head = Head(made.parent, made.generation, tuple(made.nodes), made.digest)
    show(head, view_of(made), missing, form, is_brief=is_brief)
    if missing and form is Form.TABLE:
        print_problems(missing, form)
    return Exit.REFUSED if missing else Exit.FINE


def view_of(made: Preview) -> PlanView:
    """Return the plan as the offline command sees one: files of several nodes once."""
    places: dict[tuple[str, ...], list[NodeName]] = {}
    for name, node in sorted(made.nodes.items()):
        for lines in split(node.diff):
            places.setdefault(lines, []).append(name)
    files = [FileDiff(_change(lines), tuple(nodes), lines) for lines, nodes in places.items()]
    files.sort(key=lambda one: (-len(one.nodes), one.nodes, one.change.path))
    actions = {name: node.actions for name, node in sorted(made.nodes.items()) if node.actions}
    return PlanView(tuple(files), actions)


def split(diff: str) -> Iterator[tuple[str, ...]]:
    """Yield the lines of each file's part of a unified diff.

    Hunks are counted, not guessed: a line that was removed may begin with `-- `.
    """
    lines = diff.split("\n")
    start, at = 0, 0
    while at < len(lines):
        hunk = _HUNK.match(lines[at])
        if hunk:
            at = _after(lines, at + 1, [int(size or 1) for size in hunk.groups("1")])
        elif lines[at].startswith("--- ") and at > start:
            yield tuple(lines[start:at])
            start, at = at, at + 1
        else:
            at += 1
    rest = tuple(lines[start:])
    if any(rest):
        yield rest[:-1] if rest[-1] == "" else rest


def _after(lines: Sequence[str], at: int, sizes: Sequence[int]) -> int:
    """Return where a hunk of so many old and new lines ends."""
    old, new = sizes
    while at < len(lines) and (old > 0 or new > 0 or lines[at].startswith("\\")):
        sign = lines[at][:1]
        old -= sign in {"-", " "}
        new -= sign in {"+", " "}
        at += 1
    return at


def _change(lines: Sequence[str]) -> Change:
    before, after = (line[4:] for line in lines[:HEADER])
    return Change(
        Entry(before, "before") if before != _NOTHING else None,
        Entry(after, "after") if after != _NOTHING else None,
    )
