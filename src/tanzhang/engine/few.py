"""Screening of few rows: one act at a time, in plain Python. It defines every verdict of a row.

:func:`tanzhang.engine.screen.screen` does the same in columns and must equal it, to the milligram and to the letter of
every message; it is faster from some thousand rows on, and this is from one row to there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from tanzhang.core.action import DEFAULT_EVIDENCE, EVIDENCE, INPUT_NAMES, STRAIGHT
from tanzhang.core.claim import ACTION, CHILD, CLAIM, DEVICE, GROUP, IMAGE, identity_bytes, normal_identifier
from tanzhang.core.errors import Problem
from tanzhang.core.methodology import Plan
from tanzhang.core.programme import Programme
from tanzhang.core.recipe import read_recipe
from tanzhang.core.region import is_region
from tanzhang.engine.columns import transposed
from tanzhang.engine.exact import compile_amount
from tanzhang.engine.rules import (
    EPOCH,
    FIX_ROW,
    LONGEST_TEXT,
    Act,
    Rule,
    Said,
    is_readable,
    kind_rules,
    microseconds,
    plan_rules,
    reading_rules,
    row_rules,
)
from tanzhang.engine.screen import ACCEPTED_COLUMNS, ASKED_AHEAD, RAW_COLUMNS, RFC3339, Question
from tanzhang.engine.sql import compile_mg

RawRow = tuple[Any, ...]
"""Values of :data:`~tanzhang.engine.screen.RAW_COLUMNS` as text formats give them: texts, whole numbers or None."""

_REMEMBERED = 1 << 14
_TIME = re.compile(RFC3339, re.ASCII)
_WHOLE = re.compile("-?[0-9]+", re.ASCII)
_LARGEST = 2**63 - 1
# What DuckDB's trim takes off: the space separators of Unicode.
BLANKS = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

_UUIDS = ("action_id", "child", "group_id", "claim", "withdraws", "device", "image")
_TYPES = {
    "row": pa.int64(),
    **dict.fromkeys(("started", "ended"), pa.timestamp("us")),
    **dict.fromkeys(("day", "close_day"), pa.date32()),
    **dict.fromkeys((*INPUT_NAMES, "quantified_mg", STRAIGHT), pa.int64()),
    **dict.fromkeys(_UUIDS, pa.uuid()),
}
ACCEPTED_SCHEMA = pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in ACCEPTED_COLUMNS])


@dataclass(frozen=True, slots=True)
class ScreenedFew:
    """What became of the rows.

    ``accepted``: values of :data:`~tanzhang.engine.screen.ACCEPTED_COLUMNS`; identities are 16 bytes, times
    microseconds of UTC. ``problems``: row, reference, code, field, message, remedy; in that order.
    """

    accepted: list[tuple[Any, ...]]
    problems: list[tuple[Any, ...]]
    plans: Mapping[str, Plan]


@dataclass(frozen=True, slots=True)
class _Compiled:
    plan: Plan
    rules: Sequence[Rule]
    defaults: Mapping[str, int]
    amount: Callable[[Mapping[str, int]], int]
    names_acts: bool
    period: int | None  # characters of the ISO day that tell claims apart
    window_days: int
    claimed_window_days: int  # of an act with an issuer's identifier


class FewRows:
    """Screens rows for one programme. Remembers what was asked and what was compiled; one thread at a time."""

    def __init__(
        self, programme: Programme, identity_key: bytes, resolve: Callable[[Question], Plan | Problem]
    ) -> None:
        self._programme, self._key, self._resolve = programme, identity_key, resolve
        self._zone = ZoneInfo(programme.time_zone)
        self._compiled: dict[str, _Compiled] = {}
        self._answer = lru_cache(_REMEMBERED)(self._ask)
        self._kind_rules = lru_cache(_REMEMBERED)(lambda partner: kind_rules(programme, partner))

    def screen(self, rows: Iterable[RawRow], *, partner: str | None, now: datetime) -> ScreenedFew:
        """The verdicts of some rows; arguments as of :func:`tanzhang.engine.screen.screen`."""
        rules = [*_READING, *self._kind_rules(partner), *row_rules(now)]
        latest = microseconds(now + ASKED_AHEAD)
        accepted: list[tuple[Any, ...]] = []
        problems: list[tuple[Any, ...]] = []
        plans: dict[str, Plan] = {}
        for raw in rows:
            act = _read(raw, self._programme.region, partner)
            day = None
            if act.ended is not None and act.ended <= latest:
                day = (EPOCH + timedelta(microseconds=act.ended)).astimezone(self._zone).date()
            takes_back = act.withdraws is not None and not act.unread and not act.inputs
            answer = None if takes_back else self._planned(act, day)
            compiled = answer if isinstance(answer, _Compiled) else None
            if compiled is not None:
                plans[compiled.plan.digest] = compiled.plan
                act.inputs = {**compiled.defaults, **act.inputs}
            found = _wrong(act, rules, answer)
            if found:
                problems += [(raw[0], act.reference, *said) for said in found]
            elif day is None or (compiled is None and not takes_back):
                raise AssertionError(f"row {raw[0]} has no plan, and no rule says why")
            else:
                accepted.append(self._accepted(raw[0], act, day, compiled))
        problems.sort(key=lambda line: (line[0], line[2], line[3] or "", *line[4:]))
        return ScreenedFew(accepted, problems, plans)

    def _planned(self, act: Act, day: date | None) -> _Compiled | Problem | None:
        """By what an act is computed, or why by nothing; None where another rule refuses what would be asked."""
        if act.behaviour is None or day is None or not is_region(act.region) or act.evidence not in EVIDENCE:
            return None
        # What a stranger writes at length is not worth remembering.
        short = len(act.behaviour) <= LONGEST_TEXT and len(act.variant or "") <= LONGEST_TEXT
        ask = self._answer if short else self._ask
        return ask(act.behaviour, act.region, act.variant, act.evidence, day)

    def _ask(self, *question: Any) -> _Compiled | Problem:
        answer = self._resolve(Question(*question))
        if isinstance(answer, Problem):
            return answer
        if answer.digest not in self._compiled:
            self._compiled[answer.digest] = self._compile(answer)
        return self._compiled[answer.digest]

    def _compile(self, plan: Plan) -> _Compiled:
        methodology, recipe = plan.methodology, read_recipe(plan.document)
        compile_mg(recipe)  # refuses what the columns could not compute
        claim = methodology.claim
        period = 7 if "month" in claim.fields else 10 if "day" in claim.fields else None
        return _Compiled(
            plan,
            plan_rules(plan),
            {name: rule.default for name, rule in methodology.inputs.items() if rule.default is not None},
            compile_amount(recipe),
            "identifier" in claim.fields,
            period,
            self._programme.window_days(methodology.activity_family, methodology.window_days),
            self._programme.claimed_window_days(methodology),
        )

    def _accepted(self, row: int, act: Act, day: date, compiled: _Compiled | None) -> tuple[Any, ...]:
        window_days, claim, quantified_mg = 0, None, None
        if compiled is not None:
            quantified_mg = compiled.amount(act.inputs)
            window_days = compiled.window_days
            if compiled.names_acts and act.claim_issuer is not None and act.claim_identifier is not None:
                methodology = compiled.plan.methodology
                parts = [
                    methodology.activity_family,
                    normal_identifier(act.claim_issuer),
                    normal_identifier(act.claim_identifier),
                ]
                if compiled.period is not None:
                    parts.append(day.isoformat()[: compiled.period])
                claim = identity_bytes(self._key, CLAIM, *parts)
                window_days = compiled.claimed_window_days
                if window_days < 0 and act.withdraws is not None:
                    window_days = 0
        return (
            row,
            self._identity(ACTION, act.partner, act.reference),
            self._identity(CHILD, act.partner, act.subject),
            act.partner,
            act.behaviour,
            act.region,
            act.variant,
            act.evidence,
            None if compiled is None else compiled.plan.digest,
            act.started,
            act.ended,
            day,
            day + timedelta(window_days) if window_days else day,
            *map(act.inputs.get, INPUT_NAMES),
            quantified_mg,
            self._identity(GROUP, act.partner, act.companions),
            claim,
            self._identity(ACTION, act.partner, act.withdraws),
            self._identity(DEVICE, act.device),
            self._identity(IMAGE, act.image_hash),
            act.straight_m,
        )

    def _identity(self, purpose: str, *parts: str | None) -> bytes | None:
        known = [part for part in parts if part is not None]
        return identity_bytes(self._key, purpose, *known) if len(known) == len(parts) else None


def accepted_table(accepted: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Accepted rows as columns: those of :data:`ACCEPTED_SCHEMA`."""
    columns = transposed(accepted, len(ACCEPTED_COLUMNS))
    return pa.Table.from_arrays(
        [_array(values, field.type) for values, field in zip(columns, ACCEPTED_SCHEMA, strict=True)],
        schema=ACCEPTED_SCHEMA,
    )


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.uuid():
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)


_READING = reading_rules({})


def _read(raw: RawRow, region: str, partner: str | None) -> Act:
    """A raw row's values, read."""
    _, reference, source, behaviour, subject, time, started_at, *texts = raw[: -len(INPUT_NAMES) - 3]
    place, variant, issuer, identifier, evidence, group, withdraws, device, image_hash, _ = map(_trimmed, texts)
    inputs: dict[str, int] = {}
    unread: list[str] = []
    straight_m = None if texts[-1] is None else _whole(texts[-1])
    if straight_m is None and _trimmed(texts[-1]) is not None:
        unread.append(STRAIGHT)
    for name, value in zip(INPUT_NAMES, raw[-len(INPUT_NAMES) - 3 : -3], strict=True):
        if value is not None:
            whole = _whole(value)
            if whole is not None:
                inputs[name] = whole
            elif _trimmed(value) is not None:
                unread.append(name)
    return Act(
        raw=dict(zip(RAW_COLUMNS, raw, strict=True)),
        reference=_trimmed(reference),
        partner=_trimmed(source) or partner,
        behaviour=_trimmed(behaviour),
        subject=_trimmed(subject),
        ended=_moment(time),
        started=_moment(started_at),
        region=place or region,
        variant=variant,
        evidence=evidence or DEFAULT_EVIDENCE,
        companions=group,
        claim_issuer=issuer,
        claim_identifier=identifier,
        withdraws=withdraws,
        device=device,
        image_hash=image_hash,
        straight_m=straight_m,
        objection=raw[-3],
        time_given=_trimmed(time) is not None,
        start_given=_trimmed(started_at) is not None,
        inputs=inputs,
        unread=tuple(unread),
    )


def _trimmed(value: str | int | None) -> str | None:
    """A text without blanks at its ends, None if nothing is left."""
    return None if value is None else str(value).strip(BLANKS) or None


def _moment(value: str | int | None) -> int | None:
    """A time with offset as microseconds of UTC, None where it is none."""
    text = _trimmed(value)
    if text is None or not _TIME.fullmatch(text):
        return None
    try:
        return microseconds(datetime.fromisoformat(text.upper()))
    except ValueError:  # a day that does not exist
        return None


def _whole(value: str | int) -> int | None:
    """A whole number of 64 bits, None where it is none."""
    if isinstance(value, str):
        text = value.strip(BLANKS)
        if not _WHOLE.fullmatch(text):
            return None
        digits = text.lstrip("-").lstrip("0") or "0"
        if len(digits) > 19:  # Python refuses to read numbers of thousands of digits
            return None
        value = -int(digits) if text.startswith("-") else int(digits)
    return value if -_LARGEST - 1 <= value <= _LARGEST else None


def _wrong(act: Act, rules: Iterable[Rule], answer: _Compiled | Problem | None) -> list[Said | tuple[Any, ...]]:
    """Every mistake of an act."""
    found: list[Said | tuple[Any, ...]] = []
    if act.objection is not None:
        found.append((act.objection, act.raw["problem_field"], act.raw["problem_message"], FIX_ROW))
        if not is_readable(act):
            return found
    found += [rule.said_of(act) for rule in rules if rule.broken(act)]
    if isinstance(answer, _Compiled):
        found += [rule.said_of(act) for rule in answer.rules if rule.broken(act)]
    elif answer is not None:
        found.append((answer.code, "type", answer.message, answer.remedy))
    return found
