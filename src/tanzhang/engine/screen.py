"""Screening: every row of a submission gets its verdict and, if accepted, its milligrams, in columns.

Input is a table of raw rows (:data:`RAW_COLUMNS`), whatever format they came in. Output is a table of accepted actions
(:data:`ACCEPTED_COLUMNS`) and a table of problems, one line per mistake, all mistakes of a row together. The rules of
which methodology applies are not here: the distinct questions (a few, however many rows) go to a callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tanzhang.core.action import DEFAULT_EVIDENCE, ELAPSED, EVIDENCE, INPUT_NAMES
from tanzhang.core.claim import ACTION, CHILD, CLAIM, GROUP
from tanzhang.core.errors import Problem
from tanzhang.core.methodology import Plan
from tanzhang.core.programme import Programme
from tanzhang.core.recipe import read_recipe
from tanzhang.engine.kernel import identity_sql, local_time_sql, normal_identifier_sql, quote
from tanzhang.engine.sql import compile_condition, compile_mg

if TYPE_CHECKING:
    import duckdb

TEXT_COLUMNS: tuple[str, ...] = (
    "id",
    "source",
    "type",
    "subject",
    "time",
    "started_at",
    "region",
    "variant",
    "claim_issuer",
    "claim_identifier",
    "evidence",
    "group",
    "withdraws",
)
OBJECTION_COLUMNS: tuple[str, ...] = ("problem_code", "problem_field", "problem_message")
RAW_COLUMNS: tuple[str, ...] = ("row", *TEXT_COLUMNS, *INPUT_NAMES, *OBJECTION_COLUMNS)

ACCEPTED_COLUMNS: tuple[str, ...] = (
    "row",
    "action_id",
    "child",
    "partner",
    "behaviour",
    "region",
    "variant",
    "evidence",
    "plan",
    "started",
    "ended",
    "day",
    "close_day",
    *INPUT_NAMES,
    "quantified_mg",
    "group_id",
    "claim",
    "withdraws",
)

LONGEST_TEXT = 256
CLOCK_TOLERANCE = timedelta(minutes=5)
_REQUIRED = ("id", "source", "type", "subject", "time")
_RFC3339 = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)"
_ELAPSED_RANGE = (0, 400 * 86_400)  # seconds; an act longer than a year is refused by 'implausible-duration'


@dataclass(frozen=True, slots=True)
class Question:
    """What has to be known once per distinct kind of act."""

    behaviour: str
    region: str
    variant: str | None
    evidence: str
    day: date


@dataclass(frozen=True, slots=True)
class Screened:
    """Names of the two result tables and the counts."""

    accepted: str
    problems: str
    rows: int
    accepted_rows: int
    plans: Mapping[str, Plan]


def screen(
    con: duckdb.DuckDBPyConnection,
    raw: str,
    *,
    programme: Programme,
    partner: str | None,
    identity_key: bytes,
    now: datetime,
    resolve: Callable[[Question], Plan | Problem],
) -> Screened:
    """Screen the raw rows of one submission.

    ``partner`` is who submits: rows without a source are his, rows of another source are refused; None takes each
    row's own source. ``now`` bounds the future. ``resolve`` answers each distinct question once.
    """
    _typed(con, raw, programme, partner, now)
    plans = _resolve(con, resolve)
    numbered = [plans[digest] for digest in sorted(plans)]
    _judged(con, numbered)
    _problems(con, raw, numbered, programme, partner, now)
    _accepted(con, numbered, programme, identity_key)
    rows, accepted_rows, refused = _one(
        con,
        f"SELECT (SELECT count(*) FROM {raw}), (SELECT count(*) FROM accepted), "
        "(SELECT count(DISTINCT row) FROM problems)",
    )
    if rows != accepted_rows + refused:
        raise AssertionError(f"{rows} rows, but {accepted_rows} accepted and {refused} refused")
    return Screened("accepted", "problems", rows, accepted_rows, plans)


def _typed(con: duckdb.DuckDBPyConnection, raw: str, programme: Programme, partner: str | None, now: datetime) -> None:
    """Table ``typed``: clean texts, times and whole numbers; NULL where a value is absent or cannot be read."""
    types = dict(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {raw})").fetchall())

    def text(name: str) -> str:
        column = f'"{name}"'
        return f"nullif(trim({column}), '')" if types[name] == "VARCHAR" else f"{column}::VARCHAR"

    def moment(name: str) -> str:
        column = f'"{name}"'
        if types[name] == "VARCHAR":
            trimmed = f"trim({column})"
            zoned = f"TRY_CAST({trimmed} AS TIMESTAMPTZ)"
            return f"CASE WHEN regexp_full_match({trimmed}, {quote(_RFC3339)}) THEN {zoned} AT TIME ZONE 'UTC' END"
        if types[name] == "TIMESTAMP WITH TIME ZONE":
            return f"{column} AT TIME ZONE 'UTC'"
        return "NULL::TIMESTAMP"  # a time without offset is not a time

    def whole(name: str) -> str:
        if types[name] == "VARCHAR":
            return f"CASE WHEN regexp_full_match(trim({name}), '-?[0-9]+') THEN TRY_CAST(trim({name}) AS BIGINT) END"
        if types[name] in ("DOUBLE", "FLOAT") or types[name].startswith("DECIMAL"):
            return f"CASE WHEN {name} = floor({name}) THEN TRY_CAST({name} AS BIGINT) END"
        return f"TRY_CAST({name} AS BIGINT)"

    sender = text("source") if partner is None else f"coalesce({text('source')}, {quote(partner)})"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE typed AS
        SELECT row, {text("id")} AS reference, {sender} AS partner, {text("type")} AS behaviour,
            {text("subject")} AS subject, {moment("time")} AS ended, {moment("started_at")} AS started,
            coalesce({text("region")}, {quote(programme.region)}) AS region, {text("variant")} AS variant,
            coalesce({text("evidence")}, {quote(DEFAULT_EVIDENCE)}) AS evidence, {text("group")} AS companions,
            {text("claim_issuer")} AS claim_issuer, {text("claim_identifier")} AS claim_identifier,
            {text("withdraws")} AS withdraws,
            {", ".join(f"{whole(name)} AS {name}" for name in INPUT_NAMES)}
        FROM {raw}
        """
    )
    first, last = _one(con, "SELECT min(ended), max(ended) FROM typed")
    limit = now.astimezone(UTC)
    start = first.replace(tzinfo=UTC) if first else limit
    end = min(max(last.replace(tzinfo=UTC) if last else limit, start), limit + timedelta(days=2))
    con.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW dated AS
        SELECT *, CASE WHEN ended <= TIMESTAMP '{(limit + timedelta(days=2)).replace(tzinfo=None)}'
            THEN {local_time_sql("ended", programme.time_zone, start, max(end, start))}::DATE END AS day
        FROM typed
        """
    )


_QUESTION = ("behaviour", "region", "variant", "evidence", "day")
# A pure withdrawal carries no inputs and needs no methodology.
_TAKES_BACK = "(withdraws IS NOT NULL AND " + " AND ".join(f"{name} IS NULL" for name in INPUT_NAMES) + ")"


def _resolve(con: duckdb.DuckDBPyConnection, resolve: Callable[[Question], Plan | Problem]) -> dict[str, Plan]:
    """Table ``answers``: each distinct question with its plan's number, or with the code of the refusal."""
    questions = con.execute(
        f"SELECT DISTINCT {', '.join(_QUESTION)} FROM dated WHERE behaviour IS NOT NULL AND day IS NOT NULL "
        f"AND NOT {_TAKES_BACK} ORDER BY ALL"
    ).fetchall()
    plans: dict[str, Plan] = {}
    answered: list[tuple[Any, ...]] = []
    for values in questions:
        answer = resolve(Question(*values))
        if isinstance(answer, Problem):
            answered.append((*values, None, answer.code, answer.message, answer.remedy))
        else:
            plans[answer.digest] = answer
            answered.append((*values, answer.digest, None, None, None))
    numbers = {digest: number for number, digest in enumerate(sorted(plans))}
    rows = [(*row[:5], None if row[5] is None else numbers[row[5]], *row[6:]) for row in answered]
    con.execute(
        "CREATE OR REPLACE TEMP TABLE answers (behaviour VARCHAR, region VARCHAR, variant VARCHAR, evidence VARCHAR, "
        "day DATE, plan_no INTEGER, code VARCHAR, message VARCHAR, remedy VARCHAR)"
    )
    if rows:
        con.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return plans


def _judged(con: duckdb.DuckDBPyConnection, plans: Sequence[Plan]) -> None:
    """Table ``judged``: typed rows with plan and milligrams; ``quantified_mg`` NULL where an input does not fit."""
    fits, mgs = [], []
    for number, plan in enumerate(plans):
        fits.append(f"WHEN {number} THEN {' AND '.join(_fitting(plan))}")
        mgs.append(f"WHEN {number} THEN {compile_mg(read_recipe(plan.document))}")
    defaults = _defaults(plans)
    inputs = ", ".join(f"coalesce({name}, {case}) AS {name}" for name, case in defaults.items())
    replaced = f"* REPLACE ({inputs})" if inputs else "*"
    others = ", ".join(
        f"t.{name}" for name in ("row", "reference", "partner", "subject", "ended", "started", "companions")
    )
    claim = "t.claim_issuer, t.claim_identifier, t.withdraws"
    fit = f"CASE plan_no {' '.join(fits)} END" if fits else "NULL::BOOLEAN"
    mg = f"CASE plan_no {' '.join(mgs)} END" if mgs else "NULL::BIGINT"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE judged AS
        WITH answered AS (
            SELECT {others}, {claim}, t.behaviour, t.region, t.variant, t.evidence, t.day,
                {", ".join(f"t.{name}" for name in INPUT_NAMES)}, a.plan_no, a.code, {_TAKES_BACK} AS takes_back,
                (epoch_us(t.ended) - epoch_us(t.started)) // 1000000 AS {ELAPSED}
            FROM dated t LEFT JOIN answers a ON t.behaviour = a.behaviour AND t.region = a.region
                AND t.variant IS NOT DISTINCT FROM a.variant AND t.evidence = a.evidence AND t.day = a.day
                AND NOT {_TAKES_BACK}
        ), filled AS (SELECT {replaced} FROM answered),
        fitted AS (SELECT *, coalesce({fit}, false) AS fits FROM filled)
        SELECT *, CASE WHEN fits THEN {mg} END AS quantified_mg FROM fitted
        """
    )


def _defaults(plans: Sequence[Plan]) -> dict[str, str]:
    """Defaults of inputs by plan as SQL; an input without any default is left out."""
    found: dict[str, list[str]] = {}
    for number, plan in enumerate(plans):
        for name, rule in plan.methodology.inputs.items():
            if rule.default is not None:
                found.setdefault(name, []).append(f"WHEN {number} THEN {rule.default}")
    return {name: f"CASE plan_no {' '.join(cases)} END" for name, cases in found.items()}


def _fitting(plan: Plan) -> list[str]:
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


def _problems(
    con: duckdb.DuckDBPyConnection,
    raw: str,
    plans: Sequence[Plan],
    programme: Programme,
    partner: str | None,
    now: datetime,
) -> None:
    """Table ``problems``: row, reference, code, field, message, remedy; every mistake of every refused row."""
    row_rules = _row_rules(programme, partner, now)
    anything = " OR ".join(f"({condition})" for _, _, condition, _, _ in row_rules)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT j.*, {", ".join(f'r."{name}" AS raw_{name}' for name in RAW_COLUMNS[1:])}
        FROM (
            SELECT * FROM judged WHERE (NOT fits AND NOT takes_back) OR {anything} OR {_plan_rules_sql(plans)}
                OR row IN (SELECT row FROM {raw} WHERE problem_code IS NOT NULL)
        ) j JOIN {raw} r ON j.row = r.row
        """
    )
    con.execute(
        "CREATE OR REPLACE TEMP TABLE problems (row BIGINT, reference VARCHAR, code VARCHAR, field VARCHAR, "
        "message VARCHAR, remedy VARCHAR)"
    )
    if _one(con, "SELECT count(*) FROM suspects") == (0,):
        return

    def add(code: str, field: str, condition: str, message: str, remedy: str) -> None:
        con.execute(
            f"INSERT INTO problems SELECT row, reference, {code}, {field}, {message}, {remedy} "
            f"FROM suspects WHERE {condition}"
        )

    con.execute(
        f"INSERT INTO problems SELECT row, reference, raw_problem_code, raw_problem_field, raw_problem_message, "
        f"{quote(_FIX_ROW)} FROM suspects WHERE raw_problem_code IS NOT NULL"
    )
    for code, field, condition, message, remedy in row_rules:
        add(quote(code), quote(field), f"raw_problem_code IS NULL AND ({condition})", message, quote(remedy))
    con.execute(
        """
        INSERT INTO problems SELECT s.row, s.reference, a.code, 'type', a.message, a.remedy
        FROM suspects s JOIN answers a ON s.behaviour = a.behaviour AND s.region = a.region
            AND s.variant IS NOT DISTINCT FROM a.variant AND s.evidence = a.evidence AND s.day = a.day
        WHERE a.code IS NOT NULL AND raw_problem_code IS NULL AND NOT takes_back
        """
    )
    for number, plan in enumerate(plans):
        of_plan = f"plan_no = {number} AND raw_problem_code IS NULL"
        for code, field, condition, message, remedy in _plan_rules(plan):
            add(quote(code), quote(field), f"{of_plan} AND ({condition})", message, quote(remedy))


_FIX_ROW = "correct the row at its source and send it again; accepted rows of the same submission stay accepted"


def _row_rules(programme: Programme, partner: str | None, now: datetime) -> list[tuple[str, str, str, str, str]]:
    """(code, field, condition, message SQL, remedy) that hold for every row whatever its methodology.

    Conditions are over ``judged``; messages may use the raw values (``raw_...``) of the suspects.
    """
    column = {"id": "reference", "source": "partner", "type": "behaviour", "subject": "subject", "time": "ended"}
    rules: list[tuple[str, str, str, str, str]] = []
    for name in _REQUIRED:
        absent = "ended IS NULL" if name == "time" else f"{column[name]} IS NULL"
        if name == "time":
            rules.append(
                (
                    "bad-time",
                    "time",
                    absent,
                    "coalesce('time ' || raw_time::VARCHAR || ' is not RFC 3339 with offset', 'time is missing')",
                    "write when the act ended as 2025-03-01T08:10:00+08:00",
                )
            )
        else:
            rules.append(
                ("missing-field", name, absent, quote(f"{name} is missing"), f"fill {name}; every action needs it")
            )
    texts = ("reference", "subject", "variant", "companions", "claim_issuer", "claim_identifier", "withdraws")
    longest = f"greatest({', '.join(f'coalesce(length({name}), 0)' for name in texts)})"
    latest = (now.astimezone(UTC) + CLOCK_TOLERANCE).replace(tzinfo=None)
    rules += [
        (
            "field-too-long",
            "id",
            f"{longest} > {LONGEST_TEXT}",
            quote(f"a text is longer than {LONGEST_TEXT} characters"),
            "send identifiers, not contents",
        ),
        (
            "unknown-partner",
            "source",
            f"partner IS NOT NULL AND partner NOT IN ({_quoted(programme.partners)})",
            f"'partner ' || partner || ' is not a partner of programme {programme.id}'",
            f"use one of {', '.join(programme.partners)}, or have the operator add the partner to the programme",
        ),
        (
            "time-in-future",
            "time",
            f"ended > TIMESTAMP '{latest}'",
            f"'time ' || raw_time::VARCHAR || ' lies in the future (now {latest:%Y-%m-%d %H:%M} UTC)'",
            "report an act after it has ended, with the right offset",
        ),
        (
            "started-after-end",
            "started_at",
            "started >= ended",
            "'started_at ' || raw_started_at::VARCHAR || ' is not before time ' || raw_time::VARCHAR",
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
            "unknown-evidence",
            "evidence",
            f"evidence NOT IN ({_quoted(EVIDENCE)})",
            "'evidence class ' || evidence || ' is not known'",
            f"use one of {', '.join(EVIDENCE)}",
        ),
        (
            "region-malformed",
            "region",
            "NOT regexp_full_match(region, 'CN(-[1-9][0-9]{5})?')",
            "'region ' || region || ' is not a region'",
            "write CN, or CN- and six digits of GB/T 2260, e.g. CN-110000",
        ),
        (
            "region-outside-programme",
            "region",
            _outside_sql(programme.region),
            f"'region ' || region || ' lies outside programme {programme.id} ({programme.region})'",
            "report the act to the programme of its region",
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
    if partner is not None:
        rules.append(
            (
                "partner-mismatch",
                "source",
                f"partner <> {quote(partner)}",
                f"'the row is of ' || partner || ', submitted by {partner}'",
                "submit each partner's rows under its own id",
            )
        )
    rules += [
        (
            "behaviour-not-agreed",
            "type",
            f"partner = {quote(entry.id)} AND behaviour NOT IN ({_quoted(entry.behaviours)})",
            f"'partner {entry.id} has no agreement to report ' || behaviour",
            f"report only {', '.join(sorted(entry.behaviours))}, or have the operator extend the agreement",
        )
        for entry in programme.partners.values()
        if entry.behaviours is not None
    ]
    return rules


def _outside_sql(region: str) -> str:
    """Whether a region column lies outside ``region``; a wider region than the programme's own lies outside too."""
    if region == "CN":
        return "false"
    digits = region.removeprefix("CN-")
    prefix = digits[:2] if digits.endswith("0000") else digits[:4] if digits.endswith("00") else digits
    return f"NOT starts_with(region, {quote('CN-' + prefix)})"


def _plan_rules(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """(code, field, condition, message SQL, remedy) of one plan's inputs, start, claim and guards."""
    methodology = plan.methodology
    rules: list[tuple[str, str, str, str, str]] = []
    for name, rule in methodology.inputs.items():
        needs = f"{methodology.key} needs {name}"
        rules.append(
            (
                "missing-input",
                name,
                f"{name} IS NULL AND nullif(trim(raw_{name}::VARCHAR), '') IS NULL",
                quote(needs),
                f"add {name} as a whole number from {rule.minimum} to {rule.maximum}",
            )
        )
        rules.append(
            (
                "not-a-whole-number",
                name,
                f"{name} IS NULL AND nullif(trim(raw_{name}::VARCHAR), '') IS NOT NULL",
                f"'{name} ' || raw_{name}::VARCHAR || ' is not a whole number'",
                "send whole numbers in the unit at the end of the name",
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
                "started IS NULL",
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


def _plan_rules_sql(plans: Sequence[Plan]) -> str:
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


def _accepted(con: duckdb.DuckDBPyConnection, plans: Sequence[Plan], programme: Programme, key: bytes) -> None:
    """Table ``accepted``: rows without a problem, their texts turned into identities."""
    claims, windows, digests = [], [], []
    for number, plan in enumerate(plans):
        methodology = plan.methodology
        days = programme.window_days(methodology.activity_family, methodology.window_days)
        digests.append(f"WHEN {number} THEN {quote(plan.digest)}")
        claims.append(f"WHEN {number} THEN {_claim_sql(plan, key)}")
        unique = "claim_identifier IS NOT NULL" if _issuer_makes_unique(plan) else "false"
        windows.append(f"WHEN {number} THEN CASE WHEN {unique} THEN 0 ELSE {days} END")
    claim = f"CASE plan_no {' '.join(claims)} END" if claims else "NULL::UUID"
    digest = f"CASE plan_no {' '.join(digests)} END" if digests else "NULL::VARCHAR"
    window = f"CASE plan_no {' '.join(windows)} ELSE 0 END" if windows else "0"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE accepted AS
        SELECT j.row, {identity_sql(key, ACTION, "partner", "j.reference")} AS action_id,
            {identity_sql(key, CHILD, "partner", "subject")} AS child,
            partner, behaviour, region, variant, evidence, {digest} AS plan, started, ended, day,
            day + ({window})::INTEGER AS close_day,
            {", ".join(INPUT_NAMES)}, quantified_mg,
            {identity_sql(key, GROUP, "partner", "companions")} AS group_id, {claim} AS claim,
            {identity_sql(key, ACTION, "partner", "withdraws")} AS withdraws
        FROM judged j ANTI JOIN problems p ON j.row = p.row
        WHERE fits OR takes_back
        ORDER BY j.row
        """
    )


def _issuer_makes_unique(plan: Plan) -> bool:
    return not plan.methodology.claim.overlap and "identifier" in plan.methodology.claim.fields


def _claim_sql(plan: Plan, key: bytes) -> str:
    """The claim of an act that its issuer identifies, without the person; NULL where none was given.

    Acts told apart by person and time get theirs at settlement, when the person's account is known.
    """
    rule = plan.methodology.claim
    if "identifier" not in rule.fields:
        return "NULL::UUID"
    named = [normal_identifier_sql(name) for name in ("claim_issuer", "claim_identifier")]
    parts = [quote(plan.methodology.activity_family), *named]
    if "month" in rule.fields:
        parts.append("strftime(day, '%Y-%m')")
    if "day" in rule.fields:
        parts.append("strftime(day, '%Y-%m-%d')")
    return f"CASE WHEN claim_identifier IS NOT NULL THEN {identity_sql(key, CLAIM, *parts)} END"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(quote(text) for text in sorted(texts)) or "NULL"


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    (row,) = con.execute(sql).fetchall()
    return tuple(row)
