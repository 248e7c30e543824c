"""Grades (碳等级): which band of a grading scheme a person's or a partner's month falls into.

Every band states both its edges and whether they belong to it. What no band covers, because the source does not say, is
a declared gap; an amount in it is refused, never put into the nearer band.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tanzhang.core.errors import TanzhangError, refuse

MEASURES = ("reduction", "footprint", "footprint_less_reduction")
MG_PER_UNIT = {"g": 10**3, "kg": 10**6, "t": 10**9}


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """A place between two amounts: just below ``mg``, or (``above``) just above it."""

    mg: int
    above: bool


@dataclass(frozen=True, slots=True)
class Band:
    """One grade. ``low`` and ``high`` are None where the band has no end."""

    id: str
    name: str
    name_zh: str
    low: Cut | None
    high: Cut | None

    def holds(self, mg: int) -> bool:
        """Whether an amount belongs to the band."""
        return (self.low is None or self.low <= Cut(mg, False)) and (self.high is None or self.high >= Cut(mg, True))


@dataclass(frozen=True, slots=True)
class Gap:
    """Amounts that no band covers, both ends included, and why."""

    low_mg: int
    high_mg: int
    why: str


@dataclass(frozen=True, slots=True)
class Scheme:
    """A grading scheme. ``measure`` and ``period`` are None where the source does not say."""

    id: str
    title: str
    title_zh: str
    subject: str
    measure: str | None
    period: str | None
    status: str
    source: str
    bands: tuple[Band, ...]
    gaps: tuple[Gap, ...]
    unknown: tuple[str, ...]
    where: str


def measured_mg(scheme: Scheme, reduction_mg: int, footprint_mg: int) -> int:
    """What a scheme looks at; ``grade-draft`` where that is not known."""
    if scheme.measure is None or not scheme.bands:
        raise refuse(
            "grade-draft",
            f"{scheme.id} has no thresholds yet: {' '.join(scheme.unknown)}",
            where=scheme.where,
            remedy="add bands with their source, or use another scheme",
        )
    amounts = {
        "reduction": reduction_mg,
        "footprint": footprint_mg,
        "footprint_less_reduction": footprint_mg - reduction_mg,
    }
    return amounts[scheme.measure]


def grade(scheme: Scheme, reduction_mg: int, footprint_mg: int) -> Band:
    """The band of a month. Raises ``grade-draft``, and ``grade-gap`` where no band covers the amount."""
    mg = measured_mg(scheme, reduction_mg, footprint_mg)
    for band in scheme.bands:
        if band.holds(mg):
            return band
    raise _uncovered(scheme, mg)


def _uncovered(scheme: Scheme, mg: int) -> TanzhangError:
    why = next((gap.why for gap in scheme.gaps if gap.low_mg <= mg <= gap.high_mg), "no band covers it")
    return refuse(
        "grade-gap",
        f"{mg} mg has no grade in {scheme.id}: {why}",
        where=scheme.where,
        remedy="add the rule with its source to the scheme; an amount is never put into the nearer band",
    )


def band_mistakes(bands: Sequence[Band], gaps: Sequence[Gap]) -> Iterator[tuple[str, str, int]]:
    """Code, message and number of the band of every mistake in the edges of a scheme's bands.

    ``grade-band-empty``, ``grade-overlap``, ``grade-hole`` where no gap covers what lies between two bands.
    """
    for number, band in enumerate(bands):
        if band.low is not None and band.high is not None and band.low >= band.high:
            yield "grade-band-empty", f"{band.id} holds no amount", number
    for number, (before, after) in enumerate(pairwise(bands), start=1):
        if before.high is None or after.low is None or before.high > after.low:
            yield "grade-overlap", f"{after.id} begins before {before.id} has ended", number
        elif before.high < after.low:
            first = before.high.mg + before.high.above
            last = after.low.mg - (not after.low.above)
            if not any(gap.low_mg <= first and last <= gap.high_mg for gap in gaps):
                yield "grade-hole", f"no band and no gap covers {first} to {last} mg", number
