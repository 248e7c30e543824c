"""Settlement in columns: accepted actions in, records out. One code path for one act, a day of a city, a partition.

Most acts meet no other; only the few that do are treated one step at a time, in a table of exceptions. The rules are
those of :mod:`tanzhang.core.settlement`; :mod:`tanzhang.engine.reference` states them in plain Python, and tests hold
both to the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.claim import CLAIM
from tanzhang.core.recipe import CapRule, Recipe
from tanzhang.core.record import CONTENT, HOLDERS, OUTCOME_NUMBER
from tanzhang.core.settlement import Rules, cap_order, caps_of, person_claim_fields, rank
from tanzhang.engine.kernel import identity_sql, quote

if TYPE_CHECKING:
    import duckdb

# Columns of a record as every engine and store hold them, in order. ``seed`` is what the account's salts come from.
RECORD_COLUMNS: dict[str, str] = {
    "action_id": "UUID",
    "account": "UUID",
    "child": "UUID",
    "partner": "VARCHAR",
    "behaviour": "VARCHAR",
    "region": "VARCHAR",
    "variant": "VARCHAR",
    "evidence": "VARCHAR",
    "kind": "VARCHAR",
    "outcome": "VARCHAR",
    "plan": "VARCHAR",
    "started": "TIMESTAMP",
    "ended": "TIMESTAMP",
    "day": "DATE",
    **dict.fromkeys(INPUT_NAMES, "BIGINT"),
    "quantified_mg": "BIGINT",
    "granted_mg": "BIGINT",
    "reversed_mg": "BIGINT",
    "group_id": "UUID",
    "claim": "UUID",
    "withdraws": "UUID",
    "related": "UUID",
}
_HOLDS = f"outcome IN ({', '.join(quote(outcome) for outcome in HOLDERS)})"
_SAME_REPORT = "('repeat', 'conflict')"


def settle(
    con: duckdb.DuckDBPyConnection,
    *,
    pending: str,
    settled: str,
    links: str,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> str:
    """Decide every pending action once and for all; returns the name of the table of records, in batch order.

    ``pending`` has the columns of :data:`tanzhang.engine.screen.ACCEPTED_COLUMNS` and ``received`` (local day);
    ``settled`` those of :data:`RECORD_COLUMNS`: the records of earlier batches, which always win; ``links`` child,
    account, valid_from, valid_until (consent, local days). Every plan named by a row is in ``recipes``.
    """
    _acts(con, pending, links, recipes, rules)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE exceptions (n BIGINT PRIMARY KEY, outcome VARCHAR, related UUID, "
        "granted_mg BIGINT, kind VARCHAR)"
    )
    con.execute("CREATE OR REPLACE TEMP VIEW live AS SELECT * FROM acts ANTI JOIN exceptions USING (n)")
    _same_reference(con, settled)
    _withdrawals(con, settled)
    if rules.report_within_days is not None:
        _except(
            con,
            f"SELECT n, 'late' AS outcome FROM live WHERE quantified_mg IS NOT NULL "
            f"AND received - day > {rules.report_within_days}",
        )
    _conflicts(con, settled, rules)
    _caps(con, settled, recipes, rules)
    return _records(con)


def _acts(
    con: duckdb.DuckDBPyConnection, pending: str, links: str, recipes: Mapping[str, Recipe], rules: Rules
) -> None:
    """Table ``acts``: pending rows numbered, with account, kind, order and final claim."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE recipes (plan VARCHAR PRIMARY KEY, kind VARCHAR, family VARCHAR, "
        "by_overlap BOOLEAN, told_by VARCHAR, rank INTEGER)"
    )
    rows = [(digest, r.kind, r.family, r.overlap, person_claim_fields(r), rank(r)) for digest, r in recipes.items()]
    if rows:
        con.executemany("INSERT INTO recipes VALUES (?, ?, ?, ?, ?, ?)", rows)
    key, account = rules.identity_key, "account::VARCHAR"

    def told(period: str) -> str:
        return identity_sql(key, CLAIM, "family", account, f"strftime(day, {quote(period)})")

    moment = identity_sql(key, CLAIM, "family", "behaviour", account, "epoch_us(ended)::VARCHAR")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE acts AS
        WITH owned AS (
            SELECT p.*, coalesce(l.account, p.child) AS account, r.kind, r.family, coalesce(r.by_overlap, false)
                AND p.started IS NOT NULL AS by_overlap, r.told_by, r.rank
            FROM {pending} p LEFT JOIN {links} l ON p.child = l.child AND p.day >= l.valid_from
                AND (l.valid_until IS NULL OR p.day < l.valid_until)
            LEFT JOIN recipes r ON p.plan = r.plan
        )
        SELECT row_number() OVER () AS n, * REPLACE (CASE WHEN claim IS NOT NULL OR plan IS NULL THEN claim
            WHEN told_by = 'day' THEN {told("%Y-%m-%d")} WHEN told_by = 'month' THEN {told("%Y-%m")}
            WHEN by_overlap THEN NULL ELSE {moment} END AS claim)
        FROM owned
        """
    )


def _except(con: duckdb.DuckDBPyConnection, query: str) -> None:
    con.execute(f"INSERT INTO exceptions BY NAME ({query})")


def _same_reference(con: duckdb.DuckDBPyConnection, settled: str) -> None:
    """``repeat`` and ``conflict``: of one partner's one reference the first in the total order stands."""
    texts = (f"epoch_us({name})" if name in ("started", "ended") else name for name in CONTENT)
    digest = "sha256(concat_ws('|', " + ", ".join(f"coalesce({text}::VARCHAR, '-')" for text in texts) + "))"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE references_again AS
        WITH earlier AS (
            SELECT action_id, any_value({digest}) AS content FROM {settled} s
            WHERE outcome NOT IN {_SAME_REPORT} AND action_id IN (SELECT action_id FROM acts) GROUP BY action_id
        ), several AS (
            SELECT action_id FROM acts GROUP BY action_id HAVING count(*) > 1
            UNION SELECT action_id FROM earlier
        ), again AS (
            SELECT n, action_id, rank, coalesce(started, ended) AS start, plan, {digest} AS content
            FROM acts SEMI JOIN several USING (action_id)
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY action_id
                ORDER BY rank NULLS LAST, start, content, plan, n) AS place
            FROM again
        )
        SELECT n, action_id, r.content AS tie, place,
            coalesce(e.content, first_value(r.content) OVER (PARTITION BY action_id ORDER BY place)) AS standing,
            e.content IS NOT NULL AS settled_before
        FROM ranked r LEFT JOIN earlier e USING (action_id)
        """
    )
    _except(
        con,
        "SELECT n, CASE WHEN tie = standing THEN 'repeat' ELSE 'conflict' END AS outcome, action_id AS related "
        "FROM references_again WHERE settled_before OR place > 1",
    )


def _withdrawals(con: duckdb.DuckDBPyConnection, settled: str) -> None:
    """Take back what a partner withdraws: before settlement it never counts, after it an opposite posting is made."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE withdrawn_ids AS
        SELECT target, min(by_action) AS by_action FROM (
            SELECT withdraws AS target, action_id AS by_action FROM live WHERE withdraws IS NOT NULL
            UNION ALL
            SELECT withdraws, action_id FROM {settled} WHERE withdraws IS NOT NULL AND outcome NOT IN {_SAME_REPORT}
        ) GROUP BY target
        """
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE reversals AS
        WITH taken_back AS (SELECT DISTINCT withdraws FROM {settled} WHERE reversed_mg > 0),
        asked AS (
            SELECT n, withdraws, kind, quantified_mg,
                row_number() OVER (PARTITION BY withdraws ORDER BY action_id) AS turn
            FROM live WHERE withdraws IS NOT NULL
        )
        SELECT a.n, a.quantified_mg, a.kind AS own_kind, s.action_id AS target, s.account, s.kind,
            CASE WHEN a.turn = 1 AND t.withdraws IS NULL THEN s.granted_mg ELSE 0 END AS reversed_mg
        FROM asked a JOIN {settled} s ON a.withdraws = s.action_id AND s.outcome NOT IN {_SAME_REPORT}
            LEFT JOIN taken_back t ON s.action_id = t.withdraws
        """
    )
    # An act stays in the account where it was booked, whatever was linked since.
    con.execute("UPDATE acts SET account = r.account FROM reversals r WHERE acts.n = r.n")
    # A correction may change the amount, not the book it stands in.
    _except(
        con,
        "SELECT n, 'conflict' AS outcome, target AS related FROM reversals WHERE quantified_mg IS NOT NULL "
        "AND own_kind <> kind",
    )
    _except(
        con,
        """
        SELECT l.n, 'withdrawal' AS outcome, coalesce(r.target, p.action_id) AS related,
            coalesce(r.kind, p.kind, 'reduction') AS kind
        FROM live l LEFT JOIN reversals r USING (n) LEFT JOIN acts p ON l.withdraws = p.action_id
            AND p.n NOT IN (SELECT n FROM references_again WHERE settled_before OR place > 1)
        WHERE l.withdraws IS NOT NULL AND l.quantified_mg IS NULL
        """,
    )
    _except(
        con,
        "SELECT n, 'withdrawn' AS outcome, by_action AS related FROM live JOIN withdrawn_ids ON action_id = target",
    )


def _conflicts(con: duckdb.DuckDBPyConnection, settled: str, rules: Rules) -> None:
    """``duplicate_of`` and ``overlap_of``: keep the acts that conflict with none kept, in the total order."""
    share = rules.overlap_threshold
    holders = f"(SELECT * FROM {settled} WHERE {_HOLDS} AND action_id NOT IN (SELECT target FROM withdrawn_ids))"
    con.execute("CREATE OR REPLACE TEMP TABLE candidates AS SELECT * FROM live WHERE quantified_mg IS NOT NULL")

    def conflict(first: str, second: str) -> str:
        shared = f"(least(epoch_us({first}.ended), epoch_us({second}.ended)) - " + (
            f"greatest(epoch_us({first}.started), epoch_us({second}.started)))"
        )
        length = "(epoch_us({0}.ended) - epoch_us({0}.started))"
        shorter = f"least({length.format(first)}, {length.format(second)})"
        return (
            f"{first}.started < {second}.ended AND {second}.started < {first}.ended "
            f"AND {shared}::HUGEINT * {share.denominator} >= {shorter}::HUGEINT * {share.numerator} "
            f"AND coalesce({first}.group_id <> {second}.group_id, true)"
        )

    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE held AS
        WITH by_claim AS (
            SELECT c.n, min(s.action_id) AS related FROM candidates c JOIN {holders} s ON c.claim = s.claim GROUP BY c.n
        ), by_time AS (
            SELECT c.n, min(s.action_id) AS related FROM candidates c JOIN (
                SELECT h.*, r.family FROM {holders} h JOIN recipes r ON h.plan = r.plan AND r.by_overlap
            ) s ON c.account = s.account AND c.by_overlap AND c.family = s.family AND {conflict("c", "s")}
            GROUP BY c.n
        )
        SELECT n, coalesce(b.related, t.related) AS related,
            CASE WHEN b.related IS NOT NULL THEN 'duplicate_of' ELSE 'overlap_of' END AS outcome
        FROM by_claim b FULL JOIN by_time t USING (n)
        """
    )
    _except(con, "SELECT n, outcome, related FROM held")
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE crowded AS
        SELECT account, family FROM (
            SELECT account, family, started < max(ended) OVER (PARTITION BY account, family
                ORDER BY started, ended ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS crosses
            FROM candidates WHERE by_overlap AND n NOT IN (SELECT n FROM held)
        ) WHERE crosses GROUP BY account, family
        """
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE pairs AS
        WITH busy AS (
            SELECT n, account, family, started, ended, group_id, rank, action_id FROM candidates
            SEMI JOIN crowded USING (account, family) WHERE by_overlap AND n NOT IN (SELECT n FROM held)
        )
        SELECT a.n AS first_n, b.n AS second_n FROM busy a JOIN busy b
            ON a.account = b.account AND a.family = b.family AND a.n < b.n AND {conflict("a", "b")}
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE contested AS
        WITH shared AS (
            SELECT claim FROM candidates WHERE claim IS NOT NULL AND n NOT IN (SELECT n FROM held)
            GROUP BY claim HAVING count(*) > 1
        ), nodes AS (
            SELECT n FROM candidates SEMI JOIN shared USING (claim) WHERE n NOT IN (SELECT n FROM held)
            UNION SELECT first_n FROM pairs UNION SELECT second_n FROM pairs
        )
        SELECT c.n, c.action_id, row_number() OVER (ORDER BY rank, coalesce(started, ended), c.action_id) - 1 AS place,
            CASE WHEN s.claim IS NOT NULL THEN dense_rank() OVER (ORDER BY s.claim NULLS LAST) - 1 ELSE -1 END AS ring
        FROM nodes JOIN candidates c USING (n) LEFT JOIN shared s ON c.claim = s.claim
        """
    )
    contested = con.execute("SELECT place, ring FROM contested ORDER BY place").fetchnumpy()
    if len(contested["place"]) == 0:
        return
    edges = con.execute(
        """
        SELECT least(a.place, b.place) AS low, greatest(a.place, b.place) AS high
        FROM pairs JOIN contested a ON first_n = a.n JOIN contested b ON second_n = b.n
        """
    ).fetchnumpy()
    lost_to, as_duplicate = keep_in_order(contested["ring"], edges["low"], edges["high"])
    losers = np.flatnonzero(lost_to >= 0)
    import pyarrow as pa

    lost = pa.table({"place": losers, "winner": lost_to[losers], "duplicate": as_duplicate[losers]})
    con.register("lost", lost)
    _except(
        con,
        "SELECT c.n, CASE WHEN duplicate THEN 'duplicate_of' ELSE 'overlap_of' END AS outcome, w.action_id AS related "
        "FROM lost JOIN contested c USING (place) JOIN contested w ON w.place = lost.winner",
    )
    con.unregister("lost")


def keep_in_order(
    ring: npt.NDArray[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """:func:`tanzhang.core.claim.keep_greedily` in columns, for acts numbered in the total order.

    ``ring[i]`` is the number of the claim that act i shares, or -1; ``low``/``high`` are pairs that overlap, the lower
    number first. Returns for each act the lowest kept act it conflicts with (-1 if it is kept itself) and whether the
    two share a claim. Each round decides every act all of whose better rivals are decided.
    """
    count = len(ring)
    ring, low, high = (np.asarray(each, dtype=np.int64) for each in (ring, low, high))
    rings = int(ring.max(initial=-1)) + 1
    in_ring = np.flatnonzero(ring >= 0)
    undecided = np.ones(count, dtype=bool)
    kept = np.zeros(count, dtype=bool)
    while undecided.any():
        first = np.full(rings, count, dtype=np.int64)
        waiting = in_ring[undecided[in_ring]]
        np.minimum.at(first, ring[waiting], waiting)
        ready = undecided.copy()
        ready[waiting] = first[ring[waiting]] == waiting
        open_pairs = undecided[low] & undecided[high]
        ready[high[open_pairs]] = False
        kept |= ready
        undecided &= ~ready
        taken = np.zeros(rings, dtype=bool)
        taken[ring[in_ring[ready[in_ring]]]] = True
        undecided[in_ring[taken[ring[in_ring]]]] = False
        undecided[high[ready[low]]] = False
        low, high = low[open_pairs | kept[low]], high[open_pairs | kept[low]]
    best = np.full(count, count, dtype=np.int64)
    won = kept[low] & ~kept[high]
    np.minimum.at(best, high[won], low[won])
    owner = np.full(rings, count, dtype=np.int64)
    owners = in_ring[kept[in_ring]]
    owner[ring[owners]] = owners
    beaten = in_ring[~kept[in_ring]]
    rival = np.where(owner[ring[beaten]] < beaten, owner[ring[beaten]], count)
    best[beaten] = np.minimum(best[beaten], rival)
    best[kept | (best == count)] = -1
    duplicate = np.zeros(count, dtype=bool)
    losers = np.flatnonzero(best >= 0)
    duplicate[losers] = (ring[losers] >= 0) & (ring[losers] == ring[best[losers]])
    return best, duplicate


def _caps(con: duckdb.DuckDBPyConnection, settled: str, recipes: Mapping[str, Recipe], rules: Rules) -> None:
    """``capped``: what a person's limit of the day or month leaves, earliest act first; settled acts come before."""
    bound: dict[CapRule, list[str]] = {}
    for digest, recipe in recipes.items():
        for cap in caps_of(recipe, rules):
            bound.setdefault(cap, []).append(digest)
    for cap in sorted(bound, key=cap_order):
        _apply_cap(con, settled, cap, ", ".join(quote(digest) for digest in bound[cap]))


def _apply_cap(con: duckdb.DuckDBPyConnection, settled: str, cap: CapRule, plans: str) -> None:
    span = "day" if cap.period == "day" else "date_trunc('month', day)::DATE"
    amount, limit = ("1", cap.limit_count) if cap.limit_count is not None else ("granted_mg", cap.limit_mg)
    if limit is None:
        raise AssertionError(f"cap {cap.id} limits nothing")
    left = (
        f"CASE WHEN used < {limit} THEN granted_mg ELSE 0 END"
        if cap.limit_count is not None
        else f"least(granted_mg, greatest({limit} - used, 0))"
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE capped AS
        WITH own AS (
            SELECT c.n, c.account, {span} AS span, c.ended, c.action_id,
                coalesce(e.granted_mg, c.quantified_mg) AS granted_mg
            FROM candidates c LEFT JOIN exceptions e USING (n)
            WHERE c.plan IN ({plans}) AND (e.n IS NULL OR e.outcome = 'capped')
        ), before AS (
            SELECT account, {span} AS span, sum({amount})::BIGINT AS used FROM {settled}
            WHERE plan IN ({plans}) AND granted_mg > 0 AND {_HOLDS}
                AND action_id NOT IN (SELECT target FROM withdrawn_ids)
            GROUP BY ALL
        ), running AS (
            SELECT own.*, coalesce(b.used, 0) + coalesce(sum({amount}) OVER (PARTITION BY own.account, own.span
                ORDER BY ended, action_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::BIGINT AS used
            FROM own LEFT JOIN before b ON own.account = b.account AND own.span = b.span WHERE granted_mg > 0
        )
        SELECT n, granted_mg AS before_mg, {left} AS granted_mg FROM running
        """
    )
    con.execute(
        "INSERT INTO exceptions BY NAME (SELECT n, 'capped' AS outcome, granted_mg FROM capped "
        "WHERE granted_mg < before_mg) ON CONFLICT (n) DO UPDATE SET granted_mg = excluded.granted_mg"
    )


def _records(con: duckdb.DuckDBPyConnection) -> str:
    """Table ``records`` in batch order: clustered by account, then by time; equal sets of reports, equal order."""
    number = "CASE e.outcome " + " ".join(f"WHEN {quote(name)} THEN {no}" for name, no in OUTCOME_NUMBER.items())
    special = {
        "kind": "coalesce(e.kind, a.kind)",
        "outcome": "coalesce(e.outcome, 'granted')",
        "granted_mg": "CASE WHEN e.n IS NULL THEN a.quantified_mg ELSE coalesce(e.granted_mg, 0) END",
        "reversed_mg": f"CASE WHEN e.outcome IN {_SAME_REPORT} THEN 0 ELSE coalesce(r.reversed_mg, 0) END",
        "related": "e.related",
    }
    columns = ", ".join(f"{special.get(name, f'a.{name}')} AS {name}" for name in RECORD_COLUMNS)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE records AS
        SELECT {columns}
        FROM acts a LEFT JOIN exceptions e USING (n) LEFT JOIN reversals r USING (n)
            LEFT JOIN references_again t USING (n)
        ORDER BY a.account, a.ended, a.action_id, {number} ELSE 0 END, t.tie NULLS FIRST
        """
    )
    return "records"
