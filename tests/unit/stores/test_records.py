"""Record files come back as they were written, slice by slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.stores import records
from tanzhang.stores.records import digest_of, read_slice, read_subtrees, write_subtrees, write_table


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 30])
def test_any_slice_of_a_table_is_read_across_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(records, "ROW_GROUP", 4)
    path = tmp_path / "a" / "table.parquet"
    digest = write_table(
        path, pa.table({"row": range(rows), "plan": [f"p{row % 2}" for row in range(rows)]}), home=tmp_path
    )
    assert digest_of(path) == digest
    for start in range(rows):
        for stop in range(start + 1, rows + 1):
            assert read_slice(path, start, stop)["row"].to_pylist() == list(range(start, stop))


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (5, 6), (9, 10)])
def test_a_slice_beyond_the_end_is_refused(tmp_path: Path, start: int, stop: int) -> None:
    write_table(tmp_path / "t.parquet", pa.table({"row": range(5)}), home=tmp_path)
    with pytest.raises(TanzhangError, match="record-index"):
        read_slice(tmp_path / "t.parquet", start, stop)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = pa.table({"row": [1, 2], "plan": ["a", "a"]})
    assert write_table(tmp_path / "a", table, home=tmp_path) == write_table(tmp_path / "b", table, home=tmp_path)


def test_subtree_roots_come_back_in_order(tmp_path: Path) -> None:
    roots = np.arange(96, dtype=np.uint8).reshape(3, 32)
    write_subtrees(tmp_path / "s", roots, home=tmp_path)
    assert read_subtrees(tmp_path / "s") == [bytes(row) for row in roots]


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    assert digest_of(tmp_path / "nothing") is None
