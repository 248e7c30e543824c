"""What goes wrong: repeated, late, withdrawn, malformed and dishonest reports, each with what has to become of it.

Every planted report starts from an act that happened. An act has at most one thing planted on it, and where one report
must lose to another it differs in what the declared order looks at first: evidence, then start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from tanzhang.engine.simulate.acts import CLAIM_BIT, GHOST_BIT, GROUP_BIT, NEVER, US, Rows, Season
from tanzhang.engine.simulate.draws import I64, U8, U64, Flags, between, bits, mix
from tanzhang.engine.simulate.malformed import codes_of_malformed, malformed
from tanzhang.engine.simulate.model import TEN_THOUSAND, Cheat

DAY_US = 86_400 * US
# Kinds that every scenario may plant, with the rate's name; the order is part of what a seed gives.
RATES = (
    "duplicate",
    "overlap",
    "overlap_linked",
    "companion",
    "retry",
    "conflict",
    "late",
    "withdrawn_before",
    "withdrawn_after",
    "malformed",
    "replayed_order",
)
WITHDRAWAL = "withdrawal"  # the report that takes back an act of one of the two kinds of withdrawn ones
OUTCOMES_EXPECTED = ("granted", "repeat", "conflict", "duplicate_of", "overlap_of", "withdrawn", WITHDRAWAL)
ON_TRIPS = frozenset({"duplicate", "overlap", "overlap_linked", "companion"})
# A further report of an act is named by its purpose, so that its reference is its own.
_PURPOSE = {kind: number for number, kind in enumerate(RATES, start=1)}
_CHEAT_PURPOSE = 32


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of planted reports; ``file_day`` is the day of the file they stand in.

    ``kind`` is a place in ``Planter.kinds_written``; ``expected`` and ``at_once`` are places in ``Planter.verdicts``:
    codes of a refusal joined by ``+``, or the outcome of settlement, the latter if the whole season is settled in one
    go. ``related`` is the number of the report they refer to, 0 for none.
    """

    kind: U8
    expected: U8
    at_once: U8
    partner: U8
    number: U64
    file_day: I64
    related_partner: U8
    related: U64

    def __len__(self) -> int:
        return len(self.number)

    def take(self, chosen: I64 | Flags) -> Truth:
        """Some of it, in the order given."""
        return Truth(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def all_truth(parts: Sequence[Truth]) -> Truth:
    """What is known in several parts, in order."""
    return Truth(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _TRUTH})


_TRUTH = [field.name for field in fields(Truth)]


@dataclass(frozen=True, slots=True)
class Planted:
    """What planting made of a slice of acts: the acts left in their place, further reports by file day, the truth."""

    acts: Rows
    moved: Flags
    extras: tuple[tuple[I64, Rows], ...]
    truth: tuple[Truth, ...]


def rate_limits(season: Season) -> tuple[list[str], npt.NDArray[np.uint64]]:
    """The kinds in their order, and for every behaviour where each kind's share of the draws ends.

    Shape: kinds, uint64 (behaviours, kinds), of 2^32 draws.
    """
    scenario = season.tables.scenario
    kinds = [*RATES, *(cheat.kind for cheat in scenario.cheats)]
    limits = np.zeros((len(scenario.behaviours), len(kinds)), np.uint64)
    for row, behaviour in enumerate(scenario.behaviours):
        rates = [scenario.rates[kind] if behaviour.trip or kind not in ON_TRIPS else 0 for kind in RATES]
        rates += [cheat.per_10000 if cheat.of == behaviour.id else 0 for cheat in scenario.cheats]
        limits[row] = np.cumsum(np.array(rates, np.uint64) * np.uint64((1 << 32) // TEN_THOUSAND))
    return kinds, limits


class Planter:
    """Plants on slices of one season."""

    def __init__(self, season: Season) -> None:
        self.season = season
        self.tables = season.tables
        self.kinds, self.limits = rate_limits(season)
        self.most = self.limits[:, -1]
        self.cheats = {cheat.kind: cheat for cheat in self.tables.scenario.cheats}
        self.kinds_written = (*self.kinds, WITHDRAWAL)
        cheated = {cheat.expected for cheat in self.cheats.values()}
        cheated |= {cheat.beyond for cheat in self.cheats.values() if cheat.beyond is not None}
        self.verdicts = tuple(sorted({*OUTCOMES_EXPECTED, *codes_of_malformed(), *cheated}))
        self.map_app = self.tables.partner_code(self.tables.scenario.map_app)

    def plant(self, acts: Rows, person_draw: U64, first_person: int, day: int) -> Planted:
        """Plant on the honest acts of one slice and day."""
        draw = mix(acts.number, self.season.salt["special"])
        low = draw & np.uint64(0xFFFFFFFF)
        chosen = np.flatnonzero(low < self.most[acts.behaviour])
        kind = (low[chosen, None] >= self.limits[acts.behaviour[chosen]]).sum(axis=1)
        run = _Run(self, acts, person_draw, first_person, day)
        for number, name in enumerate(self.kinds):
            of_kind = chosen[kind == number]
            if len(of_kind):
                run.plant(name, of_kind)
        return run.planted()


class _Run:
    """Planting on one slice."""

    def __init__(self, planter: Planter, acts: Rows, person_draw: U64, first_person: int, day: int) -> None:
        self.season, self.tables, self.planter = planter.season, planter.tables, planter
        self.acts, self.day = acts, day
        self.person_draw, self.first_person = person_draw, first_person
        self.group = np.zeros(len(acts), np.uint64)
        self.moved = np.zeros(len(acts), np.bool_)
        self.extras: list[tuple[I64, Rows]] = []
        self.truth: list[Truth] = []
        self.last = self.season.size.days - 1

    def plant(self, kind: str, where: I64) -> None:
        """Plant one kind on the acts at these places."""
        base = self.acts.take(where)
        draw = mix(base.number, self.season.salt["plant"])
        if kind in self.planter.cheats:
            self._cheat(self.planter.cheats[kind], base)
            return
        plants: dict[str, Callable[[Rows, U64, I64], None]] = {
            "duplicate": self._duplicate,
            "overlap": self._overlap,
            "overlap_linked": self._overlap_linked,
            "companion": self._companion,
            "retry": self._retry,
            "conflict": self._conflict,
            "late": self._late,
            "withdrawn_before": self._withdrawn_before,
            "withdrawn_after": self._withdrawn_after,
            "malformed": self._malformed,
            "replayed_order": self._replayed_order,
        }
        plants[kind](base, draw, where)

    def planted(self) -> Planted:
        """The result."""
        acts = self.acts.changed(group=self.group) if self.group.any() else self.acts
        return Planted(acts, self.moved, tuple(self.extras), tuple(self.truth))

    # -- one method per kind: the acts it is planted on, their draws, their places in the slice

    def _duplicate(self, base: Rows, draw: U64, _where: I64) -> None:
        """Another platform saw the trip too and names the same gate or order; it noticed the start a little later."""
        partner, evidence, seen = self._witness(base, draw)
        seen &= base.claim > 0
        base, draw = base.take(seen), draw[seen]
        shift = between(draw, 16, 5, 40) * US
        rows = self._again(base, "duplicate").changed(
            partner=partner[seen], evidence=evidence[seen], started=base.started + shift, ended=base.ended + shift
        )
        days = self._later(draw, np.where(bits(draw, 32, 3) == 0, between(draw, 48, 1, 4), 0))
        self._add("duplicate", "duplicate_of", rows, days, base)

    def _overlap(self, base: Rows, draw: U64, _where: I64) -> None:
        """The same person claims a second trip at nearly the same time."""
        length = base.ended - base.started
        shift = length // 16 // US * US + US
        rows = self._again(base, "overlap", new_claim=True).changed(
            started=base.started + shift, ended=base.ended + shift
        )
        self._add("overlap", "overlap_of", rows, self._today(base), base)

    def _overlap_linked(self, base: Rows, draw: U64, _where: I64) -> None:
        """The map app saw a trip that another platform reports, and knows no number of it; the accounts are linked."""
        who = (base.person - np.uint64(self.first_person)).astype(np.int64)
        seen = self.season.linked(self.person_draw[who]) & (base.partner != self.planter.map_app)
        partner, evidence, found = self._witness(base, draw, only=self.planter.map_app)
        seen &= found
        base, draw = base.take(seen), draw[seen]
        shift = between(draw, 16, 3, 20) * US
        rows = self._again(base, "overlap_linked").changed(
            partner=partner[seen],
            evidence=evidence[seen],
            started=base.started + shift,
            ended=base.ended + shift,
            claim=np.zeros(len(base), np.uint64),
            issuer=np.zeros(len(base), np.uint8),
        )
        self._add("overlap_linked", "overlap_of", rows, self._today(base), base)

    def _companion(self, base: Rows, draw: U64, where: I64) -> None:
        """A second ticket for somebody who came along, declared as such: one group, two acts."""
        group = base.number | GROUP_BIT
        self.group[where] = group
        rows = self._again(base, "companion", new_claim=True).changed(group=group)
        self._add("companion", "granted", rows, self._today(base), base)

    def _retry(self, base: Rows, draw: U64, _where: I64) -> None:
        """The same report once more, in the same file or in one of the next days."""
        lag = np.where(bits(draw, 0, 1) == 0, 0, between(draw, 16, 1, 5))
        self._add("retry", "repeat", base, self._later(draw, lag), base)

    def _conflict(self, base: Rows, draw: U64, _where: I64) -> None:
        """The same reference for something else."""
        shift = between(draw, 16, 30, 110) * US
        rows = base.changed(started=_shifted(base.started, shift), ended=base.ended + shift)
        self._add("conflict", "conflict", rows, self._later(draw, between(draw, 32, 0, 3)), base)

    def _late(self, base: Rows, draw: U64, where: I64) -> None:
        """An act that is reported only some days later, within its window or long after it."""
        days = self.day + np.where(bits(draw, 0, 1) == 0, between(draw, 16, 1, 2), between(draw, 16, 3, 10))
        in_time = days <= self.last
        self.moved[where[in_time]] = True
        self._add("late", "granted", base.take(in_time), days[in_time], None)

    def _withdrawn_before(self, base: Rows, draw: U64, _where: I64) -> None:
        """Taken back while the window is open, at the latest in the file of its last day."""
        lag = np.minimum(between(draw, 16, 0, 6), self._windows(base))
        self._take_back(base, self._later(draw, lag), "withdrawn_before", "withdrawn")

    def _withdrawn_after(self, base: Rows, draw: U64, _where: I64) -> None:
        """Taken back when it was granted already, if every day is settled on the next morning."""
        days = self.day + self._windows(base) + between(draw, 16, 1, 3)
        in_time = days <= self.last
        self._take_back(base.take(in_time), days[in_time], "withdrawn_after", "granted")

    def _malformed(self, base: Rows, draw: U64, _where: I64) -> None:
        for rows, codes in malformed(self.season, self._again(base, "malformed", new_claim=True), draw):
            self._add("malformed", codes, rows, self._today(rows), None)

    def _replayed_order(self, base: Rows, draw: U64, _where: I64) -> None:
        """An order number that was used already comes back under another reference, for an account made up for it."""
        claimed = base.claim > 0
        base, draw = base.take(claimed), draw[claimed]
        partner, evidence, found = self._witness(base, draw)
        elsewhere = found & (bits(draw, 0, 1) == 1)
        lag = self._later(draw, between(draw, 32, 0, 2)) - self.day
        same_month = np.array(
            [day.month == self.season.days[self.day].month for day in self.season.days[self.day : self.day + 3]]
        )
        lag = np.where(same_month[lag], lag, 0)
        shift = between(draw, 16, 60, 600) * US + lag * DAY_US
        rows = self._again(base, "replayed_order").changed(
            partner=np.where(elsewhere, partner, base.partner),
            evidence=np.where(elsewhere, evidence, base.evidence),
            person=base.number | GHOST_BIT,
            started=_shifted(base.started, shift),
            ended=base.ended + shift,
        )
        self._add("replayed_order", "duplicate_of", rows, self.day + lag, base)

    def _cheat(self, cheat: Cheat, base: Rows) -> None:
        """Reports of a made-up account, in the pattern of honest acts."""
        partner = base.partner
        if cheat.partner is not None:
            partner = np.full(len(base), self.tables.partner_code(cheat.partner), np.uint8)
        behaviour = np.full(len(base), self.tables.behaviour_code(cheat.reports), np.uint8)
        for turn in range(cheat.times):
            number = base.number | np.uint64((_CHEAT_PURPOSE + turn) << 56)
            shift = np.full(len(base), turn * 30 * US, np.int64)
            rows = base.changed(
                partner=partner,
                behaviour=behaviour,
                person=base.number | GHOST_BIT,
                number=number,
                claim=np.where(base.claim > 0, number | CLAIM_BIT, np.uint64(0)),
                started=_shifted(base.started, shift),
                ended=base.ended + shift,
            )
            if cheat.quantity is not None:
                rows = rows.changed(quantity=np.full(len(base), cheat.quantity, np.int64))
            expected = cheat.expected if turn < cheat.granted or cheat.beyond is None else cheat.beyond
            self._add(cheat.kind, expected, rows, self._today(base), None)

    # -- shared

    def _add(self, kind: str, expected: str, rows: Rows, file_day: I64, related: Rows | None) -> None:
        if len(rows):
            self.extras.append((file_day, rows))
            self._know(kind, expected, expected, rows, file_day, related)

    def _know(self, kind: str, expected: str, at_once: str, rows: Rows, file_day: I64, related: Rows | None) -> None:
        nothing = np.zeros(len(rows), np.uint64)
        planter = self.planter
        self.truth.append(
            Truth(
                kind=np.full(len(rows), planter.kinds_written.index(kind), np.uint8),
                expected=np.full(len(rows), planter.verdicts.index(expected), np.uint8),
                at_once=np.full(len(rows), planter.verdicts.index(at_once), np.uint8),
                partner=rows.partner,
                number=rows.number,
                file_day=file_day,
                related_partner=rows.partner if related is None else related.partner,
                related=nothing if related is None else related.number,
            )
        )

    def _again(self, base: Rows, kind: str, *, new_claim: bool = False) -> Rows:
        """The rows under references of their own; with a number of the issuer's own too, if asked for."""
        number = base.number | np.uint64(_PURPOSE[kind] << 56)
        rows = base.changed(number=number)
        if not new_claim:
            return rows
        return rows.changed(claim=np.where(base.claim > 0, number | CLAIM_BIT, np.uint64(0)))

    def _take_back(self, base: Rows, file_day: I64, kind: str, expected: str) -> None:
        """The acts' own truth, and the reports that withdraw them, dated on the day of their file."""
        if not len(base):
            return
        own_day = np.full(len(base), self.day, np.int64)
        self._know(kind, expected, "withdrawn", base, own_day, None)
        rows = self._again(base, kind).changed(
            claim=np.zeros(len(base), np.uint64),
            issuer=np.zeros(len(base), np.uint8),
            started=np.full(len(base), NEVER, np.int64),
            ended=base.ended + (file_day - self.day) * DAY_US + 60 * US,
            quantity=np.full(len(base), NEVER, np.int64),
            withdraws=base.number,
        )
        self._add(WITHDRAWAL, WITHDRAWAL, rows, file_day, base)

    def _witness(self, base: Rows, draw: U64, only: int | None = None) -> tuple[U8, U8, Flags]:
        """For every row another platform that may report it, and with which evidence; false where there is none."""
        partner, evidence = base.partner.copy(), base.evidence.copy()
        found = np.zeros(len(base), np.bool_)
        for code, behaviour in enumerate(self.tables.scenario.behaviours):
            own = np.flatnonzero(base.behaviour == code)
            if not len(own):
                continue
            for number, witness in enumerate(behaviour.witnesses):
                other = self.tables.partner_code(witness.partner)
                if only is not None and other != only:
                    continue
                may = base.partner[own] != other
                # The first that may report it, or in half of the cases a later one.
                better = may & (~found[own] | (bits(draw[own], 8 + number % 8, 1) == 1))
                partner[own[better]], evidence[own[better]] = other, self.tables.evidence_code(witness.evidence)
                found[own[better]] = True
        return partner, evidence, found

    def _windows(self, base: Rows) -> I64:
        """Days that each act waits."""
        windows = self.season.windows[base.behaviour, (base.claim > 0).astype(np.int64)]
        return windows.astype(np.int64)

    def _later(self, draw: U64, lag: npt.NDArray[np.int64]) -> I64:
        """The file's day after a delay; without delay where the season would be over."""
        return np.where(self.day + lag <= self.last, self.day + lag, self.day).astype(np.int64)

    def _today(self, rows: Rows) -> I64:
        return np.full(len(rows), self.day, np.int64)


def _shifted(moments: I64, by: I64) -> I64:
    return np.where(moments == NEVER, NEVER, moments + by)
