"""Badges (徽章): what a person has reached by confirmed acts, each by one rule that is data.

A badge is worked out from records each time it is looked at, and kept nowhere: an act that was taken back, or erased,
counts no more, and a badge that rested on it is no longer there. Nothing is paid for one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

FIRST_ACT, DAYS_IN_A_ROW, TOTAL, BEHAVIOURS = "first_act", "days_in_a_row", "total", "behaviours"
RULES = (FIRST_ACT, DAYS_IN_A_ROW, TOTAL, BEHAVIOURS)


@dataclass(frozen=True, slots=True)
class Badge:
    """One badge. ``needed`` is in what its rule counts: acts, local days in a row, milligrams, different behaviours.

    ``among`` are the behaviours that count, None for all.
    """

    id: str
    title: str
    title_zh: str
    rule: str
    needed: int
    among: frozenset[str] | None
    status: str
    source: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Done:
    """Acts of a behaviour on a local day that stand: credited, and not taken back; ``mg`` is what they came to."""

    day: date
    behaviour: str
    acts: int
    mg: int


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a person has come: ``reached`` at best, and the local day on which it was enough, None until it is."""

    reached: int
    on: date | None


def reached(badge: Badge, done: Iterable[Done]) -> Reached:
    """How far somebody has come by all acts that stand, in any order.

    >>> ride = Done(date(2025, 6, 5), "travel.metro", 2, 1_440_000)
    >>> weekly = Badge("b", "B", "B", DAYS_IN_A_ROW, 2, None, "example", None, "badges/b.yaml")
    >>> reached(weekly, [ride])
    Reached(reached=1, on=None)
    """
    by_day: dict[date, list[Done]] = defaultdict(list)
    for each in done:
        if badge.among is None or each.behaviour in badge.among:
            by_day[each.day].append(each)
    so_far = best = 0
    seen: set[str] = set()
    before: date | None = None
    on = None
    for day, own in sorted(by_day.items()):
        if badge.rule == DAYS_IN_A_ROW:
            so_far = so_far + 1 if before is not None and day - before == timedelta(days=1) else 1
        elif badge.rule == BEHAVIOURS:
            seen |= {each.behaviour for each in own}
            so_far = len(seen)
        else:
            so_far += sum(each.mg if badge.rule == TOTAL else each.acts for each in own)
        best, before = max(best, so_far), day
        if on is None and best >= badge.needed:
            on = day
    return Reached(best, on)
