"""Tables as blocks of bytes. A cluster moves blocks, not rows: what a row costs is paid once, where it is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tanzhang.engine.columns import Bytes, Numbers, fixed_bytes
from tanzhang.engine.records import ARROW_TYPES, RECORD_COLUMNS

_TEXT = pa.dictionary(pa.int32(), pa.string())
RECORD_SCHEMA = pa.schema(
    [(name, _TEXT if kind == "VARCHAR" else ARROW_TYPES[kind]) for name, kind in RECORD_COLUMNS.items()]
)
"""Records of many writers have one schema, so that they can be put together."""


class Block(NamedTuple):
    """Rows on their way to a part. A negative part is a message to the driver, its number says which."""

    part: int
    rows: int
    data: bytes


def to_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow stream, compressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def from_bytes(streams: Iterable[bytes]) -> pa.Table:
    """The rows of several tables, one after the other; a column that one of them lacks is NULL there."""
    return together([table_of(data) for data in streams])


def table_of(data: bytes) -> pa.Table:
    """The rows of one stream."""
    return pa.ipc.open_stream(data).read_all()


def together(tables: list[pa.Table]) -> pa.Table:
    """Tables one after the other, in one piece; without columns if there are none."""
    if not tables:
        return pa.table({})
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def split(table: pa.Table, parts: Numbers, count: int) -> Iterator[Block]:
    """A table cut up by the part of each row; rows keep their order inside a part."""
    sizes = np.bincount(parts, minlength=count)
    ordered = table.take(pa.array(np.argsort(parts, kind="stable")))
    ends = np.cumsum(sizes)
    for part in np.flatnonzero(sizes).tolist():
        rows = int(sizes[part])
        yield Block(part, rows, to_bytes(ordered.slice(int(ends[part]) - rows, rows)))


def part_of(identities: Bytes, count: int) -> Numbers:
    """The part of each identity, from all of its bits, so that identities which are no hashes spread too."""
    halves = np.ascontiguousarray(identities).view("<u8").reshape(-1, 2)
    mixed = halves[:, 0] ^ halves[:, 1]
    for _ in range(2):  # multiplication spreads low bits upwards (and wraps on purpose), the shift high ones downwards
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15)
        mixed = mixed ^ (mixed >> np.uint64(32))
    parts: Numbers = (mixed % np.uint64(count)).astype(np.int64)
    return parts


def range_of(accounts: Bytes, count: int) -> Numbers:
    """The range of each account, in the order of accounts: as many equal spans of their first four bytes."""
    first = np.ascontiguousarray(accounts[:, :4]).view(">u4").ravel().astype(np.uint64)
    return ((first * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


def as_records(table: pa.Table) -> pa.Table:
    """Record columns as :data:`RECORD_SCHEMA`, however a file or a decision has them; others stay behind them."""
    columns = [
        _dictionary(table[field.name]) if field.type == _TEXT else table[field.name].cast(field.type)
        for field in RECORD_SCHEMA
    ]
    others = [name for name in table.column_names if name not in RECORD_COLUMNS]
    fields = [*RECORD_SCHEMA, *(table.schema.field(name) for name in others)]
    return pa.table([*columns, *(table[name] for name in others)], schema=pa.schema(fields))


def in_batch_order(records: pa.Table) -> pa.Table:
    """Records sorted by account, and by ``place`` where accounts are the same."""
    halves = np.ascontiguousarray(fixed_bytes(records["account"], 16)).view(">u8").reshape(-1, 2)
    order = np.lexsort((np.asarray(records["place"]), halves[:, 1], halves[:, 0]))
    return records.take(pa.array(order)).combine_chunks()


def _dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A text column with codes of one width, and no text in its dictionary that no row has."""
    return column.cast(pa.string()).dictionary_encode().unify_dictionaries()
