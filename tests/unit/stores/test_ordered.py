"""Rows of sorted files are given once each, in order, however they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.stores import ordered
from tanzhang.stores.ordered import END, OrderedRows


def key(rows: pa.Table) -> np.ndarray:
    return np.asarray(rows["n"])


def written(path: Path, numbers: list[int]) -> Path:
    pq.write_table(pa.table({"n": pa.array(numbers, pa.int64())}), path, row_group_size=3)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 50), max_size=40).map(sorted), st.lists(st.integers(0, 60), max_size=6).map(sorted))
def test_every_row_is_given_once_below_the_key_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[int], stops: list[int]
) -> None:
    monkeypatch.setattr(ordered, "_ROWS", 4)
    rows = OrderedRows(written(tmp_path / "rows.parquet", numbers), key)
    assert rows.rows == len(numbers)
    found: list[int] = []
    for stop in [*stops, END]:
        part = rows.until(stop)["n"].to_pylist()
        assert all(each < stop for each in part)
        found += part
        assert len([each for each in numbers if each < stop]) == len(found)
    assert found == numbers
    assert rows.until(END).num_rows == 0
    rows.close()


@pytest.mark.parametrize("numbers", [[1, 3, 2], [5, 6, 7, 8, 4], [2, 1]])
def test_rows_out_of_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[int]) -> None:
    monkeypatch.setattr(ordered, "_ROWS", 2)
    with pytest.raises(TanzhangError, match="rows-not-in-order"):
        OrderedRows(written(tmp_path / "rows.parquet", numbers), key).until(END)
