"""The reference engine: exact, slow, one act at a time. It defines every result; the columnar engine must equal it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from tanzhang.core.action import ELAPSED, INPUT_NAMES
from tanzhang.core.claim import CLAIM, Span, identity, keep_greedily, overlap_conflict
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.formula import Exact, holds
from tanzhang.core.methodology import Plan
from tanzhang.core.recipe import CapRule, Computation, Recipe, compute, read_recipe
from tanzhang.core.record import ERASED, HOLDERS, OUTCOME_NUMBER, Record, content_digest
from tanzhang.core.settlement import Rules, cap_order, caps_of, person_claim_fields, rank


def quantify_act(plan: Plan, inputs: Mapping[str, int], elapsed_s: int | None, *, explain: bool = False) -> Computation:
    """Quantify one act, or raise every problem of its inputs together.

    Codes: ``unknown-input``, ``missing-input``, ``out-of-range`` and those of the methodology's guards.
    """
    methodology = plan.methodology
    problems = [
        Problem("unknown-input", f"{name} is not an input", "inputs", f"use one of {', '.join(INPUT_NAMES)}")
        for name in inputs
        if name not in INPUT_NAMES
    ]
    filled: dict[str, int] = {}
    for name, rule in methodology.inputs.items():
        value = inputs.get(name, rule.default)
        if value is None:
            problems.append(
                Problem(
                    "missing-input",
                    f"{methodology.key} needs {name}",
                    f"inputs, {name}",
                    f"add {name} as a whole number from {rule.minimum} to {rule.maximum}",
                )
            )
        elif not rule.minimum <= value <= rule.maximum:
            problems.append(
                Problem(
                    "out-of-range",
                    f"{name} {value} is outside {rule.minimum} to {rule.maximum} of {methodology.key}",
                    f"inputs, {name}",
                    f"check the value and its unit ({rule.why})",
                )
            )
        else:
            filled[name] = value
    values = {name: Fraction(value) for name, value in filled.items()}
    values |= {name: resolved.value for name, resolved in plan.parameters.items()}
    if elapsed_s is not None:
        values[ELAPSED] = Fraction(elapsed_s)
    problems += [
        Problem(guard.code, guard.says, "inputs", f"check the inputs and times ({guard.why})")
        for guard in methodology.guards
        if guard.formula.names <= values.keys() and not holds(guard.formula.tree, Exact(values))
    ]
    if problems:
        raise TanzhangError(problems)
    return compute(read_recipe(plan.document), filled, explain=explain)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted action as settlement sees it: a record without its outcome, plus the day it was received."""

    record: Record
    received: date


@dataclass(frozen=True, slots=True)
class Link:
    """A child account's account, with the person's consent from-to in local days."""

    child: uuid.UUID
    account: uuid.UUID
    valid_from: date
    valid_until: date | None

    def covers(self, day: date) -> bool:
        """Whether the consent holds on a day."""
        return self.valid_from <= day and (self.valid_until is None or day < self.valid_until)


def settle(
    pending: Sequence[Accepted],
    settled: Sequence[Record],
    links: Sequence[Link],
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> list[Record]:
    """Decide every pending action: the plain statement of what ``engine.settle`` does in columns."""
    return _Settlement(pending, settled, links, recipes, rules).run()


class _Settlement:
    """One settlement; ``acts`` is the pending records with account and claim, ``outcome`` what was decided of each."""

    def __init__(
        self,
        pending: Sequence[Accepted],
        settled: Sequence[Record],
        links: Sequence[Link],
        recipes: Mapping[str, Recipe],
        rules: Rules,
    ) -> None:
        self.recipes, self.rules = recipes, rules
        self.received = [accepted.received for accepted in pending]
        # What was said is compared without what we made of it: a claim by person changes with the account.
        self.content = [content_digest(accepted.record) for accepted in pending]
        self.reported = [accepted.record.claim for accepted in pending]
        self.acts = [self._in_account(accepted.record, links) for accepted in pending]
        # An erased record has a reference unless it was itself a second report of one; its amounts are gone.
        self.before = [r for r in settled if r.outcome not in ("repeat", "conflict") and r.action_id is not None]
        self.outcome: dict[int, str] = {}
        self.related: dict[int, uuid.UUID | None] = {}
        self.kind: dict[int, str] = {}
        self.granted: dict[int, int] = {}
        self.reversed: dict[int, int] = defaultdict(int)

    def run(self) -> list[Record]:
        """All steps in their fixed order."""
        self._same_reference()
        self._withdrawals()
        self._late()
        self._conflicts()
        self._caps()
        return self._records()

    def _recipe(self, n: int) -> Recipe | None:
        digest = self.acts[n].plan
        return None if digest is None else self.recipes[digest]

    def _in_account(self, record: Record, links: Sequence[Link]) -> Record:
        account = next(
            (link.account for link in links if link.child == record.child and link.covers(record.day)), record.child
        )
        return self._owned(record, account, record.claim)

    def _owned(self, record: Record, account: uuid.UUID, reported: uuid.UUID | None) -> Record:
        owned = replace(record, account=account)
        return replace(owned, claim=self._person_claim(owned) if reported is None else reported)

    def _person_claim(self, record: Record) -> uuid.UUID | None:
        """The claim of an act that no issuer identifies, told apart by its person's day, month or moment."""
        if record.plan is None:
            return None
        recipe, account = self.recipes[record.plan], str(record.account)
        told, key = person_claim_fields(recipe), self.rules.identity_key
        if told in ("day", "month"):
            period = record.day.isoformat()[: 10 if told == "day" else 7]
            return identity(key, CLAIM, recipe.family, account, period)
        if recipe.overlap and record.started is not None:
            return None
        return identity(key, CLAIM, recipe.family, record.behaviour, account, str(record.ended))

    def _live(self) -> list[int]:
        return [n for n in range(len(self.acts)) if n not in self.outcome]

    def _order(self, n: int) -> tuple[int, int, int]:
        act, recipe = self.acts[n], self._recipe(n)
        start = act.ended if act.started is None else act.started
        return (rank(recipe) if recipe else 10**6, start, act.action_id.int)

    def _same_reference(self) -> None:
        standing = {
            record.action_id: None if record.outcome == ERASED else content_digest(self._as_reported(record))
            for record in self.before
        }
        by_id: dict[uuid.UUID, list[int]] = defaultdict(list)
        for n, act in enumerate(self.acts):
            by_id[act.action_id].append(n)
        self.said_again = {action_id for action_id, group in by_id.items() if len(group) > 1} | standing.keys()
        for action_id, group in by_id.items():
            group.sort(key=lambda n: (*self._order(n), self.content[n], self.acts[n].plan or ""))
            losers = group if action_id in standing else group[1:]
            content = standing.get(action_id) or self.content[group[0]]  # what an erased report said is not known
            for n in losers:
                self.outcome[n] = "repeat" if self.content[n] == content else "conflict"
                self.related[n] = action_id

    def _as_reported(self, record: Record) -> Record:
        return replace(record, claim=None) if record.claim == self._person_claim(record) else record

    def _withdrawals(self) -> None:
        settled = {record.action_id: record for record in self.before if record.outcome != ERASED}
        erased = {record.action_id for record in self.before if record.outcome == ERASED}
        for n in self._live():
            recipe, target = self._recipe(n), self._target(n, settled)
            if recipe is not None and self.acts[n].withdraws in erased:
                # What was booked of it is not known any more and stays, so nothing can take its place.
                self.outcome[n], self.related[n] = "conflict", self.acts[n].withdraws
            if target is None:
                continue
            # An act stays in the account where it was booked, whatever was linked since.
            self.acts[n] = self._owned(self.acts[n], target.account, self.reported[n])
            # A correction may change the amount, not the book it stands in; one that would takes nothing back.
            if recipe is not None and recipe.kind != target.kind:
                self.outcome[n], self.related[n] = "conflict", target.action_id
        asked = sorted((n for n in self._live() if self.acts[n].withdraws), key=lambda n: self.acts[n].action_id)
        self.targets: dict[uuid.UUID, uuid.UUID] = {}
        for record in sorted([*self.before, *(self.acts[n] for n in asked)], key=lambda record: record.action_id):
            if record.withdraws is not None:
                self.targets.setdefault(record.withdraws, record.action_id)
        taken_back = {r.withdraws for r in self.before if r.outcome != ERASED and r.reversed_mg > 0}
        pending = {self.acts[n].action_id: n for n in self._live()}
        for n in asked:
            target = self._target(n, settled)
            if target is not None and target.action_id not in taken_back:
                self.reversed[n] = target.granted_mg
                taken_back.add(target.action_id)
            if self._recipe(n) is None:
                withdraws = self.acts[n].withdraws
                other = pending.get(withdraws) if withdraws else None
                recipe = None if other is None else self._recipe(other)
                known = target or (None if other is None else self.acts[other])
                self.outcome[n], self.related[n] = "withdrawal", known.action_id if known else None
                self.kind[n] = target.kind if target else recipe.kind if recipe else "reduction"
        for n in self._live():
            if self.acts[n].action_id in self.targets:
                self.outcome[n], self.related[n] = "withdrawn", self.targets[self.acts[n].action_id]

    def _target(self, n: int, settled: Mapping[uuid.UUID, Record]) -> Record | None:
        withdraws = self.acts[n].withdraws
        return None if withdraws is None else settled.get(withdraws)

    def _late(self) -> None:
        limit = self.rules.report_within_days
        for n in self._live():
            if limit is not None and (self.received[n] - self.acts[n].day).days > limit:
                self.outcome[n], self.related[n] = "late", None

    def _conflicts(self) -> None:
        self.holders = [
            r for r in self.before if r.outcome == ERASED or (r.outcome in HOLDERS and r.action_id not in self.targets)
        ]
        live = self._live()
        self.candidates = live
        spans = {n: self._span(self.acts[n]) for n in live}
        settled_spans = [(r, self._span(r)) for r in self.holders]

        def clash(first: tuple[str, Span] | None, second: tuple[str, Span] | None) -> bool:
            if first is None or second is None or first[0] != second[0]:
                return False
            return overlap_conflict(first[1], second[1], self.rules.overlap_threshold)

        duplicate: dict[int, bool] = {}

        def held(n: int) -> uuid.UUID | None:
            act = self.acts[n]
            same = [r.action_id for r in self.holders if r.claim is not None and r.claim == act.claim]
            crossing = [r.action_id for r, span in settled_spans if r.account == act.account and clash(spans[n], span)]
            duplicate[n] = bool(same)
            return min(same) if same else min(crossing, default=None)

        def same_claim(n: int, other: int) -> bool:
            return self.acts[n].claim is not None and self.acts[n].claim == self.acts[other].claim

        def rivals(n: int) -> Iterable[int]:
            for other in live:
                same_person = self.acts[n].account == self.acts[other].account
                if other != n and (same_claim(n, other) or (same_person and clash(spans[n], spans[other]))):
                    yield other

        for n in live:
            winner = held(n)
            if winner is not None:
                self.outcome[n], self.related[n] = "duplicate_of" if duplicate[n] else "overlap_of", winner
        contested = [n for n in live if n not in self.outcome]
        for n, rival in keep_greedily(sorted(contested, key=self._order), rivals).items():
            if rival is not None:
                self.outcome[n] = "duplicate_of" if same_claim(n, rival) else "overlap_of"
                self.related[n] = self.acts[rival].action_id

    def _span(self, record: Record) -> tuple[str, Span] | None:
        recipe = None if record.plan is None else self.recipes[record.plan]
        if recipe is None or not recipe.overlap or record.started is None:
            return None
        return recipe.family, Span(record.started, record.ended, record.group_id)

    def _caps(self) -> None:
        for n in self._live():
            self.granted[n] = self.acts[n].quantified_mg or 0
        bound: dict[CapRule, set[str]] = defaultdict(set)
        for digest, recipe in self.recipes.items():
            for cap in caps_of(recipe, self.rules):
                bound[cap].add(digest)
        for cap in sorted(bound, key=cap_order):
            used: dict[tuple[uuid.UUID, str], int] = defaultdict(int)
            for record in self.holders:
                if record.plan in bound[cap] and record.granted_mg > 0:
                    used[record.account, _span_of(record.day, cap)] += record.granted_mg if cap.limit_mg else 1
            own = [n for n in self.granted if self.acts[n].plan in bound[cap] and self.granted[n] > 0]
            for n in sorted(own, key=lambda n: (self.acts[n].ended, self.acts[n].action_id)):
                key = self.acts[n].account, _span_of(self.acts[n].day, cap)
                before = self.granted[n]
                if cap.limit_count is not None:
                    left = before if used[key] < cap.limit_count else 0
                    used[key] += 1
                else:
                    left = min(before, max((cap.limit_mg or 0) - used[key], 0))
                    used[key] += before
                if left < before:
                    self.granted[n], self.outcome[n], self.related[n] = left, "capped", None

    def _records(self) -> list[Record]:
        records = []
        for n, act in enumerate(self.acts):
            outcome, recipe = self.outcome.get(n, "granted"), self._recipe(n)
            record = replace(
                act,
                kind=self.kind.get(n, recipe.kind if recipe else "reduction"),
                outcome=outcome,
                granted_mg=self.granted.get(n, 0) if outcome in HOLDERS else 0,
                reversed_mg=self.reversed[n],
                related=self.related.get(n),
            )
            said = self.content[n] if act.action_id in self.said_again else ""
            order = (record.account, record.ended, record.action_id, OUTCOME_NUMBER[outcome], said, record.plan or "")
            records.append((order, record))
        return [record for _, record in sorted(records, key=lambda pair: pair[0])]


def _span_of(day: date, cap: CapRule) -> str:
    return day.isoformat()[: 10 if cap.period == "day" else 7]
