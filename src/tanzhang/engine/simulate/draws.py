"""Chance without state: a draw is a hash of the seed, a purpose and a number, so any slice can be made by itself."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

TEXT_CHARS = 14  # 64 bits in letters of 5 bits, written in pairs
_LETTERS = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no letter that reads like a digit
_PAIRS = np.frombuffer(
    b"".join(bytes((_LETTERS[low], _LETTERS[high])) for high in range(32) for low in range(32)), np.uint16
)


def salt_of(seed: int, purpose: str) -> np.uint64:
    """The salt of one purpose under a seed."""
    return np.uint64(int.from_bytes(hashlib.sha256(f"{seed}|{purpose}".encode()).digest()[:8], "little"))


def mix(numbers: U64, salt: np.uint64) -> U64:
    """A pseudo-random number for each number, no two of them equal: the finalizer of SplitMix64, a permutation.

    Shape: uint64 (n,) -> uint64 (n,); the input is left as it is.
    """
    mixed = numbers + salt
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def bits(draws: U64, first: int, count: int) -> I64:
    """``count`` bits of every draw from bit ``first`` on, as whole numbers."""
    return ((draws >> np.uint64(first)) & np.uint64((1 << count) - 1)).astype(np.int64)


def between(draws: U64, first: int, low: int, high: int) -> I64:
    """Whole numbers from ``low`` to ``high``, both included, from 16 bits of every draw."""
    return low + ((bits(draws, first, 16) * (high - low + 1)) >> 16)


def texts(numbers: U64, *, known: Flags | None = None, prefixes: npt.NDArray[np.uint16] | None = None) -> pa.Array:
    """Every number as a text of 14 letters and digits, behind the two letters of ``prefixes`` if there are any.

    Shape: uint64 (n,) -> n texts; NULL where ``known`` is false. Different numbers give different texts.
    """
    count, lead = len(numbers), 0 if prefixes is None else 1
    letters = np.empty((count, TEXT_CHARS // 2 + lead), np.uint16)
    if prefixes is not None:
        letters[:, 0] = prefixes
    for pair in range(TEXT_CHARS // 2):
        letters[:, pair + lead] = _PAIRS[(numbers >> np.uint64(10 * pair)) & np.uint64(1023)]
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(2 * letters.shape[1])
    buffers = [validity(known), pa.py_buffer(offsets), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def validity(known: Flags | None) -> pa.Buffer | None:
    """An Arrow validity bitmap, or None where everything is known."""
    return None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))


def prefix_number(text: str) -> int:
    """Two letters as the number that :func:`texts` writes."""
    return int(np.frombuffer(text.encode("ascii"), np.uint16)[0])
