"""What refuses a row: every rule once, as a condition in SQL and the same in Python, with one message and one remedy.

Screening in columns (:mod:`tanzhang.engine.screen`) asks the conditions of all rows at once to find the doubtful ones,
and of those again one by one, to say all that is wrong with each. Screening of few rows
(:mod:`tanzhang.engine.few`) asks the Python form of each row and defines what the SQL must come to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tanzhang.core.action import ELAPSED, EVIDENCE, EVIDENCE_RANK, INPUT_NAMES, STRAIGHT
from tanzhang.core.methodology import InputRule, Plan
from tanzhang.core.programme import Partner, Programme
from tanzhang.core.region import contains, is_region
from tanzhang.engine.exact import compile_test
from tanzhang.engine.kernel import quote
from tanzhang.engine.sql import compile_condition

QUESTION = ("behaviour", "region", "variant", "evidence", "day")
KIND = ("partner", *QUESTION)
LONGEST_TEXT = 256
CLOCK_TOLERANCE = timedelta(minutes=5)
_SHOWN = 60  # characters of a value that a message repeats
_ELAPSED_RANGE = (0, 400 * 86_400)  # seconds; an act longer than a year is refused by 'implausible-duration'
WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


@dataclass(slots=True)
class Act:
    """One row as a rule sees it in Python; members are named like the columns of screening's SQL.

    ``raw``: values as they came, by column. Times are microseconds of UTC since 1970. ``inputs`` and ``unread`` name
    inputs: whole numbers that were read (later with a plan's defaults), and what was given but could not be read.
    """

    raw: Mapping[str, Any]
    reference: str | None
    partner: str | None
    behaviour: str | None
    subject: str | None
    ended: int | None
    started: int | None
    region: str
    variant: str | None
    evidence: str
    companions: str | None
    claim_issuer: str | None
    claim_identifier: str | None
    withdraws: str | None
    device: str | None
    image_hash: str | None
    straight_m: int | None
    objection: str | None
    time_given: bool
    start_given: bool
    inputs: dict[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def elapsed_s(self) -> int | None:
        """Whole seconds from start to end, cut towards zero."""
        if self.ended is None or self.started is None:
            return None
        spent = self.ended - self.started
        return spent // 1_000_000 if spent >= 0 else -(-spent // 1_000_000)


@dataclass(frozen=True, slots=True)
class Value:
    """The beginning of a value in a message: of a column of the act or, if ``raw``, as it came."""

    name: str
    raw: bool = False


Said = tuple[str, str, str, str]  # code, field, message, remedy
Message = tuple[str | Value, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What refuses a row: ``sql`` is true of it, over columns, or NULL; ``broken`` is the same of one act."""

    code: str
    field: str
    sql: str
    broken: Callable[[Act], bool]
    message: Message
    remedy: str

    @property
    def message_sql(self) -> str:
        """The message as SQL text."""
        parts = [
            quote(part)
            if isinstance(part, str)
            else f"left({'raw_' if part.raw else ''}{part.name}::VARCHAR, {_SHOWN})"
            for part in self.message
        ]
        return " || ".join(parts)

    def said_of(self, act: Act) -> Said:
        """The problem of an act that breaks this rule."""
        return self.code, self.field, "".join(_text(part, act) for part in self.message), self.remedy


def _text(part: str | Value, act: Act) -> str:
    if isinstance(part, str):
        return part
    if part.raw:
        return str(act.raw[part.name])[:_SHOWN]
    return str(act.inputs[part.name] if part.name in INPUT_NAMES else getattr(act, part.name))[:_SHOWN]


def whole_sql(column: str, kind: str) -> str:
    """A column's whole number as BIGINT, NULL where it is none."""
    if kind == "VARCHAR":
        return f"CASE WHEN regexp_full_match(trim({column}), '-?[0-9]+') THEN TRY_CAST(trim({column}) AS BIGINT) END"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        return f"CASE WHEN {column} = floor({column}) THEN TRY_CAST({column} AS BIGINT) END"
    return f"TRY_CAST({column} AS BIGINT)"


def given_sql(column: str) -> str:
    """Whether a column holds more than blanks, never NULL; most texts begin with a letter or a digit."""
    text = f"{column}::VARCHAR"
    return f"CASE WHEN {text} >= '!' AND {text} <= '~' THEN true ELSE coalesce(trim({text}), '') <> '' END"


def any_broken(rules: Iterable[Rule]) -> str:
    """Whether some rule is broken, never NULL."""
    return " OR ".join(f"coalesce({rule.sql}, false)" for rule in rules)


def fitting(plan: Plan) -> list[str]:
    """Conditions under which a row of this plan is plausible, each TRUE or FALSE, never NULL."""
    rules = plan.methodology.inputs
    conditions = [f"coalesce({name} BETWEEN {rule.minimum} AND {rule.maximum}, false)" for name, rule in rules.items()]
    conditions += [f"coalesce({text}, true)" for text, _ in _guards(plan)]
    return conditions or ["true"]


def _guards(plan: Plan) -> list[tuple[str, Callable[[Act], bool]]]:
    """Each guard as SQL and as the Python test of what breaks it.

    The SQL is NULL, and the guard not broken, where an input is absent or outside its range; so nothing overflows.
    """
    ranges = {name: (rule.minimum, rule.maximum) for name, rule in plan.methodology.inputs.items()}
    ranges[ELAPSED] = _ELAPSED_RANGE
    parameters = {name: resolved.value for name, resolved in plan.parameters.items()}
    guards = []
    for guard in plan.methodology.guards:
        condition = compile_condition(guard.formula, parameters, ranges, where=plan.methodology.where)
        used = {name: ranges[name] for name in sorted(guard.formula.names - parameters.keys())}
        inside = " AND ".join(f"{name} BETWEEN {low} AND {high}" for name, (low, high) in used.items())
        text = f"CASE WHEN {inside} THEN {condition} END" if inside else condition
        guards.append((text, _broken_guard(compile_test(guard.formula, parameters), used)))
    return guards


def _broken_guard(
    test: Callable[[Mapping[str, int]], bool], used: Mapping[str, tuple[int, int]]
) -> Callable[[Act], bool]:
    def broken(act: Act) -> bool:
        values: Mapping[str, int | None] = {**act.inputs, ELAPSED: act.elapsed_s} if ELAPSED in used else act.inputs
        known: dict[str, int] = {}
        for name, (low, high) in used.items():
            value = values.get(name)
            if value is None or not low <= value <= high:
                return False
            known[name] = value
        return not test(known)

    return broken


# Of a row that could not be read there is nothing more to say; an unknown field is one mistake among others.
READABLE = "(objection IS NULL OR objection = 'unknown-field')"
FIX_ROW = "correct the row at its source and send it again; accepted rows of the same submission stay accepted"


def is_readable(act: Act) -> bool:
    """What :data:`READABLE` says, of one act."""
    return act.objection is None or act.objection == "unknown-field"


_NEEDED = "every action needs it"
_A_REGION = "regexp_full_match(region, 'CN(-[1-9][0-9]{5})?')"


def reading_rules(types: Mapping[str, str]) -> list[Rule]:
    """What was given but cannot be read, whether it is needed or not. Conditions are over the suspects.

    ``types`` are those of the raw columns in SQL.
    """
    return [
        Rule(
            "missing-field",
            "time",
            f"NOT ({given_sql('raw_time')})",
            lambda act: not act.time_given,
            ("time is missing",),
            f"fill time; {_NEEDED}",
        ),
        Rule(
            "bad-time",
            "time",
            f"{given_sql('raw_time')} AND ended IS NULL",
            lambda act: act.time_given and act.ended is None,
            _not_a_time("time"),
            "write when the act ended as 2025-03-01T08:10:00+08:00",
        ),
        Rule(
            "bad-time",
            "started_at",
            f"{given_sql('raw_started_at')} AND started IS NULL",
            lambda act: act.start_given and act.started is None,
            _not_a_time("started_at"),
            "write when the act began as 2025-03-01T08:10:00+08:00",
        ),
        *(_not_whole(name, types.get(name, "VARCHAR")) for name in (*INPUT_NAMES, STRAIGHT)),
    ]


def _not_a_time(name: str) -> Message:
    return f"{name} ", Value(name, raw=True), " is not RFC 3339 with offset, from 1970 on"


def _not_whole(name: str, kind: str) -> Rule:
    return Rule(
        "not-a-whole-number",
        name,
        f"{given_sql(f'raw_{name}')} AND ({whole_sql(f'raw_{name}', kind)}) IS NULL",
        lambda act: name in act.unread,
        (f"{name} ", Value(name, raw=True), " is not a whole number of up to 18 digits"),
        "send whole numbers in the unit at the end of the name",
    )


_TEXTS = {
    "id": "reference",
    "source": "partner",
    "type": "behaviour",
    "subject": "subject",
    "variant": "variant",
    "group": "companions",
    "claim_issuer": "claim_issuer",
    "claim_identifier": "claim_identifier",
    "withdraws": "withdraws",
    "device": "device",
    "image_hash": "image_hash",
}


def _text_rules(*, of_kind: bool) -> list[Rule]:
    """That texts are there and short; those which tell kinds of rows apart, or the others."""
    texts = {name: value for name, value in _TEXTS.items() if (value in KIND) == of_kind}
    needed = [_missing(name, value) for name, value in texts.items() if name in ("id", "source", "type", "subject")]
    return needed + [_too_long(name, value) for name, value in texts.items()]


def _missing(name: str, value: str) -> Rule:
    return Rule(
        "missing-field",
        name,
        f"{value} IS NULL",
        lambda act: getattr(act, value) is None,
        (f"{name} is missing",),
        f"fill {name}; {_NEEDED}",
    )


def _too_long(name: str, value: str) -> Rule:
    return Rule(
        "field-too-long",
        name,
        # Bytes are counted faster than characters, and there are never fewer of them.
        f"strlen({value}) > {LONGEST_TEXT} AND length({value}) > {LONGEST_TEXT}",
        lambda act: len(getattr(act, value) or "") > LONGEST_TEXT,
        (f"{name} is longer than {LONGEST_TEXT} characters",),
        "send identifiers, not contents",
    )


def kind_rules(programme: Programme, partner: str | None) -> list[Rule]:
    """What holds for every row by its partner, behaviour, region, variant and evidence alone."""
    rules = [
        *_text_rules(of_kind=True),
        Rule(
            "unknown-partner",
            "source",
            f"partner IS NOT NULL AND {_none_of('partner', programme.partners)}",
            lambda act: act.partner is not None and act.partner not in programme.partners,
            ("partner ", Value("partner"), f" is not a partner of programme {programme.id}"),
            f"use one of {', '.join(programme.partners)}, or have the operator add the partner to the programme",
        ),
        Rule(
            "unknown-evidence",
            "evidence",
            _none_of("evidence", EVIDENCE),
            lambda act: act.evidence not in EVIDENCE,
            ("evidence class ", Value("evidence"), " is not known"),
            f"use one of {', '.join(EVIDENCE)}",
        ),
        Rule(
            "region-malformed",
            "region",
            f"NOT {_A_REGION}",
            lambda act: not is_region(act.region),
            ("region ", Value("region"), " is not a region"),
            "write CN, or CN- and six digits of GB/T 2260, e.g. CN-110000",
        ),
        Rule(
            "region-outside-programme",
            "region",
            f"{_A_REGION} AND {_outside_sql(programme.region)}",
            lambda act: is_region(act.region) and not contains(programme.region, act.region),
            ("region ", Value("region"), f" lies outside programme {programme.id} ({programme.region})"),
            "report the act to the programme of its region",
        ),
    ]
    if partner is not None:
        rules.append(
            Rule(
                "partner-mismatch",
                "source",
                f"partner <> {quote(partner)}",
                lambda act: act.partner is not None and act.partner != partner,
                ("the row is of ", Value("partner"), f", submitted by {partner}"),
                "submit each partner's rows under its own id",
            )
        )
    for each in programme.partners.values():
        rules += _agreement(each)
    return rules


def _agreement(partner: Partner) -> list[Rule]:
    """What a partner's agreement with the programme does not cover."""
    rules = []
    if partner.suspended:
        rules.append(
            Rule(
                "partner-suspended",
                "source",
                f"partner = {quote(partner.id)}",
                lambda act: act.partner == partner.id,
                (f"partner {partner.id} is suspended",),
                "ask the operator",
            )
        )
    if partner.behaviours is not None:
        rules.append(_not_agreed(partner, partner.behaviours))
    if partner.evidence is not None:
        rules.append(_evidence_not_agreed(partner, partner.evidence))
    return rules


def _evidence_not_agreed(partner: Partner, best: str) -> Rule:
    better = [name for name, rank in EVIDENCE_RANK.items() if rank < EVIDENCE_RANK[best]]
    among = ", ".join(map(quote, better)) or "NULL"
    return Rule(
        "evidence-not-agreed",
        "evidence",
        f"partner = {quote(partner.id)} AND evidence IN ({among})",
        lambda act: act.partner == partner.id and act.evidence in better,
        (f"partner {partner.id} may not report evidence of class ", Value("evidence")),
        f"report {best} or lower, or have the operator extend the agreement",
    )


def _not_agreed(partner: Partner, behaviours: frozenset[str]) -> Rule:
    return Rule(
        "behaviour-not-agreed",
        "type",
        f"partner = {quote(partner.id)} AND {_none_of('behaviour', behaviours)}",
        lambda act: act.partner == partner.id and act.behaviour is not None and act.behaviour not in behaviours,
        (f"partner {partner.id} has no agreement to report ", Value("behaviour")),
        f"report only {', '.join(sorted(behaviours))}, or have the operator extend the agreement",
    )


def row_rules(now: datetime) -> list[Rule]:
    """What holds for every row whatever its methodology.

    Conditions are over ``judged``; messages may use the raw values of the suspects.
    """
    latest = (now.astimezone(UTC) + CLOCK_TOLERANCE).replace(tzinfo=None)
    latest_us = microseconds(now + CLOCK_TOLERANCE)
    return [
        *_text_rules(of_kind=False),
        Rule(
            "time-in-future",
            "time",
            f"ended > TIMESTAMP '{latest}'",
            lambda act: act.ended is not None and act.ended > latest_us,
            ("time ", Value("time", raw=True), f" lies in the future (now {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"),
            "report an act after it has ended, with the right offset",
        ),
        Rule(
            "started-after-end",
            "started_at",
            "started >= ended",
            lambda act: act.started is not None and act.ended is not None and act.started >= act.ended,
            ("started_at ", Value("started_at", raw=True), " is not before time ", Value("time", raw=True)),
            "started_at is the beginning of the act, time its end",
        ),
        Rule(
            "implausible-duration",
            "started_at",
            f"{ELAPSED} > {_ELAPSED_RANGE[1]}",
            lambda act: (act.elapsed_s or 0) > _ELAPSED_RANGE[1],
            ("the act lasts longer than 400 days",),
            "check started_at and time",
        ),
        Rule(
            "claim-incomplete",
            "claim",
            "(claim_issuer IS NULL) <> (claim_identifier IS NULL)",
            lambda act: (act.claim_issuer is None) != (act.claim_identifier is None),
            ("a claim needs both its issuer and its identifier",),
            "give both, or neither",
        ),
        Rule(
            "withdraws-itself",
            "withdraws",
            "withdraws = reference",
            lambda act: act.withdraws is not None and act.withdraws == act.reference,
            ("an action cannot withdraw itself",),
            "name the reference of the earlier action",
        ),
    ]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """A moment as microseconds of UTC since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def _outside_sql(region: str) -> str:
    """Whether a region column lies outside ``region``; a wider region than the programme's own lies outside too."""
    if region == "CN":
        return "false"
    digits = region.removeprefix("CN-")
    prefix = digits[:2] if digits.endswith("0000") else digits[:4] if digits.endswith("00") else digits
    return f"NOT starts_with(region, {quote('CN-' + prefix)})"


def plan_rules(plan: Plan) -> list[Rule]:
    """What holds for rows of one plan's inputs, start, claim and guards."""
    methodology = plan.methodology
    rules: list[Rule] = []
    for each in methodology.inputs.values():
        rules += _input_rules(methodology.key, each)
    if methodology.needs_start:
        rules.append(
            Rule(
                "missing-field",
                "started_at",
                "started IS NULL AND NOT start_unread",
                lambda act: not act.start_given,
                (f"{methodology.key} needs started_at",),
                "send when the act began, RFC 3339 with offset",
            )
        )
    if _needs_claim(plan):
        rules.append(
            Rule(
                "claim-required",
                "claim",
                "claim_identifier IS NULL",
                lambda act: act.claim_identifier is None,
                (f"{methodology.key} counts an act only with its issuer's identifier",),
                "add claim with issuer and identifier (order, meter, parcel or gate number)",
            )
        )
    for guard, (text, broken) in zip(methodology.guards, _guards(plan), strict=True):
        remedy = f"check the inputs and times ({guard.why})"
        rules.append(Rule(guard.code, "data", f"NOT ({text})", broken, (guard.says,), remedy))
    return rules


def _input_rules(methodology: str, rule: InputRule) -> list[Rule]:
    name, low, high = rule.name, rule.minimum, rule.maximum
    return [
        Rule(
            "missing-input",
            name,
            f"{name} IS NULL AND NOT ({given_sql(f'raw_{name}')})",
            lambda act: name not in act.inputs and name not in act.unread,
            (f"{methodology} needs {name}",),
            f"add {name} as a whole number from {low} to {high}",
        ),
        Rule(
            "out-of-range",
            name,
            f"{name} NOT BETWEEN {low} AND {high}",
            lambda act: name in act.inputs and not low <= act.inputs[name] <= high,
            (f"{name} ", Value(name), f" is outside {low} to {high} of {methodology}"),
            f"check the value and its unit ({rule.why})",
        ),
    ]


def _needs_claim(plan: Plan) -> bool:
    claim = plan.methodology.claim
    return claim.required and bool({"issuer", "identifier"} & set(claim.fields))


def plan_rules_sql(plans: Iterable[Plan]) -> str:
    """A quick test over ``judged`` for the plan rules that ``fits`` does not cover."""
    cases = []
    for number, plan in enumerate(plans):
        conditions = []
        if plan.methodology.needs_start:
            conditions.append("started IS NULL")
        if _needs_claim(plan):
            conditions.append("claim_identifier IS NULL")
        if conditions:
            cases.append(f"(plan_no = {number} AND ({' OR '.join(conditions)}))")
    return " OR ".join(cases) or "false"


def _none_of(column: str, texts: Iterable[str]) -> str:
    listed = ", ".join(quote(text) for text in sorted(texts))
    return f"{column} NOT IN ({listed})" if listed else f"{column} IS NOT NULL"
