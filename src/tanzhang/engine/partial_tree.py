"""Merkle trees of which only some leaves are known, in columns: the hashes beside the known ones that lead to the root.

Equal to what inclusion proofs of :mod:`tanzhang.core.merkle` say one by one, but each hash is given once, and none that
the known leaves give themselves. A tree is cut into subtrees of 256 leaves, as stores keep them; a subtree without any
known leaf is one hash, of level 8.

A sibling is ``(subtree, level, index, hash)``: the node ``index`` of its level inside that subtree. The last node of an
odd level is carried up unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tanzhang.core.merkle import HASH_BYTES
from tanzhang.engine.columns import Bytes, Numbers
from tanzhang.engine.hashing import sha256_here

HEIGHT = 8
LEAVES = 1 << HEIGHT
"""Leaves of a whole subtree."""
_AT_ONCE = 1_024

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Siblings:
    """Hashes beside known leaves, n of each: subtree, level, index, and (n, 32) hashes; by subtree, level, index."""

    subtree: Numbers
    level: Numbers
    index: Numbers
    hash: Bytes

    def __len__(self) -> int:
        return len(self.subtree)

    def between(self, first: int, stop: int) -> Siblings:
        """Those of subtrees ``[first, stop)``."""
        low, high = np.searchsorted(self.subtree, (first, stop))
        here = slice(int(low), int(high))
        return Siblings(self.subtree[here], self.level[here], self.index[here], self.hash[here])

    @classmethod
    def of(cls, parts: list[Siblings]) -> Siblings:
        """Several, put in order."""
        if not parts:
            none = np.zeros(0, np.int64)
            return cls(none, none, none, np.zeros((0, HASH_BYTES), np.uint8))
        subtree, level = (np.concatenate([getattr(part, name) for part in parts]) for name in ("subtree", "level"))
        index, hashes = np.concatenate([part.index for part in parts]), np.concatenate([part.hash for part in parts])
        order = np.lexsort((index, level, subtree))
        return cls(subtree[order], level[order], index[order], hashes[order])


def siblings(subtrees: Numbers, leaves: Bytes, known: Mask) -> Siblings:
    """What has to be told beside the known leaves of some subtrees, each with at least one of them.

    Shape: subtrees (s), leaves uint8 (s, width, 32), known (s, width); width is 256, or less for the last subtree.
    """
    parts: list[Siblings] = []
    for start in range(0, len(subtrees), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        parts += _siblings_here(subtrees[here], leaves[here], known[here])
    return Siblings.of(parts)


def _siblings_here(subtrees: Numbers, nodes: Bytes, known: Mask) -> Iterator[Siblings]:
    level = 0
    while nodes.shape[1] > 1:
        pairs = nodes.shape[1] // 2
        both = known[:, : 2 * pairs].reshape(-1, pairs, 2)
        above: Mask = both[:, :, 0] | both[:, :, 1]
        lacking = np.zeros_like(known)
        lacking[:, : 2 * pairs] = (above[:, :, None] & ~both).reshape(len(known), 2 * pairs)
        row, index = np.nonzero(lacking)
        yield Siblings(subtrees[row], np.full(len(row), level, np.int64), index, nodes[row, index])
        odd = nodes.shape[1] % 2
        known = np.concatenate([above, known[:, -1:]], axis=1) if odd else above
        nodes = _parents(nodes, np.ones_like(above))
        level += 1


def roots(subtrees: Numbers, leaves: Bytes, known: Mask, beside: Siblings) -> tuple[Bytes, Mask]:
    """The roots of subtrees of which some leaves are known, and which of them could be computed.

    Shape:  subtrees (s) ascending, leaves uint8 (s, width, 32), known (s, width) -> uint8 (s, 32), (s).
    A subtree counts as not computed if a hash is missing, stands where one is known or computed, or is not needed.
    """
    found, fine = [np.zeros((0, HASH_BYTES), np.uint8)], [np.zeros(0, bool)]
    for start in range(0, len(subtrees), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        own = beside.between(int(subtrees[here][0]), int(subtrees[here][-1]) + 1)
        some, well = _roots_here(subtrees[here], leaves[here], known[here], own)
        found.append(some)
        fine.append(well)
    return np.concatenate(found), np.concatenate(fine)


def _roots_here(subtrees: Numbers, nodes: Bytes, known: Mask, beside: Siblings) -> tuple[Bytes, Mask]:
    nodes, known = nodes.copy(), known.copy()
    row = np.searchsorted(subtrees, beside.subtree)
    well = np.ones(len(subtrees), bool)
    inside = subtrees[np.minimum(row, len(subtrees) - 1)] == beside.subtree
    level, used = 0, ~inside  # those of subtrees that are not asked for are somebody else's
    while nodes.shape[1] > 1:
        width = nodes.shape[1]
        mine = inside & (beside.level == level) & (beside.index < width)
        at = row[mine], beside.index[mine]
        well[at[0][known[at]]] = False
        nodes[at], known[at] = beside.hash[mine], True
        used |= mine
        both = known[:, : width - width % 2].reshape(-1, width // 2, 2)
        well &= (both[:, :, 0] == both[:, :, 1]).all(axis=1)
        above: Mask = both[:, :, 0] & both[:, :, 1]
        known = np.concatenate([above, known[:, -1:]], axis=1) if width % 2 else above
        nodes = _parents(nodes, above)
        level += 1
    well[row[~used & inside]] = False
    return nodes[:, 0], well & known[:, 0]


def _parents(nodes: Bytes, wanted: Mask) -> Bytes:
    """The level above: hashes of those pairs that are wanted, zeros for others; an odd last node as it is."""
    count, width = nodes.shape[:2]
    pairs, odd = divmod(width, 2)
    parents = np.zeros((count, pairs + odd, HASH_BYTES), np.uint8)
    row, pair = np.nonzero(wanted)
    if len(row):
        data = np.empty((len(row), 1 + 2 * HASH_BYTES), np.uint8)
        data[:, 0] = 1
        data[:, 1:] = nodes[:, : 2 * pairs].reshape(count, pairs, 2 * HASH_BYTES)[row, pair]
        parents[row, pair] = sha256_here(data)
    if odd:
        parents[:, -1] = nodes[:, -1]
    return parents
