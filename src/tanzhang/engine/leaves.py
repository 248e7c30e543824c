"""Leaves of many records at once: the layout of :mod:`tanzhang.core.record` in columns, hashed in bulk.

Equal to ``leaf(salt(salt_seed(key, account), index), encode(record))`` row by row; tests hold the two together.
"""

from __future__ import annotations

import threading
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
from tanzhang.engine.columns import Bytes, Numbers, fixed_bytes, integers, text_codes
from tanzhang.engine.hashing import sha256_here

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
_NONE = 255  # stands for no kind, outcome or evidence
# What is hashed: the prefix of an RFC 6962 leaf, the salt, the layout.
_LEAF = np.dtype([("prefix", "u1"), ("salt", f"V{SALT_BYTES}"), ("layout", _LAYOUT)])


def salt_seeds(accounts: Bytes, seal_key: bytes) -> Bytes:
    """The salt seed of each account, 16 bytes a row; one batch, one key."""
    rows = np.empty((len(accounts), 48), dtype=np.uint8)
    rows[:, :32] = np.frombuffer(seal_key, dtype=np.uint8)
    rows[:, 32:] = accounts
    return np.ascontiguousarray(sha256_here(rows)[:, :SALT_BYTES])


def leaf_hashes(records: pa.Table, seeds: Bytes, *, first_index: int = 0, index: Numbers | None = None) -> Bytes:
    """The leaf of each record, 32 bytes a row, on the core that calls it.

    ``records`` has the columns of :data:`tanzhang.engine.records.RECORD_COLUMNS`, in batch order from ``first_index``,
    or those at the places ``index`` of the batch; ``seeds`` is (n, 16), of each record's account. What comes out for
    an erased record is no leaf: :mod:`tanzhang.stores.erased` has it.
    """
    places = np.arange(first_index, first_index + records.num_rows) if index is None else index
    leaves = np.empty((records.num_rows, 32), dtype=np.uint8)
    for start in range(0, records.num_rows, _SLICE_ROWS):
        here = slice(start, start + _SLICE_ROWS)
        leaves[here] = _salted(records.slice(start, _SLICE_ROWS), salts(seeds[here], places[here]))
    return leaves


def salted_leaf_hashes(records: pa.Table, salts: Bytes) -> Bytes:
    """As :func:`leaf_hashes`, where the salt of each record is known, not what it came from; ``salts`` is (n, 16)."""
    leaves = np.empty((records.num_rows, 32), dtype=np.uint8)
    for start in range(0, records.num_rows, _SLICE_ROWS):
        here = slice(start, start + _SLICE_ROWS)
        leaves[here] = _salted(records.slice(start, _SLICE_ROWS), salts[here])
    return leaves


def _salted(part: pa.Table, salts: Bytes) -> Bytes:
    rows = _scratch(part.num_rows)
    rows["salt"] = np.ascontiguousarray(salts).view(f"V{SALT_BYTES}").ravel()
    _fill(rows["layout"], part)
    return sha256_here(rows.view(np.uint8).reshape(len(rows), _LEAF.itemsize))


# Rows are 317 bytes: few enough at a time to stay near the core, and in the same memory each time, since memory that
# is new to a process costs more than the hashing.
_SLICE_ROWS = 1 << 15
_own = threading.local()


def _scratch(count: int) -> npt.NDArray[np.void]:
    """Rows of zeros that this thread may use until it asks again."""
    rows: npt.NDArray[np.void] | None = getattr(_own, "rows", None)
    if rows is None:
        rows = _own.rows = np.empty(_SLICE_ROWS, dtype=_LEAF)
    rows[:count].view(np.uint8).fill(0)
    return rows[:count]


def salts(seeds: Bytes, places: Numbers) -> Bytes:
    """The salt of each record from its account's seed, (n, 16), and its place in the batch; 16 bytes a row."""
    rows = np.empty((len(seeds), SALT_BYTES + 8), dtype=np.uint8)
    rows[:, :SALT_BYTES] = seeds
    rows[:, SALT_BYTES:] = places.astype(">u8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(sha256_here(rows)[:, :SALT_BYTES])


def layouts(records: pa.Table) -> Bytes:
    """The fixed layout of each record, :data:`LAYOUT_BYTES` a row."""
    rows = np.zeros(records.num_rows, dtype=_LAYOUT)
    _fill(rows, records)
    return rows.view(np.uint8).reshape(-1, LAYOUT_BYTES)


def _fill(rows: npt.NDArray[np.void], records: pa.Table) -> None:
    """Write each record's layout into its row, which is all zeros."""
    rows["version"] = LAYOUT_VERSION
    for name, numbers in (("kind", KIND_NUMBER), ("outcome", OUTCOME_NUMBER), ("evidence", EVIDENCE_NUMBER)):
        codes, texts = text_codes(records[name])
        if texts:
            rows[name] = np.array([numbers.get(text or "", _NONE) for text in texts], dtype=np.uint8)[codes]
    missing = np.zeros(records.num_rows, dtype=np.uint32)
    for position, name in enumerate(OPTIONAL):
        column = records[name]
        if column.null_count:
            missing |= np.asarray(pc.is_null(column)).astype(np.uint32) << np.uint32(position)
    rows["missing"] = missing
    for name in _IDENTITIES:
        if records[name].null_count < records.num_rows:
            rows[name] = fixed_bytes(records[name], 16).view("V16").ravel()
    rows["context"] = _contexts(records)
    codes, texts = text_codes(records["plan"])
    if texts:
        digests = [bytes(32) if text is None else bytes.fromhex(text) for text in texts]
        rows["plan"] = np.frombuffer(b"".join(digests), dtype="V32")[codes]
    for name in ("started", "ended", *INPUT_NAMES, "quantified_mg", "granted_mg", "reversed_mg"):
        if records[name].null_count < records.num_rows:
            rows[name] = integers(records[name], pa.int64())
    rows["day"] = integers(records["day"], pa.int32())


def _contexts(records: pa.Table) -> npt.NDArray[np.void]:
    """The context digest of each row; there are few distinct ones."""
    combined = np.zeros(records.num_rows, dtype=np.int64)
    lists: list[list[str | None]] = []
    for name in ("partner", "behaviour", "region", "variant"):
        codes, texts = text_codes(records[name])
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
