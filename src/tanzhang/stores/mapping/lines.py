"""Text files as numbered lines, and lines of CSV as rows, with no row lost; :mod:`tanzhang.stores.formats` uses it too.

One line is one row: a line break inside quotes is not supported. DuckDB's own CSV reader loses good rows in silence
after a quote that is never closed, so it is used for lines only, and quotes are read here. Nor does it notice that a
compressed file is damaged or cut off, so such a file is decompressed once before, to compare its checksums.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.sql import file_sql, quoted, texts

UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, OSError)
_NO_SEPARATOR = "\x1f\x1e\x1d\x1c"  # in no text file, so DuckDB reads each line as one value
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_CHUNK = 1 << 20
_BAD = "CASE WHEN why IS NOT NULL THEN format('line {}: {}', line, why) END AS bad"


def read_lines(con: duckdb.DuckDBPyConnection, path: Path, table: str) -> None:
    """Create temporary ``table``: ``line`` BIGINT from 1, ``text`` (NULL if empty), ``fault`` (why there is no text).

    Raises: one of ``UNREADABLE`` for a file that cannot be read to its end; ``.gz`` and ``.zst`` are decompressed.
    """
    compression = _COMPRESSIONS.get(path.suffix.lower(), "none")
    if compression != "none":
        with pa.input_stream(str(path), compression=compression) as stream:
            while stream.read(_CHUNK):
                pass
    scan, errors = f"{table}_scan", f"{table}_errors"
    ((ordered,),) = con.execute("SELECT current_setting('preserve_insertion_order')").fetchall()
    con.execute("SET preserve_insertion_order = true")  # lines are numbered in the order they are read
    try:
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT row_number() OVER () AS line, text, NULL::VARCHAR AS fault"
            f" FROM read_csv({file_sql(path)}, columns={{'text': 'VARCHAR'}}, auto_detect=false, header=false,"
            f" delim={quote(_NO_SEPARATOR)}, quote='', escape='', strict_mode=false,"
            f" compression={quote(compression)}, store_rejects=true, rejects_limit=0,"
            f" rejects_scan={quote(scan)}, rejects_table={quote(errors)})"
        )
        ((rejected,),) = con.execute(f"SELECT count(*) FROM {errors}").fetchall()
        if (
            rejected
        ):  # of rejected lines that stand together, the good line after them is moved by the last one's number
            con.execute(f"""
                CREATE OR REPLACE TEMP TABLE {table} AS
                WITH broken AS (
                    SELECT line, row_number() OVER (ORDER BY line) AS nth, CASE min(error_type::VARCHAR)
                        WHEN 'INVALID ENCODING' THEN 'bytes that are not UTF-8'
                        WHEN 'LINE SIZE OVER MAXIMUM' THEN 'the line is longer than 2 MB'
                        ELSE 'the line cannot be read' END AS fault
                    FROM {errors} GROUP BY line
                )
                SELECT good.line + coalesce(nth, 0) AS line, text, NULL AS fault
                FROM {table} good ASOF LEFT JOIN
                    (SELECT line - nth AS before, max(nth) AS nth FROM broken GROUP BY before) ON good.line > before
                UNION ALL SELECT line, NULL, fault FROM broken
                ORDER BY line""")
    finally:
        con.execute(f"SET preserve_insertion_order = {ordered}")
        con.execute(f"DROP TABLE IF EXISTS {scan}")
        con.execute(f"DROP TABLE IF EXISTS {errors}")


def csv_header(con: duckdb.DuckDBPyConnection, lines: str, path: Path, delimiter: str = ",") -> list[str]:
    """The column names in the first of the ``lines`` of ``path``; ``source-header`` if there are none."""
    found = con.execute(f"SELECT text, fault FROM {lines} WHERE line = 1").fetchall()
    text, fault = found[0] if found else (None, None)
    if fault is not None:
        raise _no_header(path, f"the header line cannot be read: {fault}", "save the file as UTF-8")
    if text is None or not text.strip():
        remedy = "add a header line with the column names"
        raise _no_header(path, "the first line is empty, so no column has a name", remedy)
    try:
        return next(csv.reader([text], delimiter=delimiter))
    except csv.Error as error:
        raise _no_header(path, f"the header line cannot be read: {error}", "check the format of the file") from None


def _no_header(path: Path, message: str, remedy: str) -> TanzhangError:
    return refuse("source-header", message, where=str(path), remedy=remedy)


def split_csv(
    con: duckdb.DuckDBPyConnection,
    lines: str,
    table: str,
    width: int,
    wanted: Mapping[str, int],
    *,
    delimiter: str = ",",
    nulls: Iterable[str] = (),
) -> None:
    """Create temporary ``table`` from the ``lines`` after the header, and drop these.

    Shape: ``row``, which counts the lines that are not blank, ``line``, ``bad``, which says why a line is no row of
    ``width`` values, and the columns ``wanted``, new name -> position; the empty text and ``nulls`` are NULL.
    """
    comma, mark = quote(delimiter), re.escape(delimiter)
    value = f'("([^"]|"")*"|[^"{mark}]*)'
    taken = [f"{_or_null(f'parts[{position + 1}]', nulls)} AS {quoted(name)}" for name, position in wanted.items()]
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE {table} AS
        WITH split AS (
            SELECT line, text, fault, contains(text, '"') AS has_quotes, CASE WHEN has_quotes
                THEN {_quoted_parts(comma)} ELSE string_split(text, {comma}) END AS parts
            FROM {lines} WHERE line > 1 AND (text IS NOT NULL OR fault IS NOT NULL)
        ), judged AS (
            SELECT line, parts, CASE
                WHEN fault IS NOT NULL THEN fault
                WHEN has_quotes AND NOT regexp_full_match(text, {quote(f"{value}({mark}{value})*")})
                    THEN 'a quote is not closed, or stands inside a plain value; write "" for a quote in a value'
                WHEN len(parts) <> {width} THEN format(
                    '{{}} values instead of {width}; a value with the separator in it needs quotes', len(parts))
                END AS why
            FROM split
        )
        SELECT {", ".join(["row_number() OVER (ORDER BY line) AS row", "line", _BAD, *taken])} FROM judged""")
    con.execute(f"DROP TABLE {lines}")


def _quoted_parts(comma: str) -> str:
    """The values of a well-formed line with quotes in it: every second piece between quotes is inside of them."""
    hidden = quote(_NO_SEPARATOR)  # stands for a separator inside quotes while the line is split
    pieces = (
        f"""list_transform(string_split(text, '"'), lambda piece, number:"""
        f" CASE WHEN number % 2 = 0 THEN replace(piece, {comma}, {hidden}) ELSE piece END)"
    )
    inner = f"""replace(replace(part[2:-2], '""', '"'), {hidden}, {comma})"""
    return (
        f"""list_transform(string_split(array_to_string({pieces}, '"'), {comma}), lambda part:"""
        f""" CASE WHEN starts_with(part, '"') THEN {inner} ELSE part END)"""
    )


def _or_null(value: str, nulls: Iterable[str]) -> str:
    return f"CASE WHEN why IS NULL AND {value} NOT IN ({texts(['', *nulls])}) THEN {value} END"
