"""Bitstring Status List v1.0 (W3C): whether a certificate still stands, in a list that tells nothing of whoever asks.

A list has a bit for each of 131,072 places, whether they are given out or not, so that fetching it does not say which
certificate is looked at. The first place is the leftmost bit of the first byte. It is written as multibase base64url
(``u``, no padding) over GZIP; unpacking stops at the length that a list has.
"""

from __future__ import annotations

import gzip
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

from tanzhang.core.errors import refuse

PLACES = 131_072
"""The least that the recommendation allows (section 4.2, 16 KB), and what our lists have."""
MOST_PLACES = 1 << 24
"""Of lists that are read: larger ones are not unpacked."""
REVOCATION = "revocation"
ENTRY_TYPE, LIST_TYPE, SUBJECT_TYPE = (
    "BitstringStatusListEntry",
    "BitstringStatusListCredential",
    "BitstringStatusList",
)
_GZIP = 31  # what zlib calls a window of 32 KiB with a GZIP header


def encode_list(places: Iterable[int], size: int = PLACES) -> str:
    """A list in which these places are set; the same places give the same text.

    >>> decode_list(encode_list([0, 9]))[:3].hex()
    '804000'
    """
    bits = bytearray(size // 8)
    for place in places:
        bits[place // 8] |= 0x80 >> place % 8
    packed = gzip.compress(bytes(bits), mtime=0)
    return "u" + urlsafe_b64encode(packed).decode().rstrip("=")


def decode_list(text: str) -> bytes:
    """The bits of a list; ``status-list-malformed``, also for one that is too short or too long."""
    try:
        if text[:1] != "u" or "=" in text or not text.isascii():
            raise ValueError("it is no multibase base64url")
        packed = urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))
        unpacking = zlib.decompressobj(_GZIP)
        bits = unpacking.decompress(packed, MOST_PLACES // 8)
        if not unpacking.eof or unpacking.unused_data:
            raise ValueError("it is cut off, or longer than a list may be")
        if len(bits) * 8 < PLACES:
            raise ValueError(f"it has {len(bits) * 8} places, fewer than {PLACES}")
    except (ValueError, zlib.error) as error:
        raise refuse(
            "status-list-malformed",
            f"the list cannot be read: {error}",
            where="encodedList",
            remedy="fetch the list again from the address that the certificate names",
        ) from None
    return bits


def is_set(bits: bytes, place: int) -> bool:
    """Whether a place is set; ``status-place-unknown`` outside the list."""
    if not 0 <= place < len(bits) * 8:
        raise refuse(
            "status-place-unknown",
            f"the list has {len(bits) * 8} places, and none has number {place}",
            where="statusListIndex",
            remedy="do not trust this certificate; its issuer gives out no such place",
        )
    return bool(bits[place // 8] & 0x80 >> place % 8)
