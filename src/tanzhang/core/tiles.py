"""Tiles and entry bundles: how a log lies in files (C2SP tlog-tiles v0.1.0).

A tile holds 1 to 256 hashes of one level, a bundle the entries under one level-0 tile. Refused are paths that are
not in their one canonical form, widths and levels outside the format, tiles and bundles of another length than
their path says, and entries above 65,535 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tanzhang.core import merkle
from tanzhang.core.errors import TanzhangError, refuse

TILE_WIDTH = 256
MAX_ENTRY_BYTES = 65_535
MAX_LEVEL = 63
MAX_INDEX = (1 << 62) - 1

_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Address of a tile; of an entry bundle where ``level`` is None. A width below 256 makes it partial."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if (
            not 0 <= (self.level or 0) <= MAX_LEVEL
            or not 0 <= self.index <= MAX_INDEX
            or not 0 < self.width <= TILE_WIDTH
        ):
            raise _bad_path(f"level {self.level}, index {self.index}, width {self.width}")

    @property
    def path(self) -> str:
        """Where the tile lies below the log's prefix."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        index = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{'entries' if self.level is None else self.level}/{index}{partial}"

    @property
    def positions(self) -> slice:
        """Which hashes of its level the tile holds, or which entries the bundle holds."""
        start = self.index * TILE_WIDTH
        return slice(start, start + self.width)

    @property
    def tree_size(self) -> int:
        """Leaves of the smallest tree that has this tile."""
        return int((self.index * TILE_WIDTH + self.width) * TILE_WIDTH ** (self.level or 0))

    @property
    def full(self) -> Tile:
        """The full tile at the same place."""
        return Tile(self.level, self.index)

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read a path. Raises: TanzhangError ``tile-path-invalid`` for any but the canonical form."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise _bad_path(path)
        level = None if found["level"] == "entries" else int(found["level"])
        index = int(re.sub("[x/]", "", found["index"]))
        tile = cls(level, index, int(found["width"] or TILE_WIDTH))
        if tile.path != path:
            raise _bad_path(path)
        return tile


def bundles_for(size: int) -> Iterator[Tile]:
    """The entry bundles of a log with ``size`` entries, in order."""
    return _at_level(None, size)


def tiles_for(size: int) -> Iterator[Tile]:
    """The tiles of a tree with ``size`` leaves, from the leaves up, in the order in which they are written."""
    level = 0
    while size:
        yield from _at_level(level, size)
        size //= TILE_WIDTH
        level += 1


def level_hashes(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The hashes that the tiles of each level hold: level 0 the leaves, each next one a hash per full tile below."""
    levels = []
    hashes = list(leaf_hashes)
    while hashes:
        levels.append(hashes)
        full = len(hashes) // TILE_WIDTH
        hashes = [merkle.root(hashes[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]) for i in range(full)]
    return levels


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """The bytes of a tile."""
    return b"".join(hashes)


def decode_tile(tile: Tile, data: bytes) -> list[bytes]:
    """The hashes in a tile. Raises: TanzhangError ``tile-invalid`` if the length is not that of the width."""
    size = merkle.HASH_BYTES
    if len(data) != tile.width * size:
        raise _bad_content("tile-invalid", f"{len(data)} bytes do not hold {tile.width} hashes", tile)
    return [data[start : start + size] for start in range(0, len(data), size)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle: each entry after its length in two bytes.

    Raises: TanzhangError ``entry-too-long`` above 65,535 bytes.
    """
    for position, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY_BYTES:
            raise refuse(
                "entry-too-long",
                f"the entry has {len(entry)} bytes, more than {MAX_ENTRY_BYTES}",
                where=f"entry {position} of a bundle",
                remedy="put large evidence into a file and its digest into the entry",
            )
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(bundle: Tile, data: bytes) -> list[bytes]:
    """The entries in a bundle.

    Raises: TanzhangError ``bundle-invalid`` if it is cut off or holds another number of entries than its width.
    """
    entries: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if start + 2 > len(data) or end > len(data):
            raise _bad_content("bundle-invalid", f"entry {len(entries)} is cut off", bundle)
        entries.append(data[start + 2 : end])
        start = end
    if len(entries) != bundle.width:
        raise _bad_content("bundle-invalid", f"it holds {len(entries)} entries, not {bundle.width}", bundle)
    return entries


def _at_level(level: int | None, count: int) -> Iterator[Tile]:
    full, rest = divmod(count, TILE_WIDTH)
    for index in range(full):
        yield Tile(level, index)
    if rest:
        yield Tile(level, full, rest)


def _bad_path(what: str) -> TanzhangError:
    return refuse(
        "tile-path-invalid",
        "this names no tile",
        where=what[:100],
        remedy="use tile/<level>/<index>[.p/<width>], level 0 to 63 or 'entries', width 1 to 255, index as x001/234",
    )


def _bad_content(code: str, message: str, tile: Tile) -> TanzhangError:
    return refuse(code, message, where=tile.path, remedy="fetch the file again, or restore it from a copy of the log")
