"""The Merkle tree of a transparency log (RFC 6962 section 2.1, SHA-256): roots, proofs and their verification.

A proof is either accepted or refused with its reason; nothing here answers ``False``. Refused are hashes that are
not 32 bytes, indexes and sizes outside the tree, proofs that are too short, too long or lead to another root, and
any statement of consistency with the empty tree, which would say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from tanzhang.core.errors import TanzhangError, refuse

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
SUBTREE_LEAVES = 256
"""Leaves under one stored subtree root: level 8, the width of a tile."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf. The empty leaf differs from the empty tree."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node over two 32-byte hashes."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root over the leaf hashes in order; ``EMPTY_ROOT`` for none."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaves ``[start, end)`` under each hash of an inclusion proof, in its order, the leaf's sibling first.

    Raises: TanzhangError ``tree-position-unknown`` if the tree has no such leaf.
    """
    _check_position(index, size)
    ranges = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    return ranges[::-1]


def consistency_ranges(old_size: int, size: int) -> list[tuple[int, int]]:
    """The leaves ``[start, end)`` under each hash of the proof that a tree of ``old_size`` grew into one of ``size``.

    SUB of RFC 6962 section 2.1.2, walked from the root down and turned round at the end.

    Raises: TanzhangError ``tree-position-unknown`` unless 0 < old_size <= size.
    """
    if not 0 < old_size <= size:
        raise refuse(
            "tree-position-unknown",
            f"there is no consistency proof from size {old_size} to size {size}",
            where="old size of a consistency proof",
            remedy="ask for an old size from 1 up to the current size",
        )
    ranges = []
    start, end = 0, size
    while old_size != end:
        split = start + _split(end - start)
        if old_size <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    if start:  # otherwise the rest is the old tree itself, whose root the verifier has
        ranges.append((start, end))
    return ranges[::-1]


def inclusion_proof(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Path from leaf ``index`` to the root: the leaf's sibling first, the root's child last.

    Raises: TanzhangError ``tree-position-unknown`` if the tree has no such leaf.
    """
    return [root(leaf_hashes[start:end]) for start, end in inclusion_ranges(index, len(leaf_hashes))]


def consistency_proof(old_size: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Proof that the first ``old_size`` leaves are the beginning of this tree; empty if they are all of it.

    Raises: TanzhangError ``tree-position-unknown`` unless 0 < old_size <= number of leaves.
    """
    return [root(leaf_hashes[start:end]) for start, end in consistency_ranges(old_size, len(leaf_hashes))]


def fold(roots: Sequence[bytes]) -> bytes:
    """Root over the perfect subtrees that a tree is made of, largest first; ``EMPTY_ROOT`` for none."""
    if not roots:
        return EMPTY_ROOT
    *rest, value = roots
    for left in reversed(rest):
        value = node_hash(left, value)
    return value


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Accept only if ``leaf_hash`` is leaf ``index`` of the tree of ``size`` leaves with this root.

    Raises: TanzhangError ``inclusion-proof-invalid``.
    """
    if not 0 <= index < size:
        raise _no_inclusion(f"index {index} is not in a tree of {size} leaves")
    if any(len(value) != HASH_BYTES for value in (leaf_hash, root, *proof)):
        raise _no_inclusion("a hash is not 32 bytes long")
    node, last, value = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise _no_inclusion(f"the path has {len(proof)} hashes, more than a tree of {size} leaves needs")
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while node and not node & 1:  # right edge of an incomplete tree: levels without a sibling
                node >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise _no_inclusion(f"the path has {len(proof)} hashes, fewer than a tree of {size} leaves needs")
    if value != root:
        raise _no_inclusion("the path leads to another root")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Accept only if the tree (size1, root1) is the beginning of the tree (size2, root2).

    ``size1 == 0`` is refused: every tree continues the empty one, so there is nothing to prove. Who accepts a first
    contact (a witness with ``old 0``) decides that before calling.

    Raises: TanzhangError ``consistency-proof-invalid``.
    """
    if not 0 < size1 <= size2:
        raise _no_consistency(f"size {size1} cannot be proven to grow into size {size2}")
    if any(len(value) != HASH_BYTES for value in (root1, root2, *proof)):
        raise _no_consistency("a hash is not 32 bytes long")
    if size1 == size2:
        if proof or root1 != root2:
            raise _no_consistency("trees of one size need equal roots and an empty proof")
        return
    if not proof:
        raise _no_consistency("the proof is empty although the sizes differ")
    path = list(proof)
    if size1 & (size1 - 1) == 0:  # the old tree is a perfect subtree of the new one; its root is left out
        path.insert(0, root1)
    node, last = size1 - 1, size2 - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _no_consistency("the proof has more hashes than these sizes need")
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise _no_consistency("the proof has fewer hashes than these sizes need")
    if old != root1:
        raise _no_consistency("the proof does not lead to the old root")
    if new != root2:
        raise _no_consistency("the proof does not lead to the new root")


def proof_from_subtrees(
    index: int, size: int, own_subtree_leaf_hashes: Sequence[bytes], subtree_roots: Sequence[bytes]
) -> list[bytes]:
    """The list that :func:`inclusion_proof` gives, from 256 leaf hashes and the stored subtree roots.

    ``own_subtree_leaf_hashes`` are the leaf hashes under subtree ``index // 256``.

    Raises: TanzhangError ``tree-position-unknown`` outside the tree, ``subtree-mismatch`` if the leaf hashes or the
            subtree roots are not those of such a tree.
    """
    _check_position(index, size)
    _check_subtrees(size, subtree_roots)
    subtree, position = divmod(index, SUBTREE_LEAVES)
    width = min(SUBTREE_LEAVES, size - subtree * SUBTREE_LEAVES)
    if len(own_subtree_leaf_hashes) != width or root(own_subtree_leaf_hashes) != subtree_roots[subtree]:
        raise refuse(
            "subtree-mismatch",
            f"the {len(own_subtree_leaf_hashes)} leaf hashes given are not the {width} under the stored subtree root",
            where=f"subtree {subtree} of a tree of {size} leaves",
            remedy="compute the leaf hashes again; if they still differ, leaves or stored roots were changed",
        )
    return inclusion_proof(position, own_subtree_leaf_hashes) + inclusion_proof(subtree, subtree_roots)


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """The next level up; an odd last node is carried up unchanged, which equals RFC 6962."""
    parents = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        parents.append(level[-1])
    return parents


def _split(width: int) -> int:
    """How many of ``width`` leaves, two or more, are under the left child: the largest power of two below it."""
    return 1 << (width - 1).bit_length() - 1


def _check_position(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise refuse(
            "tree-position-unknown",
            f"a tree of {size} leaves has no leaf {index}",
            where="index of an inclusion proof",
            remedy="ask for an index from 0 up to, and not including, the size",
        )


def _check_subtrees(size: int, subtree_roots: Sequence[bytes]) -> None:
    needed = -(-size // SUBTREE_LEAVES)
    if len(subtree_roots) != needed:
        raise refuse(
            "subtree-mismatch",
            f"{len(subtree_roots)} subtree roots were given where {size} leaves have {needed}",
            where=f"subtree roots of a tree of {size} leaves",
            remedy="give one root for every 256 leaves begun, in order",
        )


def _no_inclusion(message: str) -> TanzhangError:
    return refuse(
        "inclusion-proof-invalid",
        message,
        where="inclusion proof",
        remedy="do not rely on this record; fetch record, proof and checkpoint again from their publisher",
    )


def _no_consistency(message: str) -> TanzhangError:
    return refuse(
        "consistency-proof-invalid",
        message,
        where="consistency proof",
        remedy="do not accept the newer tree; keep both checkpoints, they may prove that the log was rewritten",
    )
