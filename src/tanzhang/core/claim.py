"""What makes two reports one act (行为指纹): identities as keyed hashes, the overlap rule, the declared total order.

Identities are the first 128 bits of SHA-256 over the installation's identity key (in hex) and length-prefixed texts,
kept as UUIDs. Nobody without the key can test a guess of a phone number, a card or an order number against them.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

# The purpose is hashed in, so that one text used as two things gives two identities.
ACTION, CHILD, CLAIM, GROUP = "action", "child", "claim", "group"
DEVICE, IMAGE = "device", "image"  # for the guard alone; the same whichever partner reports them


def identity(key: bytes, purpose: str, *parts: str) -> uuid.UUID:
    """The keyed identity of ``parts`` for a purpose.

    >>> identity(bytes(32), ACTION, "a", "bc") == identity(bytes(32), ACTION, "ab", "c")
    False
    """
    return uuid.UUID(bytes=identity_bytes(key, purpose, *parts))


def identity_bytes(key: bytes, purpose: str, *parts: str) -> bytes:
    """The 16 bytes of :func:`identity`."""
    return hashlib.sha256((key.hex() + identity_text(purpose, *parts)).encode()).digest()[:16]


def identity_text(purpose: str, *parts: str) -> str:
    """The hashed text: purpose, then each part behind its length in characters; two lists never read alike."""
    return purpose + "".join(f"|{len(part)}:{part}" for part in parts)


# Full width to half width and small to capital letters (ASCII); blanks go. The same table serves the columnar engine.
_WRITTEN = "".join(map(chr, range(0xFF01, 0xFF5F))) + "abcdefghijklmnopqrstuvwxyz"
_COMPARED = "".join(map(chr, range(0x21, 0x7F))).upper() + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLANKS = " \t\n\r\f\u3000"
NORMAL_FORM: tuple[str, str] = (_WRITTEN, _COMPARED)
_TRANSLATION = str.maketrans(_WRITTEN, _COMPARED, BLANKS)


def normal_identifier(text: str) -> str:
    """An issuer or identifier as it is compared: full width to half width, upper case, no blanks.

    >>> normal_identifier(" ｓｚ－00 12a ")
    'SZ-0012A'
    """
    return text.translate(_TRANSLATION)


@dataclass(frozen=True, slots=True)
class Span:
    """When one act of one person took place: microseconds, start inclusive, end exclusive."""

    start: int
    end: int
    group: uuid.UUID | None = None


def overlap_conflict(first: Span, second: Span, threshold: Fraction) -> bool:
    """Whether two acts of one person cannot both have happened.

    They conflict when the shared time is at least ``threshold`` of the shorter act, unless both carry one group id
    (declared companions of one vehicle).
    """
    if first.group is not None and first.group == second.group:
        return False
    shared = min(first.end, second.end) - max(first.start, second.start)
    shorter = min(first.end - first.start, second.end - second.start)
    return shared > 0 and shared * threshold.denominator >= shorter * threshold.numerator


def keep_greedily(ordered: Sequence[Key], conflicts_of: Callable[[Key], Iterable[Key]]) -> dict[Key, Key | None]:
    """Decide acts in the declared total order: keep one if it conflicts with none already kept.

    Overlap is not transitive, so "the best of each group" is ill defined; this is well defined and independent of the
    order of arrival. Returns for each act None if kept, else the first kept act (in the order) that it conflicts with.
    """
    lost_to: dict[Key, Key | None] = {}
    position = {key: index for index, key in enumerate(ordered)}
    for key in ordered:
        winners = [other for other in conflicts_of(key) if other in lost_to and lost_to[other] is None]
        lost_to[key] = min(winners, key=position.__getitem__, default=None)
    return lost_to
