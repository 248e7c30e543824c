"""Leaves of many records at once: the layout of :mod:`tanzhang.core.record` in columns, hashed in bulk.

Equal to ``leaf(salt(salt_seed(key, account), index), encode(record))`` row by row; tests hold the two together.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.record import (
    EVIDENCE_NUMBER,
    KIND_NUMBER,
    LAYOUT_BYTES,
    LAYOUT_VERSION,
    OPTIONAL,
    OUTCOME_NUMBER,
    SALT_BYTES,
    context_digest,
)
from tanzhang.engine.hashing import sha256_rows

Bytes = npt.NDArray[np.uint8]

_IDENTITIES = ("action_id", "account", "child", "group_id", "claim", "withdraws", "related")
_LAYOUT = np.dtype(
    [
        ("version", "u1"),
        ("kind", "u1"),
        ("outcome", "u1"),
        ("evidence", "u1"),
        ("missing", ">u4"),
        *((name, "V16") for name in _IDENTITIES),
        ("context", "V32"),
        ("plan", "V32"),
        ("started", ">i8"),
        ("ended", ">i8"),
        ("day", ">i4"),
        *((name, ">i8") for name in INPUT_NAMES),
        ("quantified_mg", ">i8"),
        ("granted_mg", ">i8"),
        ("reversed_mg", ">i8"),
    ]
)
_CHUNK = 1 << 16


def salt_seeds(accounts: pa.ChunkedArray, seal_key: bytes) -> Bytes:
    """The salt seed of each row's account, 16 bytes a row; one batch, one key."""
    rows = np.empty((len(accounts), 48), dtype=np.uint8)
    rows[:, :32] = np.frombuffer(seal_key, dtype=np.uint8)
    rows[:, 32:] = fixed_bytes(accounts, 16)
    return np.ascontiguousarray(sha256_rows(rows)[:, :SALT_BYTES])


def leaf_hashes(records: pa.Table, seeds: Bytes, *, first_index: int = 0) -> Bytes:
    """The leaf of each record, 32 bytes a row.

    ``records`` has the columns of :data:`tanzhang.engine.settle.RECORD_COLUMNS`, in batch order from ``first_index``;
    ``seeds`` is (n, 16).
    """
    leaves = np.empty((records.num_rows, 32), dtype=np.uint8)

    def hash_chunk(start: int) -> None:
        part = records.slice(start, _CHUNK)
        count = part.num_rows
        rows = np.empty((count, 1 + SALT_BYTES + LAYOUT_BYTES), dtype=np.uint8)
        rows[:, 0] = 0
        rows[:, 1 : 1 + SALT_BYTES] = _salts(seeds[start : start + count], first_index + start)
        rows[:, 1 + SALT_BYTES :] = layouts(part)
        leaves[start : start + count] = sha256_rows(rows)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(hash_chunk, range(0, records.num_rows, _CHUNK)))
    return leaves


def _salts(seeds: Bytes, first_index: int) -> Bytes:
    rows = np.empty((len(seeds), SALT_BYTES + 8), dtype=np.uint8)
    rows[:, :SALT_BYTES] = seeds
    indexes = np.arange(first_index, first_index + len(seeds), dtype=">u8")
    rows[:, SALT_BYTES:] = indexes.view(np.uint8).reshape(-1, 8)
    return sha256_rows(rows)[:, :SALT_BYTES]


def layouts(records: pa.Table) -> Bytes:
    """The fixed layout of each record, :data:`LAYOUT_BYTES` a row."""
    rows = np.zeros(records.num_rows, dtype=_LAYOUT)
    rows["version"] = LAYOUT_VERSION
    for name, numbers in (("kind", KIND_NUMBER), ("outcome", OUTCOME_NUMBER), ("evidence", EVIDENCE_NUMBER)):
        codes, texts = _encoded(records[name])
        rows[name] = np.array([numbers[text or ""] for text in texts], dtype=np.uint8)[codes] if texts else 0
    for name in _IDENTITIES:
        rows[name] = fixed_bytes(records[name], 16).view("V16").ravel()
    rows["context"] = _contexts(records)
    codes, texts = _encoded(records["plan"])
    digests = [bytes(32) if text is None else bytes.fromhex(text) for text in texts]
    rows["plan"] = np.frombuffer(b"".join(digests), dtype="V32")[codes] if texts else np.void(bytes(32))
    for name in ("started", "ended", *INPUT_NAMES, "quantified_mg", "granted_mg", "reversed_mg"):
        rows[name] = _integers(records[name], pa.int64())
    rows["day"] = _integers(records["day"], pa.int32())
    missing = np.zeros(records.num_rows, dtype=np.uint32)
    for position, name in enumerate(OPTIONAL):
        column = records[name]
        if column.null_count:
            missing |= np.asarray(pc.is_null(column)).astype(np.uint32) << np.uint32(position)
    rows["missing"] = missing
    return rows.view(np.uint8).reshape(-1, LAYOUT_BYTES)


def fixed_bytes(column: pa.ChunkedArray, width: int) -> Bytes:
    """A column of identities as (n, width) bytes; NULL is zero bytes."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # pyarrow keeps zero chunks as a chunked array
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.null_count:
        array = pc.fill_null(array, bytes(width))
    data = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
    return data[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def _integers(column: pa.ChunkedArray, wanted: pa.DataType) -> npt.NDArray[Any]:
    whole = column.cast(wanted)
    return np.asarray(pc.fill_null(whole, 0) if whole.null_count else whole)


def _encoded(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str | None]]:
    """Codes of a text column and the texts they stand for; NULL is a text of its own."""
    if not isinstance(column.type, pa.DictionaryType):
        column = column.dictionary_encode(null_encoding="mask")
    column = column.unify_dictionaries()
    if column.num_chunks == 0:
        return np.zeros(0, dtype=np.int64), []
    texts: list[str | None] = column.chunk(0).dictionary.to_pylist()
    codes = pa.chunked_array([chunk.indices for chunk in column.chunks])
    if codes.null_count:
        codes = pc.fill_null(codes.cast(pa.int64()), len(texts))
        texts.append(None)
    return np.asarray(codes).astype(np.int64), texts


def _contexts(records: pa.Table) -> npt.NDArray[np.void]:
    """The context digest of each row; there are few distinct ones."""
    combined = np.zeros(records.num_rows, dtype=np.int64)
    lists: list[list[str | None]] = []
    for name in ("partner", "behaviour", "region", "variant"):
        codes, texts = _encoded(records[name])
        combined = combined * max(len(texts), 1) + codes
        lists.append(texts)
    found, inverse = np.unique(combined, return_inverse=True)
    digests = []
    for code in found.tolist():
        picked: list[Any] = []
        for texts in reversed(lists):
            code, position = divmod(code, len(texts))
            picked.append(texts[position])
        variant, region, behaviour, partner = picked
        digests.append(context_digest(partner, behaviour, region, variant))
    return np.frombuffer(b"".join(digests), dtype="V32")[inverse]
