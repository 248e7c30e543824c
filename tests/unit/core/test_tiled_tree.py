"""A tree read from tiles gives what the whole tree gives, and believes no tile that does not lead to its root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core import merkle
from tanzhang.core.errors import TanzhangError
from tanzhang.core.tiled_tree import ReadTile, TiledTree, grow
from tanzhang.core.tiles import Tile, level_hashes, tiles_for

MOST = 70_000


@cache
def leaves() -> list[bytes]:
    return [merkle.leaf_hash(b"leaf-%d" % index) for index in range(MOST)]


@cache
def levels() -> list[list[bytes]]:
    return level_hashes(leaves())


@cache
def root(size: int) -> bytes:
    return merkle.root(leaves()[:size])


def reader(size: int) -> ReadTile:
    """Tiles of exactly the tree of this size."""
    allowed = set(tiles_for(size))

    def read(tile: Tile) -> Sequence[bytes]:
        assert tile in allowed
        return levels()[tile.level or 0][tile.positions]

    return read


def tree(size: int) -> TiledTree:
    return TiledTree(size, root(size), reader(size))


sizes = st.one_of(st.sampled_from([1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, MOST]), st.integers(1, MOST))


@settings(max_examples=25)
@given(sizes, st.data())
def test_proofs_from_tiles_are_those_of_the_whole_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert tree(size).inclusion_proof(index) == merkle.inclusion_proof(index, leaves()[:size])
    assert tree(size).leaves(index, min(index + 300, size)) == leaves()[index : min(index + 300, size)]
    old = index + 1
    assert tree(size).consistency_proof(old) == (root(old), merkle.consistency_proof(old, leaves()[:size]))


@settings(max_examples=25)
@given(sizes, st.integers(0, 1_000))
def test_appending_by_the_edge_gives_the_root_and_the_tiles_of_the_whole_tree(size: int, more: int) -> None:
    new = min(size + more, MOST)
    grown = grow(size, tree(size).edge(), leaves()[size:new])
    assert (grown.size, grown.root) == (new, root(new))
    expected = [(tile, tuple(levels()[tile.level or 0][tile.positions])) for tile in tiles_for(new)]
    assert list(grown.tiles) == [(tile, hashes) for tile, hashes in expected if tile.tree_size > size]


def test_a_tree_grows_from_nothing() -> None:
    empty = TiledTree(0, merkle.EMPTY_ROOT, reader(0))
    assert empty.edge() == []
    assert grow(0, [], []).root == merkle.EMPTY_ROOT
    assert grow(0, empty.edge(), leaves()[:600]).root == root(600)


def test_the_frozen_root_of_seventy_thousand_leaves() -> None:
    assert root(MOST).hex() == "881c2f4c7c3b60c864d574aab91746a167220c520a2f833d86eee6dfefb9accb"
    assert grow(0, [], leaves()).root == root(MOST)


@pytest.mark.parametrize(
    "use",
    [lambda tree: tree.edge(), lambda tree: tree.inclusion_proof(69_999), lambda tree: tree.consistency_proof(69_000)],
)
@pytest.mark.parametrize("changed", [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)])
def test_a_changed_hash_in_a_tile_that_is_used_is_refused(use: Callable[[TiledTree], object], changed: Tile) -> None:
    whole = reader(MOST)

    def read(tile: Tile) -> Sequence[bytes]:
        hashes = list(whole(tile))
        if tile == changed:
            hashes[0] = bytes(32)
        return hashes

    with pytest.raises(TanzhangError) as refused:
        use(TiledTree(MOST, root(MOST), read))
    assert refused.value.code == "tiles-not-of-tree"


def test_a_proof_in_a_large_tree_reads_no_more_than_two_tiles_a_level() -> None:
    read: list[Tile] = []
    whole = reader(MOST)

    def noting(tile: Tile) -> Sequence[bytes]:
        read.append(tile)
        return whole(tile)

    TiledTree(MOST, root(MOST), noting).inclusion_proof(12_345)
    assert len(read) == len(set(read)) <= 6
    read.clear()
    TiledTree(MOST, root(MOST), noting).consistency_proof(12_345)
    assert len(read) == len(set(read)) <= 6


def test_positions_outside_the_tree_are_refused() -> None:
    for attempt in (
        lambda: tree(600).inclusion_proof(600),
        lambda: tree(600).consistency_proof(0),
        lambda: tree(600).consistency_proof(601),
        lambda: tree(600).leaves(600, 601),
    ):
        with pytest.raises(TanzhangError) as refused:
            attempt()
        assert refused.value.code == "tree-position-unknown"
