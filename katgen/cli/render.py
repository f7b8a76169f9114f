"""`katcall render`."""

from collections.abc import Iterator
from pathlib import Path

import click

from katgen.bundle import Artifact
from katgen.cli import options
from katgen.cli.inputs import unwritable
from katgen.cli.output import Form, columns, counted, print_json, print_notes, say
from katgen.cli.pipeline import load, planned, unplaced
from katgen.cli.tree import TreeFile, write_tree
from katgen.errors import RefusedError, SpecError
from katgen.names import NodeName
from katgen.planned import Plan
from katgen.render.cluster import Rendered
from katgen.render.cluster import render as rendered_from
from katgen.wire import manifest_json, plan_json


@click.command("render", short_help="Write the files that every node gets.")
@options.files
@options.cluster
@options.nodes
@options.parent
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    metavar="DIR",
    help="Where to: made, or replaced if an earlier render wrote all that is in it.",
)
@options.allow_unplaced
@options.json_only
@options.ending
def command(*, folder: str, allow_unplaced: bool, form: Form, **given: options.Given) -> None:
    """Write DIR/<node>/<path on the node> for every file that KAT would put there.

    Beside them, DIR/<node>.manifest.json and DIR/plan.json, which --parent takes, and
    DIR/SHA256SUMS. If anything goes wrong, DIR stays as it is.

    A file that several nodes share is written once: its copies are hard links to one inode, where
    the file system has them. To edit one, copy DIR first, without links: cp -r.
    """
    loaded = load(options.named(given))
    made = planned(loaded)
    missing = unplaced(made)
    if missing and not allow_unplaced:
        raise RefusedError(missing)
    rendered = rendered_from(made)
    counts: dict[NodeName, int] = {}
    try:
        write_tree(Path(folder), _files(rendered, made, counts))
    except OSError as err:
        raise SpecError([unwritable(folder, err)]) from err
    if form is Form.JSON:
        nodes = {name: {"files": number} for name, number in counts.items()}
        print_json({"generation": made.generation, "root": rendered.root.digest, "nodes": nodes})
        return
    print_notes(missing)
    _tell(folder, made, counts)


def _files(rendered: Rendered, made: Plan, counts: dict[NodeName, int]) -> Iterator[TreeFile]:
    """Yield every file, one node's at a time; `counts` fills on the way."""
    first = {_identity(one): "" for common in rendered.shared.values() for one in common.artifacts}
    for name in rendered.nodes:
        counts[name] = 0
        for file in rendered.files(name):
            counts[name] += 1
            path, identity = f"{name}{file.path}", _identity(file)
            link_of = first.get(identity)
            if link_of == "":
                first[identity] = path
            yield TreeFile(path, file.content, file.mode, file.digest, link_of or "")
        yield TreeFile(f"{name}.manifest.json", manifest_json(rendered.nodes[name].manifest))
    yield TreeFile("plan.json", plan_json(made))


def _identity(file: Artifact) -> tuple[str, str, int]:
    """Return what equal files have in common: those of two nodes can be one."""
    return file.path, file.digest, file.mode


def _tell(folder: str, made: Plan, counts: dict[NodeName, int]) -> None:
    placed: dict[NodeName, int] = dict.fromkeys(counts, 0)
    for workload in made.workloads.values():
        for placement in workload.placements:
            placed[placement.node] += 1
    rows = [("NODE", "INSTANCES", "FILES")]
    rows += [(name, f"{placed[name]}", f"{number}") for name, number in counts.items()]
    for line in columns(rows):
        say(line)
    say()
    say(f"plan {made.generation}: {counted(sum(counts.values()), 'file')} in {folder}")
