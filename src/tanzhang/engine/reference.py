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
from tanzhang.core.record import HOLDERS, OUTCOME_NUMBER, Record, content_digest
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
        self.acts = [self._owned(accepted.record, links) for accepted in pending]
        self.before = [record for record in settled if record.outcome not in ("repeat", "conflict")]
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

    def _owned(self, record: Record, links: Sequence[Link]) -> Record:
        account = next(
            (link.account for link in links if link.child == record.child and link.covers(record.day)), record.child
        )
        owned = replace(record, account=account)
        if record.claim is not None or record.plan is None:
            return owned
        recipe = self.recipes[record.plan]
        told, key = person_claim_fields(recipe), self.rules.identity_key
        if told in ("day", "month"):
            period = record.day.isoformat()[: 10 if told == "day" else 7]
            return replace(owned, claim=identity(key, CLAIM, recipe.family, str(account), period))
        if recipe.overlap and record.started is not None:
            return owned
        moment = (recipe.family, record.behaviour, str(account), str(record.ended))
        return replace(owned, claim=identity(key, CLAIM, *moment))

    def _live(self) -> list[int]:
        return [n for n in range(len(self.acts)) if n not in self.outcome]

    def _order(self, n: int) -> tuple[int, int, int]:
        act, recipe = self.acts[n], self._recipe(n)
        start = act.ended if act.started is None else act.started
        return (rank(recipe) if recipe else 10**6, start, act.action_id.int)

    def _same_reference(self) -> None:
        standing = {record.action_id: content_digest(record) for record in self.before}
        by_id: dict[uuid.UUID, list[int]] = defaultdict(list)
        for n, act in enumerate(self.acts):
            by_id[act.action_id].append(n)
        for action_id, group in by_id.items():
            group.sort(key=lambda n: (*self._order(n), content_digest(self.acts[n]), self.acts[n].plan or ""))
            losers = group if action_id in standing else group[1:]
            content = standing.get(action_id, content_digest(self.acts[group[0]]))
            for n in losers:
                self.outcome[n] = "repeat" if content_digest(self.acts[n]) == content else "conflict"
                self.related[n] = action_id

    def _withdrawals(self) -> None:
        asked = [n for n in self._live() if self.acts[n].withdraws is not None]
        self.targets: dict[uuid.UUID, uuid.UUID] = {}
        withdrawing = [self.acts[n] for n in asked] + [r for r in self.before if r.withdraws is not None]
        for record in withdrawing:
            if record.withdraws is not None:
                first = self.targets.get(record.withdraws, record.action_id)
                self.targets[record.withdraws] = min(first, record.action_id)
        settled = {record.action_id: record for record in self.before}
        taken_back = {record.withdraws for record in self.before if record.reversed_mg > 0}
        pending = {self.acts[n].action_id: self.acts[n] for n in self._live()}
        for n in sorted(asked, key=lambda n: self.acts[n].action_id):
            act = self.acts[n]
            target = settled.get(act.withdraws) if act.withdraws else None
            if target is not None:
                if act.withdraws not in taken_back:
                    self.reversed[n] = target.granted_mg
                    taken_back.add(act.withdraws)
                self.acts[n] = act = replace(act, account=target.account)
            recipe = self._recipe(n)
            if recipe is not None and target is not None and recipe.kind != target.kind:
                self.outcome[n], self.related[n] = "conflict", target.action_id
            elif recipe is None:
                other = target or (pending.get(act.withdraws) if act.withdraws else None)
                self.outcome[n], self.related[n] = "withdrawal", other.action_id if other else None
                other_recipe = self.recipes.get(other.plan) if other is not None and other.plan else None
                self.kind[n] = target.kind if target else other_recipe.kind if other_recipe else "reduction"
        for n in self._live():
            if self.acts[n].action_id in self.targets:
                self.outcome[n], self.related[n] = "withdrawn", self.targets[self.acts[n].action_id]

    def _late(self) -> None:
        limit = self.rules.report_within_days
        for n in self._live():
            if limit is not None and (self.received[n] - self.acts[n].day).days > limit:
                self.outcome[n], self.related[n] = "late", None

    def _conflicts(self) -> None:
        self.holders = [r for r in self.before if r.outcome in HOLDERS and r.action_id not in self.targets]
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
            records.append(
                replace(
                    act,
                    kind=self.kind.get(n, recipe.kind if recipe else "reduction"),
                    outcome=outcome,
                    granted_mg=self.granted.get(n, 0) if outcome in HOLDERS else 0,
                    reversed_mg=0 if outcome in ("repeat", "conflict") else self.reversed[n],
                    related=self.related.get(n),
                )
            )
        again = {act.action_id for act in self.acts if sum(a.action_id == act.action_id for a in self.acts) > 1}
        again |= {record.action_id for record in self.before}
        return sorted(
            records,
            key=lambda r: (
                r.account,
                r.ended,
                r.action_id,
                OUTCOME_NUMBER[r.outcome],
                content_digest(r) if r.action_id in again else "",
            ),
        )


def _span_of(day: date, cap: CapRule) -> str:
    return day.isoformat()[: 10 if cap.period == "day" else 7]
