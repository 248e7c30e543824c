from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from functools import cache
from hashlib import sha256

import pytest

from tanzhang.core import merkle
from tanzhang.core.errors import TanzhangError

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LARGE_ROOTS = {
    255: "3de22a1a5c13f8ad7c6fdf034305190d870b7a72b99cf69e9cdd6f7e5430c136",
    256: "f7ed5eb44be61908cdf66bb316813dc75442aa2a5b307177c06c728271356c91",
    257: "45d7e207b9bd948a0b1e55162edc386453c8a9853b5f3c457e25716c0be98ec2",
    1000: "84453b515db221e015241f91778d541a91e27472a3cbbd4922b023b180456359",
    65536: "ec5508a6afc734d23d4d0bac34186d37dc19de90e5327c19ec0389fa8aac59d3",
    65537: "4af169ab552f4387985b7a50005e99a33ec8ae521eeb8ed4f5baef6982748585",
    70000: "881c2f4c7c3b60c864d574aab91746a167220c520a2f833d86eee6dfefb9accb",
}
TESSERA = b"one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".split()
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


@cache
def numbered(size: int) -> list[bytes]:
    return [merkle.leaf_hash(f"leaf-{index}".encode()) for index in range(size)]


def recursive_root(hashes: list[bytes]) -> bytes:
    """The definition in RFC 6962, word by word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + recursive_root(hashes[:k]) + recursive_root(hashes[k:])).digest()


def test_leaf_and_node_hashes_are_those_of_the_public_vectors() -> None:
    assert merkle.leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    node = merkle.node_hash(b"N123", b"N456")
    assert node.hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


def test_the_empty_leaf_is_not_the_empty_tree() -> None:
    assert merkle.EMPTY_ROOT.hex() == ROOTS[0]
    assert merkle.root([merkle.leaf_hash(b"")]) != merkle.EMPTY_ROOT


@pytest.mark.parametrize("size", range(9))
def test_roots_of_the_small_tree_are_those_of_the_public_vectors(size: int) -> None:
    assert merkle.root(HASHES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize("size", LARGE_ROOTS)
def test_roots_of_large_trees_are_those_of_two_independent_programs(size: int) -> None:
    assert merkle.root(numbered(size)).hex() == LARGE_ROOTS[size]


@pytest.mark.parametrize("size", [*range(70), 127, 128, 129, 500])
def test_root_equals_the_recursive_definition(size: int) -> None:
    assert merkle.root(numbered(size)) == recursive_root(numbered(size))


def test_proofs_of_the_public_sample_log_are_reproduced() -> None:
    hashes = [merkle.leaf_hash(word) for word in TESSERA]
    root_9 = b64decode("CvhHViE3S9E3htHLR+25mapWoGCJ3WckMq1UtC3VmEY=")
    inclusion = [
        b64decode(text)
        for text in (
            "zMKa4OAqd7D0V4wawXST15z0JiEEkprIBPkfxOesWvA=",
            "nk9gCR+floFqznAPtqjjcnnV64dge2jQB95D5t164Hg=",
            "zY1lN35vrXYAPixXSd59LsU29xUJtuW4o2dNNg5Y2Co=",
            "91HQqaPzWlbBsUDk3JvSpOTK7Bc4ifZGxXZzfABOmuU=",
        )
    ]
    consistency = [b64decode("g0ZoeYWtIV8Q8i+4CmgqPnBvH2il107lyCgTQsyB7H4="), inclusion[3]]

    assert merkle.root(hashes[:9]) == root_9
    assert merkle.root(hashes) == b64decode("rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=")
    assert merkle.inclusion_proof(5, hashes[:9]) == inclusion
    merkle.verify_inclusion(5, 9, hashes[5], inclusion, root_9)
    assert merkle.consistency_proof(4, hashes[:9]) == consistency
    merkle.verify_consistency(4, 9, merkle.root(hashes[:4]), root_9, consistency)


def test_every_pair_of_sizes_up_to_40_has_a_proof_that_verifies() -> None:
    hashes = numbered(40)
    roots = [merkle.root(hashes[:size]) for size in range(41)]
    for size in range(1, 41):
        for other in range(1, size + 1):
            proof = merkle.inclusion_proof(other - 1, hashes[:size])
            merkle.verify_inclusion(other - 1, size, hashes[other - 1], proof, roots[size])
            proof = merkle.consistency_proof(other, hashes[:size])
            merkle.verify_consistency(other, size, roots[other], roots[size], proof)


# The cases below have the shapes of the public families of malformed proofs: wrong index, size, leaf or root, a
# changed bit, a hash before, inside or after the path, a hash removed.
@pytest.mark.parametrize(("index", "size"), [(0, 8), (5, 8), (2, 3), (1, 5), (4, 5), (3, 7)])
def test_a_malformed_inclusion_proof_is_refused(index: int, size: int) -> None:
    root = merkle.root(HASHES[:size])
    leaf, path = HASHES[index], merkle.inclusion_proof(index, HASHES[:size])
    merkle.verify_inclusion(index, size, leaf, path, root)
    other = sha256(b"other").digest()
    malformed: dict[str, tuple[int, int, bytes, list[bytes], bytes]] = {
        "index before": (index - 1, size, leaf, path, root),
        "index after": (index + 1, size, leaf, path, root),
        "index with another bit": (index ^ 2, size, leaf, path, root),
        "index beyond": (size, size, leaf, path, root),
        "double size": (index, size * 2, leaf, path, root),
        "half size": (index, size // 2, leaf, path, root),
        "empty tree": (index, 0, leaf, path, root),
        "another leaf": (index, size, other, path, root),
        "short leaf": (index, size, leaf[:31], path, root),
        "another root": (index, size, leaf, path, other),
        "root of the empty tree": (index, size, leaf, path, merkle.EMPTY_ROOT),
        "no root": (index, size, leaf, path, b""),
        "no path": (index, size, leaf, [], root),
        "first removed": (index, size, leaf, path[1:], root),
        "last removed": (index, size, leaf, path[:-1], root),
        "one before": (index, size, leaf, [other, *path], root),
        "root before": (index, size, leaf, [root, *path], root),
        "one inserted": (index, size, leaf, [*path[:1], other, *path[1:]], root),
        "one after": (index, size, leaf, [*path, other], root),
        "root after": (index, size, leaf, [*path, root], root),
        "empty hash after": (index, size, leaf, [*path, b""], root),
        "short hash": (index, size, leaf, [path[0][:31], *path[1:]], root),
    }
    for name, arguments in malformed.items():
        with pytest.raises(TanzhangError) as refused:
            merkle.verify_inclusion(*arguments)
        assert refused.value.code == "inclusion-proof-invalid", name


@pytest.mark.parametrize(("old", "new"), [(1, 8), (6, 8), (2, 5), (3, 4), (4, 7), (7, 8)])
def test_a_malformed_consistency_proof_is_refused(old: int, new: int) -> None:
    root1, root2 = merkle.root(HASHES[:old]), merkle.root(HASHES[:new])
    proof = merkle.consistency_proof(old, HASHES[:new])
    merkle.verify_consistency(old, new, root1, root2, proof)
    other = sha256(b"other").digest()
    malformed: dict[str, tuple[int, int, bytes, bytes, list[bytes]]] = {
        "sizes exchanged": (new, old, root2, root1, proof),
        "roots exchanged": (old, new, root2, root1, proof),
        "old size before": (old - 1, new, root1, root2, proof),
        "old size beyond": (new + 1, new, root1, root2, proof),
        "old size with another bit": (old ^ 2, new, root1, root2, proof),
        "double size": (old, new * 2, root1, root2, proof),
        "same size": (new, new, root2, root2, proof),
        "another old root": (old, new, other, root2, proof),
        "another new root": (old, new, root1, other, proof),
        "both roots equal": (old, new, root1, root1, proof),
        "short root": (old, new, root1[:31], root2, proof),
        "no proof": (old, new, root1, root2, []),
        "first removed": (old, new, root1, root2, proof[1:]),
        "last removed": (old, new, root1, root2, proof[:-1]),
        "one before": (old, new, root1, root2, [other, *proof]),
        "old root before": (old, new, root1, root2, [root1, *proof]),
        "new root before": (old, new, root1, root2, [root2, *proof]),
        "one after": (old, new, root1, root2, [*proof, other]),
        "old root after": (old, new, root1, root2, [*proof, root1]),
        "new root after": (old, new, root1, root2, [*proof, root2]),
        "short hash": (old, new, root1, root2, [proof[0][:31], *proof[1:]]),
    }
    for name, arguments in malformed.items():
        with pytest.raises(TanzhangError) as refused:
            merkle.verify_consistency(*arguments)
        assert refused.value.code == "consistency-proof-invalid", name


def test_equal_sizes_are_consistent_only_with_equal_roots_and_no_proof() -> None:
    root = merkle.root(HASHES)
    merkle.verify_consistency(8, 8, root, root, [])
    with pytest.raises(TanzhangError, match="equal roots"):
        merkle.verify_consistency(8, 8, root, merkle.root(HASHES[:7]), [])


@pytest.mark.parametrize("size2", [0, 1, 8])
def test_consistency_with_the_empty_tree_is_refused_because_it_says_nothing(size2: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        merkle.verify_consistency(0, size2, merkle.EMPTY_ROOT, merkle.root(HASHES[:size2]), [])
    assert refused.value.code == "consistency-proof-invalid"


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 8), (8, 8)])
def test_no_proof_is_made_for_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        merkle.inclusion_proof(index, HASHES[:size])
    assert refused.value.code == "tree-position-unknown"


@pytest.mark.parametrize("old_size", [-1, 0, 9])
def test_no_consistency_proof_is_made_from_an_impossible_size(old_size: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        merkle.consistency_proof(old_size, HASHES)
    assert refused.value.code == "tree-position-unknown"


def subtrees(hashes: list[bytes]) -> list[bytes]:
    return [merkle.root(hashes[start : start + 256]) for start in range(0, len(hashes), 256)]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 700, 1000, 1281])
def test_subtree_roots_give_the_same_root_and_proofs_as_all_leaves(size: int) -> None:
    hashes = numbered(size)
    roots = subtrees(hashes)
    assert merkle.root(roots) == merkle.root(hashes)
    for index in {0, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        own = hashes[index // 256 * 256 :][:256]
        assert merkle.proof_from_subtrees(index, size, own, roots) == merkle.inclusion_proof(index, hashes)


def test_subtrees_that_do_not_fit_the_size_are_refused() -> None:
    hashes = numbered(600)
    roots = subtrees(hashes)
    mistakes: list[Callable[[], object]] = [
        lambda: merkle.proof_from_subtrees(300, 600, hashes[256:512], roots[:2]),
        lambda: merkle.proof_from_subtrees(300, 512, hashes[256:512], roots),
        lambda: merkle.proof_from_subtrees(300, 600, hashes[256:511], roots),
        lambda: merkle.proof_from_subtrees(300, 600, hashes[:256], roots),
        lambda: merkle.proof_from_subtrees(599, 600, hashes[512:599], roots),
    ]
    for mistake in mistakes:
        with pytest.raises(TanzhangError) as refused:
            mistake()
        assert refused.value.code == "subtree-mismatch"
    with pytest.raises(TanzhangError) as refused:
        merkle.proof_from_subtrees(600, 600, hashes[512:], roots)
    assert refused.value.code == "tree-position-unknown"
