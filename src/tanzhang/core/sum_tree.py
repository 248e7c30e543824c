"""Merkle sum trees: a root that commits to many amounts and to their sum, so that each owner can check the total.

Leaf ``H(0x02 || account commitment[32] || salt[16] || amount[8])``, node ``H(0x03 || L.sum[16] || L.hash ||
R.sum[16] || R.hash)``, SHA-256, numbers unsigned and big-endian, shape of RFC 6962 section 2.1. A node hashes both
children's sums: with their sum alone an operator could hide an amount behind a larger neighbour.

Refused are amounts and sums that are negative or beyond the bounds below, at every level of a proof, trees of fewer
than :data:`LEAST_LEAVES` leaves, and paths that are too short, too long or lead to another root or total. Nothing here
answers ``False``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import HASH_BYTES

SALT_BYTES, AMOUNT_BYTES, SUM_BYTES = 16, 8, 16
MAX_AMOUNT = 2**63 - 1
"""The largest amount of a leaf: what the book can hold of one account."""
MAX_LEAVES = 2**33
MAX_SUM = MAX_AMOUNT * MAX_LEAVES
"""The largest sum of any node; sixteen bytes hold it with room to spare, so no sum can wrap round."""
LEAST_LEAVES = 1_024
"""A path names the sums beside it: in a small tree these would be the amounts of few people."""

LEAF_PREFIX, NODE_PREFIX = b"\x02", b"\x03"


@dataclass(frozen=True, slots=True)
class Node:
    """A leaf or an inner node: the sum of all amounts under it, and its hash."""

    amount: int
    hash: bytes


def leaf(commitment: bytes, salt: bytes, amount: int) -> Node:
    """The leaf of one account. ``commitment`` names the account and no other; ``sum-tree-leaf``."""
    if len(commitment) != HASH_BYTES or len(salt) != SALT_BYTES or not 0 <= amount <= MAX_AMOUNT:
        raise refuse(
            "sum-tree-leaf",
            f"no leaf can be made of a commitment of {len(commitment)} bytes, a salt of {len(salt)} and {amount}",
            where="leaf of a sum tree",
            remedy="amounts are 0 to 2^63 - 1; find out how the account came to its amount",
        )
    data = LEAF_PREFIX + commitment + salt + amount.to_bytes(AMOUNT_BYTES, "big")
    return Node(amount, sha256(data).digest())


def parent(left: Node, right: Node) -> Node:
    """The node over two others, whose sums are within bounds."""
    halves = (each.amount.to_bytes(SUM_BYTES, "big") + each.hash for each in (left, right))
    return Node(left.amount + right.amount, sha256(NODE_PREFIX + b"".join(halves)).digest())


def padded_leaves(accounts: int) -> int:
    """How many leaves a tree of so many accounts has, zero leaves included: their exact number is told to nobody.

    >>> padded_leaves(0), padded_leaves(1024), padded_leaves(1025)
    (1024, 1024, 2048)
    """
    return max(-(-accounts // LEAST_LEAVES), 1) * LEAST_LEAVES


def root(leaves: Sequence[Node]) -> Node:
    """Root and total of a tree. Raises ``sum-tree-size``, ``sum-tree-leaf``."""
    _check_tree(leaves)
    level = leaves
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_proof(index: int, leaves: Sequence[Node]) -> list[Node]:
    """Path from leaf ``index`` to the root: the leaf's sibling first. ``tree-position-unknown``, ``sum-tree-size``."""
    _check_tree(leaves)
    if not 0 <= index < len(leaves):
        raise refuse(
            "tree-position-unknown",
            f"a tree of {len(leaves)} leaves has no leaf {index}",
            where="index of a sum proof",
            remedy="ask for an index from 0 up to, and not including, the size",
        )
    proof = []
    level = leaves
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):  # the last node of an odd level is carried up unchanged
            proof.append(level[sibling])
        level = _parents(level)
        index >>= 1
    return proof


def verify_inclusion(index: int, size: int, leaf: Node, path: Sequence[Node], root: Node) -> None:
    """Accept only if ``leaf`` is leaf ``index`` of the tree of ``size`` leaves with this root and this total.

    Raises: TanzhangError ``sum-proof-invalid``.
    """
    if not LEAST_LEAVES <= size <= MAX_LEAVES or not 0 <= index < size:
        raise _invalid(f"leaf {index} of {size} is in no tree of {LEAST_LEAVES} leaves or more")
    if any(len(node.hash) != HASH_BYTES for node in (leaf, root, *path)):
        raise _invalid("a hash is not 32 bytes long")
    if not 0 <= leaf.amount <= MAX_AMOUNT or any(not 0 <= node.amount <= MAX_SUM for node in (root, *path)):
        raise _invalid("an amount or a sum is negative or too large")
    here, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise _invalid(f"the path has {len(path)} nodes, more than a tree of {size} leaves needs")
        if here & 1 or here == last:
            value = parent(sibling, value)
            while here and not here & 1:  # right edge of an incomplete tree: levels without a sibling
                here >>= 1
                last >>= 1
        else:
            value = parent(value, sibling)
        if value.amount > MAX_SUM:
            raise _invalid("the sum of two nodes is too large")
        here >>= 1
        last >>= 1
    if last:
        raise _invalid(f"the path has {len(path)} nodes, fewer than a tree of {size} leaves needs")
    if value.amount != root.amount:
        raise _invalid(f"the path adds up to {value.amount}, the total is {root.amount}")
    if value.hash != root.hash:
        raise _invalid("the path leads to another root")


def _parents(level: Sequence[Node]) -> list[Node]:
    parents = [parent(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        parents.append(level[-1])
    return parents


def _check_tree(leaves: Sequence[Node]) -> None:
    check_size(len(leaves))
    for each in leaves:
        if not 0 <= each.amount <= MAX_AMOUNT:
            raise refuse(
                "sum-tree-leaf",
                f"a leaf has the amount {each.amount}",
                where="leaf of a sum tree",
                remedy="amounts are 0 to 2^63 - 1; find out how the account came to its amount",
            )


def check_size(leaves: int) -> None:
    """Refuse a tree that is too small to hide anybody, or larger than its sums are declared for; ``sum-tree-size``."""
    if not LEAST_LEAVES <= leaves <= MAX_LEAVES:
        raise refuse(
            "sum-tree-size",
            f"a sum tree of {leaves} leaves is not made",
            where="sum tree",
            remedy=f"pad it with zero leaves to {LEAST_LEAVES} at least; {MAX_LEAVES} is the most",
        )


def _invalid(message: str) -> TanzhangError:
    return refuse(
        "sum-proof-invalid",
        message,
        where="proof in a sum tree",
        remedy="do not rely on this total; keep the file, and ask its publisher for another one",
    )
