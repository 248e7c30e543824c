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
    MAX_AMOUNT,
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
    """What is kept of a tree: its root with the total, how many leaves, and the paths that were asked for."""

    root: Node
    leaves: int
    paths: tuple[tuple[Node, ...], ...]


def build(amounts: Numbers, leaves: Bytes, indexes: Sequence[int] = ()) -> Tree:
    """The tree over leaves in order, and the path of each leaf in ``indexes``; two levels are held at a time.

    Shape:  int64 (n) [mg], uint8 (n, 32).
    Raises: ``sum-tree-size``; ValueError for a negative amount.
    """
    check_size(len(leaves))
    if int(amounts.min()) < 0 or int(amounts.max()) > MAX_AMOUNT:
        raise ValueError("an amount is outside the bounds of a leaf")
    level = _Level(np.zeros(len(amounts), np.uint64), amounts.astype(np.uint64), leaves)
    places = list(indexes)
    paths: list[list[Node]] = [[] for _ in places]
    while len(level.hash) > 1:
        for number, place in enumerate(places):
            if place ^ 1 < len(level.hash):  # the last node of an odd level is carried up unchanged
                paths[number].append(level.node(place ^ 1))
            places[number] = place >> 1
        level = level.parents()
    return Tree(level.node(0), len(leaves), tuple(map(tuple, paths)))


@dataclass(frozen=True, slots=True)
class _Level:
    high: Words
    low: Words
    hash: Bytes

    def node(self, place: int) -> Node:
        return Node((int(self.high[place]) << 64) + int(self.low[place]), self.hash[place].tobytes())

    def parents(self) -> _Level:
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
            return _Level(high, low, hashes)
        hashes[-1] = self.hash[-1]
        return _Level(np.append(high, self.high[-1]), np.append(low, self.low[-1]), hashes)
