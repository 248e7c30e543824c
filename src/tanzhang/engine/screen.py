"""Screening: every row of a submission gets its verdict and, if accepted, its milligrams, in columns.

Input is a table of raw rows (:data:`RAW_COLUMNS`), whatever format they came in. Output are accepted actions
(:data:`ACCEPTED_COLUMNS`), batch by batch, and a table of problems, one line per mistake, all mistakes of a row
together. The rules of which methodology applies are not here: the distinct questions (a few, however many rows) go to a
callback.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.action import DEFAULT_EVIDENCE, ELAPSED, EVIDENCE, FOR_GUARD, INPUT_NAMES, STRAIGHT
from tanzhang.core.claim import ACTION, CHILD, CLAIM, DEVICE, GROUP, IMAGE
from tanzhang.core.errors import Problem
from tanzhang.core.methodology import ClaimRule, Plan
from tanzhang.core.programme import Programme
from tanzhang.core.recipe import read_recipe
from tanzhang.core.region import is_region
from tanzhang.engine.identities import identity_column
from tanzhang.engine.kernel import identity_text_sql, local_time_sql, normal_identifier_sql, quote
from tanzhang.engine.parallel import in_order
from tanzhang.engine.rules import (
    FIX_ROW,
    KIND,
    QUESTION,
    READABLE,
    WHOLE_TYPES,
    Rule,
    any_broken,
    fitting,
    given_sql,
    kind_rules,
    plan_rules,
    plan_rules_sql,
    reading_rules,
    row_rules,
    whole_sql,
)
from tanzhang.engine.sql import compile_mg

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
    *FOR_GUARD,
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
    "device",
    "image",
    STRAIGHT,
)
WHOLE_NAMES: tuple[str, ...] = (*INPUT_NAMES, STRAIGHT)
"""Raw columns that hold whole numbers."""

PROBLEM_ORDER = "row, code, field, message, remedy"
"""By what problems are sorted, so that two ways to find them say them in one order."""

ASKED_AHEAD = timedelta(days=2)
"""For an act that ends later than this from now on, no plan is asked: the future is refused anyway."""

_BATCH_ROWS = 1 << 16
_HOUR, _SIXTY = r"([01]\d|2[0-3])", r"[0-5]\d"
_YEAR = r"(19[7-9]\d|2\d{3})"
RFC3339 = rf"{_YEAR}-\d\d-\d\d[Tt ]{_HOUR}:{_SIXTY}:{_SIXTY}(\.\d{{1,6}})?([Zz]|[+-]{_HOUR}:{_SIXTY})"


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
    """Name of the table of problems, and the counts."""

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
    accept: Callable[[pa.Table], None],
) -> Screened:
    """Screen the raw rows of one submission.

    ``accept`` is given the good ones, some thousands at a time, and none at first, so that it knows the columns.
    ``partner`` is who submits: rows without a source are his, rows of another source are refused; None takes each
    row's own source. ``now`` bounds the future. ``resolve`` answers each distinct question once.
    """
    _typed(con, raw, programme, partner, now)
    of_kind, of_row = kind_rules(programme, partner), row_rules(now)
    plans = _resolve(con, resolve, of_kind)
    numbered = [plans[digest] for digest in sorted(plans)]
    _judged(con, numbered, of_row)
    doubtful, accepted_rows = _sift(con, numbered, programme, identity_key, accept)
    if len(doubtful):  # of these few everything is asked again, one rule after the other
        con.register("doubtful_rows", pa.table({"row": doubtful}))
        con.execute(f"CREATE OR REPLACE TEMP TABLE raw_suspects AS FROM {raw} SEMI JOIN doubtful_rows USING (row)")
        con.unregister("doubtful_rows")
        _typed(con, "raw_suspects", programme, partner, now)
        _judged(con, numbered, of_row)
    _problems(con, numbered, [*of_kind, *of_row], some=len(doubtful) > 0)
    (refused,) = _one(con, "SELECT count(DISTINCT row) FROM problems")
    if refused != len(doubtful):
        raise AssertionError(f"{len(doubtful)} rows are in doubt, but {refused} are refused with a reason")
    return Screened("problems", accepted_rows + refused, accepted_rows, plans)


def _typed(con: duckdb.DuckDBPyConnection, raw: str, programme: Programme, partner: str | None, now: datetime) -> None:
    """Relation ``typed``: clean texts, times and whole numbers; NULL where a value is absent or cannot be read.

    Times written as text are read once, into a table; typed columns are cheaper to read again than to keep.
    ``unread``: an input was given that cannot be read; ``start_unread``: so was the start. View ``dated``: with the
    local day of the act, NULL for an act that lies too far in the future to be asked about.
    """
    types = _types(con, raw)

    def text(name: str) -> str:
        column = f'"{name}"'
        if types[name] != "VARCHAR":
            return f"{column}::VARCHAR"
        # Nearly every text is ASCII without a blank at either end, and trimming costs more than all else here.
        trimmed = f"{column} >= '!' AND NOT ends_with({column}, ' ') AND strlen({column}) = length({column})"
        return f"CASE WHEN {trimmed} THEN {column} ELSE nullif(trim({column}), '') END"

    def given(name: str) -> str:
        return given_sql(name) if types[name] == "VARCHAR" else f"{name} IS NOT NULL"

    # Only these types hold values that may be given and yet unreadable.
    doubtful = [name for name in WHOLE_NAMES if types[name] not in WHOLE_TYPES]
    unread = " OR ".join(f"({name}_given AND {name} IS NULL)" for name in doubtful) or "false"
    sender = text("source") if partner is None else f"coalesce({text('source')}, {quote(partner)})"
    read = f"""
        WITH read AS (
            SELECT row, {text("id")} AS reference, {sender} AS partner, {text("type")} AS behaviour,
                {text("subject")} AS subject, {_moment_sql("time", types["time"])} AS ended,
                {_moment_sql("started_at", types["started_at"])} AS started,
                coalesce({text("region")}, {quote(programme.region)}) AS region, {text("variant")} AS variant,
                coalesce({text("evidence")}, {quote(DEFAULT_EVIDENCE)}) AS evidence, {text("group")} AS companions,
                {text("claim_issuer")} AS claim_issuer, {text("claim_identifier")} AS claim_identifier,
                {text("withdraws")} AS withdraws, {text("device")} AS device, {text("image_hash")} AS image_hash,
                problem_code AS objection,
                {", ".join(f"{whole_sql(name, types[name])} AS {name}" for name in WHOLE_NAMES)},
                {given("started_at")} AS start_given
                {"".join(f", {given(name)} AS {name}_given" for name in doubtful)}
            FROM {raw}
        )
        SELECT * EXCLUDE (start_given {"".join(f", {name}_given" for name in doubtful)}),
            {unread} AS unread, start_given AND started IS NULL AS start_unread
        FROM read
    """
    if types["time"] == "VARCHAR":
        con.execute(f"CREATE OR REPLACE TEMP TABLE typed_texts AS {read}")
        read = "FROM typed_texts"
    con.execute(f"CREATE OR REPLACE TEMP VIEW typed AS {read}")
    limit = now.astimezone(UTC).replace(tzinfo=None) + ASKED_AHEAD
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


def _types(con: duckdb.DuckDBPyConnection, raw: str) -> dict[str, str]:
    return dict(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {raw})").fetchall())


def _moment_sql(column: str, kind: str) -> str:
    """A column's time as UTC TIMESTAMP, NULL where it has no offset or lies outside the years 1970 to 2999."""
    if kind == "VARCHAR":
        text = f"trim({column})"
        zoned = f"TRY_CAST(upper({text}) AS TIMESTAMPTZ)"
        return f"CASE WHEN regexp_full_match({text}, {quote(RFC3339)}) THEN {zoned} AT TIME ZONE 'UTC' END"
    if kind == "TIMESTAMP WITH TIME ZONE":
        plausible = f"{column} >= '1970-01-01 00:00:00+00' AND {column} < '3000-01-01 00:00:00+00'"
        return f"CASE WHEN {plausible} THEN make_timestamp(epoch_us({column})) END"
    return "NULL::TIMESTAMP"  # a time without offset is not a time


# A pure withdrawal carries no inputs and needs no methodology.
_TAKES_BACK = (
    "(withdraws IS NOT NULL AND NOT unread AND " + " AND ".join(f"{name} IS NULL" for name in INPUT_NAMES) + ")"
)


_ANSWER = pa.schema(
    {
        **{name: pa.date32() if name == "day" else pa.string() for name in QUESTION},
        "plan_no": pa.int32(),
        "code": pa.string(),
        "message": pa.string(),
        "remedy": pa.string(),
    }
)


def _resolve(
    con: duckdb.DuckDBPyConnection, resolve: Callable[[Question], Plan | Problem], rules: Sequence[Rule]
) -> dict[str, Plan]:
    """Relation ``answers``: each distinct question with its plan's number, or with the code of the refusal.

    Table ``kinds``: each distinct kind of row with its plan's number, and ``unfit`` where a rule of kinds is broken;
    what is asked once of a kind is not asked again of every row.
    """
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE found_kinds AS
        SELECT *, {any_broken(rules)} AS unfit FROM (
            SELECT {", ".join(KIND)}, bool_or(NOT {_TAKES_BACK}) AS asks FROM dated GROUP BY ALL
        )
        """
    )
    questions = con.execute(
        f"SELECT DISTINCT {', '.join(QUESTION)} FROM found_kinds "
        "WHERE behaviour IS NOT NULL AND day IS NOT NULL AND asks ORDER BY ALL"
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
    rows = [
        dict(zip(_ANSWER.names, (*row[:5], None if row[5] is None else numbers[row[5]], *row[6:]), strict=True))
        for row in answered
    ]
    con.register("answers", pa.Table.from_pylist(rows, schema=_ANSWER))
    con.execute(
        "CREATE OR REPLACE TEMP TABLE kinds AS SELECT k.* EXCLUDE (asks), a.plan_no FROM found_kinds k "
        f"LEFT JOIN answers a ON {_same(QUESTION, 'k', 'a')}"
    )
    return plans


def _judged(con: duckdb.DuckDBPyConnection, plans: Sequence[Plan], rules: Sequence[Rule]) -> None:
    """View ``judged``: typed rows with plan and milligrams; ``quantified_mg`` NULL where an input does not fit.

    ``doubtful`` are exactly the rows that some rule will name a problem of.
    """
    fits, mgs = [], []
    for number, plan in enumerate(plans):
        fits.append(f"WHEN {number} THEN {' AND '.join(fitting(plan))}")
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
            SELECT d.*, {_TAKES_BACK} AS takes_back, CASE WHEN NOT takes_back THEN k.plan_no END AS plan_no, k.unfit,
                (epoch_us(ended) - epoch_us(started)) // 1000000 AS {ELAPSED}
            FROM dated d LEFT JOIN kinds k ON {_same(KIND, "d", "k")}
        ), filled AS (SELECT {replaced} FROM answered),
        fitted AS (SELECT *, coalesce({fit}, false) AS fits FROM filled)
        SELECT *, CASE WHEN fits THEN {mg} END AS quantified_mg,
            objection IS NOT NULL OR unread OR start_unread OR ended IS NULL OR (NOT fits AND NOT takes_back)
                OR unfit OR {any_broken(rules)} OR coalesce({plan_rules_sql(plans)}, false) AS doubtful
        FROM fitted
        """
    )


def _same(columns: Iterable[str], first: str, second: str) -> str:
    return " AND ".join(f"{first}.{name} IS NOT DISTINCT FROM {second}.{name}" for name in columns)


def _defaults(plans: Sequence[Plan]) -> dict[str, str]:
    """Defaults of inputs by plan as SQL; an input without any default is left out."""
    found: dict[str, list[str]] = {}
    for number, plan in enumerate(plans):
        for name, rule in plan.methodology.inputs.items():
            if rule.default is not None:
                found.setdefault(name, []).append(f"WHEN {number} THEN {rule.default}")
    return {name: f"CASE plan_no {' '.join(cases)} END" for name, cases in found.items()}


def _problems(con: duckdb.DuckDBPyConnection, plans: Sequence[Plan], rules: Sequence[Rule], *, some: bool) -> None:
    """Table ``problems``: row, reference, code, field, message, remedy; every mistake of every row in ``judged``."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE problems (row BIGINT, reference VARCHAR, code VARCHAR, field VARCHAR, "
        "message VARCHAR, remedy VARCHAR)"
    )
    if not some:
        return
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT d.*, {", ".join(f'r."{name}" AS raw_{name}' for name in RAW_COLUMNS[1:])}
        FROM judged d JOIN raw_suspects r ON d.row = r.row
        """
    )

    found = [(f"{READABLE} AND ({rule.sql})", rule) for rule in [*reading_rules(_types(con, "raw_suspects")), *rules]]
    for number, plan in enumerate(plans):
        found += [(f"plan_no = {number} AND {READABLE} AND ({rule.sql})", rule) for rule in plan_rules(plan)]
    # Most rules are broken by no row: one look at all of them saves a statement each.
    broken = _one(con, f"SELECT {', '.join(f'bool_or({condition})' for condition, _ in found)} FROM suspects")
    for (condition, rule), is_broken in zip(found, broken, strict=True):
        if is_broken:
            said = f"{quote(rule.code)}, {quote(rule.field)}, {rule.message_sql}, {quote(rule.remedy)}"
            con.execute(f"INSERT INTO problems SELECT row, reference, {said} FROM suspects WHERE {condition}")
    con.execute(
        "INSERT INTO problems SELECT row, reference, objection, raw_problem_field, raw_problem_message, "
        f"{quote(FIX_ROW)} FROM suspects WHERE objection IS NOT NULL"
    )
    con.execute(
        f"""
        INSERT INTO problems SELECT s.row, s.reference, a.code, 'type', a.message, a.remedy
        FROM suspects s JOIN answers a ON {_same(QUESTION, "s", "a")}
        WHERE a.code IS NOT NULL AND {READABLE} AND NOT takes_back
        """
    )


def _sift(
    con: duckdb.DuckDBPyConnection,
    plans: Sequence[Plan],
    programme: Programme,
    key: bytes,
    accept: Callable[[pa.Table], None],
) -> tuple[pa.Array, int]:
    """Hand the good rows to ``accept``, their texts turned into identities; returns the others and how many were good.

    The rows are read, judged and hashed on all cores, a batch at a time.
    """

    def identified(table: pa.Table) -> tuple[pa.Table, pa.Array]:
        flags = table["doubtful"].cast(pa.bool_())
        doubtful = table["row"].filter(flags)
        if len(doubtful):
            table = table.filter(pc.invert(flags))
        columns = {
            name: identity_column(table[name], key) if name in _IDENTITIES else table[name] for name in ACCEPTED_COLUMNS
        }
        return pa.table(columns), doubtful

    reader = con.sql(_accepted_sql(plans, programme)).to_arrow_reader(_BATCH_ROWS)
    nothing = reader.schema.empty_table()
    batches = itertools.chain([nothing], (pa.Table.from_batches([batch]) for batch in reader))
    doubts, good = [], 0
    for table, doubtful in in_order(identified, batches):
        accept(table)
        good += table.num_rows
        doubts += doubtful.chunks
    return pa.concat_arrays(doubts) if doubts else pa.array([], pa.int64()), good


_IDENTITIES = ("action_id", "child", "group_id", "claim", "withdraws", "device", "image")


def _accepted_sql(plans: Sequence[Plan], programme: Programme) -> str:
    """Every row with the columns of :data:`ACCEPTED_COLUMNS`, identities still as texts, and ``doubtful``."""
    families, periods, windows = [], [], []
    for number, plan in enumerate(plans):
        methodology = plan.methodology
        days = programme.window_days(methodology.activity_family, methodology.window_days)
        named = "identifier" in methodology.claim.fields
        if named:
            families.append(f"WHEN {number} THEN {quote(methodology.activity_family)}")
        if named and {"month", "day"} & set(methodology.claim.fields):
            periods.append(f"WHEN {number} THEN {_period_sql(methodology.claim)}")
        claimed = programme.claimed_window_days(methodology)
        own = f"CASE WHEN withdraws IS NULL THEN {claimed} ELSE 0 END" if claimed < 0 else str(claimed)
        unique = "claim_identifier IS NOT NULL" if named else "false"
        windows.append(f"WHEN {number} THEN CASE WHEN {unique} THEN {own} ELSE {days} END")
    digests = [quote(plan.digest) for plan in plans]
    plan_text = f"CASE plan_no {_cases(digests)} END::ENUM({', '.join(digests)})" if plans else "NULL::VARCHAR"
    return f"""
        WITH named AS (
            SELECT *, {normal_identifier_sql("claim_issuer")} AS issuer,
                {normal_identifier_sql("claim_identifier")} AS identifier,
                {f"CASE plan_no {' '.join(families)} END" if families else "NULL::VARCHAR"} AS family,
                {f"CASE plan_no {' '.join(periods)} END" if periods else "NULL::VARCHAR"} AS period
            FROM judged
        )
        SELECT row, doubtful::TINYINT AS doubtful, {identity_text_sql(ACTION, "partner", "reference")} AS action_id,
            {identity_text_sql(CHILD, "partner", "subject")} AS child,
            partner, behaviour, region, variant, evidence, {plan_text} AS plan, started, ended, day,
            day + ({f"CASE plan_no {' '.join(windows)} ELSE 0 END" if windows else "0"})::INTEGER AS close_day,
            {", ".join(INPUT_NAMES)}, quantified_mg,
            {identity_text_sql(GROUP, "partner", "companions")} AS group_id,
            CASE WHEN period IS NULL THEN {identity_text_sql(CLAIM, "family", "issuer", "identifier")}
                ELSE {identity_text_sql(CLAIM, "family", "issuer", "identifier", "period")} END AS claim,
            {identity_text_sql(ACTION, "partner", "withdraws")} AS withdraws,
            {identity_text_sql(DEVICE, "device")} AS device, {identity_text_sql(IMAGE, "image_hash")} AS image,
            {STRAIGHT}
        FROM named
        """


def _cases(texts: Sequence[str]) -> str:
    return " ".join(f"WHEN {number} THEN {text}" for number, text in enumerate(texts))


def _period_sql(rule: ClaimRule) -> str:
    """The local month or day that a claim is told apart by beside its issuer's identifier."""
    return f"strftime(day, {quote('%Y-%m' if 'month' in rule.fields else '%Y-%m-%d')})"


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    (row,) = con.execute(sql).fetchall()
    return tuple(row)
