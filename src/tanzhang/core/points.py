"""Points (积分) rules: what an act earns, and the exact definition of it.

A points programme is one version of its rules, as its file says. Points are a reward, counted in whole numbers; grams
only entitle to them. :func:`award_exact` is the definition, act by act in plain Python; the columnar engine
(:mod:`tanzhang.engine.points`) equals it to the point.

What is decided, in this order:

1. **Rules.** Every rule that fits an act awards, each by itself: rules add up. A rule fits by behaviour, partner,
   region and evidence class, and no act that was granted nothing. Its amount is exact until it is rounded once, with
   the evidence class's share and the campaign's multiplier in it. What a campaign adds at a sponsor's cost is a line of
   its own.
2. **Streaks.** A rule for a streak awards on the act that completes so many local days in a row.
3. **Limits**, one after the other: first times, then caps as the file lists them. Each looks at a person's lines in the
   declared total order (end of the act, action id, rule); what one let through counts for it even where a later one
   cuts it. The line at the edge of a cap of points gets the rest.
4. **Budgets** of sponsors, over all persons in the same order; again the line at the edge gets the rest.

So capped totals depend on the acts and on nothing else: not on the order of rows.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

from tanzhang.core.factors import Period
from tanzhang.core.region import ancestors

MAX_POINTS = 2**40
"""The most that one line comes to; what is above is cut. A plausibility limit of ours."""
NEVER_ENDS = date(9999, 12, 31)
"""The last day of points that do not expire."""
EVER = date(1970, 1, 1)
"""The first day of the one period of limits that hold for a person's whole time."""
UNIT = "points:"
"""What the units of points begin with; the id of their programme follows."""

PER = ("act", "day", "month", "year", "ever")
ROUNDINGS = ("down", "nearest", "up")
SWITCHES = ("points_independent", "points_consume")
DEBTS = ("owe", "forgive")
GRANTED = "granted_mg"
"""The measure that is what the act was granted; the others are inputs."""


@dataclass(frozen=True, slots=True)
class Tier:
    """From ``start`` of the measure on: ``points``, and ``each`` for every ``of`` above it, only whole ones if so."""

    start: int
    points: Fraction
    each: Fraction = Fraction(0)
    of: int = 1
    whole: bool = False

    def amount(self, measured: int) -> Fraction:
        """What a measure in this tier comes to, before shares and rounding."""
        above = measured - self.start
        return self.points + self.each * (above // self.of if self.whole else Fraction(above, self.of))


@dataclass(frozen=True, slots=True)
class Streak:
    """So many local days in a row with a fitting act; ``repeats``: again after as many more."""

    days: int
    repeats: bool


@dataclass(frozen=True, slots=True)
class Start:
    """From which local day on points can be used; never before the day of settlement.

    ``final``: as soon as the act is final; ``after_act``: ``days`` after the act's day; ``on``: on ``day``.
    """

    when: str
    days: int = 0
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Lasting:
    """Until which local day points can be used.

    ``never`` ends; ``days`` (counting the first), ``years``; ``month_end``, ``year_end``: the end of the month or year
    that lies ``number`` after the first day's; ``on``: on ``day``.
    """

    until: str
    number: int = 0
    day: date | None = None


@dataclass(frozen=True, slots=True)
class PointsRule:
    """One rule. ``partners`` and ``regions`` None where it holds for all; ``measure`` None where it counts acts.

    ``evidence`` is the share of each class; a class that is not named earns nothing. ``tiers`` rise. ``first`` is the
    period in which only the first act of a person counts. ``collect_days`` None: nothing needs to be collected.
    """

    id: str
    title: str
    title_zh: str
    behaviours: frozenset[str]
    partners: frozenset[str] | None
    regions: frozenset[str] | None
    evidence: Mapping[str, Fraction]
    measure: str | None
    tiers: tuple[Tier, ...]
    first: str | None
    streak: Streak | None
    sponsor: str | None
    start: Start
    collect_days: int | None
    lasting: Lasting

    def share(self, behaviour: str, partner: str, region: str, evidence: str) -> Fraction:
        """The share with which an act of such texts counts; 0 where the rule does not fit it."""
        fits = (
            behaviour in self.behaviours
            and (self.partners is None or partner in self.partners)
            and (self.regions is None or not self.regions.isdisjoint(ancestors(region)))
        )
        return self.evidence.get(evidence, Fraction(0)) if fits else Fraction(0)

    def tier(self, measured: int) -> Tier | None:
        """The highest tier that a measure reaches."""
        return next((tier for tier in reversed(self.tiers) if tier.start <= measured), None)


@dataclass(frozen=True, slots=True)
class PointsCap:
    """At most ``limit`` points, or acts that earn any, of a person in each period over ``rules`` (their ids)."""

    id: str
    counts: str
    limit: int
    per: str
    rules: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sponsor:
    """Who pays for points, up to ``budget`` points in all."""

    id: str
    name: str
    name_zh: str
    budget: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """On local days of the act, ``rules`` earn ``multiplier`` times as much; ``sponsor`` pays what is more."""

    id: str
    title: str
    title_zh: str
    days: Period
    rules: frozenset[str]
    multiplier: Fraction
    sponsor: str | None


@dataclass(frozen=True, slots=True)
class PointsProgramme:
    """One version of a programme's rules, for acts of the local days in ``valid``.

    ``debt``: what happens when an act is withdrawn whose points were spent: ``owe`` (the balance falls below zero, and
    what is earned next pays it) or ``forgive`` (only what is left is taken back). ``refund_days``: for how many days
    points that are given back can be used at the least. ``switch``: whether spending points leaves the grams alone
    (``points_independent``) or uses them up (``points_consume``). ``digest`` is the SHA-256 of what the file says.
    """

    id: str
    version: int
    title: str
    title_zh: str
    unit_name: str
    unit_name_zh: str
    valid: Period
    rounding: str
    rules: tuple[PointsRule, ...]
    caps: tuple[PointsCap, ...]
    sponsors: Mapping[str, Sponsor]
    campaigns: tuple[Campaign, ...]
    debt: str
    refund_days: int
    switch: str
    source: str
    status: str
    unknown: tuple[str, ...]
    digest: str
    where: str

    @property
    def key(self) -> str:
        """Id and version in one word."""
        return f"{self.id}@{self.version}"

    @property
    def unit(self) -> str:
        """The unit that its points are booked in."""
        return f"{UNIT}{self.id}"

    def limits(self) -> tuple[PointsCap, ...]:
        """Everything that limits a person, in the order in which it applies; ids are keys of what was used."""
        firsts = [
            PointsCap(f"first:{rule.id}", "acts", 1, rule.first, frozenset({rule.id}))
            for rule in self.rules
            if rule.first is not None
        ]
        caps = [PointsCap(f"cap:{cap.id}", cap.counts, cap.limit, cap.per, cap.rules) for cap in self.caps]
        return (*firsts, *caps)

    def campaign(self, rule: PointsRule, day: date) -> Campaign | None:
        """The campaign that a rule is part of on a day; there is at most one."""
        return next((each for each in self.campaigns if rule.id in each.rules and each.days.covers(day)), None)


@dataclass(frozen=True, slots=True)
class Act:
    """A granted report as the rules see it. ``ended`` in microseconds since 1970 UTC, ``day`` the local day."""

    place: int
    account: bytes
    behaviour: str
    partner: str
    region: str
    evidence: str
    day: date
    ended: int
    action_id: bytes
    granted_mg: int
    inputs: Mapping[str, int] = field(default_factory=dict)

    def measured(self, measure: str | None) -> int | None:
        """What a rule with this measure looks at; None where it was not reported."""
        if measure is None:
            return 0
        return self.granted_mg if measure == GRANTED else self.inputs.get(measure)


@dataclass(frozen=True, slots=True)
class Award:
    """Points of an act by a rule (its place among the programme's), with the days on which they can be used."""

    place: int
    rule: int
    sponsor: str | None
    points: int
    first_day: date
    last_day: date
    collect_by: date | None


Used = Mapping[tuple[bytes, str, date], int]
"""What runs used of limits: account, key, first day of the period -> acts or points. The key ``streak:<rule>`` holds
days in a row; its period is the first of them, and of an account only the latest period counts."""


@dataclass(frozen=True, slots=True)
class ExactAwards:
    """What acts earn. ``used`` and ``spent`` (points by sponsor) are what to add to what was there before."""

    rows: tuple[Award, ...]
    used: Used
    spent: Mapping[str, int]


def rounded(amount: Fraction, direction: str) -> int:
    """A whole number of points; ``nearest`` takes halves up.

    >>> [rounded(Fraction(5, 2), each) for each in ROUNDINGS]
    [2, 3, 3]
    """
    if direction == "up":
        return -(-amount.numerator // amount.denominator)
    if direction == "nearest":
        amount += Fraction(1, 2)
    return amount.numerator // amount.denominator


def period_start(per: str, day: date) -> date:
    """The first day of the period of a limit in which a local day lies."""
    match per:
        case "day":
            return day
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case "ever":
            return EVER
    raise ValueError(f"{per} is no period that is kept")


def days_of(rule: PointsRule, day: date, settled_on: date) -> tuple[date, date, date | None] | None:
    """First and last local day on which an act's points can be used, and the last on which they can be collected.

    None where they would end before they begin: such points are not given.
    """
    first = settled_on
    if rule.start.when == "after_act":
        first = max(first, day + timedelta(days=rule.start.days))
    elif rule.start.day is not None:
        first = max(first, rule.start.day)
    last = _last_day(rule.lasting, first)
    if last < first:
        return None
    if rule.collect_days is None:
        return first, last, None
    return first, last, min(last, first + timedelta(days=rule.collect_days - 1))


def _last_day(lasting: Lasting, first: date) -> date:
    match lasting.until:
        case "never":
            return NEVER_ENDS
        case "days":
            return first + timedelta(days=lasting.number - 1)
        case "years":
            year = first.year + lasting.number
            day = min(first.day, calendar.monthrange(year, first.month)[1])
            return first.replace(year=year, day=day) - timedelta(days=1)
        case "year_end":
            return date(first.year + lasting.number, 12, 31)
        case "month_end":
            months = first.year * 12 + first.month - 1 + lasting.number
            year, month = divmod(months, 12)
            return date(year, month + 1, calendar.monthrange(year, month + 1)[1])
    if lasting.day is None:
        raise ValueError(f"{lasting} has no day")
    return lasting.day


# -- the definition -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """Points of an act by a rule on their way through the limits."""

    act: Act
    rule: int
    sponsor: str | None
    points: int
    days: tuple[date, date, date | None]


def award_exact(
    acts: Iterable[Act], programme: PointsProgramme, used: Used, budgets: Mapping[str, int], settled_on: date
) -> ExactAwards:
    """What acts of one batch earn; see the module's description.

    ``used`` is what earlier runs used, ``budgets`` what is left of each sponsor's budget (the whole of it where a
    sponsor is not named), ``settled_on`` the local day on which the acts became final. Acts of days on which this
    version is not in force earn nothing.
    """
    left = {sponsor.id: budgets.get(sponsor.id, sponsor.budget) for sponsor in programme.sponsors.values()}
    ordered = sorted(acts, key=lambda act: (act.ended, act.action_id))
    lines = [
        line
        for act in ordered
        if programme.valid.covers(act.day) and act.granted_mg > 0
        for number, rule in enumerate(programme.rules)
        for line in _lines(act, number, rule, programme, settled_on)
        if line.sponsor is None or left[line.sponsor] > 0
    ]
    added: dict[tuple[bytes, str, date], int] = defaultdict(int)
    lines = _streaks(lines, programme, used, added)
    for limit in programme.limits():
        lines = _limited(lines, limit, programme, used, added)
    spent: dict[str, int] = {}
    for line in lines:
        if line.sponsor is not None:
            line.points = min(line.points, left[line.sponsor] - spent.get(line.sponsor, 0))
            if line.points:
                spent[line.sponsor] = spent.get(line.sponsor, 0) + line.points
    rows = (
        Award(line.act.place, line.rule, line.sponsor, line.points, *line.days) for line in lines if line.points > 0
    )
    return ExactAwards(tuple(sorted(rows, key=_row_order)), dict(added), spent)


def _row_order(row: Award) -> tuple[int, int, str]:
    return row.place, row.rule, row.sponsor or ""


def _lines(act: Act, number: int, rule: PointsRule, programme: PointsProgramme, settled_on: date) -> Iterator[_Line]:
    share = rule.share(act.behaviour, act.partner, act.region, act.evidence)
    measured = act.measured(rule.measure)
    tier = None if measured is None else rule.tier(measured)
    days = days_of(rule, act.day, settled_on)
    if measured is None or tier is None or days is None:
        return
    exact = tier.amount(measured) * share
    campaign = programme.campaign(rule, act.day)
    whole = _points(exact, programme) if campaign is None else _points(exact * campaign.multiplier, programme)
    base = whole if campaign is None or campaign.sponsor is None else _points(exact, programme)
    if base:
        yield _Line(act, number, rule.sponsor, base, days)
    if campaign is not None and whole > base:
        yield _Line(act, number, campaign.sponsor, whole - base, days)


def _points(exact: Fraction, programme: PointsProgramme) -> int:
    return min(rounded(exact, programme.rounding), MAX_POINTS)


def _streaks(
    lines: list[_Line], programme: PointsProgramme, used: Used, added: dict[tuple[bytes, str, date], int]
) -> list[_Line]:
    """Of the lines of a rule for a streak, those of the act that completes one: the first of its day."""
    dropped: set[int] = set()
    for number, rule in enumerate(programme.rules):
        if rule.streak is None:
            continue
        key = f"streak:{rule.id}"
        own = [line for line in lines if line.rule == number]
        firsts: dict[tuple[bytes, date], Act] = {}
        for line in own:
            firsts.setdefault((line.act.account, line.act.day), line.act)
        paid = _completed(firsts, key, rule.streak, used, added)
        dropped |= {id(line) for line in own if line.act.place not in paid}
    return [line for line in lines if id(line) not in dropped]


def _completed(
    firsts: Mapping[tuple[bytes, date], Act],
    key: str,
    streak: Streak,
    used: Used,
    added: dict[tuple[bytes, str, date], int],
) -> set[int]:
    """Places of the acts that complete a streak. A day before one that was counted earlier is counted no more."""
    runs: dict[bytes, tuple[date, int]] = {}  # first day and length of the account's latest run of days
    for account, of, first in sorted(used, key=lambda each: each[2]):
        if of == key:
            runs[account] = first, used[account, of, first]
    paid = set()
    for account, day in sorted(firsts):
        run = runs.get(account)
        after = None if run is None else run[0] + timedelta(days=run[1])
        if after is not None and day < after:
            continue
        start, length = run if run is not None and day == after else (day, 0)
        runs[account] = start, length + 1
        added[account, key, start] += 1
        if (length + 1) % streak.days == 0 and (streak.repeats or length + 1 == streak.days):
            paid.add(firsts[account, day].place)
    return paid


def _limited(
    lines: list[_Line],
    limit: PointsCap,
    programme: PointsProgramme,
    used: Used,
    added: dict[tuple[bytes, str, date], int],
) -> list[_Line]:
    """What a limit lets through of each line."""
    within: dict[tuple[bytes, date | int], int] = {}
    counted: set[int] = set()
    passed = []
    for line in lines:
        if programme.rules[line.rule].id not in limit.rules:
            passed.append(line)
            continue
        per_act = limit.per == "act"
        start = EVER if per_act else period_start(limit.per, line.act.day)
        key = (line.act.account, limit.id, start)
        group = (line.act.account, line.act.place if per_act else start)
        there = within.get(group, 0 if per_act else used.get(key, 0))
        if limit.counts == "points":
            take = line.points = max(0, min(line.points, limit.limit - there))
        elif line.act.place in counted:
            take = 0
        elif there < limit.limit:
            take = 1
            counted.add(line.act.place)
        else:
            continue
        within[group] = there + take
        if take and not per_act:
            added[key] += take
        if line.points:
            passed.append(line)
    return passed
