"""A batch's records as files: one, or several parts that different processes wrote.

One process writes ``records.parquet`` and the book names its digest. Where many write one batch, each writes parts
under names of its own, and ``parts.json`` lists those that count, in batch order, with rows and digests; the book
names that list and its digest. A part that the list does not name does not exist, nor does a list that the book does
not name. Parts begin and end at any record, so a subtree may lie across two of them.

Where persons were erased, files without them stand for those before: a list of another name names them, and the file
with the leaves of the erased records (:mod:`tanzhang.stores.erased`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tanzhang.core.errors import refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes
from tanzhang.stores.erased import ErasedLeaves, read_leaves, write_leaves
from tanzhang.stores.records import ROW_GROUP, SUBTREE_LEAVES, read_slice
from tanzhang.stores.storage import Place, files_under, parquet_file, remove, write_durably

PARTS = "parts.json"
PARTS_FORMAT, ERASED_FORMAT = "tanzhang.parts/1", "tanzhang.parts/2"


class BatchRow(Protocol):
    """What is read of a row of table ``batch``."""

    folder: str
    records: int
    records_file: str
    records_digest: str


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file of records ``[first, first + rows)`` of its batch."""

    path: Place
    first: int
    rows: int
    digest: str


def part_name(number: int, token: str) -> str:
    """The name of a part; with another ``token`` for each try, so that no try ever touches another's file."""
    return f"records-{number:05d}-{token}.parquet"


def write_parts(folder: Place, files: Sequence[RecordFile], *, home: Place) -> str:
    """Write the list of a batch's parts, in batch order; returns its SHA-256."""
    return _write_list(folder / PARTS, {"format": PARTS_FORMAT, "parts": _listed(files)}, home)


def write_erased_parts(
    folder: Place, files: Sequence[RecordFile], leaves: ErasedLeaves, token: str, *, home: Place
) -> tuple[str, str]:
    """Write what stands for a batch's files once records are erased: their leaves, and the list of all.

    Returns the name and the SHA-256 of the list.
    """
    name = f"erased-{token}.bin"
    digest = write_leaves(folder / name, leaves, home=home)
    erased = {"file": name, "rows": str(len(leaves)), "sha256": digest}
    listed = f"parts-{token}.json"
    data = {"format": ERASED_FORMAT, "parts": _listed(files), "erased": erased}
    return listed, _write_list(folder / listed, data, home)


def _listed(files: Sequence[RecordFile]) -> list[dict[str, str]]:
    return [{"file": file.path.name, "rows": str(file.rows), "sha256": file.digest} for file in files]


def _write_list(path: Place, listed: dict[str, Any], home: Place) -> str:
    data = canonical_json(listed).encode()
    write_durably(path, data, up_to=home)
    return hashlib.sha256(data).hexdigest()


def record_files(home: Place, row: BatchRow) -> list[RecordFile]:
    """The files that hold a batch's records, in order. Refuses a list that the book does not name.

    Raises ``record-file-changed``; the files themselves are not read.
    """
    folder = home / row.folder
    if not is_list(row.records_file):
        return [RecordFile(folder / row.records_file, 0, row.records, row.records_digest)]
    files, first = [], 0
    for part in _list(home, row)["parts"]:
        files.append(RecordFile(folder / PurePath(part["file"]).name, first, int(part["rows"]), part["sha256"]))
        first += files[-1].rows
    return files


def is_list(records_file: str) -> bool:
    """Whether what the book names for a batch is a list of files, and not a file of records."""
    return records_file.endswith(".json")


def erased_file(home: Place, row: BatchRow) -> tuple[Place, str] | None:
    """The file with the leaves of a batch's erased records, and its digest; None if none was erased.

    Raises ``record-file-changed``.
    """
    erased = _list(home, row).get("erased") if is_list(row.records_file) else None
    if erased is None:
        return None
    return home / row.folder / PurePath(erased["file"]).name, erased["sha256"]


def erased_leaves(home: Place, row: BatchRow) -> ErasedLeaves:
    """The leaves of a batch's erased records; ``record-file-changed``."""
    found = erased_file(home, row)
    return ErasedLeaves() if found is None else read_leaves(*found)


def _list(home: Place, row: BatchRow) -> dict[str, Any]:
    """The list that the book names."""
    path = home / row.folder / row.records_file
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != row.records_digest:
        raise refuse(
            "record-file-changed",
            f"{row.folder}/{row.records_file} is not what was written",
            where=f"{row.folder}/{row.records_file}",
            remedy="restore it from a backup; everything up to the last checkpoint can be compared with the "
            "published log",
        )
    listed: dict[str, Any] = json.loads(data)
    return listed


def all_record_files(home: Place, rows: Iterable[BatchRow]) -> list[RecordFile]:
    """The record files of several batches."""
    return [file for row in rows for file in record_files(home, row)]


def read_span(files: Sequence[RecordFile], start: int, stop: int) -> pa.Table:
    """Records ``[start, stop)`` of a batch from the files that hold them; ``record-index`` if there are none."""
    tables = [
        read_slice(file.path, max(start - file.first, 0), min(stop - file.first, file.rows))
        for file in files
        if file.first < stop and file.first + file.rows > start
    ]
    found = pa.concat_tables(tables, promote_options="default") if tables else None
    if found is None or found.num_rows != stop - start:
        held = sum(file.rows for file in files)
        raise refuse(
            "record-index",
            f"the batch holds {held} records, not [{start}, {stop})",
            where=str(files[0].path.parent) if files else "batch",
            remedy="run 'tanzhang verify'",
        )
    return found


def whole_subtrees(files: Iterable[RecordFile]) -> Iterator[tuple[int, pa.Table]]:
    """A batch's records in tables of whole subtrees, the last one apart, with the index of each table's first record.

    A table is about a row group; memory is that of one.
    """
    first, waiting = 0, None
    for file in files:
        with parquet_file(file.path) as parquet:
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number)
                if waiting is not None:
                    table = pa.concat_tables([waiting, table], promote_options="default").combine_chunks()
                whole = table.num_rows - table.num_rows % SUBTREE_LEAVES
                if whole:
                    yield first, table.slice(0, whole)
                first += whole
                waiting = table.slice(whole) if whole < table.num_rows else None
    if waiting is not None:
        yield first, waiting


def whole_accounts(files: Iterable[RecordFile], names: Sequence[str], rows: int | None) -> Iterator[pa.Table]:
    """The records of a batch, some columns of them, in tables of whole accounts of about so many rows; None: in one.

    A batch is in order of the account, so that all acts of a person in it stand in one table.
    """
    waiting: pa.Table | None = None
    for file in files:
        with parquet_file(file.path) as parquet:
            there = [name for name in names if name in parquet.schema_arrow.names]
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number, columns=there)
                if waiting is not None:
                    table = pa.concat_tables([waiting, table], promote_options="default")
                cut = _last_account(table) if rows is not None and table.num_rows >= rows else 0
                if cut:
                    yield table.slice(0, cut)
                waiting = table.slice(cut)
    if waiting is not None and waiting.num_rows:
        yield waiting


def _last_account(table: pa.Table) -> int:
    """The first row of the last account of a table."""
    accounts = fixed_bytes(table["account"], IDENTITY_BYTES)
    other = np.flatnonzero((accounts != accounts[-1]).any(axis=1))
    return int(other[-1]) + 1 if len(other) else 0


@dataclass(frozen=True, slots=True)
class RecordSlice:
    """Some row groups of a record file: what one process of several looks through."""

    path: Place
    groups: tuple[int, ...]
    rows: int


def record_slices(files: Iterable[RecordFile], rows: int) -> list[RecordSlice]:
    """The row groups of files in slices of about so many rows; only footers are read."""
    slices = []
    for file in files:
        with parquet_file(file.path) as parquet:
            metadata = parquet.metadata
        groups: list[int] = []
        held = 0
        for number in range(metadata.num_row_groups):
            groups.append(number)
            held += metadata.row_group(number).num_rows
            if held >= rows or number == metadata.num_row_groups - 1:
                slices.append(RecordSlice(file.path, tuple(groups), held))
                groups, held = [], 0
    return slices


def read_record_slice(part: RecordSlice, names: Sequence[str]) -> pa.Table:
    """Columns of a slice's records."""
    with parquet_file(part.path) as parquet:
        return parquet.read_row_groups(list(part.groups), columns=list(names))


def row_group_bounds(first: int, rows: int) -> Iterator[tuple[int, int]]:
    """Row groups of a part that begins at record ``first``: after a short one they begin with a subtree of the batch.

    So a receipt mostly reads one row group, wherever its part begins.
    """
    start, stop = 0, min(ROW_GROUP - first % SUBTREE_LEAVES, rows)
    while start < rows:
        yield start, stop
        start, stop = stop, min(stop + ROW_GROUP, rows)


def clear_unnamed(folder: Place) -> None:
    """Remove what a settlement that died left in the folder of a batch that no row of the book names."""
    for name, _ in files_under(folder):
        remove(folder / name)
