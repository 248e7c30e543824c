"""Lots in columns: where a selection ends, its leaves, its tree in files. Equal to :mod:`tanzhang.core.lot`.

A member's key is its batch and its place there as one number, so that sorted keys are the order of a lot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tanzhang.core.lot import zero_leaf
from tanzhang.core.merkle import HASH_BYTES, SUBTREE_LEAVES
from tanzhang.core.sum_tree import SALT_BYTES, Node, padded_leaves
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, runs
from tanzhang.engine.sum_tree import Level, Tree, leaf_hashes

PLACE_BITS = 32
_NODE = np.dtype([("high", ">u8"), ("low", ">u8"), ("hash", f"V{HASH_BYTES}")])
_HEIGHT = SUBTREE_LEAVES.bit_length() - 1
_AT_ONCE = 1 << 18  # leaves, a multiple of a subtree's


def keys_of(batch: int | Numbers, places: Numbers) -> Numbers:
    """The key of each place of a batch, or of as many batches."""
    keys: Numbers = (np.asarray(batch, dtype=np.int64) << PLACE_BITS) | places.astype(np.int64)
    return keys


def batches_of(keys: Numbers) -> Numbers:
    """The batch of each key."""
    return keys >> PLACE_BITS


def places_of(keys: Numbers) -> Numbers:
    """The place in its batch of each key."""
    return keys & ((1 << PLACE_BITS) - 1)


@dataclass(frozen=True, slots=True)
class Members:
    """Parts of records, in the order of a lot: sorted keys, each once; amounts [mg], all above zero.

    ``accounts`` is (n, 16), the account of each record.
    """

    keys: Numbers
    amounts: Numbers
    accounts: Bytes

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def total_mg(self) -> int:
        """What they come to."""
        return int(self.amounts.sum())

    def cut(self, total_mg: int) -> Members:
        """The first of them that come to ``total_mg`` exactly, which is more than nothing; the last one is split."""
        ends = np.cumsum(self.amounts)
        if not 0 < total_mg <= int(ends[-1]):
            raise ValueError(f"{total_mg} mg cannot be cut from {int(ends[-1])}")
        last = int(np.searchsorted(ends, total_mg))
        amounts = self.amounts[: last + 1].copy()
        amounts[last] -= int(ends[last]) - total_mg
        return Members(self.keys[: last + 1], amounts, self.accounts[: last + 1])

    def by_account(self) -> tuple[Bytes, Numbers]:
        """Accounts, sorted, each once, and what is of each."""
        starts = np.flatnonzero(np.diff(runs(self.accounts), prepend=-1))
        accounts, sums = self.accounts[starts], np.add.reduceat(self.amounts, starts) if len(self) else self.amounts
        words = accounts.copy().view(">u8").reshape(-1, IDENTITY_BYTES // 8)
        order = np.lexsort((words[:, 1], words[:, 0]))
        accounts, sums = accounts[order], sums[order]
        starts = np.flatnonzero(np.diff(runs(accounts), prepend=-1))
        return accounts[starts], np.add.reduceat(sums, starts) if len(starts) else sums


def held_at(keys: Numbers, held_keys: Numbers, held_mg: Numbers) -> Numbers:
    """Of each key what is held [mg], 0 where nothing is; ``held_keys`` are sorted."""
    if not len(held_keys):
        return np.zeros(len(keys), np.int64)
    places = np.minimum(np.searchsorted(held_keys, keys), len(held_keys) - 1)
    return np.where(held_keys[places] == keys, held_mg[places], 0)


def member_leaves(commitments: Bytes, keys: Numbers, amounts: Numbers) -> Bytes:
    """The leaf of each member, (n, 32), from the leaf of its record in its batch, (n, 32)."""
    salts = np.empty((len(keys), 2), ">u8")
    salts[:, 0], salts[:, 1] = batches_of(keys), places_of(keys)
    return leaf_hashes(commitments, salts.view(np.uint8).reshape(-1, SALT_BYTES), amounts)


@dataclass(frozen=True, slots=True)
class LotTree:
    """The tree of a lot: root with the total, how many leaves, and the nodes over every 256 of them, as bytes."""

    root: Node
    leaves: int
    subtrees: bytes


def lot_tree(amounts: Numbers, leaves: Bytes) -> LotTree:
    """The tree over the leaves of members in order; zero leaves are added here."""
    count = padded_leaves(len(leaves))
    parts = [
        _over_subtrees(amounts, leaves, start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)
    ]
    level = Level(*(np.concatenate([getattr(part, name) for part in parts]) for name in Level.__slots__))
    nodes = np.empty(len(level.hash), _NODE)
    nodes["high"], nodes["low"] = level.high, level.low
    nodes["hash"] = np.ascontiguousarray(level.hash).view(f"V{HASH_BYTES}").ravel()
    while len(level.hash) > 1:
        level = level.parents()
    return LotTree(level.node(0), count, nodes.tobytes())


def _over_subtrees(amounts: Numbers, leaves: Bytes, start: int, stop: int) -> Level:
    """The nodes over every 256 leaves from ``start`` to ``stop``, so that a tree is never held with all its levels."""
    zeros = [zero_leaf(place).hash for place in range(max(start, len(leaves)), stop)]
    filled = np.concatenate([leaves[start:stop], np.frombuffer(b"".join(zeros), np.uint8).reshape(-1, HASH_BYTES)])
    sums = np.zeros(stop - start, np.uint64)
    own = amounts[start:stop]
    sums[: len(own)] = own
    level = Level(np.zeros(stop - start, np.uint64), sums, filled)
    for _ in range(_HEIGHT):
        level = level.parents()
    return level


def path_in_lot(index: int, amounts: Numbers, leaves: Bytes, subtrees: bytes) -> tuple[Node, ...]:
    """The path of leaf ``index`` of a lot, from the members of its subtree of 256 leaves alone, and all subtrees."""
    first = index - index % SUBTREE_LEAVES
    zeros = [zero_leaf(place).hash for place in range(first + len(leaves), first + SUBTREE_LEAVES)]
    own = np.concatenate([leaves, np.frombuffer(b"".join(zeros), np.uint8).reshape(-1, HASH_BYTES)])
    sums = np.zeros(SUBTREE_LEAVES, np.uint64)
    sums[: len(amounts)] = amounts
    low = _levels(Level(np.zeros(SUBTREE_LEAVES, np.uint64), sums, own))
    nodes = np.frombuffer(subtrees, _NODE)
    hashes = np.frombuffer(nodes["hash"].tobytes(), np.uint8).reshape(-1, HASH_BYTES)
    high = _levels(Level(nodes["high"].astype(np.uint64), nodes["low"].astype(np.uint64), hashes))
    return low.path(index - first) + high.path(first // SUBTREE_LEAVES)


def _levels(level: Level) -> Tree:
    kept = [level]
    while len(level.hash) > 1:
        level = level.parents()
        kept.append(level)
    return Tree(level.node(0), len(kept[0].hash), kept)
