"""SHA-256 and Merkle trees in columns, for batches of millions of leaves.

Same results as :mod:`tanzhang.core.merkle` and :mod:`hashlib`, which define them. Refused, as a programming error,
are arrays that are not rows of bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tanzhang.core.merkle import EMPTY_ROOT, HASH_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

Rows = npt.NDArray[np.uint8]

# Below this many rows hashlib is done before DataFusion is loaded or has started.
FEW_ROWS = 1_024
# Small enough that what a slice works on stays near the core and is used again by the next one.
_SLICE_ROWS = 1 << 16


def sha256_rows(rows: Rows) -> Rows:
    """SHA-256 of every row.

    Shape:  uint8 (n, width) -> uint8 (n, 32), same order.
    Raises: ValueError if the array is not two-dimensional uint8.
    """
    _check(rows)
    n = len(rows)
    hashes = np.empty((n, HASH_BYTES), np.uint8)

    def hash_slice(start: int, end: int) -> None:
        hashes[start:end] = sha256_here(rows[start:end])

    in_slices(n, hash_slice)
    return hashes


def merkle_root(leaf_hashes: Rows) -> bytes:
    """Root over the leaf hashes in order, holding two levels at a time.

    Raises: ValueError if the rows are not 32 bytes.
    """
    _check(leaf_hashes, HASH_BYTES)
    if not len(leaf_hashes):
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = _parents(level)
    return bytes(level[0])


def subtree_roots(leaf_hashes: Rows, height: int = 8, *, cores: int | None = None) -> Rows:
    """Roots of the aligned subtrees of 2^height leaves; the last one may cover fewer. On all cores, or on so many.

    Shape:  uint8 (n, 32) -> uint8 (ceil(n / 2^height), 32).
    Raises: ValueError if the rows are not 32 bytes.
    """
    _check(leaf_hashes, HASH_BYTES)
    level = leaf_hashes
    for _ in range(height):
        level = _parents(level, cores)
    return level


def _parents(level: Rows, cores: int | None = None) -> Rows:
    pairs = len(level) // 2
    parents = np.empty((pairs + len(level) % 2, HASH_BYTES), np.uint8)
    children = level[: 2 * pairs].reshape(pairs, 2 * HASH_BYTES)

    def hash_slice(start: int, end: int) -> None:
        rows = np.empty((end - start, 1 + 2 * HASH_BYTES), np.uint8)
        rows[:, 0] = 1
        rows[:, 1:] = children[start:end]
        parents[start:end] = sha256_here(rows)

    in_slices(pairs, hash_slice, cores)
    if len(level) % 2:
        parents[-1] = level[-1]
    return parents


def in_slices(n: int, work: Callable[[int, int], None], cores: int | None = None) -> None:
    """Call ``work(start, end)`` over all n rows, on all cores (or on so many) where that pays."""
    cores = cores or os.cpu_count() or 1
    if n <= FEW_ROWS or cores == 1:
        for start in range(0, max(n, 1), _SLICE_ROWS):
            work(start, min(start + _SLICE_ROWS, n))
        return
    step = max(1, min(_SLICE_ROWS, -(-n // cores)))
    with ThreadPoolExecutor(cores) as pool:
        # Reading the results raises what a slice raised.
        list(pool.map(lambda start: work(start, min(start + step, n)), range(0, n, step)))


def sha256_here(rows: Rows) -> Rows:
    """:func:`sha256_rows` on the core that calls it."""
    n, width = rows.shape
    if n <= FEW_ROWS or n * width >= 1 << 31:  # the offsets below are int32
        digests = b"".join(sha256(row).digest() for row in np.ascontiguousarray(rows))
        return np.frombuffer(digests, np.uint8).reshape(n, HASH_BYTES)

    import pyarrow as pa

    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    return sha256_column(pa.Array.from_buffers(pa.binary(), n, buffers))


def sha256_column(column: pa.Array, prefix: str | None = None) -> Rows:
    """SHA-256 of every value of one Arrow array without NULLs, by one core; ``prefix`` is hashed before each text.

    Shape:  n binary or text values -> uint8 (n, 32), same order.
    """
    # Loaded here because it takes a third of a second, which most commands need not pay.
    import pyarrow as pa
    from datafusion import SessionConfig, SessionContext, col, functions, literal

    # Rows keep their order only in a single partition.
    context = SessionContext(SessionConfig().with_target_partitions(1))
    value = col("value") if prefix is None else functions.concat(literal(prefix), col("value"))
    hashed = context.from_arrow(pa.table({"value": column})).select(functions.sha256(value).alias("hash"))
    hashes = pa.chunked_array([batch.column(0) for batch in hashed.collect()]).cast(pa.binary(HASH_BYTES))
    return np.concatenate(
        [
            np.frombuffer(chunk.buffers()[1], np.uint8).reshape(-1, HASH_BYTES)[chunk.offset :][: len(chunk)]
            for chunk in hashes.chunks
        ]
    )


def _check(rows: Rows, width: int | None = None) -> None:
    if rows.ndim != 2 or rows.dtype != np.uint8 or (width is not None and rows.shape[1] != width):
        expected = f"(n, {'width' if width is None else width})"
        raise ValueError(f"expected uint8 rows of shape {expected}, got {rows.dtype} {rows.shape}")
