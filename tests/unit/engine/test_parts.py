"""What holds the parts of a settlement together: components, sieves, ranges, and the record tree of all parts."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.engine.columns import identities
from tanzhang.engine.hashing import merkle_root, subtree_roots
from tanzhang.engine.spark.blocks import from_bytes, in_batch_order, part_of, range_of, split, table_of
from tanzhang.engine.spark.components import components
from tanzhang.engine.spark.sieve import Sieve
from tanzhang.engine.spark.subtrees import LEAVES, Piece, piece, stitch


def named(numbers: list[int], seed: int = 0) -> np.ndarray:
    """An identity for each number, some of them ending in zero bytes."""
    table = np.random.default_rng(seed).integers(0, 256, (200, 16), dtype=np.uint8)
    table[::3, 10:] = 0
    table[:, 0] = np.arange(200)
    return table[numbers].reshape(-1, 16)


def by_hand(edges: list[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Number -> everything that is joined with it."""
    groups: dict[int, set[int]] = {}
    for one, other in edges:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        for each in joined:
            groups[each] = joined
    return {number: frozenset(group) for number, group in groups.items()}


@given(edges=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
def test_accounts_have_one_label_exactly_if_edges_join_them(edges: list[tuple[int, int]]) -> None:
    found = components(named([one for one, _ in edges]), named([other for _, other in edges]))
    groups = by_hand(edges)
    everyone = list(range(45))
    labels = [label.tobytes() for label in found.of(named(everyone))]
    for one in everyone:
        own = {other for other in everyone if labels[other] == labels[one]}
        assert own == groups.get(one, {one})
        assert labels[one] in {each.tobytes() for each in named(sorted(own))}


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_a_long_chain_is_one_component(order: str) -> None:
    chain = np.arange(199)
    if order != "forward":
        chain = chain[::-1] if order == "backward" else np.random.default_rng(5).permutation(chain)
    found = components(named(chain[:-1].tolist()), named(chain[1:].tolist()))
    assert len({label.tobytes() for label in found.labels}) == 1


@settings(max_examples=40)
@given(rows=st.integers(0, 3 * LEAVES + 7), cuts=st.lists(st.integers(0, 3 * LEAVES + 7), max_size=6))
def test_a_tree_put_together_of_pieces_is_the_tree_of_the_whole(rows: int, cuts: list[int]) -> None:
    leaves = np.random.default_rng(rows).integers(0, 256, (rows, 32), dtype=np.uint8)
    ends = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    pieces = [piece(start, leaves[start:end]) for start, end in itertools.pairwise(ends)]
    roots = stitch(pieces)
    assert roots.tolist() == subtree_roots(leaves).tolist()
    assert merkle_root(roots) == merkle_root(leaves)


def test_a_missing_piece_is_noticed() -> None:
    none = np.zeros((0, 32), dtype=np.uint8)
    with pytest.raises(ValueError, match="begins at record 5, the ones before it end at 3"):
        stitch([Piece(0, 3, none, none, none), Piece(5, 1, none, none, none)])


def test_a_sieve_lets_through_what_was_put_in_and_little_else() -> None:
    keys = np.random.default_rng(1).integers(0, 256, (40_000, 16), dtype=np.uint8)
    one, other = Sieve(20_000), Sieve(20_000)
    one.add(keys[:10_000])
    other.add(keys[10_000:20_000])
    one.join(other.packed())
    assert one.holds(keys[:20_000]).all()
    assert 0 < one.holds(keys[20_000:]).mean() < 0.06
    assert not other.holds(keys[:10_000]).all()


def test_rows_are_cut_up_by_part_and_keep_their_order() -> None:
    table = pa.table({"n": range(100), "text": pa.array(["a", None, "b", "c"] * 25).dictionary_encode()})
    parts = np.random.default_rng(2).integers(0, 7, 100)
    blocks = list(split(table, parts, 9))
    assert sum(block.rows for block in blocks) == 100
    for block in blocks:
        assert table_of(block.data).to_pylist() == table.take(np.flatnonzero(parts == block.part)).to_pylist()


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_ranges_follow_the_order_of_accounts_and_parts_spread_small_numbers(count: int) -> None:
    accounts = np.random.default_rng(3).integers(0, 256, (5_000, 16), dtype=np.uint8)
    accounts[0], accounts[1] = 0, 255
    order = np.lexsort(accounts.T[::-1])
    ranges = range_of(accounts, count)[order]
    assert (np.diff(ranges) >= 0).all()
    assert (ranges[0], ranges[-1]) == (0, count - 1)
    small = np.zeros((1_000, 16), dtype=np.uint8)
    small[:, 14:] = np.arange(1_000, dtype=">u2").view(np.uint8).reshape(-1, 2)
    for ids in (accounts, small):
        assert np.bincount(part_of(ids, count), minlength=count).min() > 0.5 * len(ids) / count / 2


def test_batch_order_is_that_of_accounts_and_then_of_places() -> None:
    accounts = named([5, 3, 5, 4, 3], seed=4)
    accounts[:, 0] = [200, 3, 200, 4, 3]  # unsigned, as DuckDB sorts them
    table = pa.table({"account": identities(accounts), "place": [1, 9, 0, 5, 2], "n": range(5)})
    assert in_batch_order(table)["n"].to_pylist() == [4, 1, 3, 2, 0]
    assert from_bytes([]).num_rows == 0
