"""Sum trees in columns, for millions of accounts. Equal to :mod:`tanzhang.core.sum_tree`, which defines them.

A sum is two columns of 64 bits, high and low, so that it is exact whatever the leaves add up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tanzhang.core.merkle import HASH_BYTES
from tanzhang.core.sum_tree import (
    AMOUNT_BYTES,
    LEAF_PREFIX,
    NODE_PREFIX,
    SALT_BYTES,
    Node,
    check_size,
)
from tanzhang.engine.columns import Bytes, Numbers
from tanzhang.engine.hashing import in_slices, sha256_here

Words = npt.NDArray[np.uint64]

_LEAF = np.dtype(
    [("prefix", "S1"), ("commitment", f"V{HASH_BYTES}"), ("salt", f"V{SALT_BYTES}"), ("amount", f">u{AMOUNT_BYTES}")]
)
_HALF = [("high", ">u8"), ("low", ">u8"), ("hash", f"V{HASH_BYTES}")]
_NODE = np.dtype([("prefix", "S1"), ("left", _HALF), ("right", _HALF)])


def leaf_hashes(commitments: Bytes, salts: Bytes, amounts: Numbers) -> Bytes:
    """The leaves of many accounts, on all cores.

    Shape:  uint8 (n, 32), uint8 (n, 16), int64 (n) [mg] -> uint8 (n, 32), same order.
    Raises: ValueError for a negative amount, which no book has.
    """
    if len(amounts) and int(amounts.min()) < 0:
        raise ValueError("a negative amount has no leaf")
    leaves = np.empty((len(amounts), HASH_BYTES), np.uint8)

    def hash_slice(start: int, end: int) -> None:
        rows = np.empty(end - start, _LEAF)
        rows["prefix"] = LEAF_PREFIX
        rows["commitment"] = commitments[start:end].view(f"V{HASH_BYTES}").ravel()
        rows["salt"] = salts[start:end].view(f"V{SALT_BYTES}").ravel()
        rows["amount"] = amounts[start:end]
        leaves[start:end] = sha256_here(rows.view(np.uint8).reshape(-1, _LEAF.itemsize))

    in_slices(len(amounts), hash_slice)
    return leaves


def in_order(leaves: Bytes) -> Numbers:
    """The permutation that sorts leaves by their bytes.

    Whoever does not know the salts cannot tell it from chance, and it is another one in every epoch.
    """
    words = leaves.view(">u8").reshape(-1, HASH_BYTES // 8)
    leading = words[:, 0].astype(np.uint64)
    order = np.argsort(leading, kind="stable")
    ordered = leading[order]
    if (ordered[1:] == ordered[:-1]).any():  # two in so many begin with the same eight bytes: compare all of them
        order = np.lexsort(words.T[::-1])
    return order


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree: its root with the total, how many leaves, and, if it was kept, every level, the leaves first."""

    root: Node
    leaves: int
    levels: Sequence[Level]

    def path(self, index: int) -> tuple[Node, ...]:
        """The path of a leaf, as :func:`tanzhang.core.sum_tree.inclusion_proof` gives it, of a tree that was kept."""
        path = []
        for level in self.levels[:-1]:
            if index ^ 1 < len(level.hash):  # the last node of an odd level is carried up unchanged
                path.append(level.node(index ^ 1))
            index >>= 1
        return tuple(path)


def build(amounts: Numbers, leaves: Bytes, *, keep: bool = False) -> Tree:
    """The tree over leaves in order. Two levels are held at a time, or all of them if the tree is to be kept.

    Shape:  int64 (n) [mg], uint8 (n, 32).
    Raises: ``sum-tree-size``; ValueError for a negative amount.
    """
    check_size(len(leaves))
    if int(amounts.min()) < 0:
        raise ValueError("a negative amount has no leaf")
    level = Level(np.zeros(len(amounts), np.uint64), amounts.astype(np.uint64), leaves)
    kept = [level]
    while len(level.hash) > 1:
        level = level.parents()
        kept = [*kept, level] if keep else [level]
    return Tree(level.node(0), len(leaves), kept)


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes of one level: high and low half of each sum, hash."""

    high: Words
    low: Words
    hash: Bytes

    def node(self, place: int) -> Node:
        """One node of the level."""
        return Node((int(self.high[place]) << 64) + int(self.low[place]), self.hash[place].tobytes())

    def parents(self) -> Level:
        """The level above, hashed on all cores."""
        pairs, odd = divmod(len(self.hash), 2)
        low = self.low[: 2 * pairs : 2] + self.low[1 : 2 * pairs : 2]
        carried = (low < self.low[: 2 * pairs : 2]).astype(np.uint64)
        high = self.high[: 2 * pairs : 2] + self.high[1 : 2 * pairs : 2] + carried
        hashes = np.empty((pairs + odd, HASH_BYTES), np.uint8)

        def hash_slice(start: int, end: int) -> None:
            rows = np.empty(end - start, _NODE)
            rows["prefix"] = NODE_PREFIX
            for side, offset in (("left", 0), ("right", 1)):
                here = slice(2 * start + offset, 2 * end + offset, 2)
                half = rows[side]
                half["high"], half["low"] = self.high[here][: end - start], self.low[here][: end - start]
                half["hash"] = np.ascontiguousarray(self.hash[here][: end - start]).view(f"V{HASH_BYTES}").ravel()
            hashes[start:end] = sha256_here(rows.view(np.uint8).reshape(-1, _NODE.itemsize))

        in_slices(pairs, hash_slice)
        if not odd:
            return Level(high, low, hashes)
        hashes[-1] = self.hash[-1]
        return Level(np.append(high, self.high[-1]), np.append(low, self.low[-1]), hashes)
