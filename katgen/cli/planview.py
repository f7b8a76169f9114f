"""What changes between two rendered plans, node by node: the data that `katcall plan` prints."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from katgen.bundle import Entry, entry
from katgen.cli.udiff import unified
from katgen.diff import Action, Change, Verb, changes, diff
from katgen.names import NodeName
from katgen.render.cluster import Rendered


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A changed file, on every node where it changes in this way."""

    change: Change
    nodes: Sequence[NodeName]
    lines: Sequence[str]
    """A unified diff; empty if only mode, owner or the way to activate the file changes."""


@dataclass(frozen=True, slots=True)
class PlanView:
    """All changed files, those of several nodes once, and the steps on each node that has any."""

    files: Sequence[FileDiff]
    actions: Mapping[NodeName, Sequence[Action]]

    def counts(self) -> Mapping[Verb, int]:
        """Return how often each verb is carried out, over all nodes."""
        counter = Counter(action.verb for steps in self.actions.values() for action in steps)
        return {verb: counter[verb] for verb in Verb}


def plan_view(before: Rendered | None, after: Rendered) -> PlanView:
    """Return what must happen so that the nodes of `before` have the files of `after`."""
    nodes = sorted({*after.nodes, *(before.nodes if before else ())})
    places: dict[Change, list[NodeName]] = defaultdict(list)
    actions: dict[NodeName, Sequence[Action]] = {}
    for name in nodes:
        if before and _is_same(before, after, name):
            continue
        old, new = entries(before, name), entries(after, name)
        steps = diff(old, new)
        if steps:
            actions[name] = steps
        for change in changes(old, new):
            places[change].append(name)
    return PlanView(tuple(_diffs(before, after, places)), actions)


def _is_same(before: Rendered, after: Rendered, name: NodeName) -> bool:
    """Whether nothing can differ: the same manifest, and the same shared sets."""
    old, new = before.nodes.get(name), after.nodes.get(name)
    if old is None or new is None or old.manifest != new.manifest:
        return False
    sets = before.sets_of(name)
    return sets == after.sets_of(name) and all(
        before.shared[one].digest == after.shared[one].digest for one in sets
    )


def entries(rendered: Rendered | None, name: NodeName) -> dict[str, Entry]:
    """Return a node's files by path, without rendering them again; none if it has no such node."""
    if rendered is None or name not in rendered.nodes:
        return {}
    manifest = rendered.nodes[name].manifest
    left_out = frozenset(manifest.excludes)
    shared = (
        entry(artifact)
        for one in rendered.sets_of(name)
        for artifact in rendered.shared[one].artifacts
        if artifact.path not in left_out
    )
    return {one.path: one for one in (*manifest.entries, *shared)}


def _diffs(
    before: Rendered | None, after: Rendered, places: Mapping[Change, Sequence[NodeName]]
) -> Iterator[FileDiff]:
    """Yield the changes, by their nodes and paths; contents are rendered once per node in need."""
    by_node: dict[NodeName, list[Change]] = defaultdict(list)
    for change, nodes in places.items():
        by_node[nodes[0]].append(change)
    found = []
    for name, some in by_node.items():
        old, new = _texts(before, name), _texts(after, name)
        found += [FileDiff(one, tuple(places[one]), _lines(one, old, new)) for one in some]
    yield from sorted(found, key=lambda one: (-len(one.nodes), one.nodes, one.change.path))


def _lines(change: Change, old: Mapping[str, str], new: Mapping[str, str]) -> Sequence[str]:
    texts = (
        old[change.old.path] if change.old else None,
        new[change.new.path] if change.new else None,
    )
    names = (
        change.old.path if change.old else "",
        change.new.path if change.new else "",
    )
    return unified(*texts, names)


def _texts(rendered: Rendered | None, name: NodeName) -> Mapping[str, str]:
    if rendered is None or name not in rendered.nodes:
        return {}
    files = rendered.files(name)
    return {file.path: file.content.decode(errors="backslashreplace") for file in files}
