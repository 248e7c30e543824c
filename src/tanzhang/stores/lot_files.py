"""Files of a frozen lot, which name no person.

::

    lots/<lot>/members.parquet   batch, place, amount_mg, in the order of the lot
    lots/<lot>/subtrees.bin      sum (16 bytes, big-endian) and hash of every 256 leaves of its tree

They are written before the lot's row names them; a file that no row names does not exist.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from tanzhang.core.errors import refuse
from tanzhang.core.lot import lot_text
from tanzhang.engine.columns import Numbers, integers
from tanzhang.engine.lot import PLACE_BITS, LotTree, batches_of, held_at, keys_of, places_of
from tanzhang.stores.records import digest_of, read_slice, writing_table
from tanzhang.stores.storage import Place, parquet_file, write_durably

FOLDER, MEMBERS, SUBTREES = "lots", "members.parquet", "subtrees.bin"
SCHEMA = pa.schema([("batch", pa.int32()), ("place", pa.uint32()), ("amount_mg", pa.int64())])
_ROWS_AT_ONCE = 1 << 20


def write_lot(storage: Place, number: int, keys: Numbers, amounts: Numbers, tree: LotTree) -> dict[str, str]:
    """Write the files of a lot, durably; returns what its row says of them."""
    folder = f"{FOLDER}/{lot_text(number)}"
    file, subtrees = f"{folder}/{MEMBERS}", f"{folder}/{SUBTREES}"
    with writing_table(storage / file, home=storage) as written:
        written.add(SCHEMA.empty_table())
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            own = keys[start : start + _ROWS_AT_ONCE]
            columns = [batches_of(own).astype(np.int32), places_of(own).astype(np.uint32)]
            arrays = [pa.array(each) for each in (*columns, amounts[start : start + _ROWS_AT_ONCE])]
            written.add(pa.table(arrays, schema=SCHEMA))
    write_durably(storage / subtrees, tree.subtrees, up_to=storage)
    return {
        "file": file,
        "file_digest": written.digest,
        "subtrees": subtrees,
        "subtrees_digest": hashlib.sha256(tree.subtrees).hexdigest(),
    }


def read_members(storage: Place, row: Any, start: int = 0, stop: int | None = None) -> tuple[Numbers, Numbers]:
    """Keys (:mod:`tanzhang.engine.lot`) and amounts [mg] of members ``[start, stop)`` of a lot, by default all.

    ``lot-file-changed`` where the file is missing.
    """
    path = storage / row.file
    if not path.is_file():
        raise changed(row, row.file)
    if (start, stop) == (0, None):
        with parquet_file(path) as file:
            table = file.read()
    else:
        table = read_slice(path, start, row.members if stop is None else min(stop, row.members))
    return _columns(table)


def members_at(storage: Place, row: Any, keys: Numbers) -> tuple[Numbers, Numbers]:
    """Of each of some sorted keys its index in a lot, -1 where it is no member, and its amount [mg], 0 there.

    Only row groups that can hold them are read. ``lot-file-changed``.
    """
    path = storage / row.file
    if not path.is_file():
        raise changed(row, row.file)
    indexes, amounts = np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.int64)
    with parquet_file(path) as file:
        first = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            low, high = _bounds(group)
            wanted = np.flatnonzero((keys >= low) & (keys <= high))
            if len(wanted):
                own, mg = _columns(file.read_row_group(number))
                amounts[wanted] += held_at(keys[wanted], own, mg)
                found = np.minimum(np.searchsorted(own, keys[wanted]), len(own) - 1)
                is_there = own[found] == keys[wanted]
                indexes[wanted[is_there]] = first + found[is_there]
            first += group.num_rows
    return indexes, amounts


def read_lot_subtrees(storage: Place, row: Any) -> bytes:
    """The nodes over every 256 leaves of a lot, as they were written; ``lot-file-changed``."""
    path = storage / row.subtrees
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != row.subtrees_digest:
        raise changed(row, row.subtrees)
    return data


def is_as_written(storage: Place, row: Any) -> bool:
    """Whether the file of a lot's members is what was written."""
    digest = digest_of(storage / row.file)
    return digest is not None and digest == str(row.file_digest)


def changed(row: Any, file: str) -> Exception:
    """What is said of a file of a lot that is not what was written."""
    return refuse(
        "lot-file-changed",
        f"{file} is missing or not what was written",
        where=lot_text(row.number),
        remedy="restore it from a backup; the lot's root and total in the log stay what they are",
    )


def _columns(table: pa.Table) -> tuple[Numbers, Numbers]:
    places = integers(table["place"], pa.int64())
    return keys_of(integers(table["batch"], pa.int64()), places), integers(table["amount_mg"], pa.int64())


def _bounds(group: Any) -> tuple[int, int]:
    """The first and the last key that a row group can hold."""
    batch, place = (group.column(number).statistics for number in (0, 1))
    if batch.min != batch.max:
        return batch.min << PLACE_BITS, ((batch.max + 1) << PLACE_BITS) - 1
    return (batch.min << PLACE_BITS) | place.min, (batch.max << PLACE_BITS) | place.max
