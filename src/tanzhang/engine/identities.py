"""Identities of many texts at once: :func:`tanzhang.core.claim.identity` in columns."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, identities, one_array
from tanzhang.engine.hashing import FEW_ROWS, sha256_column


def identity_column(texts: pa.Array | pa.ChunkedArray, key: bytes) -> pa.ExtensionArray:
    """The identity of each identity text under ``key``, as UUIDs in the same order; NULL stays NULL.

    Works on the core that calls it.
    """
    column = one_array(texts)
    if not column.null_count:
        return identities(_hashed(column, key.hex()))
    valid = np.asarray(column.is_valid())
    filled = np.zeros((len(column), IDENTITY_BYTES), np.uint8)
    if valid.any():
        filled[valid] = _hashed(column.drop_null(), key.hex())
    return identities(filled, valid)


def _hashed(texts: pa.StringArray, prefix: str) -> Bytes:
    """The first 16 bytes of SHA-256 over prefix and text, a row each; no text is NULL."""
    if len(texts) > FEW_ROWS:
        return sha256_column(texts, prefix)[:, :IDENTITY_BYTES]
    joined = b"".join(hashlib.sha256((prefix + text).encode()).digest()[:IDENTITY_BYTES] for text in texts.to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(-1, IDENTITY_BYTES)
