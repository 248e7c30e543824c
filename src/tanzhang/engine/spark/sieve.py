"""A sieve: a set of identities in a few bits each, to leave out most settled records that nothing pending can meet.

It never leaves out one that was put in; of the others a few per cent stay, which costs a little and changes nothing,
since the decision looks again. Identities are hashes, so their own words say where their bits are.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from tanzhang.engine.columns import Bytes

_BITS_PER_KEY = 8
_WORDS = (1, 2, 3)


class Sieve:
    """Identities that may be looked for, made for about so many ``keys``; sieves of one size can be joined."""

    def __init__(self, keys: int) -> None:
        self._exponent = min(max((max(keys, 1) * _BITS_PER_KEY - 1).bit_length(), 13), 32)
        self._bits = np.zeros(1 << (self._exponent - 3), dtype=np.uint8)

    def add(self, identities: Bytes) -> None:
        """Put identities in, (n, 16) bytes."""
        for at in self._places(identities):
            np.bitwise_or.at(self._bits, at >> np.uint32(3), np.uint8(1) << (at & np.uint32(7)).astype(np.uint8))

    def holds(self, identities: Bytes) -> npt.NDArray[np.bool_]:
        """Whether each identity may be in; always true if it was put in."""
        found = np.ones(len(identities), dtype=bool)
        for at in self._places(identities):
            bit = self._bits[at >> np.uint32(3)] >> (at & np.uint32(7)).astype(np.uint8)
            found &= (bit & np.uint8(1)).astype(bool)
        return found

    def join(self, packed: bytes) -> None:
        """Add what another sieve of the same size holds."""
        self._bits |= np.frombuffer(zlib.decompress(packed), dtype=np.uint8)

    def packed(self) -> bytes:
        """The sieve as bytes to be joined."""
        return zlib.compress(self._bits.tobytes(), 1)

    def _places(self, identities: Bytes) -> list[npt.NDArray[np.uint32]]:
        words = np.ascontiguousarray(identities).view("<u4").reshape(-1, 4)
        mask = np.uint32((1 << self._exponent) - 1)
        return [words[:, word] & mask for word in _WORDS]
