"""A Merkle tree whose hashes lie in tiles: its edge, proofs and growth from the few tiles that each needs.

A reader brings the tiles; nothing in them is believed before it has led to the root, so whoever holds a signed
checkpoint may read the tiles from anywhere. Refused with ``tiles-not-of-tree`` are tiles that lead to another root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tanzhang.core import merkle
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import fold
from tanzhang.core.tiles import TILE_WIDTH, Tile

LEVEL_HEIGHT = 8
"""Levels of the tree in one level of tiles."""

ReadTile = Callable[[Tile], Sequence[bytes]]
"""Gives the hashes of a tile, as many as its width; raises whatever it likes where it cannot."""


class TiledTree:
    """The tree of ``size`` leaves with this root. Tiles are read when they are needed, each once."""

    def __init__(self, size: int, root: bytes, read: ReadTile) -> None:
        self.size = size
        self.root = root
        self._read = read
        self._tiles: dict[Tile, Sequence[bytes]] = {}

    def edge(self) -> list[list[bytes]]:
        """By level, the hashes that do not fill a tile yet: all that is needed to append. At most 255 a level.

        Raises: TanzhangError ``tiles-not-of-tree``, or what the reader raises.
        """
        levels = [list(self._partial(level)) for level in range(_levels(self.size))]
        if _root_of_edge(levels) != self.root:
            raise _not_of_tree(f"the right edge of {self.size} leaves")
        return levels

    def leaves(self, first: int, stop: int) -> list[bytes]:
        """Leaf hashes ``[first, stop)``. Reads the level-0 tiles over them and proves each.

        Raises: TanzhangError ``tree-position-unknown``, ``tiles-not-of-tree``, or what the reader raises.
        """
        found: list[bytes] = []
        index = first
        while index < stop:
            start = index - index % TILE_WIDTH
            # The path of any one leaf depends on every hash of its tile.
            self.inclusion_proof(index)
            found += self._hashes(0, index, min(start + TILE_WIDTH, stop))
            index = start + TILE_WIDTH
        return found

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Path of leaf ``index``, which has led to the root from the leaf hash in the tiles.

        Raises: TanzhangError ``tree-position-unknown``, ``tiles-not-of-tree``, or what the reader raises.
        """
        proof = [self._range(*each) for each in merkle.inclusion_ranges(index, self.size)]
        (leaf,) = self._hashes(0, index, index + 1)
        try:
            merkle.verify_inclusion(index, self.size, leaf, proof, self.root)
        except TanzhangError:
            raise _not_of_tree(f"leaf {index}") from None
        return proof

    def consistency_proof(self, old_size: int) -> tuple[bytes, list[bytes]]:
        """Root of the first ``old_size`` leaves, and the proof that they are the beginning of this tree.

        Raises: TanzhangError ``tree-position-unknown``, ``tiles-not-of-tree``, or what the reader raises.
        """
        proof = [self._range(*each) for each in merkle.consistency_ranges(old_size, self.size)]
        old_root = self._range(0, old_size)
        try:
            merkle.verify_consistency(old_size, self.size, old_root, self.root, proof)
        except TanzhangError:
            raise _not_of_tree(f"size {old_size}") from None
        return old_root, proof

    def _range(self, start: int, end: int) -> bytes:
        """Root over leaves ``[start, end)``, where ``start`` is a multiple of a power of two not below the width."""
        roots = []
        while start < end:
            height = (end - start).bit_length() - 1  # the largest perfect subtree that still fits
            roots.append(self._node(height, start >> height))
            start += 1 << height
        return fold(roots)

    def _node(self, height: int, index: int) -> bytes:
        """Root of the perfect subtree over leaves ``[index << height, (index + 1) << height)``."""
        level, rest = divmod(height, LEVEL_HEIGHT)
        first = index << rest
        return merkle.root(self._hashes(level, first, first + (1 << rest)))

    def _hashes(self, level: int, first: int, stop: int) -> Sequence[bytes]:
        """Hashes ``[first, stop)`` of a level, all in one tile."""
        number = first // TILE_WIDTH
        width = min(TILE_WIDTH, (self.size >> LEVEL_HEIGHT * level) - number * TILE_WIDTH)
        start = number * TILE_WIDTH
        return self._tile(Tile(level, number, width))[first - start : stop - start]

    def _partial(self, level: int) -> Sequence[bytes]:
        number, width = divmod(self.size >> LEVEL_HEIGHT * level, TILE_WIDTH)
        return self._tile(Tile(level, number, width)) if width else ()

    def _tile(self, tile: Tile) -> Sequence[bytes]:
        if tile not in self._tiles:
            self._tiles[tile] = self._read(tile)
        return self._tiles[tile]


@dataclass(frozen=True, slots=True)
class Growth:
    """What appending leaves comes to: the new size and root, and every tile that is new or wider than before."""

    size: int
    root: bytes
    tiles: tuple[tuple[Tile, tuple[bytes, ...]], ...]


def grow(size: int, edge: Sequence[Sequence[bytes]], leaf_hashes: Sequence[bytes]) -> Growth:
    """Append leaves to a tree of which only size and edge are known. Tiles come from the leaves up, left to right.

    Work and memory are those of the new leaves and of the edge, whatever the size.
    """
    new_edge, tiles = [], []
    added = list(leaf_hashes)
    level = 0
    while added or level < len(edge):
        known = list(edge[level]) if level < len(edge) else []
        first = size >> LEVEL_HEIGHT * level
        hashes, number = known + added, first // TILE_WIDTH
        if added:
            tiles += list(_tiles(level, number, hashes))
        full = len(hashes) // TILE_WIDTH
        added = [merkle.root(hashes[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]) for i in range(full)]
        new_edge.append(hashes[full * TILE_WIDTH :])
        level += 1
    return Growth(size + len(leaf_hashes), _root_of_edge(new_edge), tuple(tiles))


def _tiles(level: int, number: int, hashes: Sequence[bytes]) -> Iterator[tuple[Tile, tuple[bytes, ...]]]:
    for start in range(0, len(hashes), TILE_WIDTH):
        part = tuple(hashes[start : start + TILE_WIDTH])
        yield Tile(level, number + start // TILE_WIDTH, len(part)), part


def _levels(size: int) -> int:
    return -(-size.bit_length() // LEVEL_HEIGHT)


def _root_of_edge(levels: Sequence[Sequence[bytes]]) -> bytes:
    """Root from the unfinished tiles of all levels: their perfect subtrees, from the highest level down, folded."""
    roots: list[bytes] = []
    for hashes in reversed(levels):
        start = 0
        while start < len(hashes):
            width = 1 << (len(hashes) - start).bit_length() - 1
            roots.append(merkle.root(hashes[start : start + width]))
            start += width
    return fold(roots)


def _not_of_tree(what: str) -> TanzhangError:
    return refuse(
        "tiles-not-of-tree",
        f"the tiles read for {what} do not lead to the root",
        where="tiles of a log",
        remedy="fetch the tiles again; 'tanzhang verify' names the file that differs",
    )
