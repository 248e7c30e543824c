"""Report files: the accepted rows of a submission; those that close later, in row groups of one closing day each.

A day's settlement reads only the row groups whose window closes on it, so a file whose reports close on several days
is not read whole each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tanzhang.core.action import STRAIGHT
from tanzhang.stores.records import ROW_GROUP, TableFile, writing_table
from tanzhang.stores.storage import Place, parquet_file

REPORTS, VERDICTS = "accepted.parquet", "verdicts.csv"
VERDICT_COLUMNS = ("row", "reference", "verdict", "code", "field", "message", "remedy")
_GUARDED = ("device", "image", STRAIGHT)  # for the guard alone; settlement never sees them
_TEXTS = ("partner", "behaviour", "region", "variant", "evidence", "plan")  # few values, many rows


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A submission's file and the days of closing that are wanted of it: ``after < close_day <= through``.

    ``held`` are its rows that the guard held, which are not wanted whatever was decided of them since.
    """

    path: Place
    submission: int
    received: date
    after: date | None
    through: date | None
    held: tuple[int, ...] = ()


class ReportWriter:
    """Report rows being written; those that close on one day are kept together until they fill a row group.

    What has closed already when it is ``received`` can be settled at once, so it is kept together whatever its day: a
    file of ten years' acts does not become thousands of row groups.
    """

    def __init__(self, file: TableFile, received: date) -> None:
        self._file = file
        self._received = pa.scalar(received, pa.date32())
        self._waiting: dict[date, list[pa.Table]] = {}
        self.next_close = date.max
        """The first day on which a row closes; the last there is if there are no rows."""

    def add(self, table: pa.Table) -> None:
        """Accepted rows, in the order they came."""
        if not table.num_rows:
            self._file.add(table)
        else:
            self.next_close = min(self.next_close, pc.min(table["close_day"]).as_py())
        due = pc.max_element_wise(table["close_day"], self._received)
        days = pc.unique(due).to_pylist()
        for day in sorted(days):
            part = table if len(days) == 1 else table.filter(pc.equal(due, pa.scalar(day, pa.date32())))
            waiting = self._waiting.setdefault(day, [])
            waiting.append(part)
            if sum(each.num_rows for each in waiting) >= ROW_GROUP:
                self._flush(day)

    def finish(self) -> None:
        """Write what still waits."""
        for day in sorted(self._waiting):
            self._flush(day)

    def _flush(self, day: date) -> None:
        self._file.add(pa.concat_tables(self._waiting.pop(day)))


@contextmanager
def writing_reports(path: Place, received: date, *, home: Place) -> Iterator[tuple[ReportWriter, TableFile]]:
    """A report file that is there, whole and durable, when the block ends without an error."""
    with writing_table(path, home=home) as file:
        writer = ReportWriter(file, received)
        yield writer, file
        writer.finish()


def read_reports(files: Iterable[ReportFile]) -> tuple[pa.Table, dict[int, int]]:
    """The wanted rows of all files with the local day each was ``received``, and how many by submission.

    Columns in which no row has a value are left out; memory is that of the rest.
    """
    parts, counts = [], {}
    for file in files:
        table = _read(file)
        if table is not None and table.num_rows:
            received = pa.repeat(pa.scalar(file.received, pa.date32()), table.num_rows)
            parts.append(table.append_column("received", received))
            counts[file.submission] = table.num_rows
    if not parts:
        return pa.table({}), {}
    return pa.concat_tables(parts, promote_options="default").combine_chunks(), counts


def last_close_day(files: Iterable[ReportFile]) -> date | None:
    """The last day of closing of any file's rows, from the files' footers alone."""
    latest: date | None = None
    for file in files:
        with parquet_file(file.path) as parquet:
            metadata = parquet.metadata
        place = metadata.schema.to_arrow_schema().names.index("close_day")
        for number in range(metadata.num_row_groups):
            day = metadata.row_group(number).column(place).statistics.max
            latest = day if latest is None else max(latest, day)
    return latest


@dataclass(frozen=True, slots=True)
class ReportSlice:
    """Some row groups of a report file that hold wanted rows: what one process of several reads. ``rows`` at most."""

    file: ReportFile
    groups: tuple[int, ...]
    rows: int


def report_slices(files: Iterable[ReportFile], rows: int) -> list[ReportSlice]:
    """The wanted row groups of all files, in order, in slices of about so many rows; only footers are read."""
    slices = []
    for file in files:
        with parquet_file(file.path) as parquet:
            groups: list[int] = []
            held = 0
            for number in _wanted(parquet, file):
                groups.append(number)
                held += parquet.metadata.row_group(number).num_rows
                if held >= rows:
                    slices.append(ReportSlice(file, tuple(groups), held))
                    groups, held = [], 0
            if groups:
                slices.append(ReportSlice(file, tuple(groups), held))
    return slices


def read_report_slice(part: ReportSlice, names: Iterable[str] | None = None) -> pa.Table:
    """The wanted rows of a slice as :func:`read_reports` reads them, of the columns ``names`` only if given."""
    with parquet_file(part.file.path, read_dictionary=list(_TEXTS)) as parquet:
        table = _rows(parquet, part.file, list(part.groups), None if names is None else {*names})
    return table.append_column("received", pa.repeat(pa.scalar(part.file.received, pa.date32()), table.num_rows))


def _read(file: ReportFile) -> pa.Table | None:
    with parquet_file(file.path, read_dictionary=list(_TEXTS), memory_map=True) as parquet:
        wanted = _wanted(parquet, file)
        return _rows(parquet, file, wanted, None) if wanted else None


def _wanted(parquet: pq.ParquetFile, file: ReportFile) -> list[int]:
    """The row groups in which a wanted row may be."""
    wanted = []
    for number in range(parquet.num_row_groups):
        days = _closing(parquet, number)
        if (file.through is None or days.min <= file.through) and (file.after is None or days.max > file.after):
            wanted.append(number)
    return wanted


def _closing(parquet: pq.ParquetFile, number: int) -> Any:
    place = parquet.schema_arrow.names.index("close_day")
    return parquet.metadata.row_group(number).column(place).statistics


def _rows(parquet: pq.ParquetFile, file: ReportFile, groups: list[int], names: set[str] | None) -> pa.Table:
    """The wanted rows of row groups, without columns that are empty in all of them."""
    mixed = False
    empty = set(parquet.schema_arrow.names)
    for number in groups:
        days = _closing(parquet, number)
        mixed |= file.through is not None and days.max > file.through
        mixed |= file.after is not None and days.min <= file.after
        group = parquet.metadata.row_group(number)
        for position, name in enumerate(parquet.schema_arrow.names):
            known = group.column(position).statistics
            if known is None or not known.has_null_count or known.null_count < group.num_rows:
                empty.discard(name)
    columns = [name for name in parquet.schema_arrow.names if name not in empty and name not in _GUARDED]
    if names is not None:
        needed = {"close_day", "row"} if file.held else {"close_day"}
        columns = [name for name in columns if name in names or name in needed]
    table = parquet.read_row_groups(groups, columns=columns)
    if file.held:
        table = table.filter(pc.invert(pc.is_in(table["row"], value_set=pa.array(file.held, table["row"].type))))
        if names is not None and "row" not in names:
            table = table.drop_columns(["row"])
    if not mixed:
        return table
    inside = [pc.field("close_day") > pa.scalar(file.after)] if file.after is not None else []
    inside += [pc.field("close_day") <= pa.scalar(file.through)] if file.through is not None else []
    condition = inside[0] if len(inside) == 1 else inside[0] & inside[1]
    return table.filter(condition)
