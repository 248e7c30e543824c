"""Lots in columns equal lots as core defines them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core import lot, sum_tree
from tanzhang.engine.lot import (
    Members,
    batches_of,
    held_at,
    keys_of,
    lot_tree,
    member_leaves,
    path_in_lot,
    places_of,
)


def made(amounts: list[int], owners: list[int] | None = None) -> tuple[Members, np.ndarray]:
    """Members on every third place of some batches, and the leaves of their records."""
    count = len(amounts)
    keys = keys_of(np.arange(count) // 40, (np.arange(count) % 40) * 3)
    accounts = np.zeros((count, 16), np.uint8)
    accounts[:, 3] = owners or [0] * count
    hashes = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(count))
    return Members(keys, np.array(amounts, np.int64), accounts), np.frombuffer(hashes, np.uint8).reshape(-1, 32)


def defined(members: Members, commitments: np.ndarray) -> list[sum_tree.Node]:
    """The leaves of the lot as core defines them, zero leaves included."""
    rows = zip(members.keys.tolist(), members.amounts.tolist(), commitments, strict=True)
    leaves = [lot.leaf(each.tobytes(), key >> 32, key & 0xFFFFFFFF, mg) for key, mg, each in rows]
    return leaves + [lot.zero_leaf(n) for n in range(len(leaves), sum_tree.padded_leaves(len(leaves)))]


@settings(max_examples=8, deadline=None)
@given(count=st.integers(1, 1_300), seed=st.integers(1, 10**6), chosen=st.integers(0, 10**6))
def test_root_and_paths_are_those_of_the_definition(count: int, seed: int, chosen: int) -> None:
    members, commitments = made([1 + (seed * n) % 99_991 for n in range(count)])
    leaves = member_leaves(commitments, members.keys, members.amounts)
    tree = lot_tree(members.amounts, leaves)
    nodes = defined(members, commitments)
    assert (tree.root, tree.leaves) == (sum_tree.root(nodes), len(nodes))
    index = chosen % count
    first = index - index % 256
    path = path_in_lot(index, members.amounts[first : first + 256], leaves[first : first + 256], tree.subtrees)
    assert list(path) == sum_tree.inclusion_proof(index, nodes)
    assert lot.before_mg(index, len(nodes), path) == int(members.amounts[:index].sum())


@given(amounts=st.lists(st.integers(1, 100), min_size=1, max_size=30), share=st.integers(1, 100))
def test_a_cut_comes_to_what_was_asked_and_only_the_last_member_is_split(amounts: list[int], share: int) -> None:
    members, _ = made(amounts)
    wanted = max(sum(amounts) * share // 100, 1)
    cut = members.cut(wanted)
    assert cut.total_mg == wanted
    assert cut.amounts[:-1].tolist() == amounts[: len(cut) - 1]
    assert 0 < cut.amounts[-1] <= amounts[len(cut) - 1]


def test_nothing_and_more_than_there_is_cannot_be_cut() -> None:
    members, _ = made([5, 5])
    for wanted in (0, 11):
        with pytest.raises(ValueError, match="cannot be cut"):
            members.cut(wanted)


@given(owners=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_accounts_come_sorted_each_once_with_all_that_is_theirs(owners: list[int]) -> None:
    members, _ = made([n + 1 for n in range(len(owners))], owners)
    accounts, sums = members.by_account()
    said = dict(zip(accounts[:, 3].tolist(), sums.tolist(), strict=True))
    wanted: dict[int, int] = {}
    for n, owner in enumerate(owners):
        wanted[owner] = wanted.get(owner, 0) + n + 1
    assert list(said.items()) == sorted(wanted.items())


def test_a_key_is_batch_and_place_and_what_is_held_is_found_by_it() -> None:
    keys = keys_of(7, np.array([0, 5, 2**32 - 1]))
    assert batches_of(keys).tolist() == [7, 7, 7]
    assert places_of(keys).tolist() == [0, 5, 2**32 - 1]
    assert held_at(keys, keys[1:], np.array([3, 4])).tolist() == [0, 3, 4]
    assert held_at(keys, keys[:0], keys[:0]).tolist() == [0, 0, 0]
