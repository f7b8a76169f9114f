"""One digest over many, with short proofs: the Merkle tree of RFC 9162 §2.1, SHA-256.

A signed root lets a node check its own manifest with a dozen digests instead of every other
node's, and one changed leaf costs one path to the root.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_EMPTY = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, RFC 9162 §2.1.1."""
    return hashlib.sha256(b"\0" + data).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True)
class MerkleTree:
    """Every level of the tree, leaf hashes first.

    Adjacent hashes pair; a last one without a partner moves up as it is. This is the RFC's split
    at the largest power of two.
    """

    levels: tuple[tuple[bytes, ...], ...]

    @property
    def root(self) -> bytes:
        """The tree's digest, 32 bytes."""
        return self.levels[-1][0] if self.levels[-1] else _EMPTY

    def replaced(self, leaves: Mapping[int, bytes]) -> "MerkleTree":
        """Return a tree in which these leaves hold other data; O(log n) hashes for each."""
        changed = {position: leaf_hash(data) for position, data in leaves.items()}
        levels = []
        for below in self.levels:
            level = list(below)
            for position, value in changed.items():
                level[position] = value
            levels.append(tuple(level))
            changed = {p // 2: _parent(level, p // 2) for p in changed} if len(level) > 1 else {}
        return MerkleTree(tuple(levels))

    def proof(self, position: int) -> tuple[bytes, ...]:
        """Return the inclusion proof of a leaf, bottom first, RFC 9162 §2.1.3."""
        path = []
        for level in self.levels[:-1]:
            sibling = position ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            position //= 2
        return tuple(path)


def _parent(level: Sequence[bytes], position: int) -> bytes:
    left = 2 * position
    return level[left] if left + 1 == len(level) else _node_hash(level[left], level[left + 1])


def merkle_tree(leaves: Sequence[bytes]) -> MerkleTree:
    """Return the tree over these leaves, in this order."""
    levels = [tuple(map(leaf_hash, leaves))]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append(tuple(_parent(below, p) for p in range((len(below) + 1) // 2)))
    return MerkleTree(tuple(levels))


def is_included(leaf: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether `proof` shows `leaf` at `position` of a tree of `size`, RFC 9162 §2.1.3.2."""
    if not 0 <= position < size:
        return False
    value, index, last = leaf_hash(leaf), position, size - 1
    remaining = list(proof)
    while last:
        if index % 2 or index != last:
            if not remaining:
                return False
            sibling = remaining.pop(0)
            value = _node_hash(sibling, value) if index % 2 else _node_hash(value, sibling)
        index, last = index // 2, last // 2
    return not remaining and value == root
