"""What verification asks of records by SQL, in views ``sound`` and ``left_over``: what erased ones still hold.

Each check returns how many records it looked at and what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.recipe import read_recipe
from tanzhang.core.record import HOLDERS
from tanzhang.engine.kernel import quote
from tanzhang.engine.sql import compile_mg
from tanzhang.service.findings import RESTORE, SHOWN

if TYPE_CHECKING:
    import duckdb

_HOLDS = f"outcome IN ({', '.join(quote(outcome) for outcome in HOLDERS)})"


def check_quantities(con: duckdb.DuckDBPyConnection, plans: Mapping[str, str]) -> tuple[int, list[Problem]]:
    """Every record's milligrams, recomputed from the plan it names and its inputs."""
    cases, broken = [], []
    for digest, document in plans.items():
        try:
            cases.append(f"WHEN {quote(digest)} THEN {compile_mg(read_recipe(document))}")
        except (TanzhangError, ValueError, KeyError, TypeError):
            broken.append(digest)
    amount = f"CASE plan {' '.join(cases)} END" if cases else "NULL"
    readable = f"coalesce(plan NOT IN ({', '.join(map(quote, broken))}), true)" if broken else "true"
    return _count(con, f"sound WHERE {readable}"), _wrong(
        con,
        "quantity-mismatch",
        f"SELECT batch, action_id, quantified_mg || ' mg recorded, ' || coalesce(({amount})::VARCHAR, 'none') || "
        f"' mg computed' FROM sound WHERE {readable} AND quantified_mg IS DISTINCT FROM {amount}",
    )


def check_once(con: duckdb.DuckDBPyConnection) -> tuple[int, list[Problem]]:
    """One claim, one credited record; one reference, one decided record."""
    taken_back = "(SELECT withdraws FROM sound WHERE withdraws IS NOT NULL AND outcome NOT IN ('repeat', 'conflict'))"
    holders = (
        f"(SELECT * FROM sound WHERE {_HOLDS} AND granted_mg > 0 AND action_id NOT IN {taken_back} "
        "UNION ALL SELECT * FROM left_over) WHERE true"
    )
    twice = _wrong(
        con,
        "claim-twice",
        f"SELECT max(batch), max(action_id), 'claim credited ' || count(*) || ' times' FROM {holders} "
        "AND claim IS NOT NULL GROUP BY claim HAVING count(*) > 1",
    )
    twice += _wrong(
        con,
        "reference-twice",
        "SELECT max(batch), action_id, 'decided ' || count(*) || ' times' FROM (SELECT * FROM sound UNION ALL "
        "SELECT * FROM left_over) WHERE outcome NOT IN ('repeat', 'conflict') AND action_id IS NOT NULL "
        "GROUP BY action_id HAVING count(*) > 1",
    )
    return _count(con, holders), twice


def check_grants(con: duckdb.DuckDBPyConnection) -> tuple[int, list[Problem]]:
    """Nothing granted beyond what was quantified, to a loser, or taken back more than once or in part."""
    wrong = _wrong(
        con,
        "grant-mismatch",
        "SELECT batch, action_id, outcome || ' with ' || granted_mg || ' mg granted' FROM sound "
        f"WHERE granted_mg < 0 OR granted_mg > coalesce(quantified_mg, 0) OR (NOT {_HOLDS} AND granted_mg <> 0) "
        "OR (outcome = 'granted' AND granted_mg <> quantified_mg)",
    )
    wrong += _wrong(
        con,
        "reversal-mismatch",
        "SELECT max(r.batch), r.withdraws, sum(r.reversed_mg) || ' mg taken back of ' || "
        "coalesce(max(t.granted_mg), 0) || ' granted' FROM sound r LEFT JOIN sound t ON r.withdraws = t.action_id "
        "AND t.outcome NOT IN ('repeat', 'conflict') WHERE r.reversed_mg <> 0 GROUP BY r.withdraws "
        "HAVING sum(r.reversed_mg) <> coalesce(max(t.granted_mg), 0)",
    )
    return _count(con, "sound"), wrong


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    ((count,),) = con.execute(f"SELECT count(*) FROM {relation}").fetchall()
    return int(count)


def _wrong(con: duckdb.DuckDBPyConnection, code: str, query: str) -> list[Problem]:
    found = con.execute(f"{query} LIMIT {SHOWN}").fetchall()
    return [
        Problem(code, str(message), f"batch {number}, action {action}", RESTORE) for number, action, message in found
    ]
