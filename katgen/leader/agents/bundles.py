"""What agents fetch: their part of the committed plan or of the proposed one, proofs included."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from katgen.bundle import SharedSet, entry
from katgen.names import NodeName
from katgen.protocol import BundleAnswer, Proven
from katgen.render.cluster import Rendered

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
"""As `render.cluster.manifest_digest` and `bundle.shared_set` digest."""


KEPT: Final = 64
"""Generations that may still be fetched. Many writes a second make as many plans; a node that is
told of one must find it even if it takes a second to ask, or it would follow for ever."""
WORK_KEPT: Final = 16_384
"""Instances, nodes and shared sets that were rendered for the generations kept: what they do not
have in common. A generation of so much takes long to make, so that a node has time to ask."""
LEAST: Final = 2
"""Kept however large: the committed one, and the one before it if a node may ask for it."""
RENDERED_AT_ONCE: Final = 4
"""Generations of which one answer renders something; agents ask again for what it lacks."""


class Bundles:
    """The last generations: contents are rendered anew for whoever asks, and not kept.

    `had_by_all` says what generation every connected node has: no node asks for one before it.
    """

    def __init__(self, had_by_all: Callable[[], int] = lambda: 0) -> None:
        self._had_by_all = had_by_all
        self._generations: dict[int, Rendered] = {}

    @property
    def generations(self) -> tuple[int, ...]:
        """Those that may be fetched."""
        return tuple(self._generations)

    def put(self, generation: int, rendered: Rendered) -> None:
        """Offer a generation."""
        self._generations[generation] = rendered

    def keep_until(self, committed: int) -> None:
        """Offer nothing after the committed generation any more, nor what is long past."""
        kept: list[int] = []
        work, had = 0, self._had_by_all()
        for one in sorted((g for g in self._generations if g <= committed), reverse=True)[:KEPT]:
            work += _work(self._generations[one])
            if kept and (one < had or (len(kept) >= LEAST and work > WORK_KEPT)):
                break
            kept.append(one)
        self._generations = {one: self._generations[one] for one in reversed(kept)}

    def answer(self, node: NodeName, generation: int) -> BundleAnswer | None:
        """Return a node's bundle; None if it has none in this generation."""
        rendered = self._generations.get(generation)
        if rendered is None or node not in rendered.nodes:
            return None
        return bundle_answer(rendered, node, generation)

    def contents(self, node: NodeName, digests: Collection[str]) -> Mapping[str, bytes]:
        """Return files of the node's own bundles by digest; others are left out.

        Nothing is rendered for a digest that no bundle of the node lists.
        """
        search = _Search(node, set(digests))
        for rendered in reversed(self._generations.values()):
            if search.is_over:
                break
            search.look(rendered)
        return search.found


@dataclass(eq=False, slots=True)
class _Search:
    """Files that a node asks for. `seen` are manifests and sets that list none, by digest."""

    node: NodeName
    missing: set[str]
    found: dict[str, bytes] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    _rendered: int = 0

    @property
    def is_over(self) -> bool:
        return not self.missing or self._rendered >= RENDERED_AT_ONCE

    def look(self, rendered: Rendered) -> None:
        """Take what a generation has of what is missing."""
        if self.node not in rendered.nodes or not self._is_listed(rendered):
            return
        new = rendered.contents(self.node, self.missing)
        self.found |= new
        self.missing -= new.keys()
        self._rendered += 1

    def _is_listed(self, rendered: Rendered) -> bool:
        manifest, digest = rendered.nodes[self.node].manifest, rendered.root.manifests[self.node]
        if digest not in self.seen:
            if any(one.digest in self.missing for one in manifest.entries):
                return True
            self.seen.add(digest)
        # What the generations have in common is looked into once, not for each of them.
        sets = rendered.root.shared_sets
        if self.seen.issuperset(sets.values()):
            return False
        new = {name: digest for name, digest in sets.items() if digest not in self.seen}
        listing = {name for name in new if self._is_in(rendered.shared[name])}
        self.seen |= {digest for name, digest in new.items() if name not in listing}
        return bool(listing) and _carries(rendered, self.node, listing)

    def _is_in(self, one: SharedSet) -> bool:
        return any(artifact.digest in self.missing for artifact in one.artifacts)


def _work(rendered: Rendered) -> int:
    made = rendered.counters
    return made.units + made.nodes + made.shared_sets


def bundle_answer(rendered: Rendered, node: NodeName, generation: int) -> BundleAnswer:
    """Return a node's manifest and shared sets, each with its proof."""
    manifests, sets = sorted(rendered.root.manifests), sorted(rendered.root.shared_sets)
    return BundleAnswer(
        generation=generation,
        root=rendered.root.digest,
        size=len(manifests) + len(sets),
        manifest=_proven(
            rendered, node, manifests.index(node), _ENCODER.encode(rendered.nodes[node].manifest)
        ),
        sets=tuple(
            _proven(rendered, name, len(manifests) + sets.index(name), _set(rendered.shared[name]))
            for name in rendered.sets_of(node)
        ),
    )


def _set(one: SharedSet) -> bytes:
    return _ENCODER.encode([entry(artifact) for artifact in one.artifacts])


def _proven(rendered: Rendered, name: str, position: int, content: bytes) -> Proven:
    proof = tuple(step.hex() for step in rendered.tree.proof(position))
    return Proven(name, msgspec.Raw(content), position, proof)


def size_of(rendered: Rendered) -> int:
    """Return how many leaves the root's tree has."""
    return len(rendered.root.manifests) + len(rendered.root.shared_sets)


def touched(before: Rendered | None, after: Rendered) -> frozenset[NodeName]:
    """Return the nodes whose files are others, in their own or in a shared set that they carry."""
    if before is None:
        return frozenset(after.nodes)
    old, new = before.root, after.root
    changed = {n for n, digest in new.manifests.items() if old.manifests.get(n) != digest}
    names = {
        name
        for name in old.shared_sets.keys() | new.shared_sets.keys()
        if old.shared_sets.get(name) != new.shared_sets.get(name)
    }
    if names:
        changed |= {n for n in after.nodes if n not in changed and _carries(after, n, names)}
    return frozenset(changed)


def _carries(rendered: Rendered, node: NodeName, names: Collection[str]) -> bool:
    wanted = rendered.nodes[node].manifest.shared_sets
    prefixes = tuple(one[:-1] for one in wanted if one.endswith("/*"))
    return any(name in wanted or (prefixes and name.startswith(prefixes)) for name in names)
