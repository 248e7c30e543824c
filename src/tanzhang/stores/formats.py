"""Reading submissions: CloudEvents 1.0 JSON (single, batch, NDJSON), CSV and Parquet become one table of raw rows.

A row that cannot be read becomes a raw row with an objection (``malformed-row``), so that it gets a verdict and takes
no good row down. A file that cannot be read at all is refused as a whole and nothing of it lands. Foreign CSV and
Parquet go through :mod:`tanzhang.stores.mapping` instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.screen import OBJECTION_COLUMNS, RAW_COLUMNS, TEXT_COLUMNS
from tanzhang.stores.events import raw_table, read_events, split_batch
from tanzhang.stores.mapping.lines import csv_header, line_blocks, read_lines, split_csv
from tanzhang.stores.mapping.sql import file_sql

if TYPE_CHECKING:
    import duckdb

FLAT_COLUMNS: tuple[str, ...] = (*TEXT_COLUMNS, *INPUT_NAMES)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_submission(con: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Read a file of our own schema into table ``raw`` and return its name.

    Raises: ``file-missing``, ``format-unknown``, ``file-unreadable``, ``source-header``, ``unknown-column``,
    ``column-repeated``.
    """
    if not path.is_file():
        raise missing(path)
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    readers = {
        ".ndjson": _read_ndjson,
        ".jsonl": _read_ndjson,
        ".json": _read_json,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(Path(name).suffix)
    if reader is None:
        raise refuse(
            "format-unknown",
            f"the ending of {path.name} names no known format",
            where=str(path),
            remedy="use .json, .ndjson, .csv (also .gz and .zst) or .parquet; a foreign file needs --map",
        )
    import duckdb

    try:
        reader(con, path)
    except (duckdb.Error, OSError, ValueError) as error:
        raise unreadable(path, error) from None
    return "raw"


def missing(path: Path) -> TanzhangError:
    """``file-missing``: a file that was named is not there."""
    return refuse("file-missing", f"{path} is not a file", where=str(path), remedy="check the path")


def unreadable(path: Path, error: Exception) -> TanzhangError:
    """``file-unreadable`` with the first line of what the reader said."""
    reason = str(error).partition("\n")[0]
    return refuse(
        "file-unreadable",
        f"{path.name} cannot be read: {reason}",
        where=str(path),
        remedy="repair the file and send it again; nothing of it was taken",
    )


def _read_json(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """One event, or a batch (JSON array); a file of several lines of events is read as NDJSON."""
    with pa.input_stream(str(path), compression="detect") as stream:
        data = stream.read().removeprefix(_BYTE_ORDER_MARK)
    try:
        data.decode()
    except UnicodeDecodeError:  # line by line, so that the lines that are UTF-8 stay
        _read_ndjson(con, path)
        return
    events = split_batch(data)
    if events is None and data.lstrip().startswith(b"["):
        raise ValueError("a batch must be one JSON array, and this one is cut off or malformed")
    if events is None:
        _read_ndjson(con, path)
        return
    _land(con, [raw_table(read_events(events, range(1, len(events) + 1)))])


def _read_ndjson(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """One event a line; blank lines count as rows but are skipped."""
    tables = []
    done = 0
    for block in line_blocks(path):
        lines = block.split(b"\n")
        written = [(line, number) for number, line in enumerate(lines, start=done + 1) if line and not line.isspace()]
        tables.append(raw_table(read_events((line for line, _ in written), (number for _, number in written))))
        done += len(lines)
    _land(con, tables)


def _land(con: duckdb.DuckDBPyConnection, tables: Sequence[pa.Table]) -> None:
    """View ``raw`` over raw rows; an input that is text in some of the tables is text in all."""
    known = tables or [raw_table([])]
    fields = [
        max((table.field(name) for table in known), key=lambda field: field.type == pa.string()) for name in RAW_COLUMNS
    ]
    con.register("event_rows", pa.concat_tables(table.cast(pa.schema(fields)) for table in known))
    con.execute("CREATE OR REPLACE TEMP VIEW raw AS FROM event_rows")


def _read_csv(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """One action a line, with quotes where a value holds a comma; blank lines are no rows."""
    read_lines(con, path, "lines")
    header = csv_header(con, "lines", path)
    _check_columns(header, path)
    split_csv(con, "lines", "csv_rows", len(header), {name: position for position, name in enumerate(header)})
    columns = ", ".join(f'"{name}"' if name in header else f'NULL::VARCHAR AS "{name}"' for name in FLAT_COLUMNS)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE raw AS
        SELECT row, {columns}, CASE WHEN bad IS NOT NULL THEN 'malformed-row' END AS problem_code,
            NULL::VARCHAR AS problem_field, bad AS problem_message
        FROM csv_rows
        """
    )
    con.execute("DROP TABLE csv_rows")


def _read_parquet(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    source = f"read_parquet({file_sql(path)}, hive_partitioning = false, file_row_number = true)"
    present = [name for name, *_ in con.execute(f"SELECT column_name FROM (DESCRIBE FROM {source})").fetchall()]
    _check_columns([name for name in present if name != "file_row_number"], path)
    columns = ", ".join(f'"{name}"' if name in present else f'NULL::VARCHAR AS "{name}"' for name in FLAT_COLUMNS)
    objections = ", ".join(f"NULL::VARCHAR AS {name}" for name in OBJECTION_COLUMNS)
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW raw AS SELECT file_row_number + 1 AS row, {columns}, {objections} FROM {source}"
    )


def _check_columns(present: list[str], path: Path) -> None:
    problems = []
    for name in dict.fromkeys(present):
        if name not in FLAT_COLUMNS:
            near = difflib.get_close_matches(name, FLAT_COLUMNS, n=1)
            hint = f"did you mean {near[0]}?" if near else "a foreign file needs a mapping (--map)"
            problems.append(Problem("unknown-column", f"column {name!r} is not known", str(path), hint))
        elif present.count(name) > 1:
            message, hint = f"column {name} appears twice in the header", "keep one of the two"
            problems.append(Problem("column-repeated", message, str(path), hint))
    if problems:
        raise TanzhangError(problems)
