"""Identities of many texts at once: :func:`tanzhang.core.claim.identity` in columns."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from tanzhang.engine.hashing import FEW_ROWS, Rows, in_slices, sha256_column

_BYTES = 16


def identity_column(texts: pa.ChunkedArray, key: bytes) -> pa.ExtensionArray:
    """The identity of each identity text under ``key``, as UUIDs in the same order; NULL stays NULL."""
    known = texts.drop_null().combine_chunks()
    count = len(known)
    hashes = np.empty((count, _BYTES), np.uint8)

    def hash_slice(start: int, end: int) -> None:
        hashes[start:end] = _hashed(known.slice(start, end - start), key.hex())

    in_slices(count, 2 * _BYTES, hash_slice)
    if count == len(texts):
        filled = hashes
    else:
        filled = np.zeros((len(texts), _BYTES), np.uint8)
        filled[np.asarray(texts.is_valid())] = hashes
    mask = None if count == len(texts) else texts.is_valid().combine_chunks().buffers()[1]
    storage = pa.FixedSizeBinaryArray.from_buffers(pa.binary(_BYTES), len(texts), [mask, pa.py_buffer(filled)])
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _hashed(texts: pa.StringArray, prefix: str) -> Rows:
    """The first 16 bytes of SHA-256 over prefix and text, a row each; no text is NULL."""
    if len(texts) > FEW_ROWS:
        return sha256_column(texts, prefix)[:, :_BYTES]
    joined = b"".join(hashlib.sha256((prefix + text).encode()).digest()[:_BYTES] for text in texts.to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(-1, _BYTES)
