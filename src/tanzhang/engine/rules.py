"""What refuses a row: every rule as a code, a field, a condition, a message and a remedy, over SQL columns.

Screening asks the conditions of all rows at once to find the doubtful ones, and of those again one by one, to say all
that is wrong with each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tanzhang.core.action import ELAPSED, EVIDENCE, INPUT_NAMES
from tanzhang.core.methodology import Plan
from tanzhang.core.programme import Programme
from tanzhang.engine.kernel import quote
from tanzhang.engine.sql import compile_condition

Rule = tuple[str, str, str, str, str]  # code, field, condition, message SQL, remedy

QUESTION = ("behaviour", "region", "variant", "evidence", "day")
KIND = ("partner", *QUESTION)
LONGEST_TEXT = 256
CLOCK_TOLERANCE = timedelta(minutes=5)
_SHOWN = 60  # characters of a value that a message repeats
_ELAPSED_RANGE = (0, 400 * 86_400)  # seconds; an act longer than a year is refused by 'implausible-duration'
WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


def whole_sql(column: str, kind: str) -> str:
    """A column's whole number as BIGINT, NULL where it is none."""
    if kind == "VARCHAR":
        return f"CASE WHEN regexp_full_match(trim({column}), '-?[0-9]+') THEN TRY_CAST(trim({column}) AS BIGINT) END"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        return f"CASE WHEN {column} = floor({column}) THEN TRY_CAST({column} AS BIGINT) END"
    return f"TRY_CAST({column} AS BIGINT)"


def any_broken(rules: Iterable[Rule]) -> str:
    """Whether some rule is broken, never NULL."""
    return " OR ".join(f"coalesce({condition}, false)" for _, _, condition, _, _ in rules)


def fitting(plan: Plan) -> list[str]:
    """Conditions under which a row of this plan is plausible, each TRUE or FALSE, never NULL."""
    rules = plan.methodology.inputs
    conditions = [f"coalesce({name} BETWEEN {rule.minimum} AND {rule.maximum}, false)" for name, rule in rules.items()]
    conditions += [f"coalesce({text}, true)" for text in _guards(plan)]
    return conditions or ["true"]


def _guards(plan: Plan) -> list[str]:
    """SQL of each guard, NULL where an input is absent; inputs outside their range are NULL, so nothing overflows."""
    ranges = {name: (rule.minimum, rule.maximum) for name, rule in plan.methodology.inputs.items()}
    ranges[ELAPSED] = _ELAPSED_RANGE
    parameters = {name: resolved.value for name, resolved in plan.parameters.items()}
    texts = []
    for guard in plan.methodology.guards:
        condition = compile_condition(guard.formula, parameters, ranges, where=plan.methodology.where)
        used = guard.formula.names - parameters.keys()
        inside = " AND ".join(f"{name} BETWEEN {ranges[name][0]} AND {ranges[name][1]}" for name in sorted(used))
        texts.append(f"CASE WHEN {inside} THEN {condition} END" if inside else condition)
    return texts


# Of a row that could not be read there is nothing more to say; an unknown field is one mistake among others.
READABLE = "(objection IS NULL OR objection = 'unknown-field')"
FIX_ROW = "correct the row at its source and send it again; accepted rows of the same submission stay accepted"


_NEEDED = "every action needs it"
_A_REGION = "regexp_full_match(region, 'CN(-[1-9][0-9]{5})?')"


def _given(name: str) -> str:
    return f"nullif(trim(raw_{name}::VARCHAR), '') IS NOT NULL"


def _shown(value: str) -> str:
    return f"left({value}::VARCHAR, {_SHOWN})"


def reading_rules(types: Mapping[str, str]) -> list[Rule]:
    """What was given but cannot be read, whether it is needed or not. Conditions are over the suspects."""
    rules = [
        (
            "not-a-whole-number",
            name,
            f"{_given(name)} AND ({whole_sql(f'raw_{name}', types[name])}) IS NULL",
            f"'{name} ' || {_shown(f'raw_{name}')} || ' is not a whole number of up to 18 digits'",
            "send whole numbers in the unit at the end of the name",
        )
        for name in INPUT_NAMES
    ]
    missing = ("missing-field", "time", f"NOT ({_given('time')})", quote("time is missing"), f"fill time; {_NEEDED}")
    return [missing, _bad_time("time", "ended"), _bad_time("started_at", "started"), *rules]


def _bad_time(name: str, moment: str) -> Rule:
    return (
        "bad-time",
        name,
        f"{_given(name)} AND {moment} IS NULL",
        f"'{name} ' || {_shown(f'raw_{name}')} || ' is not RFC 3339 with offset, from 1970 on'",
        f"write when the act {'ended' if name == 'time' else 'began'} as 2025-03-01T08:10:00+08:00",
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
}


def _text_rules(*, of_kind: bool) -> list[Rule]:
    """That texts are there and short; those which tell kinds of rows apart, or the others."""
    texts = {name: value for name, value in _TEXTS.items() if (value in KIND) == of_kind}
    rules: list[Rule] = [
        ("missing-field", name, f"{value} IS NULL", quote(f"{name} is missing"), f"fill {name}; {_NEEDED}")
        for name, value in texts.items()
        if name in ("id", "source", "type", "subject")
    ]
    rules += [
        (
            "field-too-long",
            name,
            # Bytes are counted faster than characters, and there are never fewer of them.
            f"strlen({value}) > {LONGEST_TEXT} AND length({value}) > {LONGEST_TEXT}",
            quote(f"{name} is longer than {LONGEST_TEXT} characters"),
            "send identifiers, not contents",
        )
        for name, value in texts.items()
    ]
    return rules


def kind_rules(programme: Programme, partner: str | None) -> list[Rule]:
    """What holds for every row by its partner, behaviour, region, variant and evidence alone."""
    rules = [
        *_text_rules(of_kind=True),
        (
            "unknown-partner",
            "source",
            f"partner IS NOT NULL AND partner NOT IN ({_quoted(programme.partners)})",
            f"'partner ' || {_shown('partner')} || " + quote(f" is not a partner of programme {programme.id}"),
            f"use one of {', '.join(programme.partners)}, or have the operator add the partner to the programme",
        ),
        (
            "unknown-evidence",
            "evidence",
            f"evidence NOT IN ({_quoted(EVIDENCE)})",
            f"'evidence class ' || {_shown('evidence')} || ' is not known'",
            f"use one of {', '.join(EVIDENCE)}",
        ),
        (
            "region-malformed",
            "region",
            f"NOT {_A_REGION}",
            f"'region ' || {_shown('region')} || ' is not a region'",
            "write CN, or CN- and six digits of GB/T 2260, e.g. CN-110000",
        ),
        (
            "region-outside-programme",
            "region",
            f"{_A_REGION} AND {_outside_sql(programme.region)}",
            f"'region ' || region || ' lies outside programme {programme.id} ({programme.region})'",
            "report the act to the programme of its region",
        ),
    ]
    if partner is not None:
        rules.append(
            (
                "partner-mismatch",
                "source",
                f"partner <> {quote(partner)}",
                f"'the row is of ' || {_shown('partner')} || " + quote(f", submitted by {partner}"),
                "submit each partner's rows under its own id",
            )
        )
    rules += [
        (
            "behaviour-not-agreed",
            "type",
            f"partner = {quote(entry.id)} AND behaviour NOT IN ({_quoted(entry.behaviours)})",
            f"{quote(f'partner {entry.id} has no agreement to report ')} || {_shown('behaviour')}",
            f"report only {', '.join(sorted(entry.behaviours))}, or have the operator extend the agreement",
        )
        for entry in programme.partners.values()
        if entry.behaviours is not None
    ]
    return rules


def row_rules(now: datetime) -> list[Rule]:
    """What holds for every row whatever its methodology.

    Conditions are over ``judged``; messages may use the raw values (``raw_...``) of the suspects.
    """
    latest = (now.astimezone(UTC) + CLOCK_TOLERANCE).replace(tzinfo=None)
    return [
        *_text_rules(of_kind=False),
        (
            "time-in-future",
            "time",
            f"ended > TIMESTAMP '{latest}'",
            f"'time ' || {_shown('raw_time')} || ' lies in the future (now {latest:%Y-%m-%d %H:%M} UTC)'",
            "report an act after it has ended, with the right offset",
        ),
        (
            "started-after-end",
            "started_at",
            "started >= ended",
            f"'started_at ' || {_shown('raw_started_at')} || ' is not before time ' || {_shown('raw_time')}",
            "started_at is the beginning of the act, time its end",
        ),
        (
            "implausible-duration",
            "started_at",
            f"{ELAPSED} > {_ELAPSED_RANGE[1]}",
            quote("the act lasts longer than 400 days"),
            "check started_at and time",
        ),
        (
            "claim-incomplete",
            "claim",
            "(claim_issuer IS NULL) <> (claim_identifier IS NULL)",
            quote("a claim needs both its issuer and its identifier"),
            "give both, or neither",
        ),
        (
            "withdraws-itself",
            "withdraws",
            "withdraws = reference",
            quote("an action cannot withdraw itself"),
            "name the reference of the earlier action",
        ),
    ]


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
    for name, rule in methodology.inputs.items():
        needs = f"{methodology.key} needs {name}"
        rules.append(
            (
                "missing-input",
                name,
                f"{name} IS NULL AND NOT ({_given(name)})",
                quote(needs),
                f"add {name} as a whole number from {rule.minimum} to {rule.maximum}",
            )
        )
        rules.append(
            (
                "out-of-range",
                name,
                f"{name} NOT BETWEEN {rule.minimum} AND {rule.maximum}",
                f"'{name} ' || {name} || ' is outside {rule.minimum} to {rule.maximum} of {methodology.key}'",
                f"check the value and its unit ({rule.why})",
            )
        )
    if methodology.needs_start:
        rules.append(
            (
                "missing-field",
                "started_at",
                "started IS NULL AND NOT start_unread",
                quote(f"{methodology.key} needs started_at"),
                "send when the act began, RFC 3339 with offset",
            )
        )
    if methodology.claim.required and {"issuer", "identifier"} & set(methodology.claim.fields):
        rules.append(
            (
                "claim-required",
                "claim",
                "claim_identifier IS NULL",
                quote(f"{methodology.key} counts an act only with its issuer's identifier"),
                "add claim with issuer and identifier (order, meter, parcel or gate number)",
            )
        )
    for guard, text in zip(methodology.guards, _guards(plan), strict=True):
        remedy = f"check the inputs and times ({guard.why})"
        rules.append((guard.code, "data", f"NOT ({text})", quote(guard.says), remedy))
    return rules


def plan_rules_sql(plans: Sequence[Plan]) -> str:
    """A quick test over ``judged`` for the plan rules that ``fits`` does not cover."""
    cases = []
    for number, plan in enumerate(plans):
        conditions = []
        if plan.methodology.needs_start:
            conditions.append("started IS NULL")
        if plan.methodology.claim.required and {"issuer", "identifier"} & set(plan.methodology.claim.fields):
            conditions.append("claim_identifier IS NULL")
        if conditions:
            cases.append(f"(plan_no = {number} AND ({' OR '.join(conditions)}))")
    return " OR ".join(cases) or "false"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(quote(text) for text in sorted(texts)) or "NULL"
