"""Record files and report files: immutable Parquet, written whole and durably, found again by digest.

A batch's folder holds ``records.parquet`` in batch order (clustered by account, so one account's records are read
without a scan) and ``subtrees.bin``, the roots of every 256 leaves, so that a receipt hashes one slice and not the
batch. A file that the book does not name does not exist.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import refuse
from tanzhang.core.record import Record
from tanzhang.stores.storage import Place, durable_file, open_binary, parquet_file, write_durably

RECORDS, SUBTREES = "records.parquet", "subtrees.bin"
SUBTREE_LEAVES = 256
ROW_GROUP = 256 * 480  # whole subtrees
_RANDOM = ("action_id", "group_id", "claim", "withdraws", "related")  # hashes: nothing to compress
_TWINS = ("account", "child", "seed")  # hashes that often stand twice in a row
_FEW_VALUES = ("quantified_mg", "granted_mg")  # many acts are worth the same
_MOMENTS = ("started", "ended")  # their bytes compress better place by place
_LOOKED_UP = ("action_id",)  # one row is wanted by its value: a filter tells in which row group it may be
_FILTER = {"ndv": ROW_GROUP, "fpp": 0.01}
_CODEC = {**dict.fromkeys(_RANDOM, "none"), **dict.fromkeys(_TWINS, "lz4")}


class TableFile:
    """A Parquet file being written; each table becomes row groups of its own. ``digest`` is known at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._state = hashlib.sha256()
        self._parquet: pq.ParquetWriter | None = None
        self.digest = ""

    closed = False  # with write() and flush() what pyarrow asks of a file

    def write(self, data: bytes) -> int:
        """Bytes of the file, in order."""
        self._state.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Nothing: the file is made durable as a whole."""

    def add(self, table: pa.Table) -> None:
        """Append the rows of a table; the first one says what the columns are, and may be empty."""
        if self._parquet is None:
            names = table.column_names
            texts = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_dictionary(f.type)]
            self._parquet = pq.ParquetWriter(
                pa.PythonFile(self, mode="w"),
                table.schema,
                compression={name: _CODEC.get(name, "zstd") for name in names},
                use_dictionary=[*texts, *(name for name in _FEW_VALUES if name in names)],
                use_byte_stream_split=[name for name in _MOMENTS if name in names],
                write_statistics=[name for name in names if name not in _RANDOM],
                bloom_filter_options={name: _FILTER for name in _LOOKED_UP if name in names},
            )
        if table.num_rows:
            self._parquet.write_table(table, row_group_size=ROW_GROUP)

    def finish(self) -> None:
        """Write the footer."""
        if self._parquet is None:
            raise AssertionError("a table file without columns")
        self._parquet.close()
        self.digest = self._state.hexdigest()


@contextmanager
def writing_table(path: Place, *, home: Place) -> Iterator[TableFile]:
    """A Parquet file that is there, whole and durable, when the block ends without an error."""
    with durable_file(path, up_to=home) as file:
        table = TableFile(file)
        yield table
        table.finish()


def write_table(path: Place, table: pa.Table, *, home: Place) -> str:
    """Write a table as Parquet, durably; returns the SHA-256 of the file."""
    with writing_table(path, home=home) as file:
        file.add(table)
    return file.digest


def write_subtrees(path: Place, roots: npt.NDArray[np.uint8], *, home: Place) -> str:
    """Write the roots of a batch's subtrees; returns the SHA-256 of the file."""
    data = roots.tobytes()
    write_durably(path, data, up_to=home)
    return hashlib.sha256(data).hexdigest()


def digest_of(path: Place) -> str | None:
    """SHA-256 of a file, None where it is missing."""
    try:
        file = open_binary(path)
    except (FileNotFoundError, IsADirectoryError):
        return None
    with file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_subtrees(path: Place) -> list[bytes]:
    """The roots of a batch's subtrees."""
    data = path.read_bytes()
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def read_slice(path: Place, start: int, stop: int) -> pa.Table:
    """Rows ``[start, stop)`` of a record file, reading only the row groups that hold them."""
    file = parquet_file(path)
    groups: list[int] = []
    first = passed = 0
    for number in range(file.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        if passed < stop and passed + rows > start:
            if not groups:
                first = passed
            groups.append(number)
        passed += rows
    if not groups or stop > passed:
        raise refuse(
            "record-index",
            f"{path.name} holds {passed} records, not [{start}, {stop})",
            where=str(path),
            remedy="run 'tanzhang verify'",
        )
    return file.read_row_groups(groups).slice(start - first, stop - start)


def to_record(row: dict[str, Any]) -> Record:
    """A record from a row of plain Python values as pyarrow gives them."""

    def identity(name: str) -> Any:
        value = row[name]
        return uuid.UUID(bytes=value) if isinstance(value, bytes) else value

    def micros(name: str) -> int | None:
        value = row[name]
        return None if value is None else int(np.datetime64(value, "us").astype(np.int64))

    ended, day = micros("ended"), row["day"]
    if ended is None or not isinstance(day, date):
        raise AssertionError("a record without its time")
    names = ("action_id", "account", "child", "group_id", "claim", "withdraws", "related")
    return Record(
        **{name: identity(name) for name in names},
        **{name: row[name] for name in ("partner", "behaviour", "region", "variant", "evidence", "kind")},
        outcome=row["outcome"],
        plan=row["plan"],
        started=micros("started"),
        ended=ended,
        day=day,
        inputs={name: row[name] for name in INPUT_NAMES if row[name] is not None},
        quantified_mg=row["quantified_mg"],
        granted_mg=row["granted_mg"],
        reversed_mg=row["reversed_mg"],
    )
