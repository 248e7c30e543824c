"""A sample of a lot that nobody chose: which milligrams a verifier looks at, reproducible by everybody.

The seed is a digest of the lot's root and of the text of a checkpoint of the log that covers it, and the n-th pick is
a digest of the seed and n, so that a longer sample begins with the shorter one. Picks are milligrams ``0 .. total - 1``
of the lot in its order (monetary unit sampling): a record is picked as often as it is large, and its path in the sum
tree proves that a pick falls on it.

A sample of :data:`LEAST_PICKS` in which nothing is wrong says, with :data:`CONFIDENCE` confidence, that less than
:data:`TOLERABLE` of the milligrams are: (1 - 0.05)^59 < 0.05. The three are defaults of ours, no rule of the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256

from tanzhang.core.checkpoint import Checkpoint
from tanzhang.core.errors import refuse
from tanzhang.core.merkle import HASH_BYTES

RULE = "tanzhang.sample/1"
TOLERABLE, CONFIDENCE = Fraction(5, 100), Fraction(95, 100)
LEAST_PICKS = 59
MOST_PICKS = 10_000
_COUNT_BYTES = 8


def least_picks(tolerable: Fraction, confidence: Fraction) -> int:
    """How many picks, none of them wrong, say with a confidence that less than a share is wrong.

    >>> least_picks(TOLERABLE, CONFIDENCE)
    59
    """
    count, missed = 0, Fraction(1)
    while missed > 1 - confidence:
        count, missed = count + 1, missed * (1 - tolerable)
    return count


def seed(root: bytes, entry: int, checkpoint: str) -> bytes:
    """The seed of a lot's sample; ``sample-checkpoint`` unless the checkpoint covers the lot's entry in the log.

    ``checkpoint`` is the text that the log signs, without signatures: origin, size, root.
    """
    if len(root) != HASH_BYTES:
        raise ValueError("a root is 32 bytes")
    size = Checkpoint.parse(checkpoint).size
    if size <= entry:
        raise refuse(
            "sample-checkpoint",
            f"the checkpoint of size {size} does not cover the lot, which is entry {entry}",
            where="sample: checkpoint",
            remedy="publish the log, and draw from a checkpoint that covers the lot",
        )
    return sha256(RULE.encode() + b"\0" + root + checkpoint.encode()).digest()


def picks(seed: bytes, count: int, total_mg: int) -> tuple[int, ...]:
    """The first ``count`` picks: milligrams of a lot of ``total_mg``, in the order in which they are drawn.

    A digest is taken modulo the total; with 256 bits no milligram is likelier than another by more than 2^-190.
    """
    if not 0 < count <= MOST_PICKS or total_mg <= 0:
        raise ValueError(f"{count} picks of {total_mg} mg")
    digests = (sha256(seed + number.to_bytes(_COUNT_BYTES, "big")).digest() for number in range(count))
    return tuple(int.from_bytes(digest, "big") % total_mg for digest in digests)


def picked(wanted: Sequence[int], ends: Sequence[int], first: int = 0) -> dict[int, list[int]]:
    """On which of some consecutive records picks fall: place among them -> the picks.

    ``ends`` are running totals [mg] after each record, ascending, ``first`` the one before them.
    """
    found: dict[int, list[int]] = {}
    place, before = 0, first
    for pick in sorted(set(wanted)):
        while place < len(ends) and pick >= ends[place]:
            before, place = ends[place], place + 1
        if place == len(ends):
            break
        if pick >= before:
            found.setdefault(place, []).append(pick)
    return found
