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
from tanzhang.engine.kernel import quote
from tanzhang.engine.screen import OBJECTION_COLUMNS, TEXT_COLUMNS
from tanzhang.stores.mapping.lines import csv_header, numbered, read_lines, split_csv
from tanzhang.stores.mapping.sql import file_sql

if TYPE_CHECKING:
    import duckdb

FLAT_COLUMNS: tuple[str, ...] = (*TEXT_COLUMNS, *INPUT_NAMES)
# Where each flat column stands in a CloudEvent. The envelope is CloudEvents 1.0, sections "Required" and "Optional
# Attributes"; ``data`` is ours.
_EVENT_PATHS: dict[str, str] = {
    **{name: f"$.{name}" for name in ("id", "source", "type", "subject", "time")},
    **{name: f"$.data.{name}" for name in ("started_at", "region", "variant", "evidence", "group", "withdraws")},
    "claim_issuer": "$.data.claim.issuer",
    "claim_identifier": "$.data.claim.identifier",
    **{name: f"$.data.{name}" for name in INPUT_NAMES},
}
_DATA_MEMBERS = sorted({path.split(".")[2] for path in _EVENT_PATHS.values() if path.startswith("$.data.")})


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


def read_events(con: duckdb.DuckDBPyConnection, events: Sequence[bytes], numbers: Sequence[int]) -> str:
    """Read events, each as JSON text, into table ``raw`` as :func:`read_submission` would; returns its name.

    ``numbers`` are their rows.
    """
    lines = numbered(pa.array(events, pa.binary()), numbers)
    con.register("event_lines", lines)
    con.execute("CREATE OR REPLACE TEMP TABLE lines AS SELECT number AS line, text, fault FROM event_lines")
    con.unregister("event_lines")
    _events(con, blank=True)
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
        data = stream.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:  # line by line, so that the lines that are UTF-8 stay
        _read_ndjson(con, path)
        return
    con.execute("CREATE OR REPLACE TEMP TABLE whole AS SELECT ? AS content", [text])
    ((kind,),) = con.execute("SELECT CASE WHEN json_valid(content) THEN json_type(content) END FROM whole").fetchall()
    if kind is None and text.lstrip().startswith("["):
        raise ValueError("a batch must be one JSON array, and this one is cut off or malformed")
    if kind == "ARRAY":
        source = "SELECT unnest(from_json(content, '[\"JSON\"]'))::VARCHAR AS text FROM whole"
    elif kind == "OBJECT":
        source = "SELECT content AS text FROM whole"
    else:
        _read_ndjson(con, path)
        return
    con.execute(
        "CREATE OR REPLACE TEMP TABLE lines AS"
        f" SELECT row_number() OVER () AS line, text, NULL::VARCHAR AS fault FROM ({source})"
    )
    _events(con)


def _read_ndjson(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """One event a line; blank lines count as rows but are skipped."""
    read_lines(con, path, "lines")
    _events(con)


def _events(con: duckdb.DuckDBPyConnection, *, blank: bool = False) -> None:
    """Table ``raw`` from the events in ``lines``; ``blank`` ones are malformed events, or else skipped."""
    paths = ", ".join(quote(_EVENT_PATHS[name]) for name in FLAT_COLUMNS)
    columns = ", ".join(f'found[{position}] AS "{name}"' for position, name in enumerate(FLAT_COLUMNS, start=1))
    known = ", ".join(quote(name) for name in _DATA_MEMBERS)
    members = f"list_filter(json_keys(line, '$.data'), lambda member: member NOT IN ({known}))"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE raw AS
        WITH valid AS (
            SELECT line AS row, fault, CASE WHEN json_valid(text) AND json_type(text) = 'OBJECT' THEN text END AS line
            FROM lines WHERE {blank} OR trim(text) IS DISTINCT FROM ''
        ), parsed AS (
            SELECT row, fault, line, json_extract_string(line, [{paths}]) AS found,
                json_extract_string(line, '$.specversion') AS version, {members} AS strangers
            FROM valid
        )
        SELECT row, {columns},
            CASE WHEN fault IS NOT NULL OR line IS NULL THEN 'malformed-row'
                WHEN version IS DISTINCT FROM '1.0' THEN 'not-a-cloudevent'
                WHEN len(strangers) > 0 THEN 'unknown-field' END AS problem_code,
            CASE WHEN line IS NULL THEN NULL WHEN version IS DISTINCT FROM '1.0' THEN 'specversion'
                WHEN len(strangers) > 0 THEN 'data.' || strangers[1] END AS problem_field,
            CASE WHEN fault IS NOT NULL THEN fault WHEN line IS NULL THEN 'the line is not a JSON object'
                WHEN version IS DISTINCT FROM '1.0' THEN 'specversion must be "1.0" (CloudEvents 1.0)'
                WHEN len(strangers) > 0 THEN 'data has unknown members: ' || array_to_string(strangers, ', ')
                    || '; known are {", ".join(_DATA_MEMBERS)}' END AS problem_message
        FROM parsed
        """
    )


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
