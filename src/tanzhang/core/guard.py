"""Guard (风控): what makes an act look wrong, as a programme's data, and the score that has it held.

A guard never decides that an act did not happen. What scores high enough is held: accepted, durable, visible with its
reasons, and not settled until the operator releases or refuses it. Conditions that no plausible act breaks are those
of a methodology (``guards``) and refuse the row at once; here are thresholds that an honest act may cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HOLD, NOTE = "hold", "note"
INTERVAL = "interval_s"
"""Stands for an input where what repeats is the time between two acts."""
SAME_REFERENCE = "same_reference"
"""The one reason that no data declares: a report of the reference of an act that is held or was refused."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Distance over the time from start to end, by behaviour at most so many decimetres per second."""

    most_dm_per_s: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Detour:
    """Distance in percent of the straight line between both ends; lines shorter than ``least_straight_m`` say nothing.

    Below 100 no way is possible; ``least_percent`` leaves room for how positions are measured.
    """

    least_percent: int
    most_percent: int
    least_straight_m: int


@dataclass(frozen=True, slots=True)
class Overlapping:
    """One person in two places: acts of one local day that share ``least_s`` seconds or more.

    They are of different behaviours, or one partner reported both. What two partners report of one trip is none of it:
    settlement counts that once.
    """

    least_s: int


@dataclass(frozen=True, slots=True)
class Regular:
    """Acts of one person and behaviour that repeat too exactly.

    Of ``least_acts`` or more, ``least_percent`` or more fall within one step of ``within`` of an input, or of
    :data:`INTERVAL`, the seconds since the act before.
    """

    input: str
    within: int
    least_acts: int
    least_percent: int


@dataclass(frozen=True, slots=True)
class Shared:
    """A ``device`` or an ``image`` of the acts of more than ``most_accounts`` accounts."""

    of: str
    most_accounts: int


@dataclass(frozen=True, slots=True)
class Drift:
    """A partner's mean milligrams of a behaviour on a day, in percent of its mean of the days before in the window.

    Compared from ``least_acts`` acts on both sides; more than ``most_percent`` away from 100 is a drift.
    """

    most_percent: int
    least_acts: int


Test = Speed | Detour | Overlapping | Regular | Shared | Drift


@dataclass(frozen=True, slots=True)
class GuardRule:
    """One rule. ``action``: its ``weight`` counts to the score (hold), or it only stands beside (note)."""

    id: str
    title: str
    title_zh: str
    action: str
    weight: int
    behaviours: frozenset[str] | None
    test: Test
    why: str


@dataclass(frozen=True, slots=True)
class Guard:
    """A programme's guard: acts of score ``hold_at`` or more are held; rules look ``window_days`` back."""

    id: str
    title: str
    title_zh: str
    status: str
    hold_at: int
    window_days: int
    rules: tuple[GuardRule, ...]
    where: str

    def score(self, numbers: Iterable[int]) -> int:
        """The score of an act that rules mark, by their places in ``rules``; each counts once."""
        return sum(rule.weight for rule in map(self.rules.__getitem__, set(numbers)) if rule.action == HOLD)


@dataclass(frozen=True, slots=True)
class Mark:
    """That a rule marks an act: what was measured and the threshold it crossed, whole numbers in the rule's unit."""

    rule: int
    measured: int
    threshold: int


def reason(rule: GuardRule, mark: Mark, behaviour: str) -> str:
    """A mark in words, with its numbers.

    >>> rule = GuardRule("speed", "Too fast", "速度异常", HOLD, 100, None, Speed({"travel.bicycle": 110}), "")
    >>> reason(rule, Mark(0, 253, 110), "travel.bicycle")
    '25.3 m/s from start to end; at most 11.0 m/s for travel.bicycle'
    """
    measured, threshold = mark.measured, mark.threshold
    match rule.test:
        case Speed():
            return f"{_tenths(measured)} m/s from start to end; at most {_tenths(threshold)} m/s for {behaviour}"
        case Detour():
            bound = "at least" if measured < threshold else "at most"
            return f"the distance is {measured} % of the straight line; {bound} {threshold} %"
        case Overlapping():
            return f"{measured} s at the same time as another act of this person; from {threshold} s on"
        case Regular(input=name, within=within):
            return f"{measured} % of this person's acts are alike in {name} within {within}; from {threshold} % on"
        case Shared(of=what):
            return f"the {what} is that of acts of {measured} accounts; at most {threshold}"
        case Drift():
            return f"the partner's mean of the day is {measured} % of the days before; the bound is {threshold} %"


def _tenths(value: int) -> str:
    return f"{value // 10}.{value % 10}"
