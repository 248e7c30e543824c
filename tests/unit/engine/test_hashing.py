from __future__ import annotations

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from tanzhang.core import merkle
from tanzhang.engine import hashing
from tanzhang.engine.hashing import merkle_root, sha256_rows, subtree_roots


def rows_of(n: int, width: int, seed: int = 0) -> hashing.Rows:
    return np.random.default_rng(seed).integers(0, 256, (n, width), dtype=np.uint8)


def by_hashlib(rows: hashing.Rows) -> list[bytes]:
    return [sha256(row.tobytes()).digest() for row in rows]


def as_list(hashes: hashing.Rows) -> list[bytes]:
    return [row.tobytes() for row in hashes]


@pytest.mark.parametrize("n", [0, 1, 2, 100, 16_384, 16_385, 40_001])
@pytest.mark.parametrize("width", [1, 32, 65])
def test_hashes_equal_hashlib_row_by_row_in_the_same_order(n: int, width: int) -> None:
    rows = rows_of(n, width)
    hashes = sha256_rows(rows)
    assert hashes.shape == (n, 32)
    assert as_list(hashes) == by_hashlib(rows)


def test_many_slices_on_many_cores_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FEW_ROWS", 10)
    monkeypatch.setattr(hashing, "_SLICE_ROWS", 9_000)
    rows = rows_of(50_000, 33)
    assert as_list(sha256_rows(rows)) == by_hashlib(rows)


def test_rows_without_bytes_and_rows_taken_out_of_a_wider_array_are_hashed() -> None:
    assert as_list(sha256_rows(rows_of(20_000, 0))) == [sha256(b"").digest()] * 20_000
    columns = rows_of(20_000, 80)[::-1, 3:70]
    assert as_list(sha256_rows(columns)) == by_hashlib(columns)


def test_the_input_is_not_changed() -> None:
    rows = rows_of(20_000, 65)
    before = rows.copy()
    merkle_root(sha256_rows(rows))
    assert (rows == before).all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 255, 256, 257, 1000, 33_000, 40_001])
def test_root_equals_the_definition(n: int) -> None:
    leaves = rows_of(n, 32)
    expected = merkle.root(as_list(leaves))
    assert merkle_root(leaves) == expected


def test_root_of_numbered_leaves_is_the_frozen_one() -> None:
    leaves = b"".join(merkle.leaf_hash(f"leaf-{index}".encode()) for index in range(70_000))
    root = merkle_root(np.frombuffer(leaves, np.uint8).reshape(-1, 32))
    assert root.hex() == "881c2f4c7c3b60c864d574aab91746a167220c520a2f833d86eee6dfefb9accb"


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 512, 1000, 40_001])
def test_subtree_roots_are_the_roots_of_256_leaves_each_and_lead_to_the_root(n: int) -> None:
    leaves = as_list(rows_of(n, 32))
    roots = as_list(subtree_roots(rows_of(n, 32)))
    assert roots == [merkle.root(leaves[start : start + 256]) for start in range(0, n, 256)]
    assert merkle.root(roots) == merkle.root(leaves)


def test_subtrees_of_another_height() -> None:
    leaves = as_list(rows_of(100, 32))
    roots = as_list(subtree_roots(rows_of(100, 32), height=3))
    assert roots == [merkle.root(leaves[start : start + 8]) for start in range(0, 100, 8)]


@pytest.mark.parametrize(
    "rows", [np.zeros(5, np.uint8), np.zeros((5, 32), np.int64), np.zeros((5, 31), np.uint8), np.zeros((1, 5, 32))]
)
def test_arrays_of_another_shape_or_type_are_refused(rows: hashing.Rows) -> None:
    with pytest.raises(ValueError, match="expected uint8 rows"):
        merkle_root(rows)


def test_hashing_few_rows_does_not_load_the_query_engine() -> None:
    program = (
        "import sys, numpy as np; from tanzhang.engine.hashing import merkle_root; "
        "merkle_root(np.zeros((1000, 32), np.uint8)); "
        "print(sorted({'datafusion', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
