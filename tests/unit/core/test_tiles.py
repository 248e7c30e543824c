from __future__ import annotations

from hashlib import sha256

import pytest

from tanzhang.core import merkle
from tanzhang.core.errors import TanzhangError
from tanzhang.core.tiles import (
    MAX_INDEX,
    Tile,
    bundles_for,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
    level_hashes,
    tiles_for,
)

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
BUNDLE = "00000001000001100002202100023031000440414243000850515253545556570010606162636465666768696a6b6c6d6e6f"


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(3, 1_234_067), "tile/3/x001/x234/067"),
        (Tile(0, 1_000_000_000), "tile/0/x001/x000/x000/000"),
        (Tile(63, 5, 1), "tile/63/005.p/1"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(None, 0, 255), "tile/entries/000.p/255"),
        (Tile(None, 12_345), "tile/entries/x012/345"),
        (Tile(None, MAX_INDEX), "tile/entries/x004/x611/x686/x018/x427/x387/903"),
    ],
)
def test_a_path_names_its_tile_in_both_directions(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/1000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/x000",
        "tile/0/x1/000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/entries/../000",
        "tile/Entries/000",
        "tile/\u0661/000",
        "tile/0/\u0661\u0661\u0661",
        "tile/0/x009/x999/x999/x999/x999/x999/999",
        "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        Tile.parse(path)
    assert refused.value.code == "tile-path-invalid"


@pytest.mark.parametrize(
    ("size", "paths"),
    [
        (0, []),
        (1, ["tile/0/000.p/1"]),
        (255, ["tile/0/000.p/255"]),
        (256, ["tile/0/000", "tile/1/000.p/1"]),
        (257, ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]),
    ],
)
def test_the_tiles_of_a_small_tree(size: int, paths: list[str]) -> None:
    assert [tile.path for tile in tiles_for(size)] == paths
    assert all(tile.tree_size <= size for tile in tiles_for(size))


def test_the_tiles_of_70000_entries_are_those_of_the_specification() -> None:
    by_level = {level: [tile for tile in tiles_for(70_000) if tile.level == level] for level in range(4)}
    assert [len(tiles) for tiles in by_level.values()] == [274, 2, 1, 0]
    assert [tiles[-1].width for level, tiles in by_level.items() if level < 3] == [112, 17, 1]
    assert [bundle.path for bundle in bundles_for(70_000)][-2:] == ["tile/entries/272", "tile/entries/273.p/112"]


def test_the_tiles_of_70000_entries_have_the_frozen_bytes() -> None:
    levels = level_hashes([merkle.leaf_hash(f"leaf-{index}".encode()) for index in range(70_000)])
    digests = {
        tile.path: sha256(encode_tile(levels[tile.level or 0][tile.positions])).hexdigest()
        for tile in tiles_for(70_000)
    }
    assert digests["tile/0/273.p/112"] == "5d35a9f4ba425ae4f894d1d190371c8e88846b12b6f96d85552d4c6d90016b40"
    assert digests["tile/1/000"] == "b795f69dc5edd6825bb7f97d3522ba2a967eb065229f092a317042ab6c80c065"
    assert digests["tile/1/001.p/17"] == "6ab77edf582ebfc7e46fdb4c8b3dd1a551a2ee1d97b1d3485f6a8ca31c374226"
    assert levels[2][0].hex() == "ec5508a6afc734d23d4d0bac34186d37dc19de90e5327c19ec0389fa8aac59d3"


def test_bundle_and_tile_of_the_eight_leaves_have_the_frozen_bytes() -> None:
    bundle = Tile(None, 0, 8)
    assert encode_bundle(LEAVES).hex() == BUNDLE
    assert decode_bundle(bundle, bytes.fromhex(BUNDLE)) == LEAVES
    tile = encode_tile([merkle.leaf_hash(leaf) for leaf in LEAVES])
    assert sha256(tile).hexdigest() == "aea2f1bbb5140fd5f8eacb503fdf54c00c3d860c72588e40233addd416bc8f10"
    assert decode_tile(Tile(0, 0, 8), tile) == [merkle.leaf_hash(leaf) for leaf in LEAVES]


def test_a_full_tile_is_8192_bytes() -> None:
    assert len(encode_tile([bytes(32)] * 256)) == 8192


def test_the_longest_entry_is_accepted_and_a_longer_one_is_not() -> None:
    longest = bytes(65_535)
    assert decode_bundle(Tile(None, 0, 1), encode_bundle([longest])) == [longest]
    with pytest.raises(TanzhangError, match="65536 bytes") as refused:
        encode_bundle([b"", bytes(65_536)])
    assert refused.value.code == "entry-too-long"
    assert "entry 1" in refused.value.problems[0].where


@pytest.mark.parametrize(
    "data",
    ["", BUNDLE[:-2], BUNDLE + "00", BUNDLE + "0000", BUNDLE + "000101", BUNDLE[4:], "ffff"],
)
def test_a_bundle_of_another_length_or_count_is_refused(data: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        decode_bundle(Tile(None, 0, 8), bytes.fromhex(data))
    assert refused.value.code == "bundle-invalid"


@pytest.mark.parametrize("length", [0, 31, 7 * 32, 8 * 32 - 1, 8 * 32 + 1, 9 * 32])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        decode_tile(Tile(0, 0, 8), bytes(length))
    assert refused.value.code == "tile-invalid"
    assert refused.value.problems[0].where == "tile/0/000.p/8"
