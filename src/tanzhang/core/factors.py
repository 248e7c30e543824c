"""Emission factors (排放因子): series of sourced values by region and day.

A value is looked up for the day and the region of the act. Refused: a day outside every range (``factor-gap``, never
the nearest year) and a region the series does not cover (``no-factor``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from tanzhang.core import region as regions
from tanzhang.core.errors import TanzhangError, refuse


@dataclass(frozen=True, slots=True)
class Period:
    """Local days ``[start, end)``; ``end`` None while open."""

    start: date
    end: date | None

    def covers(self, day: date) -> bool:
        """Whether the day lies in the period."""
        return self.start <= day and (self.end is None or day < self.end)

    def overlaps(self, other: Period) -> bool:
        """Whether some day lies in both."""
        return (other.end is None or self.start < other.end) and (self.end is None or other.start < self.end)

    def __str__(self) -> str:
        return f"[{self.start}, {self.end or 'open'})"


@dataclass(frozen=True, slots=True)
class FactorValue:
    """One published number with the days and region we apply it to and the place it was read."""

    value: Fraction
    text: str
    region: str
    period: Period
    measured_for: str | None
    source: str
    locator: str
    status: str
    mark: str
    why_these_dates: str


@dataclass(frozen=True, slots=True)
class Factor:
    """A series of values in one unit and of one kind."""

    id: str
    title: str
    title_zh: str
    unit: str
    kind: str
    plausible: tuple[Fraction, Fraction]
    values: tuple[FactorValue, ...]
    gaps: tuple[str, ...]
    where: str

    def value_for(self, region: str, day: date) -> FactorValue:
        """The value for an act in ``region`` on local ``day``.

        The narrowest region of the series that contains the act's region decides, whatever the day; the country's
        value serves an act in a province only where the series has nothing but country values. That way a missing
        year or province is refused instead of being filled with the national number.
        """
        listed = {value.region for value in self.values}
        chain = regions.ancestors(region)
        if listed - {regions.COUNTRY} and region != regions.COUNTRY:
            chain = chain[:-1]
        taken = next((candidate for candidate in chain if candidate in listed), None)
        if taken is None:
            raise self._missing(region)
        for value in self.values:
            if value.region == taken and value.period.covers(day):
                return value
        periods = ", ".join(str(value.period) for value in self.values if value.region == taken)
        raise refuse(
            "factor-gap",
            f"{self.id} has no value for {taken} on {day}; it has {periods}",
            where=self.where,
            remedy="correct the day of the act, or add a sourced value whose applies range covers that day",
        )

    def _missing(self, region: str) -> TanzhangError:
        known = f" ({'; '.join(self.gaps)})" if self.gaps else ""
        return refuse(
            "no-factor",
            f"{self.id} has no value for {region}{known}",
            where=self.where,
            remedy="add a value with its source for that region; until then such acts are refused, not guessed",
        )
