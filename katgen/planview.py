"""What changes between two rendered plans, node by node: the data that `katcall plan` prints."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from katgen.bundle import Artifact, Entry, Manifest, entry
from katgen.diff import Action, Change, Verb, changes, diff
from katgen.names import NodeName
from katgen.render.cluster import Rendered
from katgen.udiff import unified

Places = Mapping[Change, Sequence[NodeName]]


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


@dataclass(slots=True)
class _Side:
    """One of the two plans, and what its shared sets have that the other's have not."""

    rendered: Rendered | None
    differing: dict[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """By set: the files that the other side's set of that name has not, or has differently."""

    def manifest(self, node: NodeName) -> Manifest | None:
        known = self.rendered is not None and node in self.rendered.nodes
        return self.rendered.nodes[node].manifest if self.rendered and known else None

    def artifacts(self, name: str) -> tuple[Artifact, ...]:
        """Return a shared set's files; none if there is no such set."""
        found = self.rendered.shared.get(name) if self.rendered else None
        return found.artifacts if found else ()

    def entries(self, node: NodeName, other: "_Side") -> dict[str, Entry]:
        """Return a node's files, of shared sets only those that can differ on the other side."""
        manifest = self.manifest(node)
        if manifest is None:
            return {}
        left_out = frozenset(manifest.excludes)
        shared = (entry(one) for one in self.shared(node, other))
        kept = (one for one in shared if one.path not in left_out)
        return {one.path: one for one in (*manifest.entries, *kept)}

    def texts(self, node: NodeName, other: "_Side") -> Mapping[str, str]:
        """Return the content of the same files by path."""
        if self.rendered is None or self.manifest(node) is None:
            return {}
        own = self.rendered.bundle(node).own
        return {one.path: _text(one) for one in (*self.shared(node, other), *own)}

    def shared(self, node: NodeName, other: "_Side") -> Iterator[Artifact]:
        """Yield a node's shared files that the other side may have differently, or not on it."""
        ours, theirs = self.manifest(node), other.manifest(node)
        if ours is None or self.rendered is None:
            return
        if theirs is None or _scope(ours) != _scope(theirs):
            for name in self.rendered.sets_of(node):
                yield from self.artifacts(name)
            return
        joined = frozenset(ours.shared_sets) - frozenset(theirs.shared_sets)
        for name in sorted(joined):
            yield from self.artifacts(name)
        for name, files in self.differing.items():
            if name not in joined and _carries(ours, name):
                yield from files


def _carries(manifest: Manifest, name: str) -> bool:
    return name in manifest.shared_sets or name.startswith(_prefixes(manifest))


def _scope(manifest: Manifest) -> object:
    """Return what, if it changes, can add or take away files of sets that stay as they are."""
    return _prefixes(manifest), manifest.excludes


def _prefixes(manifest: Manifest) -> tuple[str, ...]:
    """Return the beginnings of the sets that a manifest names by a wildcard."""
    return tuple(name[:-1] for name in manifest.shared_sets if name.endswith("/*"))


def _text(artifact: Artifact) -> str:
    return artifact.content.decode(errors="backslashreplace")


def plan_view(before: Rendered | None, after: Rendered) -> PlanView:
    """Return what must happen so that the nodes of `before` have the files of `after`.

    The work grows with what differs: what two versions of a shared set have in common is looked at
    once, and not on each node.
    """
    old, new = _sides(before, after)
    places: dict[Change, list[NodeName]] = defaultdict(list)
    actions: dict[NodeName, Sequence[Action]] = {}
    for name in sorted({*after.nodes, *(before.nodes if before else ())}):
        installed, target = old.entries(name, new), new.entries(name, old)
        steps = diff(installed, target)
        if steps:
            actions[name] = steps
        for change in changes(installed, target):
            places[change].append(name)
    return PlanView(tuple(_diffs(old, new, places)), actions)


def _sides(before: Rendered | None, after: Rendered) -> tuple[_Side, _Side]:
    old, new = _Side(before), _Side(after)
    for name in sorted({*after.shared, *(before.shared if before else ())}):
        if before and before.shared.get(name) == after.shared.get(name):
            continue
        equal = frozenset(old.artifacts(name)) & frozenset(new.artifacts(name))
        for side in (old, new):
            files = tuple(one for one in side.artifacts(name) if one not in equal)
            if files:
                side.differing[name] = files
    return old, new


def _diffs(old: _Side, new: _Side, places: Places) -> Iterator[FileDiff]:
    """Yield the changes, by their nodes and paths; contents are rendered once per node in need."""
    by_node: dict[NodeName, list[Change]] = defaultdict(list)
    for change, nodes in places.items():
        by_node[nodes[0]].append(change)
    found = []
    for name, some in by_node.items():
        texts = old.texts(name, new), new.texts(name, old)
        found += [FileDiff(one, tuple(places[one]), _lines(one, *texts)) for one in some]
    yield from sorted(found, key=lambda one: (-len(one.nodes), one.nodes, one.change.path))


def _lines(change: Change, old: Mapping[str, str], new: Mapping[str, str]) -> Sequence[str]:
    before, after = change.old, change.new
    texts = (old[before.path] if before else None, new[after.path] if after else None)
    return unified(*texts, (before.path if before else "", after.path if after else ""))
