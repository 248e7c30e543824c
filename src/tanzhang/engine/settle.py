"""Settlement in columns: accepted actions in, records out. One code path for one act, a day of a city, a partition.

Most acts meet no other; only the few that do are treated one step at a time, in a table of exceptions. The rules are
those of :mod:`tanzhang.core.settlement`; :mod:`tanzhang.engine.reference` states them in plain Python, and tests hold
both to the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.claim import CLAIM
from tanzhang.core.recipe import CapRule, Recipe
from tanzhang.core.record import CONTENT, HOLDERS, KIND_NUMBER, OUTCOMES
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
_FEW_TEXTS = 1_000


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
    account, valid_from, valid_until (consent, local days, never two at a time for one child). Every plan named by a
    row is in ``recipes``.
    """
    _acts(con, pending, links, recipes, rules)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE exceptions (n BIGINT PRIMARY KEY, outcome VARCHAR, related UUID, "
        "granted_mg BIGINT, kind VARCHAR)"
    )
    con.execute(
        "CREATE OR REPLACE TEMP VIEW live AS SELECT rowid AS n, * FROM acts WHERE n NOT IN (SELECT n FROM exceptions)"
    )
    _earlier(con, settled, rules)
    _same_reference(con)
    _withdrawals(con, rules)
    if rules.report_within_days is not None:
        _except(con, f"SELECT n, 'late' AS outcome FROM live WHERE received - day > {rules.report_within_days}")
    _holders(con, settled, rules)
    _held(con)
    _contested(con)
    _caps(con, recipes, rules)
    return _records(con)


def _acts(
    con: duckdb.DuckDBPyConnection, pending: str, links: str, recipes: Mapping[str, Recipe], rules: Rules
) -> None:
    """Table ``acts``: pending rows with account, kind, order and final claim (``reported``: as it came).

    Elsewhere ``n`` is the ``rowid`` here: the number of a report in this settlement. Texts of few values become ENUMs
    in the order of their texts, which are copied, sorted and handed on several times as fast.
    """
    con.execute(
        "CREATE OR REPLACE TEMP TABLE recipes (plan VARCHAR PRIMARY KEY, kind VARCHAR, family VARCHAR, "
        "overlap BOOLEAN, told_by VARCHAR, rank INTEGER)"
    )
    rows = [(digest, r.kind, r.family, r.overlap, person_claim_fields(r), rank(r)) for digest, r in recipes.items()]
    if rows:
        con.executemany("INSERT INTO recipes VALUES (?, ?, ?, ?, ?, ?)", rows)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE acts AS
        WITH owned AS (
            SELECT p.* {_as_enums(con, pending)} RENAME (claim AS reported),
                coalesce(l.account, p.child) AS account, r.kind, r.family,
                r.overlap AND p.started IS NOT NULL AS by_overlap, r.told_by, r.rank
            FROM {pending} p LEFT JOIN {links} l ON p.child = l.child AND p.day >= l.valid_from
                AND (l.valid_until IS NULL OR p.day < l.valid_until)
            LEFT JOIN recipes r ON p.plan = r.plan
        )
        SELECT *, coalesce(reported, {_person_claim_sql(rules)}) AS claim FROM owned
        """
    )


def _as_enums(con: duckdb.DuckDBPyConnection, pending: str) -> str:
    replaced = []
    for name in ("partner", "behaviour", "region", "variant", "evidence", "plan"):
        found = con.execute(f"SELECT DISTINCT {name} FROM {pending} LIMIT {_FEW_TEXTS}").fetchall()
        texts = sorted(text for (text,) in found if text is not None)
        if texts and len(found) < _FEW_TEXTS:
            replaced.append(f"p.{name}::ENUM({', '.join(map(quote, texts))}) AS {name}")
    return f"REPLACE ({', '.join(replaced)})" if replaced else ""


def _person_claim_sql(rules: Rules, account: str = "account") -> str:
    """The claim of an act that no issuer identifies, told apart by its person's day, month or moment."""
    key, person = rules.identity_key, f"{account}::VARCHAR"

    def told(period: str) -> str:
        return identity_sql(key, CLAIM, "family", person, f"strftime(day, {quote(period)})")

    moment = identity_sql(key, CLAIM, "family", "behaviour", person, "epoch_us(ended)::VARCHAR")
    return (
        f"CASE WHEN told_by = 'day' THEN {told('%Y-%m-%d')} WHEN told_by = 'month' THEN {told('%Y-%m')} "
        f"WHEN NOT by_overlap THEN {moment} END"
    )


def _except(con: duckdb.DuckDBPyConnection, query: str) -> None:
    con.execute(f"INSERT INTO exceptions BY NAME ({query})")


def _content_sql(claim: str) -> str:
    """SQL for :func:`tanzhang.core.record.content_digest`."""
    texts = {name: f"epoch_us({name})" for name in ("started", "ended")} | {"claim": claim}
    values = ", ".join(f"coalesce({texts.get(name, name)}::VARCHAR, '-')" for name in CONTENT)
    return f"sha256(concat_ws('|', {values}))"


def _earlier(con: duckdb.DuckDBPyConnection, settled: str, rules: Rules) -> None:
    """Table ``earlier``: settled records that a pending act repeats or takes back, and those that took others back."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE earlier AS
        WITH named AS (
            SELECT action_id FROM acts UNION ALL SELECT withdraws FROM acts WHERE withdraws IS NOT NULL
        ), met AS (
            SELECT * FROM {settled}
            WHERE outcome NOT IN {_SAME_REPORT} AND (withdraws IS NOT NULL OR action_id IN (FROM named))
        ), known AS (
            SELECT m.*, r.family, r.told_by, r.overlap AND m.started IS NOT NULL AS by_overlap
            FROM met m LEFT JOIN recipes r ON m.plan = r.plan
        )
        SELECT action_id, account, kind, granted_mg, reversed_mg, withdraws,
            {_content_sql(f"nullif(claim, {_person_claim_sql(rules)})")} AS content
        FROM known
        """
    )


def _same_reference(con: duckdb.DuckDBPyConnection) -> None:
    """``repeat`` and ``conflict``: of one partner's one reference the first in the total order stands."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE references_again AS
        WITH several AS (
            SELECT action_id FROM acts GROUP BY action_id HAVING count(*) > 1 UNION SELECT action_id FROM earlier
        ), again AS (
            SELECT rowid AS n, action_id, rank, coalesce(started, ended) AS start, plan,
                {_content_sql("reported")} AS content
            FROM acts SEMI JOIN several USING (action_id)
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY action_id
                ORDER BY rank NULLS LAST, start, content, plan, n) AS place
            FROM again
        )
        SELECT n, r.action_id, r.content AS tie, place > 1 OR e.action_id IS NOT NULL AS loses,
            coalesce(e.content, first_value(r.content) OVER (PARTITION BY r.action_id ORDER BY place)) AS standing
        FROM ranked r LEFT JOIN earlier e ON r.action_id = e.action_id
        """
    )
    _except(
        con,
        "SELECT n, CASE WHEN tie = standing THEN 'repeat' ELSE 'conflict' END AS outcome, action_id AS related "
        "FROM references_again WHERE loses",
    )


def _withdrawals(con: duckdb.DuckDBPyConnection, rules: Rules) -> None:
    """Take back what a partner withdraws: before settlement it never counts, after it an opposite posting is made."""
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE reversals AS
        WITH asked AS (
            SELECT l.n, l.action_id, e.action_id AS target, e.account, e.kind, e.granted_mg,
                coalesce(l.kind <> e.kind, false) AS misplaced
            FROM live l JOIN earlier e ON l.withdraws = e.action_id
        )
        SELECT n, target, account, kind, misplaced, CASE WHEN misplaced OR target IN (
                SELECT withdraws FROM earlier WHERE reversed_mg > 0
            ) OR row_number() OVER (PARTITION BY target, misplaced ORDER BY action_id) > 1
            THEN 0 ELSE granted_mg END AS reversed_mg
        FROM asked
        """
    )
    # An act stays in the account where it was booked, whatever was linked since.
    con.execute(
        f"UPDATE acts SET account = r.account, claim = coalesce(reported, {_person_claim_sql(rules, 'r.account')}) "
        "FROM reversals r WHERE acts.rowid = r.n"
    )
    # A correction may change the amount, not the book it stands in; one that would takes nothing back.
    _except(con, "SELECT n, 'conflict' AS outcome, target AS related FROM reversals WHERE misplaced")
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE withdrawn_ids AS
        SELECT withdraws AS target, min(action_id) AS by_action FROM (
            SELECT withdraws, action_id FROM live UNION ALL SELECT withdraws, action_id FROM earlier
        ) WHERE withdraws IS NOT NULL GROUP BY withdraws
        """
    )
    _except(
        con,
        """
        SELECT l.n, 'withdrawal' AS outcome, coalesce(r.target, p.action_id) AS related,
            coalesce(r.kind, p.kind) AS kind
        FROM live l LEFT JOIN reversals r USING (n) LEFT JOIN live p ON l.withdraws = p.action_id
        WHERE l.withdraws IS NOT NULL AND l.plan IS NULL
        """,
    )
    _except(
        con,
        "SELECT n, 'withdrawn' AS outcome, by_action AS related FROM live JOIN withdrawn_ids ON action_id = target",
    )


def _needed_sql(rules: Rules) -> str:
    """Microseconds that another act must share with this one to exclude it, were this one the shorter."""
    share = rules.overlap_threshold
    scaled = f"(epoch_us(ended) - epoch_us(started))::HUGEINT * {share.numerator}"
    return f"(({scaled} + {share.denominator - 1}) // {share.denominator})::BIGINT"


def _holders(con: duckdb.DuckDBPyConnection, settled: str, rules: Rules) -> None:
    """Tables ``candidates``: what is still to be decided; ``holders``: settled acts that may stand against them."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE candidates AS
        SELECT n, action_id, account, plan, family, by_overlap, rank, started, ended, day, quantified_mg, group_id,
            claim, CASE WHEN by_overlap THEN {_needed_sql(rules)} END AS needed
        FROM live
        """
    )
    ((start, day),) = con.execute("SELECT min(started), date_trunc('month', min(day))::DATE FROM candidates").fetchall()
    recent = [f"day >= DATE '{day}'"] if day else []
    recent += [f"ended > TIMESTAMP '{start}'"] if start else []
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE holders AS
        WITH met AS (
            SELECT * FROM {settled} WHERE {_HOLDS} AND (claim IN (SELECT claim FROM candidates WHERE claim IS NOT NULL)
                OR (({" OR ".join(recent) or "false"}) AND account IN (SELECT account FROM candidates)))
        )
        SELECT m.action_id, m.account, m.plan, m.claim, m.started, m.ended, m.day, m.group_id, m.granted_mg,
            r.family, r.overlap AND m.started IS NOT NULL AS by_overlap, {_needed_sql(rules)} AS needed
        FROM met m JOIN recipes r ON m.plan = r.plan WHERE m.action_id NOT IN (SELECT target FROM withdrawn_ids)
        """
    )


def _held(con: duckdb.DuckDBPyConnection) -> None:
    """``duplicate_of`` and ``overlap_of`` against settled acts, which win however good a later report is."""
    _except(
        con,
        """
        WITH by_claim AS (
            SELECT c.n, min(h.action_id) AS related FROM candidates c JOIN holders h ON c.claim = h.claim GROUP BY c.n
        ), by_time AS (
            SELECT c.n, min(h.action_id) AS related FROM candidates c JOIN holders h
                ON c.account = h.account AND c.family = h.family AND c.by_overlap AND h.by_overlap
                AND c.started < h.ended AND h.started < c.ended AND coalesce(c.group_id <> h.group_id, true)
                AND epoch_us(least(c.ended, h.ended)) - epoch_us(greatest(c.started, h.started))
                    >= least(c.needed, h.needed)
            GROUP BY c.n
        )
        SELECT n, CASE WHEN b.n IS NULL THEN 'overlap_of' ELSE 'duplicate_of' END AS outcome,
            coalesce(b.related, t.related) AS related
        FROM by_claim b FULL JOIN by_time t USING (n)
        """,
    )


def _contested(con: duckdb.DuckDBPyConnection) -> None:
    """``duplicate_of`` and ``overlap_of`` among pending acts: keep those that conflict with none kept, in order.

    Acts of one claim form a ring. Acts of one person and family that follow each other without a gap form an island;
    only inside one can two overlap.
    """
    con.execute("CREATE OR REPLACE TEMP VIEW open AS SELECT * FROM candidates ANTI JOIN exceptions USING (n)")
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE rings AS
        SELECT claim, row_number() OVER () - 1 AS ring
        FROM (SELECT claim FROM open WHERE claim IS NOT NULL GROUP BY claim HAVING count(*) > 1)
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE islands AS
        WITH crowded AS (
            SELECT account, family FROM (
                SELECT account, family, started < max(ended) OVER (PARTITION BY account, family
                    ORDER BY started ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS crosses
                FROM open WHERE by_overlap
            ) WHERE crosses GROUP BY account, family
        ), shores AS (
            SELECT n, account, family, started, ended, coalesce(started >= max(ended) OVER (
                PARTITION BY account, family ORDER BY started, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), true) AS shore
            FROM open SEMI JOIN crowded USING (account, family) WHERE by_overlap
        ), numbered AS (
            SELECT n, sum(shore::INTEGER) OVER (ORDER BY account, family, started, n ROWS UNBOUNDED PRECEDING) AS island
            FROM shores
        )
        SELECT n, dense_rank() OVER (ORDER BY island) - 1 AS island
        FROM numbered WHERE island IN (SELECT island FROM numbered GROUP BY island HAVING count(*) > 1)
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE contested AS
        SELECT o.*, row_number() OVER (ORDER BY rank, coalesce(started, ended), action_id) - 1 AS place, ring, island,
            CASE WHEN group_id IS NOT NULL THEN dense_rank() OVER (ORDER BY group_id) END AS companions
        FROM open o LEFT JOIN rings USING (claim) LEFT JOIN islands USING (n)
        WHERE ring IS NOT NULL OR island IS NOT NULL
        """
    )
    contested = con.execute(
        """
        SELECT coalesce(ring, -1) AS ring, coalesce(island, -1) AS island, coalesce(epoch_us(started), 0) AS start,
            epoch_us(ended) AS stop, coalesce(needed, 0) AS needed, coalesce(companions, -1) AS companions
        FROM contested ORDER BY place
        """
    ).fetchnumpy()
    if not len(contested["ring"]):
        return
    lost_to = keep_in_order(**{name: np.asarray(column, dtype=np.int64) for name, column in contested.items()})
    losers = np.flatnonzero(lost_to >= 0)
    import pyarrow as pa

    con.register("lost", pa.table({"place": losers, "winner": lost_to[losers]}))
    _except(
        con,
        "SELECT c.n, CASE WHEN c.claim = w.claim THEN 'duplicate_of' ELSE 'overlap_of' END AS outcome, "
        "w.action_id AS related FROM lost JOIN contested c USING (place) JOIN contested w ON w.place = lost.winner",
    )
    con.unregister("lost")


Column = npt.NDArray[np.int64]


def keep_in_order(
    *, ring: Column, island: Column, start: Column, stop: Column, needed: Column, companions: Column
) -> Column:
    """:func:`tanzhang.core.claim.keep_greedily` in columns, for acts given in the total order.

    Acts of one ``ring`` share a claim; acts of one ``island`` may overlap, if they share ``needed`` microseconds of
    one of them and are not ``companions``; -1 is none. Returns the first kept act that each act conflicts with, -1 if
    it is kept itself. Each round keeps the first undecided act of every ring and island and drops its rivals, so
    memory is linear, and time is linear times the acts kept in the fullest island.
    """
    count = len(ring)
    nobody = count
    # One place more than there are numbers: what has number -1 goes there, and nobody is read from there.
    owner = np.full(int(ring.max(initial=-1)) + 2, nobody, dtype=np.int64)
    keeper = np.full(int(island.max(initial=-1)) + 2, nobody, dtype=np.int64)
    scratch = np.empty(max(len(owner), len(keeper)), dtype=np.int64)
    overlapped = np.full(count, nobody, dtype=np.int64)  # by the first kept act of its island that overlaps it
    undecided, ashore = np.arange(count), np.flatnonzero(island >= 0)
    while len(undecided):
        ready = _firsts(undecided, ring, scratch) & _firsts(undecided, island, scratch)
        kept = undecided[ready]
        owner[ring[kept]] = keeper[island[kept]] = kept
        owner[-1] = keeper[-1] = nobody
        # Acts that have lost their claim stay ashore, since the first of all winners is named.
        rival = keeper[island[ashore]]
        later = rival < ashore
        act, rival = ashore[later], rival[later]
        shared = np.minimum(stop[act], stop[rival]) - np.maximum(start[act], start[rival])
        crosses = (shared > 0) & (shared >= np.minimum(needed[act], needed[rival]))
        crosses &= (companions[act] < 0) | (companions[act] != companions[rival])
        overlapped[act[crosses]] = rival[crosses]
        keeper[island[kept]] = nobody
        undecided = undecided[~ready]
        undecided = undecided[(owner[ring[undecided]] == nobody) & (overlapped[undecided] == nobody)]
        scratch[island[ashore]] = 0
        scratch[island[undecided]] = 1
        ashore = ashore[(overlapped[ashore] == nobody) & (scratch[island[ashore]] == 1)]
    claimed = owner[ring]
    claimed[claimed >= np.arange(count)] = nobody  # the act itself, or one kept after this had lost to an overlap
    lost_to = np.minimum(overlapped, claimed)
    lost_to[lost_to == nobody] = -1
    return lost_to


def _firsts(acts: Column, number: Column, scratch: Column) -> npt.NDArray[np.bool_]:
    """Which of some acts in order are the first of their number; those without a number are."""
    numbers = number[acts]
    scratch[numbers[::-1]] = acts[::-1]  # of several values for one place the last one stays
    first: npt.NDArray[np.bool_] = (numbers < 0) | (scratch[numbers] == acts)
    return first


def _caps(con: duckdb.DuckDBPyConnection, recipes: Mapping[str, Recipe], rules: Rules) -> None:
    """``capped``: what a person's limit of the day or month leaves, earliest act first; settled acts come before."""
    bound: dict[CapRule, list[str]] = {}
    for digest, recipe in recipes.items():
        for cap in caps_of(recipe, rules):
            bound.setdefault(cap, []).append(digest)
    for cap in sorted(bound, key=cap_order):
        _apply_cap(con, cap, ", ".join(quote(digest) for digest in bound[cap]))


def _apply_cap(con: duckdb.DuckDBPyConnection, cap: CapRule, plans: str) -> None:
    span = "day" if cap.period == "day" else "date_trunc('month', day)::DATE"
    amount, limit = ("1", cap.limit_count) if cap.limit_count is not None else ("granted_mg", cap.limit_mg)
    if limit is None:
        raise AssertionError(f"cap {cap.id} limits nothing")
    left = (
        f"CASE WHEN used < {limit} THEN granted_mg ELSE 0 END"
        if cap.limit_count is not None
        else f"least(granted_mg, greatest({limit} - used, 0))::BIGINT"
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
            SELECT account, {span} AS span, sum({amount}) AS used FROM holders
            WHERE plan IN ({plans}) AND granted_mg > 0 GROUP BY ALL
        ), running AS (
            SELECT own.*, coalesce(b.used, 0) + coalesce(sum({amount}) OVER (PARTITION BY own.account, own.span
                ORDER BY ended, action_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS used
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
    special = {
        "kind": f"coalesce(e.kind, a.kind, 'reduction')::ENUM({_quoted(KIND_NUMBER)})",
        "outcome": f"coalesce(e.outcome, 'granted')::ENUM({_quoted(OUTCOMES)})",
        "granted_mg": "CASE WHEN e.n IS NULL THEN a.quantified_mg ELSE coalesce(e.granted_mg, 0) END",
        "reversed_mg": "coalesce(r.reversed_mg, 0)",
        "related": "e.related",
    }
    columns = ", ".join(f"{special.get(name, f'a.{name}')} AS {name}" for name in RECORD_COLUMNS)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE records AS
        SELECT {columns}
        FROM acts a LEFT JOIN exceptions e ON a.rowid = e.n LEFT JOIN reversals r ON a.rowid = r.n
            LEFT JOIN references_again t ON a.rowid = t.n
        ORDER BY a.account, a.ended, a.action_id, outcome, t.tie NULLS FIRST, a.plan NULLS FIRST
        """
    )
    return "records"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(map(quote, texts))
