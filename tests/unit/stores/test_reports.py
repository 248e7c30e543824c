"""A day's settlement reads the reports that close on it, once, whatever file and row group they are in."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.stores import reports as module
from tanzhang.stores.reports import ReportFile, last_close_day, read_reports, writing_reports

FIRST = date(2025, 6, 1)
RECEIVED = FIRST + timedelta(days=1)
TEXTS = ("partner", "behaviour", "region", "variant", "evidence", "plan")


def rows(days: list[int], start: int = 0) -> pa.Table:
    numbers = range(start, start + len(days))
    return pa.table(
        {
            "row": pa.array(numbers, pa.int64()),
            **{name: pa.array([f"{name}{number % 3}" for number in numbers], pa.string()) for name in TEXTS},
            "close_day": pa.array([FIRST + timedelta(days=day) for day in days], pa.date32()),
            "steps": pa.nulls(len(days), pa.int64()),
            "count": pa.array([number if number % 5 == 0 else None for number in numbers], pa.int64()),
        }
    )


def write(path: Path, batches: list[list[int]]) -> Path:
    with writing_reports(path, RECEIVED, home=path.parent) as (reports, _):
        start = 0
        reports.add(rows([]))
        for days in batches:
            reports.add(rows(days, start))
            start += len(days)
    return path


def wanted(file: Path, after: int | None, through: int | None) -> ReportFile:
    days = [None if day is None else FIRST + timedelta(days=day) for day in (after, through)]
    return ReportFile(file, 7, FIRST, *days)


DAYS = st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    batches=DAYS, group=st.integers(1, 6), after=st.none() | st.integers(-1, 4), through=st.none() | st.integers(-1, 5)
)
def test_the_wanted_days_are_read_and_no_others(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[int]],
    group: int,
    after: int | None,
    through: int | None,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW_GROUP", group)
        file = write(tmp_path_factory.mktemp("r") / "accepted.parquet", batches)
    days = [day for batch in batches for day in batch]
    expected = [
        number
        for number, day in enumerate(days)
        if (after is None or day > after) and (through is None or day <= through)
    ]
    table, counts = read_reports([wanted(file, after, through)])
    assert counts == ({7: len(expected)} if expected else {})
    assert sorted(table["row"].to_pylist() if expected else []) == expected
    if expected:
        assert set(table["received"].to_pylist()) == {FIRST}
        assert "steps" not in table.column_names
        numbers = table["row"].to_pylist()
        assert table["plan"].to_pylist() == [f"plan{number % 3}" for number in numbers]
        if "count" in table.column_names:
            assert table["count"].to_pylist() == [number if number % 5 == 0 else None for number in numbers]
    latest = last_close_day([wanted(file, after, through)])
    assert latest == (FIRST + timedelta(days=max(days)) if days else None)


def test_a_row_group_holds_reports_of_one_closing_day_or_what_has_closed(tmp_path: Path) -> None:
    metadata = pq.read_metadata(write(tmp_path / "accepted.parquet", [[0, 1, 3, 2], [1, 3, 0]]))
    held = [metadata.row_group(number).column(7).statistics for number in range(metadata.num_row_groups)]
    days = [(0, 1), (2, 2), (3, 3)]
    assert [(each.min, each.max) for each in held] == [
        (FIRST + timedelta(days=first), FIRST + timedelta(days=last)) for first, last in days
    ]


def test_files_with_other_empty_columns_are_read_together(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", [[0, 0]])
    with writing_reports(tmp_path / "b.parquet", RECEIVED, home=tmp_path) as (reports, _):
        reports.add(rows([]))
        reports.add(rows([0]).set_column(8, "steps", pa.array([9], pa.int64())))
    table, counts = read_reports([wanted(first, None, 0), ReportFile(tmp_path / "b.parquet", 8, FIRST, None, None)])
    assert counts == {7: 2, 8: 1}
    assert table["steps"].to_pylist() == [None, None, 9]
