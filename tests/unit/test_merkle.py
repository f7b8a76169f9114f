"""Vectors: Certificate Transparency's reference tests of RFC 6962, whose tree RFC 9162 keeps."""

import pytest

from katgen.merkle import is_included, merkle_tree

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize(("size", "root"), ROOTS.items())
def test_the_root_equals_the_published_vector(size: int, root: str) -> None:
    assert merkle_tree(LEAVES[:size]).root.hex() == root


@pytest.mark.parametrize("size", range(1, 9))
def test_every_leaf_of_every_size_has_a_proof_that_holds_only_for_it(size: int) -> None:
    tree = merkle_tree(LEAVES[:size])
    for position, leaf in enumerate(LEAVES[:size]):
        proof = tree.proof(position)
        assert is_included(leaf, position, size, proof, tree.root)
        assert not is_included(leaf + b"x", position, size, proof, tree.root)
        assert not is_included(leaf, position, size, (*proof, tree.root), tree.root)
        assert not is_included(leaf, size, size, proof, tree.root)


@pytest.mark.parametrize("size", range(1, 9))
def test_replacing_leaves_equals_building_anew(size: int) -> None:
    leaves = LEAVES[:size]
    for first in range(size):
        changed = [*leaves]
        changed[first] = b"a"
        changed[-1] = b"b"
        new = {first: b"a"} | {size - 1: b"b"}
        assert merkle_tree(leaves).replaced(new) == merkle_tree(changed)
