"""Text files as numbered lines, and lines of CSV as rows, with no row lost; :mod:`tanzhang.stores.formats` uses it too.

One line is one row: a line break inside quotes is not supported. DuckDB's CSV reader is not used, because it loses rows
in silence: all that follow a quote that is never closed, the end of a compressed file that is damaged, and the first
letter after a lone carriage return.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.sql import quoted, texts

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_CHUNK = 1 << 24
_LONGEST_LINE = 2_000_000  # bytes
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(con: duckdb.DuckDBPyConnection, path: Path, table: str) -> None:
    """Create temporary ``table``: ``line`` BIGINT from 1, its ``text``, or NULL and the ``fault`` that it has.

    A line ends with LF or CR LF. Raises: OSError for a file that cannot be read to its end, or fails its checksum;
    ``.gz`` and ``.zst`` are decompressed.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE {table} (line BIGINT, text VARCHAR, fault VARCHAR)")
    chunk, done = f"{table}_chunk", 0
    for block in line_blocks(path):
        lines = numbered(pc.split_pattern(pa.array([block]), b"\n").values)
        con.register(chunk, lines)
        con.execute(f"INSERT INTO {table} SELECT {done} + number, text, fault FROM {chunk}")
        con.unregister(chunk)
        done += len(lines)


def line_blocks(path: Path) -> Iterator[bytes]:
    """A file in pieces that end where a line ends, without that line's break and without a byte order mark.

    Raises as :func:`read_lines` does.
    """
    with pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix.lower())) as stream:
        first = True
        for block in _blocks(stream):
            yield block.removeprefix(_BYTE_ORDER_MARK) if first else block
            first = False


def _blocks(stream: Any) -> Iterator[bytes]:
    rest = b""
    while data := stream.read(_CHUNK):
        whole, found, after = data.rpartition(b"\n")
        if found:
            yield rest + whole
            rest = after
        else:  # of a line that is too long, only so much as shows it
            rest = (rest + data)[: 2 * _LONGEST_LINE]
    if rest:
        yield rest


def numbered(lines: pa.BinaryArray) -> pa.Table:
    """Lines as ``text`` with their ``number`` from 1; one too long or not UTF-8 has a ``fault`` instead."""
    number = pa.array(np.arange(1, len(lines) + 1), pa.int64())
    fault = pa.nulls(len(lines), pa.string())
    if pc.max(pc.binary_length(lines)).as_py() > _LONGEST_LINE:
        long = pc.greater(pc.binary_length(lines), _LONGEST_LINE)
        fault = pc.if_else(long, "the line is longer than 2 MB", fault)
        lines = pc.if_else(long, None, lines)
    try:
        text = lines.cast(pa.string())
    except pa.ArrowInvalid:
        good = pa.array([line is None or _is_utf8(line) for line in lines.to_pylist()])
        fault = pc.if_else(good, fault, "bytes that are not UTF-8")
        text = pc.if_else(good, lines, None).cast(pa.string())
    return pa.table({"number": number, "text": pc.utf8_rtrim(text, "\r"), "fault": fault})


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def csv_header(con: duckdb.DuckDBPyConnection, lines: str, path: Path, delimiter: str = ",") -> list[str]:
    """The column names in the first of the ``lines`` of ``path``; ``source-header`` if there are none."""
    found = con.execute(f"SELECT text, fault FROM {lines} WHERE line = 1").fetchall()
    text, fault = found[0] if found else (None, None)
    if fault is not None:
        raise _no_header(path, f"the header line cannot be read: {fault}", "save the file as UTF-8")
    if not text or not text.strip():
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
    bad = "CASE WHEN why IS NOT NULL THEN format('line {}: {}', line, why) END AS bad"
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE {table} AS
        WITH split AS (
            SELECT line, text, fault, contains(text, '"') AS has_quotes, CASE WHEN has_quotes
                THEN {_quoted_parts(comma)} ELSE string_split(text, {comma}) END AS parts
            FROM {lines} WHERE line > 1 AND text IS DISTINCT FROM ''
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
        SELECT {", ".join(["row_number() OVER (ORDER BY line) AS row", "line", bad, *taken])} FROM judged""")
    con.execute(f"DROP TABLE {lines}")


def _quoted_parts(comma: str) -> str:
    """The values of a well-formed line with quotes in it: every second piece between quotes is inside of them."""
    hidden = "chr(10)"  # stands for a separator inside quotes while the line is split, for no line holds a line break
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
