"""Writing simulated reports in the platform's own schema: Parquet, CSV, or CloudEvents, one a line (NDJSON).

:mod:`tanzhang.stores.formats` reads them. The same batches give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tanzhang.core.action import INPUT_NAMES
from tanzhang.engine.kernel import connect, quote
from tanzhang.engine.simulate.malformed import GARBLED_QUANTITY, GARBLED_TEXT, GARBLED_TIME
from tanzhang.engine.simulate.rows import GARBLED

if TYPE_CHECKING:
    import duckdb

FORMATS = ("parquet", "ndjson", "csv")
_ROW_GROUP_ROWS = 262_144
_DATA = (
    "started_at",
    "region",
    "evidence",
    "group",
    "withdraws",
    "device",
    "image_hash",
)  # members of an event's data that are texts


class Writer(Protocol):
    """Takes batches of one schema, in order; what was written is complete when the writer is closed."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


class ParquetFile:
    """Parquet in row groups of at least 262,144 rows; texts that repeat are stored once.

    References and account numbers are random letters, on which compression is wasted time; the other columns are
    compressed by Snappy.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        random = [field.name for field in schema if pa.types.is_string(field.type)]
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._file = pq.ParquetWriter(
            path,
            schema,
            use_dictionary=coded or False,
            compression={field.name: "NONE" if field.name in random else "SNAPPY" for field in schema},
            write_statistics=[field.name for field in schema if field.name not in random] or False,
            store_schema=False,
            data_page_size=1 << 23,
            write_batch_size=1 << 16,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write_table(pa.Table.from_batches(self._waiting), row_group_size=2 * _ROW_GROUP_ROWS)
        self._waiting, self._rows = [], 0


class TextFile:
    """One line a row: CSV, or a CloudEvent. Rows marked in a column ``garbled`` get a time or an input that is none."""

    def __init__(self, path: Path, schema: pa.Schema, kind: str, partner: str) -> None:
        names = [name for name in schema.names if name != GARBLED]
        values = {name: _text_sql(schema.field(name)) for name in names}
        self._line = _csv_sql(values) if kind == "csv" else _event_sql(values, partner)
        self._con: duckdb.DuckDBPyConnection = connect()
        self._file = path.open("wb")
        if kind == "csv":
            self._file.write((",".join(names) + "\n").encode())

    def write(self, batch: pa.RecordBatch) -> None:
        self._con.register("batch", pa.Table.from_batches([batch]))
        lines = self._con.sql(f"SELECT string_agg({self._line} || chr(10), '') FROM batch").fetchall()
        self._con.unregister("batch")
        self._file.write(lines[0][0].encode())

    def close(self) -> None:
        self._file.close()
        self._con.close()


def open_report(path: Path, schema: pa.Schema, kind: str, partner: str) -> Writer:
    """A new file of one partner's reports in one of :data:`FORMATS`."""
    return ParquetFile(path, schema) if kind == "parquet" else TextFile(path, schema, kind, partner)


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """One Parquet file of all batches, which may be none; returns its rows."""
    rows = 0
    with closing(ParquetFile(path, schema)) as file:
        for batch in batches:
            rows += batch.num_rows
            file.write(batch)
    return rows


def _text_sql(field: pa.Field) -> str:
    """A value as text: times as RFC 3339 in UTC, numbers in digits; NULL stays NULL."""
    column = f'"{field.name}"'
    if pa.types.is_timestamp(field.type):
        text = f"strftime(make_timestamp(epoch_us({column})), '%Y-%m-%dT%H:%M:%SZ')"
        if field.name != "time":
            return text
        return f"CASE WHEN {GARBLED} = {GARBLED_TIME} THEN {quote(GARBLED_TEXT[GARBLED_TIME])} ELSE {text} END"
    if field.name in INPUT_NAMES:
        spoilt = f"{GARBLED} = {GARBLED_QUANTITY} AND {column} IS NOT NULL"
        return f"CASE WHEN {spoilt} THEN {quote(GARBLED_TEXT[GARBLED_QUANTITY])} ELSE {column}::VARCHAR END"
    return f"{column}::VARCHAR"


def _csv_sql(values: dict[str, str]) -> str:
    """A line of CSV. Nothing that is simulated holds a comma or a quotation mark."""
    return "concat_ws(',', " + ", ".join(f"coalesce({value}, '')" for value in values.values()) + ")"


def _event_sql(values: dict[str, str], partner: str) -> str:
    """A CloudEvent; members that are not given are left out, and ``concat_ws`` leaves NULL out."""

    def member(name: str, value: str) -> str:
        # A whole number stands bare; so does nothing else.
        bare = f"CASE WHEN regexp_full_match({value}, '-?[0-9]+') THEN {value} ELSE '\"' || {value} || '\"' END"
        return f"'\"{name}\":' || " + (bare if name in INPUT_NAMES else f"'\"' || {value} || '\"'")

    def members(names: Iterable[str], renamed: dict[str, str]) -> list[str]:
        return [member(renamed.get(name, name), values[name]) for name in names if name in values]

    envelope = members(("id",), {})
    envelope += [quote(f'"source":"{partner}"'), *members(("type", "subject", "time"), {})]
    claim = members(("claim_issuer", "claim_identifier"), {"claim_issuer": "issuer", "claim_identifier": "identifier"})
    inside = members((*_DATA, *INPUT_NAMES), {})
    if claim:
        given = "claim_issuer IS NOT NULL OR claim_identifier IS NOT NULL"
        inside.append(f"CASE WHEN {given} THEN '\"claim\":{{' || concat_ws(',', {', '.join(claim)}) || '}}' END")
    data = f"'\"data\":{{' || concat_ws(',', {', '.join(inside)}) || '}}'"
    return f"'{{\"specversion\":\"1.0\",' || concat_ws(',', {', '.join(envelope)}, {data}) || '}}'"
