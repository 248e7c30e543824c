"""Records in several files: read as one, and not read at all where the list is not the one that the book names."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.stores import parts
from tanzhang.stores.parts import (
    PARTS,
    RecordFile,
    clear_unnamed,
    part_name,
    read_record_slice,
    read_span,
    record_files,
    record_slices,
    row_group_bounds,
    whole_subtrees,
    write_parts,
)
from tanzhang.stores.records import RECORDS, write_table


@dataclass
class Row:
    folder: str
    records: int
    records_file: str
    records_digest: str


def written(home: Path, sizes: list[int]) -> Row:
    """A batch of parts of these sizes whose rows are numbered through."""
    files, first = [], 0
    for number, size in enumerate(sizes):
        path = home / "b" / part_name(number, "t")
        table = pa.table({"row": range(first, first + size), "text": ["x"] * size})
        files.append(RecordFile(path, first, size, write_table(path, table, home=home)))
        first += size
    return Row("b", first, PARTS, write_parts(home / "b", files, home=home))


def test_any_span_is_read_across_parts(tmp_path: Path) -> None:
    row = written(tmp_path, [3, 1, 4])
    files = record_files(tmp_path, row)
    assert [(file.first, file.rows) for file in files] == [(0, 3), (3, 1), (4, 4)]
    for start in range(8):
        for stop in range(start + 1, 9):
            assert read_span(files, start, stop)["row"].to_pylist() == list(range(start, stop))
    for start, stop in ((0, 9), (8, 9), (20, 30)):
        with pytest.raises(TanzhangError, match=r"record-index: the batch holds 8 records"):
            read_span(files, start, stop)


def test_tables_of_whole_subtrees_run_across_parts(tmp_path: Path) -> None:
    files = record_files(tmp_path, written(tmp_path, [100, 300, 12, 700, 40]))
    seen = []
    for first, table in whole_subtrees(files):
        assert first == len(seen)
        assert first % 256 == 0
        seen += table["row"].to_pylist()
        assert table.num_rows % 256 == 0 or len(seen) == 1_152
    assert seen == list(range(1_152))


def test_a_list_that_the_book_does_not_name_is_not_read(tmp_path: Path) -> None:
    row = written(tmp_path, [3, 2])
    path = tmp_path / "b" / PARTS
    path.write_text(json.dumps({"format": "tanzhang.parts/1", "parts": []}))
    with pytest.raises(TanzhangError, match=r"record-file-changed: b/parts.json is not what was written"):
        record_files(tmp_path, row)
    path.unlink()
    with pytest.raises(TanzhangError, match="record-file-changed"):
        record_files(tmp_path, row)


def test_of_leftovers_of_another_engine_only_what_the_book_names_is_read(tmp_path: Path) -> None:
    row = written(tmp_path, [3, 2])
    digest = write_table(tmp_path / "b" / RECORDS, pa.table({"row": [1]}), home=tmp_path)
    assert [file.path.name for file in record_files(tmp_path, row)] == [part_name(0, "t"), part_name(1, "t")]
    assert [file.path.name for file in record_files(tmp_path, Row("b", 1, RECORDS, digest))] == [RECORDS]
    clear_unnamed(tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []
    clear_unnamed(tmp_path / "none")


@pytest.mark.parametrize("first", [0, 1, 255, 256, 1_000])
def test_row_groups_of_a_part_begin_with_subtrees_of_the_batch(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP", 512)
    bounds = list(row_group_bounds(first, 1_700))
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 1_700
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(bounds))
    assert all((first + start) % 256 == 0 for start, _ in bounds[1:])


def test_slices_of_records_hold_every_row_once(tmp_path: Path) -> None:
    files = record_files(tmp_path, written(tmp_path, [3, 2]))
    slices = record_slices(files, 1)
    assert [each.rows for each in slices] == [3, 2]
    assert [read_record_slice(each, ["row"])["row"].to_pylist() for each in slices] == [[0, 1, 2], [3, 4]]
