"""Leaves of an epoch's trees for millions of accounts. Equal to :mod:`tanzhang.core.epoch`, which defines them."""

from __future__ import annotations

import hmac
from datetime import date

import numpy as np

from tanzhang.core.epoch import COMMITMENT_PREFIX, SECRET_BYTES, salt_context
from tanzhang.core.sum_tree import SALT_BYTES
from tanzhang.engine.columns import Bytes, Numbers
from tanzhang.engine.hashing import in_slices, sha256_here
from tanzhang.engine.sum_tree import leaf_hashes


def account_secrets(key: bytes, accounts: Bytes) -> Bytes:
    """The secret of each account: (n, 16) -> (n, 16)."""
    return _prefixed(key, accounts)[:, :SECRET_BYTES].copy()


def account_leaves(accounts: Bytes, secrets: Bytes, amounts: Numbers, day: date, unit: str) -> Bytes:
    """The leaf of each account in the tree of one unit and day.

    Shape:  uint8 (n, 16), uint8 (n, 16), int64 (n) [mg] -> uint8 (n, 32), same order.
    """
    salts = _prefixed(salt_context(day, unit), secrets)[:, :SALT_BYTES].copy()
    return leaf_hashes(_prefixed(COMMITMENT_PREFIX, accounts), salts, amounts)


def zero_leaves(key: bytes, amounts: Numbers, day: date, unit: str) -> Bytes:
    """Leaves of no account, which look like any other; the first may hold what belongs to nobody any more.

    ``key`` is the home's identity key: whoever knew which leaves these are would know how many accounts there are.
    """
    own = hmac.digest(key, b"tanzhang zero leaves" + salt_context(day, unit), "sha256")
    numbers = np.arange(len(amounts), dtype=">u8").view(np.uint8).reshape(-1, 8)
    drawn = _prefixed(own, numbers)
    salts = _prefixed(own, drawn)[:, :SALT_BYTES].copy()
    return leaf_hashes(drawn, salts, amounts)


def _prefixed(prefix: bytes, values: Bytes) -> Bytes:
    """SHA-256 of a prefix and each value, on all cores."""
    count, width = values.shape
    digests = np.empty((count, 32), np.uint8)
    head = np.frombuffer(prefix, np.uint8)

    def hash_slice(start: int, end: int) -> None:
        rows = np.empty((end - start, len(prefix) + width), np.uint8)
        rows[:, : len(prefix)] = head
        rows[:, len(prefix) :] = values[start:end]
        digests[start:end] = sha256_here(rows)

    in_slices(count, hash_slice)
    return digests
