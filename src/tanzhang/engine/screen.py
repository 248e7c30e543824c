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
from tanzhang.core.methodology import ClaimRule, Plan
from tanzhang.core.programme import Programme
from tanzhang.core.recipe import read_recipe
from tanzhang.core.region import is_region
from tanzhang.engine.identities import identity_column
from tanzhang.engine.kernel import identity_text_sql, local_time_sql, normal_identifier_sql, quote
from tanzhang.engine.sql import compile_condition, compile_mg

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

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
_HOUR, _SIXTY = r"([01]\d|2[0-3])", r"[0-5]\d"
_YEAR = r"(19[7-9]\d|2\d{3})"
_RFC3339 = rf"{_YEAR}-\d\d-\d\d[Tt ]{_HOUR}:{_SIXTY}:{_SIXTY}(\.\d{{1,6}})?([Zz]|[+-]{_HOUR}:{_SIXTY})"
_SHOWN = 60  # characters of a value that a message repeats
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
    table: pa.Table
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
    table = _accepted(con, numbered, programme, identity_key)
    rows, accepted_rows, refused = _one(
        con,
        f"SELECT (SELECT count(*) FROM {raw}), (SELECT count(*) FROM accepted), "
        "(SELECT count(DISTINCT row) FROM problems)",
    )
    if rows != accepted_rows + refused:
        raise AssertionError(f"{rows} rows, but {accepted_rows} accepted and {refused} refused")
    return Screened("accepted", table, "problems", rows, accepted_rows, plans)


def _typed(con: duckdb.DuckDBPyConnection, raw: str, programme: Programme, partner: str | None, now: datetime) -> None:
    """Table ``typed``: clean texts, times and whole numbers; NULL where a value is absent or cannot be read.

    ``unread``: an input was given that cannot be read; ``start_unread``: so was the start. View ``dated``: with the
    local day of the act, NULL for an act that lies too far in the future to be asked about.
    """
    types = _types(con, raw)

    def text(name: str) -> str:
        column = f'"{name}"'
        if types[name] != "VARCHAR":
            return f"{column}::VARCHAR"
        # Nearly every text has no blank at either end, and trimming costs more than all else here.
        trimmed = f"{column} >= '!' AND NOT ends_with({column}, ' ')"
        return f"CASE WHEN {trimmed} THEN {column} ELSE nullif(trim({column}), '') END"

    # Only these types hold values that may be given and yet unreadable.
    doubtful = [name for name in INPUT_NAMES if types[name] not in _WHOLE_TYPES]
    unread = " OR ".join(f"({name}_given AND {name} IS NULL)" for name in doubtful) or "false"
    sender = text("source") if partner is None else f"coalesce({text('source')}, {quote(partner)})"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE typed AS
        WITH read AS (
            SELECT row, {text("id")} AS reference, {sender} AS partner, {text("type")} AS behaviour,
                {text("subject")} AS subject, {_moment_sql("time", types["time"])} AS ended,
                {_moment_sql("started_at", types["started_at"])} AS started,
                coalesce({text("region")}, {quote(programme.region)}) AS region, {text("variant")} AS variant,
                coalesce({text("evidence")}, {quote(DEFAULT_EVIDENCE)}) AS evidence, {text("group")} AS companions,
                {text("claim_issuer")} AS claim_issuer, {text("claim_identifier")} AS claim_identifier,
                {text("withdraws")} AS withdraws, problem_code AS objection,
                {", ".join(f"{_whole_sql(name, types[name])} AS {name}" for name in INPUT_NAMES)},
                {text("started_at")} IS NOT NULL AS start_given
                {"".join(f", {text(name)} IS NOT NULL AS {name}_given" for name in doubtful)}
            FROM {raw}
        )
        SELECT * EXCLUDE (start_given {"".join(f", {name}_given" for name in doubtful)}),
            {unread} AS unread, start_given AND started IS NULL AS start_unread
        FROM read
        """
    )
    limit = now.astimezone(UTC).replace(tzinfo=None) + timedelta(days=2)
    first, last = _one(con, f"SELECT min(ended), max(ended) FROM typed WHERE ended <= TIMESTAMP '{limit}'")
    start, end = ((moment or limit).replace(tzinfo=UTC) for moment in (first, last))
    con.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW dated AS
        SELECT *, CASE WHEN ended <= TIMESTAMP '{limit}'
            THEN {local_time_sql("ended", programme.time_zone, start, end)}::DATE END AS day
        FROM typed
        """
    )


_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


def _types(con: duckdb.DuckDBPyConnection, raw: str) -> dict[str, str]:
    return dict(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {raw})").fetchall())


def _whole_sql(column: str, kind: str) -> str:
    """A column's whole number as BIGINT, NULL where it is none."""
    if kind == "VARCHAR":
        return f"CASE WHEN regexp_full_match(trim({column}), '-?[0-9]+') THEN TRY_CAST(trim({column}) AS BIGINT) END"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        return f"CASE WHEN {column} = floor({column}) THEN TRY_CAST({column} AS BIGINT) END"
    return f"TRY_CAST({column} AS BIGINT)"


def _moment_sql(column: str, kind: str) -> str:
    """A column's time as UTC TIMESTAMP, NULL where it has no offset or lies outside the years 1970 to 2999."""
    if kind == "VARCHAR":
        text = f"trim({column})"
        zoned = f"TRY_CAST(upper({text}) AS TIMESTAMPTZ)"
        return f"CASE WHEN regexp_full_match({text}, {quote(_RFC3339)}) THEN {zoned} AT TIME ZONE 'UTC' END"
    if kind == "TIMESTAMP WITH TIME ZONE":
        plausible = f"{column} >= '1970-01-01 00:00:00+00' AND {column} < '3000-01-01 00:00:00+00'"
        return f"CASE WHEN {plausible} THEN make_timestamp(epoch_us({column})) END"
    return "NULL::TIMESTAMP"  # a time without offset is not a time


_QUESTION = ("behaviour", "region", "variant", "evidence", "day")
# A pure withdrawal carries no inputs and needs no methodology.
_TAKES_BACK = (
    "(withdraws IS NOT NULL AND NOT unread AND " + " AND ".join(f"{name} IS NULL" for name in INPUT_NAMES) + ")"
)


def _resolve(con: duckdb.DuckDBPyConnection, resolve: Callable[[Question], Plan | Problem]) -> dict[str, Plan]:
    """Table ``answers``: each distinct question with its plan's number, or with the code of the refusal."""
    questions = con.execute(
        f"SELECT DISTINCT {', '.join(_QUESTION)} FROM dated WHERE behaviour IS NOT NULL AND day IS NOT NULL "
        f"AND NOT {_TAKES_BACK} ORDER BY ALL"
    ).fetchall()
    plans: dict[str, Plan] = {}
    answered: list[tuple[Any, ...]] = []
    for values in questions:
        if not is_region(values[1]) or values[3] not in EVIDENCE:
            continue  # refused by its own rule
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
    """View ``judged``: typed rows with plan and milligrams; ``quantified_mg`` NULL where an input does not fit."""
    fits, mgs = [], []
    for number, plan in enumerate(plans):
        fits.append(f"WHEN {number} THEN {' AND '.join(_fitting(plan))}")
        mgs.append(f"WHEN {number} THEN {compile_mg(read_recipe(plan.document))}")
    defaults = _defaults(plans)
    inputs = ", ".join(f"coalesce({name}, {case}) AS {name}" for name, case in defaults.items())
    replaced = f"* REPLACE ({inputs})" if inputs else "*"
    fit = f"CASE plan_no {' '.join(fits)} END" if fits else "NULL::BOOLEAN"
    mg = f"CASE plan_no {' '.join(mgs)} END" if mgs else "NULL::BIGINT"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW judged AS
        WITH answered AS (
            SELECT d.*, {_TAKES_BACK} AS takes_back, CASE WHEN NOT takes_back THEN a.plan_no END AS plan_no,
                (epoch_us(ended) - epoch_us(started)) // 1000000 AS {ELAPSED}
            FROM dated d LEFT JOIN answers a ON {_same_question("d", "a")}
        ), filled AS (SELECT {replaced} FROM answered),
        fitted AS (SELECT *, coalesce({fit}, false) AS fits FROM filled)
        SELECT *, CASE WHEN fits THEN {mg} END AS quantified_mg FROM fitted
        """
    )


def _same_question(first: str, second: str) -> str:
    return " AND ".join(
        f"{first}.{name} {'IS NOT DISTINCT FROM' if name == 'variant' else '='} {second}.{name}" for name in _QUESTION
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
        CREATE OR REPLACE TEMP TABLE doubtful AS SELECT * FROM judged
        WHERE objection IS NOT NULL OR unread OR start_unread OR ended IS NULL OR (NOT fits AND NOT takes_back)
            OR {anything} OR {_plan_rules_sql(plans)}
        """
    )
    con.execute(
        "CREATE OR REPLACE TEMP TABLE problems (row BIGINT, reference VARCHAR, code VARCHAR, field VARCHAR, "
        "message VARCHAR, remedy VARCHAR)"
    )
    if _one(con, "SELECT count(*) FROM doubtful") == (0,):
        return
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT d.*, {", ".join(f'r."{name}" AS raw_{name}' for name in RAW_COLUMNS[1:])}
        FROM doubtful d JOIN {raw} r ON d.row = r.row
        """
    )

    def add(code: str, field: str, condition: str, message: str, remedy: str) -> None:
        con.execute(
            f"INSERT INTO problems SELECT row, reference, {code}, {field}, {message}, {remedy} "
            f"FROM suspects WHERE {condition}"
        )

    add("objection", "raw_problem_field", "objection IS NOT NULL", "raw_problem_message", quote(_FIX_ROW))
    for code, field, condition, message, remedy in [*_reading_rules(_types(con, raw)), *row_rules]:
        add(quote(code), quote(field), f"{_READABLE} AND ({condition})", message, quote(remedy))
    con.execute(
        f"""
        INSERT INTO problems SELECT s.row, s.reference, a.code, 'type', a.message, a.remedy
        FROM suspects s JOIN answers a ON {_same_question("s", "a")}
        WHERE a.code IS NOT NULL AND {_READABLE} AND NOT takes_back
        """
    )
    for number, plan in enumerate(plans):
        of_plan = f"plan_no = {number} AND {_READABLE}"
        for code, field, condition, message, remedy in _plan_rules(plan):
            add(quote(code), quote(field), f"{of_plan} AND ({condition})", message, quote(remedy))


# Of a row that could not be read there is nothing more to say; an unknown field is one mistake among others.
_READABLE = "(objection IS NULL OR objection = 'unknown-field')"
_FIX_ROW = "correct the row at its source and send it again; accepted rows of the same submission stay accepted"


Rule = tuple[str, str, str, str, str]  # code, field, condition, message SQL, remedy


_NEEDED = "every action needs it"
_A_REGION = "regexp_full_match(region, 'CN(-[1-9][0-9]{5})?')"


def _given(name: str) -> str:
    return f"nullif(trim(raw_{name}::VARCHAR), '') IS NOT NULL"


def _shown(value: str) -> str:
    return f"left({value}::VARCHAR, {_SHOWN})"


def _reading_rules(types: Mapping[str, str]) -> list[Rule]:
    """What was given but cannot be read, whether it is needed or not. Conditions are over the suspects."""
    rules = [
        (
            "not-a-whole-number",
            name,
            f"{_given(name)} AND ({_whole_sql(f'raw_{name}', types[name])}) IS NULL",
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


def _row_rules(programme: Programme, partner: str | None, now: datetime) -> list[Rule]:
    """What holds for every row whatever its methodology.

    Conditions are over ``judged``; messages may use the raw values (``raw_...``) of the suspects.
    """
    column = {"id": "reference", "source": "partner", "type": "behaviour", "subject": "subject"}
    rules: list[Rule] = [
        ("missing-field", name, f"{column[name]} IS NULL", quote(f"{name} is missing"), f"fill {name}; {_NEEDED}")
        for name in column
    ]
    texts = {
        **column,
        "variant": "variant",
        "group": "companions",
        "claim_issuer": "claim_issuer",
        "claim_identifier": "claim_identifier",
        "withdraws": "withdraws",
    }
    rules += [
        (
            "field-too-long",
            name,
            f"length({value}) > {LONGEST_TEXT}",
            quote(f"{name} is longer than {LONGEST_TEXT} characters"),
            "send identifiers, not contents",
        )
        for name, value in texts.items()
    ]
    latest = (now.astimezone(UTC) + CLOCK_TOLERANCE).replace(tzinfo=None)
    rules += [
        (
            "unknown-partner",
            "source",
            f"partner IS NOT NULL AND partner NOT IN ({_quoted(programme.partners)})",
            f"'partner ' || {_shown('partner')} || " + quote(f" is not a partner of programme {programme.id}"),
            f"use one of {', '.join(programme.partners)}, or have the operator add the partner to the programme",
        ),
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


def _outside_sql(region: str) -> str:
    """Whether a region column lies outside ``region``; a wider region than the programme's own lies outside too."""
    if region == "CN":
        return "false"
    digits = region.removeprefix("CN-")
    prefix = digits[:2] if digits.endswith("0000") else digits[:4] if digits.endswith("00") else digits
    return f"NOT starts_with(region, {quote('CN-' + prefix)})"


def _plan_rules(plan: Plan) -> list[Rule]:
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


def _accepted(con: duckdb.DuckDBPyConnection, plans: Sequence[Plan], programme: Programme, key: bytes) -> pa.Table:
    """Table ``accepted``: rows without a problem, their texts turned into identities, in no promised order."""
    families, periods, windows = [], [], []
    for number, plan in enumerate(plans):
        methodology = plan.methodology
        days = programme.window_days(methodology.activity_family, methodology.window_days)
        named = "identifier" in methodology.claim.fields
        if named:
            families.append(f"WHEN {number} THEN {quote(methodology.activity_family)}")
        if named and {"month", "day"} & set(methodology.claim.fields):
            periods.append(f"WHEN {number} THEN {_period_sql(methodology.claim)}")
        unique = "claim_identifier IS NOT NULL" if named and not methodology.claim.overlap else "false"
        windows.append(f"WHEN {number} THEN CASE WHEN {unique} THEN 0 ELSE {days} END")
    digests = [quote(plan.digest) for plan in plans]
    plan_text = f"CASE plan_no {_cases(digests)} END::ENUM({', '.join(digests)})" if plans else "NULL::VARCHAR"
    table = con.sql(
        f"""
        WITH named AS (
            SELECT *, {normal_identifier_sql("claim_issuer")} AS issuer,
                {normal_identifier_sql("claim_identifier")} AS identifier,
                {f"CASE plan_no {' '.join(families)} END" if families else "NULL::VARCHAR"} AS family,
                {f"CASE plan_no {' '.join(periods)} END" if periods else "NULL::VARCHAR"} AS period
            FROM judged WHERE (fits OR takes_back) AND row NOT IN (SELECT row FROM problems)
        )
        SELECT row, {identity_text_sql(ACTION, "partner", "reference")} AS action_id,
            {identity_text_sql(CHILD, "partner", "subject")} AS child,
            partner, behaviour, region, variant, evidence, {plan_text} AS plan, started, ended, day,
            day + ({f"CASE plan_no {' '.join(windows)} ELSE 0 END" if windows else "0"})::INTEGER AS close_day,
            {", ".join(INPUT_NAMES)}, quantified_mg,
            {identity_text_sql(GROUP, "partner", "companions")} AS group_id,
            CASE WHEN period IS NULL THEN {identity_text_sql(CLAIM, "family", "issuer", "identifier")}
                ELSE {identity_text_sql(CLAIM, "family", "issuer", "identifier", "period")} END AS claim,
            {identity_text_sql(ACTION, "partner", "withdraws")} AS withdraws
        FROM named
        """
    ).to_arrow_table()
    for name in ("action_id", "child", "group_id", "claim", "withdraws"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, identity_column(table[name], key))
    con.register("accepted", table)
    return table


def _cases(texts: Sequence[str]) -> str:
    return " ".join(f"WHEN {number} THEN {text}" for number, text in enumerate(texts))


def _period_sql(rule: ClaimRule) -> str:
    """The local month or day that a claim is told apart by beside its issuer's identifier."""
    return f"strftime(day, {quote('%Y-%m' if 'month' in rule.fields else '%Y-%m-%d')})"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(quote(text) for text in sorted(texts)) or "NULL"


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    (row,) = con.execute(sql).fetchall()
    return tuple(row)
