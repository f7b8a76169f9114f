"""`katcall plan`."""

from collections.abc import Sequence

import click

from katgen.cli import options
from katgen.cli.exits import Exit
from katgen.cli.online import chosen, context
from katgen.cli.output import Form, print_problems
from katgen.cli.plantext import Head

_EPILOG = """\b
  katcall plan -f shop/                     what apply would do
  katcall plan                              what the leader has still to do
  katcall plan --offline -f shop/           all of it, with no leader
  katcall plan --offline -f shop-v2 --parent files/plan.json"""


@click.command("plan", short_help="Show what would change on every node.", epilog=_EPILOG)
@click.option("--offline", is_flag=True, help="Compare with --parent; ask no leader.")
@options.files_if_any
@options.cluster
@options.nodes
@options.parent
@click.option("--brief", is_flag=True, help="Name the changed files without their diffs.")
@options.allow_unplaced
@context
@options.form
@options.ending
def command(
    *, offline: bool, brief: bool, allow_unplaced: bool, form: Form, **given: options.Given
) -> int:
    """Show what would change on every node: each file's diff, and what happens to each unit.

    Without --offline, the leader says what `apply` of the files would do; --cluster, --nodes,
    --parent and --allow-unplaced are for --offline. Without --parent everything is new then.
    Nothing is written.
    """
    if offline:
        options.refuse_online(given)
        options.require_files(given)
        return _offline(given, form, is_brief=brief, allow_unplaced=allow_unplaced)
    given["allow_unplaced"] = "yes" if allow_unplaced else ""
    online = {**options.OFFLINE, "allow_unplaced": "allow-unplaced"}
    options.refuse_with("goes with --offline only", given, online)
    return _online(str(given["context_name"]), given["files"] or (), form, is_brief=brief)


def _offline(
    given: dict[str, options.Given], form: Form, *, is_brief: bool, allow_unplaced: bool
) -> int:
    from katgen.cli.pipeline import load, planned, unplaced  # noqa: PLC0415 -- 0.1 s that online commands save
    from katgen.cli.planshow import show  # noqa: PLC0415 -- the same
    from katgen.planview import plan_view  # noqa: PLC0415 -- the same
    from katgen.render.cluster import render  # noqa: PLC0415 -- the same

    loaded = load(options.named(given))
    made = planned(loaded)
    before = render(loaded.parent) if loaded.parent else None
    missing = unplaced(made)
    after = render(made)
    nodes = tuple(made.inventory.nodes)
    head = Head(made.parent, made.generation, nodes, after.root.digest)
    show(head, plan_view(before, after), missing, form, is_brief=is_brief)
    if missing and form is Form.TABLE:
        print_problems(missing, form)
    return Exit.REFUSED if missing and not allow_unplaced else Exit.FINE


def _online(context_name: str, files: Sequence[str] | str, form: Form, *, is_brief: bool) -> int:
    from katgen.cli.connection import GZIP, Request, path  # noqa: PLC0415 -- 50 ms that offline commands save
    from katgen.cli.packing import pack  # noqa: PLC0415 -- the same
    from katgen.cli.preview import show_plan  # noqa: PLC0415 -- the same

    leader = chosen(context_name)
    packed = pack(files) if files else None
    request = Request(path("plan"), "POST")
    if packed:
        request = Request(path("plan"), "POST", {}, packed.body, GZIP, packed.names)
    return show_plan(leader, request, form, is_brief=is_brief)
