"""Reading the bodies of requests: events as the texts they were sent as, or rows in columns; nothing is kept.

A body means what a file of the same bytes means to :mod:`tanzhang.stores.formats`, but for blank lines of NDJSON: they
are no rows here, so that the position of a verdict counts what was reported.
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.kernel import connect
from tanzhang.engine.screen import TEXT_COLUMNS
from tanzhang.stores.events import split_batch
from tanzhang.stores.formats import read_submission

if TYPE_CHECKING:
    import duckdb

EVENT_TYPES = ("application/cloudevents+json", "application/json")
"""Media types of one event."""
NDJSON_TYPE, CSV_TYPE, PARQUET_TYPE = "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"
BATCH_TYPES = ("application/cloudevents-batch+json", "application/json", NDJSON_TYPE, CSV_TYPE, PARQUET_TYPE)
"""Media types of many acts."""

MOST_TEXT_BYTES = 256 << 20
"""What the texts of a Parquet body may come to; written as a dictionary, they take next to nothing in it."""
_ENDINGS = {CSV_TYPE: ".csv", PARQUET_TYPE: ".parquet"}


@dataclass(frozen=True, slots=True)
class Body:
    """What a request reports: ``events``, one JSON text each, or a ``table`` of raw rows in their order."""

    events: list[bytes]
    table: pa.Table | None = None


def unpacked(data: bytes, encoding: str | None, most_bytes: int) -> bytes:
    """A body without its content encoding; ``media-type-unknown``, ``request-malformed`` or ``body-too-large``."""
    if encoding in (None, "", "identity"):
        return data
    if encoding not in {"gzip", "x-gzip"}:
        raise refuse(
            "media-type-unknown",
            f"content encoding {encoding} is not known",
            where="header: Content-Encoding",
            remedy="send the body as it is, or with gzip",
        )
    parts, left, size = [], data, 0
    while left:  # a gzip file may have several members
        inflate = zlib.decompressobj(wbits=31)
        try:
            parts.append(inflate.decompress(left, most_bytes - size + 1))
        except zlib.error as error:
            raise _malformed(f"the body is not gzip: {error}") from None
        size += len(parts[-1])
        if size > most_bytes:
            raise too_large(most_bytes)
        if not inflate.eof:
            raise _malformed("the gzip stream is cut off")
        left = inflate.unused_data
    return b"".join(parts)


def read_body(data: bytes, media_type: str, *, most_rows: int) -> Body:
    """A body of many acts; ``media-type-unknown``, ``request-malformed``, ``too-many-rows`` and what files raise."""
    if media_type == NDJSON_TYPE:
        return Body([line for line in data.split(b"\n") if line and not line.isspace()])
    if media_type in _ENDINGS:
        return Body([], _read_columns(data, media_type, most_rows))
    if media_type not in BATCH_TYPES:
        raise unknown_type(media_type, BATCH_TYPES)
    events = split_batch(data)
    if events is None:
        raise _malformed("the body is not a JSON array of events, nor one event")
    return Body(events)


def read_event(data: bytes, media_type: str) -> bytes:
    """The one event of a body; ``media-type-unknown`` or ``request-malformed``."""
    if media_type not in EVENT_TYPES:
        raise unknown_type(media_type, EVENT_TYPES)
    if data.lstrip(b" \t\r\n")[:1] != b"{" or split_batch(data) is None:
        raise _malformed("the body is not one event, a JSON object")
    return data


def unknown_type(media_type: str, known: tuple[str, ...]) -> TanzhangError:
    """``media-type-unknown`` for a content type that is not taken here."""
    return refuse(
        "media-type-unknown",
        f"content type {media_type or 'none'} is not taken here",
        where="header: Content-Type",
        remedy=f"use one of {', '.join(known)}",
    )


def too_large(most_bytes: int) -> TanzhangError:
    """``body-too-large``."""
    return refuse(
        "body-too-large",
        f"the body holds more than {most_bytes:,} bytes",
        where="body",
        remedy="send less at once, or use an upload",
    )


def _malformed(what: str) -> TanzhangError:
    return refuse("request-malformed", what, where="body", remedy="send it whole, as its content type says it is")


def _read_columns(data: bytes, media_type: str, most_rows: int) -> pa.Table:
    """CSV or Parquet as raw rows, by the readers of files."""
    if media_type == PARQUET_TYPE:
        _check_parquet(data, most_rows)
    with tempfile.TemporaryDirectory(prefix="tanzhang-body-") as folder:
        path = Path(folder) / f"body{_ENDINGS[media_type]}"
        path.write_bytes(data)
        con = connect()
        try:
            raw = read_submission(con, path)
            _check_size(con, raw, most_rows)
            return con.sql(f"FROM {raw} ORDER BY row").to_arrow_table()
        except TanzhangError as error:
            problems = [
                Problem(each.code, each.message, each.where.replace(str(path), "body"), each.remedy)
                for each in error.problems
            ]
            raise TanzhangError(problems) from None
        finally:
            con.close()


def _check_parquet(data: bytes, most_rows: int) -> None:
    """Refuse what a Parquet file's own footer says is too much, before it is read."""
    try:
        footer = pq.read_metadata(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise _malformed(f"the body is not a Parquet file: {str(error).partition(chr(10))[0]}") from None
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    if footer.num_rows > most_rows:
        raise _too_many(footer.num_rows, most_rows)
    if sum(group.total_byte_size for group in groups) > MOST_TEXT_BYTES:
        raise too_large(MOST_TEXT_BYTES)


def _check_size(con: duckdb.DuckDBPyConnection, raw: str, most_rows: int) -> None:
    texts = " + ".join(f"""coalesce(sum(strlen("{name}"::VARCHAR)), 0)""" for name in TEXT_COLUMNS)
    ((rows, size),) = con.execute(f"SELECT count(*), {texts} FROM {raw}").fetchall()
    if rows > most_rows:
        raise _too_many(rows, most_rows)
    if size > MOST_TEXT_BYTES:
        raise too_large(MOST_TEXT_BYTES)


def _too_many(rows: int, most_rows: int) -> TanzhangError:
    return refuse(
        "too-many-rows",
        f"the request holds {rows:,} events, and {most_rows:,} are the most",
        where="body",
        remedy="send them in several requests, or upload a file",
    )
