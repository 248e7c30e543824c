"""The record tree of a batch from the leaves of its parts, which begin and end at any record.

Each part hands over the roots of the subtrees that it holds whole, and the leaves before and after them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tanzhang.engine.columns import Bytes
from tanzhang.engine.hashing import subtree_roots

HEIGHT = 8
LEAVES = 1 << HEIGHT


@dataclass(frozen=True, slots=True)
class Piece:
    """Leaves ``[first, first + count)`` of a batch: those before its first whole subtree, roots, those behind."""

    first: int
    count: int
    head: Bytes
    whole: Bytes
    tail: Bytes


def piece(first: int, leaves: Bytes) -> Piece:
    """What a part of a batch, from record ``first`` on, hands over."""
    lead = min(-first % LEAVES, len(leaves))
    end = len(leaves) - (len(leaves) - lead) % LEAVES
    whole = subtree_roots(leaves[lead:end], HEIGHT, cores=1) if end > lead else _NONE
    return Piece(first, len(leaves), leaves[:lead], whole, leaves[end:])


def stitch(pieces: Iterable[Piece]) -> Bytes:
    """The roots of all subtrees of a batch from its pieces in order; ValueError if one is missing."""
    roots: list[Bytes] = []
    waiting, count = _NONE, 0
    for each in pieces:
        if each.first != count:
            raise ValueError(f"a piece begins at record {each.first}, the ones before it end at {count}")
        count += each.count
        waiting = np.concatenate([waiting, each.head])
        if len(waiting) == LEAVES:
            roots.append(subtree_roots(waiting, HEIGHT, cores=1))
            waiting = _NONE
        roots.append(each.whole)
        waiting = np.concatenate([waiting, each.tail])
    if len(waiting):
        roots.append(subtree_roots(waiting, HEIGHT, cores=1))
    return np.concatenate(roots) if roots else _NONE


_NONE: Bytes = np.zeros((0, 32), dtype=np.uint8)
