"""What agents fetch: their part of the committed plan or of the proposed one, proofs included."""

from collections.abc import Collection, Mapping
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


class Bundles:
    """The last generations: contents are rendered anew for whoever asks, and not kept."""

    def __init__(self) -> None:
        self._generations: dict[int, Rendered] = {}

    def put(self, generation: int, rendered: Rendered) -> None:
        """Offer a generation."""
        self._generations[generation] = rendered

    def keep_until(self, committed: int) -> None:
        """Offer nothing after the committed generation any more, nor what is long past."""
        kept = sorted(one for one in self._generations if one <= committed)[-KEPT:]
        self._generations = {one: self._generations[one] for one in kept}

    def answer(self, node: NodeName, generation: int) -> BundleAnswer | None:
        """Return a node's bundle; None if it has none in this generation."""
        rendered = self._generations.get(generation)
        if rendered is None or node not in rendered.nodes:
            return None
        return bundle_answer(rendered, node, generation)

    def contents(self, node: NodeName, digests: Collection[str]) -> Mapping[str, bytes]:
        """Return files of the node's own bundles by digest; others are left out."""
        missing = set(digests)
        found: dict[str, bytes] = {}
        for rendered in reversed(self._generations.values()):
            if missing and node in rendered.nodes:
                files = rendered.files(node)
                found |= {one.digest: one.content for one in files if one.digest in missing}
                missing -= found.keys()
        return found


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
