"""What a guard's rules mark among reports, in columns: one statement a rule over all acts of the window.

Relation ``acts`` has one row for each reference: submission, row, ``asked`` (it is to be judged; the others only stand
beside), account, partner, behaviour, day, started, ended, quantified_mg, device, image, straight_m and the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tanzhang.core.guard import INTERVAL, Detour, Drift, Guard, GuardRule, Overlapping, Regular, Shared, Speed
from tanzhang.engine.kernel import quote

if TYPE_CHECKING:
    import duckdb

MARKS, DRIFTS = "guard_marks", "guard_drifts"


def needs_window(rule: GuardRule) -> bool:
    """Whether a rule compares an act with others; the rest judge each act by itself."""
    return not isinstance(rule.test, Speed | Detour)


def mark(con: duckdb.DuckDBPyConnection, guard: Guard, acts: str, *, alone: bool = False) -> None:
    """Tables ``guard_marks`` (submission, row, rule, measured, threshold) and ``guard_drifts``.

    ``rule`` is the place in the guard's rules. A drift is rule, partner, behaviour, day, percent, acts, mean_mg and
    trailing_mean_mg. With ``alone`` only by rules that judge each act by itself.
    """
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {MARKS} (submission INTEGER, row BIGINT, rule INTEGER, measured BIGINT, "
        "threshold BIGINT)"
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {DRIFTS} (rule INTEGER, partner VARCHAR, behaviour VARCHAR, day DATE, "
        "percent BIGINT, acts BIGINT, mean_mg BIGINT, trailing_mean_mg BIGINT)"
    )
    for number, rule in enumerate(guard.rules):
        if alone and needs_window(rule):
            continue
        own = acts
        if rule.behaviours is not None:
            own = f"(FROM {acts} WHERE behaviour IN ({', '.join(map(quote, sorted(rule.behaviours)))}))"
        if isinstance(rule.test, Drift):
            con.execute(f"INSERT INTO {DRIFTS} SELECT {number}, * FROM ({_drift_sql(rule.test, own)})")
            found = _of_drift_sql(rule.test, own, number) if rule.action == "hold" else None
        else:
            found = _SQL[type(rule.test)](rule.test, own)
        if found is not None:
            con.execute(f"INSERT INTO {MARKS} SELECT submission, row, {number}, measured, threshold FROM ({found})")


def _speed_sql(test: Speed, acts: str) -> str:
    cases = " ".join(f"WHEN {quote(name)} THEN {most}" for name, most in sorted(test.most_dm_per_s.items()))
    return f"""
        SELECT submission, row, (distance_m::HUGEINT * 10000000 // (epoch_us(ended) - epoch_us(started)))::BIGINT
                AS measured, CASE behaviour {cases} END::BIGINT AS threshold
        FROM {acts} WHERE asked AND started < ended AND distance_m BETWEEN 0 AND 1000000000 AND measured > threshold
    """


def _detour_sql(test: Detour, acts: str) -> str:
    return f"""
        SELECT submission, row, distance_m * 100 // straight_m AS measured,
            if(measured < {test.least_percent}, {test.least_percent}, {test.most_percent}) AS threshold
        FROM {acts} WHERE asked AND straight_m >= {test.least_straight_m} AND distance_m BETWEEN 0 AND 1000000000
            AND (measured < {test.least_percent} OR measured > {test.most_percent})
    """


def _overlapping_sql(test: Overlapping, acts: str) -> str:
    shared = "epoch_us(least(a.ended, b.ended)) - epoch_us(greatest(a.started, b.started))"
    return f"""
        SELECT a.submission, a.row, max({shared}) // 1000000 AS measured, {test.least_s}::BIGINT AS threshold
        FROM {acts} a JOIN {acts} b ON a.account = b.account AND a.day = b.day
            AND a.started < b.ended AND b.started < a.ended
        WHERE a.asked AND (a.submission <> b.submission OR a.row <> b.row)
            AND (a.behaviour <> b.behaviour OR a.partner = b.partner) AND {shared} >= {test.least_s * 1_000_000}
        GROUP BY ALL
    """


def _regular_sql(test: Regular, acts: str) -> str:
    value = test.input
    if value == INTERVAL:
        value = (
            "(epoch_us(ended) - lag(epoch_us(ended)) OVER (PARTITION BY account, behaviour ORDER BY ended)) // 1000000"
        )
    return f"""
        WITH several AS (
            SELECT account, behaviour FROM {acts} GROUP BY ALL HAVING count(*) >= {test.least_acts} AND bool_or(asked)
        ), valued AS (
            SELECT submission, row, asked, account, behaviour, ({value}) // {test.within} AS step
            FROM {acts} SEMI JOIN several USING (account, behaviour)
        ), steps AS (
            SELECT account, behaviour, step, count(*) AS n FROM valued WHERE step IS NOT NULL GROUP BY ALL
        ), alike AS (
            SELECT account, behaviour, arg_max(step, (n, step)) AS step, max(n) * 100 // sum(n) AS measured
            FROM steps GROUP BY account, behaviour
            HAVING sum(n) >= {test.least_acts} AND measured >= {test.least_percent}
        )
        SELECT submission, row, measured::BIGINT AS measured, {test.least_percent}::BIGINT AS threshold
        FROM valued JOIN alike USING (account, behaviour, step) WHERE asked
    """


def _shared_sql(test: Shared, acts: str) -> str:
    return f"""
        WITH many AS (
            SELECT {test.of}, count(DISTINCT account) AS measured FROM {acts} WHERE {test.of} IS NOT NULL
            GROUP BY 1 HAVING measured > {test.most_accounts} AND bool_or(asked)
        )
        SELECT submission, row, measured, {test.most_accounts}::BIGINT AS threshold
        FROM {acts} JOIN many USING ({test.of}) WHERE asked
    """


def _drift_sql(test: Drift, acts: str) -> str:
    """Partner, behaviour and asked day with its mean in percent of that of the days before, where that is a drift."""
    return f"""
        WITH days AS (
            SELECT partner, behaviour, day, count(*) AS n, sum(quantified_mg)::HUGEINT AS mg, bool_or(asked) AS asked
            FROM {acts} WHERE quantified_mg IS NOT NULL GROUP BY partner, behaviour, day
        ), compared AS (
            SELECT *, sum(n) OVER before AS trailing_n, sum(mg) OVER before AS trailing_mg FROM days
            WINDOW before AS (
                PARTITION BY partner, behaviour ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        )
        SELECT partner, behaviour, day, (mg * trailing_n * 100 // (n * trailing_mg))::BIGINT AS percent, n,
            (mg // n)::BIGINT, (trailing_mg // trailing_n)::BIGINT
        FROM compared
        WHERE asked AND n >= {test.least_acts} AND trailing_n >= {test.least_acts} AND trailing_mg > 0
            AND abs(percent - 100) > {test.most_percent}
    """


def _of_drift_sql(test: Drift, acts: str, number: int) -> str:
    """The asked acts of what has drifted."""
    return f"""
        SELECT a.submission, a.row, d.percent AS measured,
            CASE WHEN d.percent < 100 THEN {100 - test.most_percent} ELSE {100 + test.most_percent} END AS threshold
        FROM {acts} a JOIN {DRIFTS} d ON d.rule = {number} AND a.partner = d.partner AND a.behaviour = d.behaviour
            AND a.day = d.day
        WHERE a.asked
    """


_SQL: Mapping[type[Any], Callable[[Any, str], str]] = {
    Speed: _speed_sql,
    Detour: _detour_sql,
    Overlapping: _overlapping_sql,
    Regular: _regular_sql,
    Shared: _shared_sql,
}
