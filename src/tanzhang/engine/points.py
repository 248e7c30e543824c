"""What the granted reports of a batch earn in points, in columns.

:func:`award` equals :func:`tanzhang.core.points.award_exact`, the definition, to the point and to the day; nothing here
loops over rows. Texts are few, so a rule is asked once for each combination of them; amounts are whole numbers over one
denominator; limits are running sums over lines in the declared total order. What would not fit 64 bits on the way is
computed by Python's own numbers.

Contract with those who keep what was awarded:

* ``records`` are the granted reports of one batch (:func:`acts_of` makes them from sealed records): ``place`` (uint32,
  row in the batch, each once), ``account`` and ``action_id`` (16 bytes or UUIDs), ``behaviour``, ``partner``,
  ``region``, ``evidence``, ``day`` (date32), ``ended`` (timestamp or microseconds), ``granted_mg``, and inputs (int64;
  a column that is missing was not reported).
* One call is one version of a programme; acts of days on which it is not in force earn nothing. Where a batch holds
  days of two versions, call for each, oldest first, and add what the first used and spent before the second.
* ``used`` is what earlier runs used, in :data:`USED_SCHEMA`; rows of other accounts, keys and periods do no harm. The
  keys are ``cap:<id>``, ``first:<rule>`` (period: its first day; 1970-01-01 for ever) and ``streak:<rule>`` (period:
  the first day of days in a row, amount: how many; of an account only the latest period counts).
* ``budgets`` is what is *left* of sponsors' budgets; one that is not named has all of it.
* ``Awards.used`` and ``Awards.spent`` are what to add. Rows are ordered by place, rule and sponsor; a place and rule
  can have two rows, where a sponsor pays what a campaign adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.points import (
    EVER,
    GRANTED,
    MAX_POINTS,
    PointsCap,
    PointsProgramme,
    PointsRule,
    Streak,
    Tier,
    days_of,
    period_start,
    rounded,
)
from tanzhang.core.record import HOLDERS
from tanzhang.engine.columns import (
    IDENTITY_BYTES,
    Bytes,
    Numbers,
    fixed_bytes,
    fixed_column,
    given,
    integers,
    one_array,
    said,
    text_codes,
)

Flags = npt.NDArray[np.bool_]

ROW_SCHEMA = pa.schema(
    [
        ("place", pa.uint32()),
        ("rule", pa.uint16()),  # its place among the programme's rules
        ("points", pa.int64()),
        ("first_day", pa.date32()),
        ("last_day", pa.date32()),
        ("collect_by", pa.date32()),  # null where nothing needs to be collected
        ("sponsor", pa.string()),  # null where nobody pays
    ]
)
USED_SCHEMA = pa.schema(
    [("account", pa.binary(IDENTITY_BYTES)), ("key", pa.string()), ("period", pa.date32()), ("amount", pa.int64())]
)
TEXTS = ("behaviour", "partner", "region", "evidence")
READ = ("account", "action_id", *TEXTS, "kind", "outcome", "day", "ended", *INPUT_NAMES, GRANTED)
"""Columns of sealed records that :func:`acts_of` looks at."""

_EPOCH = date(1970, 1, 1)
_LARGEST = 2**62
_BLOCK = 1 << 20  # lines whose points add up in 64 bits, each at most MAX_POINTS
_TABLE = 1 << 22  # up to so many combinations are told apart by a table instead of by sorting


@dataclass(frozen=True, slots=True)
class Awards:
    """What a batch earned: ``rows`` (:data:`ROW_SCHEMA`), ``used`` (:data:`USED_SCHEMA`), points spent by sponsor."""

    rows: pa.Table
    used: pa.Table
    spent: Mapping[str, int]


def acts_of(records: pa.Table, first: int = 0) -> pa.Table:
    """The sealed records that can earn points, with their places in the batch; ``first`` is that of the first row.

    Those are savings that were credited, in full or in part. What a cap of the methodology left nothing of earns
    nothing, also by rules for acts.
    """
    earning = said(records["kind"], ["reduction"]) & said(records["outcome"], HOLDERS)
    earning &= integers(records[GRANTED], pa.int64()) > 0
    rows = np.flatnonzero(earning)
    names = [name for name in READ if name not in ("kind", "outcome") and name in records.column_names]
    table = records.select(names).take(pa.array(rows))
    return table.append_column("place", pa.array((rows + first).astype(np.uint32)))


def award(
    records: pa.Table, programme: PointsProgramme, used: pa.Table, budgets: Mapping[str, int], *, settled_on: date
) -> Awards:
    """What the granted reports of one batch earn under one version of a programme; see the module's description."""
    return _Run(records, programme, used, budgets, settled_on).run()


@dataclass(slots=True)
class _Lines:
    """Points of acts by rules, in the total order of each account. ``act`` counts the ordered acts."""

    act: Numbers
    rule: Numbers
    sponsor: Numbers
    points: Numbers

    def where(self, keep: npt.NDArray[Any]) -> _Lines:
        """Some of them."""
        return _Lines(self.act[keep], self.rule[keep], self.sponsor[keep], self.points[keep])

    def paid(self) -> _Lines:
        """Those that come to anything."""
        keep = self.points > 0
        return self if keep.all() else self.where(keep)


@dataclass(frozen=True, slots=True)
class _Fits:
    """How a rule fits each row: the numbers of its share and its multiplier (with who pays it), -1 for not at all."""

    share: Numbers
    shares: Sequence[Fraction]
    factor: Numbers
    factors: Sequence[tuple[Fraction, str | None]]


class _Run:
    """One call of :func:`award`."""

    def __init__(
        self,
        records: pa.Table,
        programme: PointsProgramme,
        used: pa.Table,
        budgets: Mapping[str, int],
        settled_on: date,
    ) -> None:
        self.records, self.programme, self.used, self.settled_on = records, programme, used, settled_on
        self.sponsors = list(programme.sponsors.values())
        self.left = [budgets.get(each.id, each.budget) for each in self.sponsors]
        self.sponsor_number = {each.id: number for number, each in enumerate(self.sponsors)}
        self.day = integers(records["day"], pa.int32()).astype(np.int64)
        self.granted = integers(records[GRANTED], pa.int64()) > 0
        self.added: list[pa.Table] = []

    def run(self) -> Awards:
        """Rules, streaks, limits, budgets."""
        lines = self._ordered(self._rules())
        lines = self._streaks(lines)
        for limit in self.programme.limits():
            lines = self._limited(lines, limit)
        lines, spent = self._budgets(lines)
        used = pa.concat_tables(self.added) if self.added else USED_SCHEMA.empty_table()
        return Awards(self._rows(lines), used, spent)

    # -- rules

    def _rules(self) -> _Lines:
        """Every line before any limit; ``act`` is still the row of ``records``."""
        self.days = _distinct(self.day)
        of_day = np.searchsorted(self.days, self.day)
        combination, texts = _combinations(self.records)
        parts = []
        for number, rule in enumerate(self.programme.rules):
            share_of, shares = _shares(rule, texts)
            factor_of, factors = self._campaigns(rule)
            fits = _Fits(share_of[combination], shares, factor_of[of_day], factors)
            parts += list(self._lines(number, rule, fits))
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return _Lines(none, none, none, none)
        return _Lines(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("act", "rule", "sponsor", "points"))
        )

    def _campaigns(self, rule: PointsRule) -> tuple[Numbers, list[tuple[Fraction, str | None]]]:
        """For each distinct day the number of its multiplier and who pays it, -1 where the rule gives nothing."""
        factors: dict[tuple[Fraction, str | None], int] = {}
        numbers = []
        for day in map(_date, self.days.tolist()):
            if not self.programme.valid.covers(day) or days_of(rule, day, self.settled_on) is None:
                numbers.append(-1)
                continue
            campaign = self.programme.campaign(rule, day)
            factor = (Fraction(1), None) if campaign is None else (campaign.multiplier, campaign.sponsor)
            numbers.append(factors.setdefault(factor, len(factors)))
        return np.array(numbers, dtype=np.int64), list(factors)

    def _lines(self, number: int, rule: PointsRule, fits: _Fits) -> Iterator[_Lines]:
        """The lines of one rule: those of the rule itself, then those that sponsors of campaigns pay."""
        there = (fits.share >= 0) & (fits.factor >= 0) & self.granted
        if rule.measure not in (None, GRANTED):
            there &= given(self.records, str(rule.measure))
        rows = np.flatnonzero(there)
        if not len(rows):
            return
        measured = np.zeros(len(rows), dtype=np.int64)
        if rule.measure is not None:
            measured = integers(self.records[rule.measure], pa.int64())[rows]
        tier_of = np.searchsorted([tier.start for tier in rule.tiers], measured, "right") - 1
        kind = (fits.share[rows] * len(fits.factors) + fits.factor[rows]) * len(rule.tiers) + tier_of
        base = np.zeros(len(rows), dtype=np.int64)
        extra = np.zeros(len(rows), dtype=np.int64)
        payer = np.full(len(rows), -1, dtype=np.int64)
        for each in _distinct(kind[tier_of >= 0]).tolist():
            here = np.flatnonzero((kind == each) & (tier_of >= 0))
            rest, tier = divmod(each, len(rule.tiers))
            share, factor = divmod(rest, len(fits.factors))
            multiplier, sponsor = fits.factors[factor]
            amount = self._amounts(rule.tiers[tier], fits.shares[share], multiplier, measured[here])
            base[here] = amount
            if sponsor is not None:
                base[here] = self._amounts(rule.tiers[tier], fits.shares[share], Fraction(1), measured[here])
                extra[here] = amount - base[here]
                payer[here] = self.sponsor_number[sponsor]
        own = -1 if rule.sponsor is None else self.sponsor_number[rule.sponsor]
        for points, sponsors in ((base, np.full(len(rows), own, dtype=np.int64)), (extra, payer)):
            paid = np.array([left > 0 for left in self.left] + [True])[sponsors]  # the last one for nobody, -1
            keep = (points > 0) & paid
            if keep.any():
                count = int(keep.sum())
                yield _Lines(rows[keep], np.full(count, number, dtype=np.int64), sponsors[keep], points[keep])

    def _amounts(self, tier: Tier, share: Fraction, multiplier: Fraction, measured: Numbers) -> Numbers:
        """Points of acts in one tier with one share and multiplier, rounded once."""
        factor = share * multiplier
        constant = tier.points * factor
        slope = tier.each * factor / (1 if tier.whole else tier.of)
        above = measured - tier.start
        if tier.whole:
            above = above // tier.of
        below = lcm(constant.denominator, slope.denominator)
        start, rise = int(constant * below), int(slope * below)
        largest = start + rise * int(above.max())
        if max(2 * largest + 2 * below, rise) >= _LARGEST:
            direction = self.programme.rounding
            exact = [
                min(rounded(Fraction(start + rise * value, below), direction), MAX_POINTS) for value in above.tolist()
            ]
            return np.array(exact, dtype=np.int64)
        total = start + rise * above
        match self.programme.rounding:
            case "up":
                total = (total + below - 1) // below
            case "nearest":
                total = (2 * total + below) // (2 * below)
            case _:
                total = total // below
        return np.minimum(total, MAX_POINTS)

    # -- order

    def _ordered(self, lines: _Lines) -> _Lines:
        """Lines in the total order of each account, and of the acts that have any: accounts, days, places."""
        touched = np.zeros(self.records.num_rows, dtype=bool)
        touched[lines.act] = True
        rows = np.flatnonzero(touched)
        account, self.accounts = _coded(fixed_bytes(self.records["account"], IDENTITY_BYTES)[rows])
        ended = integers(self.records["ended"], pa.int64())[rows]
        self.actions = fixed_bytes(self.records["action_id"], IDENTITY_BYTES)
        order = _total_order(account, ended, rows, self.actions)
        self.account, self.ended, self.rows = account[order], ended[order], rows[order]
        rank = np.empty(self.records.num_rows, dtype=np.int64)
        rank[self.rows] = np.arange(len(rows))
        acts = rank[lines.act]
        by_act = np.argsort(acts, kind="stable")
        ordered = lines.where(by_act)
        ordered.act = acts[by_act]
        self.act_day = self.day[self.rows]
        return ordered

    # -- streaks

    def _streaks(self, lines: _Lines) -> _Lines:
        for number, rule in enumerate(self.programme.rules):
            if rule.streak is not None:
                own = lines.rule == number
                completing = self._completing(lines.act[own], f"streak:{rule.id}", rule.streak)
                keep = ~own
                keep[own] = np.isin(lines.act[own], completing)
                lines = lines.where(keep)
        return lines

    def _completing(self, acts: Numbers, key: str, streak: Streak) -> Numbers:
        """The acts that complete a streak: the first ones of its last day."""
        if not len(acts):
            return acts
        account, day = self.account[acts], self.act_day[acts]
        order = np.lexsort((day, account))  # stable, so the first act of a day comes first
        acts, account, day = acts[order], account[order], day[order]
        new = _changes(account) | _changes(day)
        acts, account, day = acts[new], account[new], day[new]
        start, after = self._latest_runs(key)
        later = day >= after[account]
        acts, account, day = acts[later], account[later], day[later]
        if not len(acts):
            return acts
        breaks = _changes(account)
        breaks[1:] |= day[1:] != day[:-1] + 1
        heads = np.flatnonzero(breaks)
        continues = _changes(account)[heads] & (day[heads] == after[account[heads]])
        begun = np.where(continues, start[account[heads]], day[heads])
        run = np.cumsum(breaks) - 1
        length = day - begun[run] + 1
        self._add(key, account[heads], begun, np.bincount(run).astype(np.int64))
        done = length % streak.days == 0 if streak.repeats else length == streak.days
        completing: Numbers = acts[done]
        return completing

    def _latest_runs(self, key: str) -> tuple[Numbers, Numbers]:
        """Of each account the first day of its latest days in a row, and the day after their last."""
        start = np.full(len(self.accounts), np.iinfo(np.int32).min, dtype=np.int64)
        length = np.zeros(len(self.accounts), dtype=np.int64)
        account, period, amount = self._used(key)
        np.maximum.at(start, account, period)
        latest = period == start[account]
        np.add.at(length, account[latest], amount[latest])
        return start, start + length

    # -- limits

    def _limited(self, lines: _Lines, limit: PointsCap) -> _Lines:
        """What one limit lets through."""
        covers = np.array([rule.id in limit.rules for rule in self.programme.rules])
        chosen = np.flatnonzero(covers[lines.rule])
        if not len(chosen):
            return lines
        acts = lines.act[chosen]
        if limit.per == "act":
            group, there_of = acts, None
        else:
            periods, of_day = self._periods(limit.per)
            group = self.account[acts] * len(periods) + of_day[np.searchsorted(self.days, self.act_day[acts])]
            there_of = self._there(limit.id, periods)
        if (np.diff(group) < 0).any():
            order = np.argsort(group, kind="stable")
            chosen, acts, group = chosen[order], acts[order], group[order]
        heads = np.flatnonzero(_changes(group))
        there = np.zeros(len(heads), dtype=np.int64) if there_of is None else there_of(group[heads])
        size = np.diff(np.append(heads, len(group)))
        points = lines.points[chosen]
        if limit.counts == "points":
            before = _before(points, heads, size)
            taken = np.minimum(points, np.maximum(limit.limit - np.repeat(there, size) - before, 0))
            passed = taken
        else:
            new = (_changes(acts) | _changes(group)).astype(np.int64)
            before = _before(new, heads, size) + new - 1  # so every line of an act has the act's own number
            passes = np.repeat(there, size) + before < limit.limit
            taken = new * passes
            passed = points * passes
        sums = np.add.reduceat(taken, heads)
        if there_of is not None:
            some = sums > 0
            account, period = np.divmod(group[heads][some], len(periods))
            self._add(limit.id, account, periods[period], sums[some])
        lines.points[chosen] = passed
        return lines.paid()

    def _periods(self, per: str) -> tuple[Numbers, Numbers]:
        """First days of the periods, and for each distinct day the number of its own."""
        firsts = np.array([_number(period_start(per, _date(day))) for day in self.days.tolist()], dtype=np.int64)
        periods = _distinct(firsts)
        return periods, np.searchsorted(periods, firsts)

    def _there(self, key: str, periods: Numbers) -> Callable[[Numbers], Numbers]:
        """What was used before, by account and period as one number."""
        account, period, amount = self._used(key)
        known = np.isin(period, periods)
        group = account[known] * len(periods) + np.searchsorted(periods, period[known])
        groups, inverse = np.unique(group, return_inverse=True)
        sums = np.zeros(len(groups) + 1, dtype=np.int64)
        np.add.at(sums, inverse, amount[known])

        def there(wanted: Numbers) -> Numbers:
            at = np.searchsorted(groups, wanted)
            found = np.append(groups, -1)[at] == wanted
            return np.where(found, sums[at], 0)

        return there

    def _used(self, key: str) -> tuple[Numbers, Numbers, Numbers]:
        """Account (by number), period and amount of what was used of a key by accounts of this batch."""
        own = self.used.filter(pc.equal(self.used["key"], key))
        accounts = fixed_column(fixed_bytes(own["account"], IDENTITY_BYTES))
        index = pc.index_in(accounts, value_set=self.accounts)
        here = np.asarray(index.is_valid())
        account = np.asarray(pc.fill_null(index, 0)).astype(np.int64)[here]
        period = integers(own["period"], pa.int32()).astype(np.int64)[here]
        return account, period, integers(own["amount"], pa.int64())[here]

    def _add(self, key: str, account: Numbers, period: Numbers, amount: Numbers) -> None:
        columns = [
            self.accounts.take(pa.array(account)),
            pa.array([key], pa.string()).take(pa.array(np.zeros(len(account), dtype=np.int8))),
            pa.array(period.astype(np.int32)).cast(pa.date32()),
            pa.array(amount),
        ]
        if len(account):
            self.added.append(pa.table(columns, schema=USED_SCHEMA))

    # -- budgets and rows

    def _budgets(self, lines: _Lines) -> tuple[_Lines, dict[str, int]]:
        """Let sponsors pay in the total order over all accounts, until their budgets are spent."""
        spent = {}
        for number, sponsor in enumerate(self.sponsors):
            own = np.flatnonzero(lines.sponsor == number)
            if not len(own):
                continue
            acts = lines.act[own]
            same = np.zeros(len(own), dtype=np.int64)
            own = own[_total_order(same, self.ended[acts], self.rows[acts], self.actions)]
            left = self.left[number]
            for start in range(0, len(own), _BLOCK):
                here = own[start : start + _BLOCK]
                points = lines.points[here]
                lines.points[here] = np.clip(left - (np.cumsum(points) - points), 0, points)
                left -= int(lines.points[here].sum())
            if left < self.left[number]:
                spent[sponsor.id] = self.left[number] - left
        return lines.paid(), spent

    def _rows(self, lines: _Lines) -> pa.Table:
        place = integers(self.records["place"], pa.int64())[self.rows[lines.act]]
        names = sorted(each.id for each in self.sponsors)
        by_name = np.array([names.index(each.id) for each in self.sponsors] + [-1], dtype=np.int64)
        order = np.lexsort((by_name[lines.sponsor], lines.rule, place))
        lines, place = lines.where(order), place[order]
        of_day = np.searchsorted(self.days, self.act_day[lines.act])
        table = np.zeros((len(self.programme.rules), len(self.days), 3), dtype=np.int32)
        for number, rule in enumerate(self.programme.rules):
            for index, day in enumerate(self.days.tolist()):
                found = days_of(rule, _date(day), self.settled_on)
                if found is not None:
                    table[number, index] = [_NONE if each is None else _number(each) for each in found]
        days = table[lines.rule, of_day]
        collect = days[:, 2]
        sponsor = pa.DictionaryArray.from_arrays(
            pa.array(lines.sponsor, mask=lines.sponsor < 0), pa.array([each.id for each in self.sponsors], pa.string())
        )
        columns = [
            pa.array(place.astype(np.uint32)),
            pa.array(lines.rule.astype(np.uint16)),
            pa.array(lines.points),
            pa.array(np.ascontiguousarray(days[:, 0])).cast(pa.date32()),
            pa.array(np.ascontiguousarray(days[:, 1])).cast(pa.date32()),
            pa.array(np.ascontiguousarray(collect), mask=collect == _NONE).cast(pa.date32()),
            sponsor.cast(pa.string()),
        ]
        return pa.table(columns, schema=ROW_SCHEMA)


_NONE = np.iinfo(np.int32).min


def _shares(rule: PointsRule, texts: Mapping[int, tuple[str, ...]]) -> tuple[Numbers, list[Fraction]]:
    """For each combination of texts the number of the share with which a rule fits it, or -1; and the shares."""
    shares: dict[Fraction, int] = {}
    numbers = np.full(max(texts, default=-1) + 1, -1, dtype=np.int64)
    for code, combination in texts.items():
        share = rule.share(*combination)
        if share:
            numbers[code] = shares.setdefault(share, len(shares))
    return numbers, list(shares)


def _combinations(records: pa.Table) -> tuple[Numbers, dict[int, tuple[str, ...]]]:
    """A number for the texts of each row, and what the numbers that occur stand for."""
    number = np.zeros(records.num_rows, dtype=np.int64)
    known: dict[int, tuple[str, ...]] = {0: ()}
    for name in TEXTS:
        codes, texts = text_codes(one_array(records[name]))
        number = number * max(len(texts), 1) + codes
        found = _distinct(number)
        known = {
            new: (*known[old // max(len(texts), 1)], str(texts[old % max(len(texts), 1)]))
            for new, old in enumerate(found.tolist())
        }
        number = _places(found, number)
    return number, known


def _distinct(values: Numbers) -> Numbers:
    """The values that occur, ascending."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low >= _TABLE:
        return np.unique(values).astype(np.int64)
    there = np.zeros(high - low + 1, dtype=bool)
    there[values - low] = True
    return np.flatnonzero(there) + low


def _places(found: Numbers, values: Numbers) -> Numbers:
    """The place of each value among those found."""
    if not len(found) or int(found[-1] - found[0]) >= _TABLE:
        return np.searchsorted(found, values)
    table = np.zeros(int(found[-1] - found[0]) + 1, dtype=np.int64)
    table[found - found[0]] = np.arange(len(found))
    places: Numbers = table[values - found[0]]
    return places


def _coded(accounts: Bytes) -> tuple[Numbers, pa.FixedSizeBinaryArray]:
    """A number for each row's account, and the accounts of the numbers."""
    halves = np.ascontiguousarray(accounts).view(">u8")
    new = np.ones(len(halves), dtype=bool)
    new[1:] = (halves[1:] != halves[:-1]).any(axis=1)
    firsts = halves[new, 0]
    if (firsts[1:] > firsts[:-1]).all():  # in order of the account, as batches are
        return np.cumsum(new) - 1, fixed_column(accounts[new])
    coded = fixed_column(accounts).dictionary_encode()
    return np.asarray(coded.indices).astype(np.int64), coded.dictionary


def _total_order(group: Numbers, ended: Numbers, at: Numbers, actions: Bytes) -> Numbers:
    """Rows by group, end of the act and action id, which is that of ``actions`` at ``at``.

    Few acts end at one moment: ids are compared only where they do.
    """
    order = _by_group_and_end(group, ended)
    tied = ~(_changes(group[order]) | _changes(ended[order]))
    if not tied.any():
        return order
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    rows = order[places]
    halves = np.ascontiguousarray(actions[at[rows]]).view(">u8").astype(np.uint64)
    # Group and end are in order already, so rows stay within the places of their tie.
    order[places] = rows[np.lexsort((rows, halves[:, 1], halves[:, 0], ended[rows], group[rows]))]
    return order


def _by_group_and_end(group: Numbers, ended: Numbers) -> Numbers:
    """One sort of one number where both fit it, which they do for batches of some days; else two."""
    if not len(group):
        return np.zeros(0, dtype=np.int64)
    first = int(ended.min())
    bits = (int(ended.max()) - first).bit_length()
    if bits + int(group.max()).bit_length() < 63:
        both = (group << bits) | (ended - first)
        return np.arange(len(both)) if (both[1:] >= both[:-1]).all() else np.argsort(both)
    return np.lexsort((ended, group))


def _changes(values: npt.NDArray[Any]) -> Flags:
    """Where a value differs from the one before it; the first one does."""
    changed = np.ones(len(values), dtype=bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _before(values: Numbers, heads: Numbers, size: Numbers) -> Numbers:
    """What stands before each value in its group. Sums of a group fit 64 bits; that of all rows may wrap around."""
    running = np.cumsum(values) - values
    return running - np.repeat(running[heads], size)


def _date(number: int) -> date:
    return _EPOCH + timedelta(days=number)


def _number(day: date) -> int:
    return (day - EVER).days
