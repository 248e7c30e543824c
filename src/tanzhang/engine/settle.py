"""Settlement in columns: accepted actions in, records out. One code path for one act, a day of a city, a partition.

Most acts meet no other; only the few that do are treated one step at a time, in a table of exceptions. What an act
was reported with stays in the Arrow table it came in; SQL sees the columns that decide, and one sort by account serves
batch order, overlaps and sums. The rules are those of :mod:`tanzhang.core.settlement`;
:mod:`tanzhang.engine.reference` states them in plain Python, and tests hold both to the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tanzhang.core.claim import CLAIM
from tanzhang.core.recipe import CapRule, Recipe
from tanzhang.core.record import CONTENT, HOLDERS, OUTCOME_NUMBER
from tanzhang.core.settlement import Rules, cap_order, caps_of, person_claim_fields, rank
from tanzhang.engine.columns import Numbers, fixed_bytes, identities, integers, one_array, runs, text_codes
from tanzhang.engine.contest import keep_in_order
from tanzhang.engine.kernel import identity_sql, quote
from tanzhang.engine.records import KINDS, RECORD_COLUMNS, Decision

if TYPE_CHECKING:
    import duckdb

_HOLDS = f"outcome IN ({', '.join(quote(outcome) for outcome in HOLDERS)})"
_SAME_REPORT = "('repeat', 'conflict')"
_KIND_PLACE = {kind: place for place, kind in enumerate(KINDS)}


def settle(
    con: duckdb.DuckDBPyConnection,
    *,
    pending: pa.Table,
    settled: str | None,
    links: str | None,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> Decision:
    """Decide every pending action once and for all.

    ``pending`` has the columns of :data:`tanzhang.engine.screen.ACCEPTED_COLUMNS` and ``received`` (local day); columns
    without a value may be missing. Where it has ``account``, that is used and ``links`` is None. ``settled`` names a
    relation with the columns of :data:`tanzhang.engine.records.RECORD_COLUMNS`: the records of earlier batches, which
    always win; ``links`` one of child, account, valid_from, valid_until (consent, local days, never two at a time for
    one child); None where there are none. Every plan named by a row is in ``recipes``.
    """
    plan_numbers, plans = _reports(con, pending, recipes)
    _acts(con, links, rules, known="account" in pending.column_names)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE exceptions (n BIGINT PRIMARY KEY, outcome VARCHAR, related UUID, "
        "granted_mg BIGINT, kind VARCHAR)"
    )
    con.execute("CREATE OR REPLACE TEMP VIEW known AS SELECT * FROM acts LEFT JOIN recipes USING (plan_number)")
    con.execute("CREATE OR REPLACE TEMP VIEW live AS SELECT * FROM known ANTI JOIN exceptions USING (n)")
    _earlier(con, settled, rules)
    _same_reference(con)
    _withdrawals(con, rules)
    order = con.sql("SELECT n, account, claim FROM acts ORDER BY account, ended, action_id").to_arrow_table()
    if rules.report_within_days is not None:
        _except(con, f"SELECT n, 'late' AS outcome FROM live WHERE received - day > {rules.report_within_days}")
    if settled is not None:
        _holders(con, settled, recipes, rules)
        _held(con, rules)
    else:
        con.execute("CREATE OR REPLACE TEMP TABLE holders (account UUID, plan VARCHAR, day DATE, granted_mg BIGINT)")
    _contested(con, _crowded(pending, order, plan_numbers, plans, recipes), rules)
    _caps(con, recipes, rules)
    return _decision(con, pending, order, plan_numbers, plans, recipes)


def _reports(
    con: duckdb.DuckDBPyConnection, pending: pa.Table, recipes: Mapping[str, Recipe]
) -> tuple[Numbers, list[str | None]]:
    """View ``reports``: the pending rows, numbered by ``n``, with ``plan_number``; table ``recipes`` by that number.

    Returns each row's plan number and the plans by number; without a plan is one of them.
    """
    if "plan" in pending.column_names:
        numbers, plans = text_codes(pending["plan"])
    else:
        numbers, plans = np.zeros(pending.num_rows, dtype=np.int64), [None]
    con.execute(
        "CREATE OR REPLACE TEMP TABLE recipes (plan_number INTEGER PRIMARY KEY, plan VARCHAR, behaviour VARCHAR, "
        "kind VARCHAR, family VARCHAR, overlap BOOLEAN, told_by VARCHAR, rank INTEGER)"
    )
    # Plans of settled records come behind those of the reports.
    everything = [*plans, *(plan for plan in recipes if plan not in set(plans))]
    rows = [
        (number, plan, r.behaviour, r.kind, r.family, r.overlap, person_claim_fields(r), rank(r))
        for number, plan in enumerate(everything)
        if plan is not None
        for r in (recipes[plan],)
    ]
    if rows:
        con.executemany("INSERT INTO recipes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    table = pending.append_column("n", pa.array(np.arange(pending.num_rows)))
    con.register("pending_rows", table.append_column("plan_number", pa.array(numbers.astype(np.int32))))
    absent = [
        f"NULL::{kind} AS {name}"
        for name, kind in RECORD_COLUMNS.items()
        if name in (*CONTENT, "plan", "quantified_mg") and name not in table.column_names
    ]
    con.execute(f"CREATE OR REPLACE TEMP VIEW reports AS SELECT {', '.join(['*', *absent])} FROM pending_rows")
    return numbers, plans


def _acts(con: duckdb.DuckDBPyConnection, links: str | None, rules: Rules, *, known: bool = False) -> None:
    """Table ``acts``: the columns of the reports that decide, with account and final claim (``reported``: as it came).

    Claims are made only where no issuer's identifier came with the act. With ``known`` accounts links are not asked.
    """
    account = "p.account" if known else "p.child" if links is None else "coalesce(l.account, p.child)"
    linked = (
        ""
        if links is None or known
        else f"LEFT JOIN {links} l ON p.child = l.child AND p.day >= l.valid_from "
        "AND (l.valid_until IS NULL OR p.day < l.valid_until)"
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE acts AS
        WITH owned AS (
            SELECT p.n, p.action_id, {account} AS account,
                p.plan_number, p.started, p.ended, p.day, p.quantified_mg, p.group_id, p.claim AS reported,
                p.withdraws {", p.received" if rules.report_within_days is not None else ""},
                r.family, r.behaviour, r.told_by, r.overlap AND p.started IS NOT NULL AS by_overlap
            FROM reports p LEFT JOIN recipes r USING (plan_number) {linked}
        )
        SELECT * EXCLUDE (family, behaviour, told_by), coalesce(reported, {_person_claim_sql(rules)}) AS claim
        FROM owned
        """
    )


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


def _earlier(con: duckdb.DuckDBPyConnection, settled: str | None, rules: Rules) -> None:
    """Table ``earlier``: settled records that a pending act repeats or takes back, and those that took others back."""
    if settled is None:
        con.execute(
            "CREATE OR REPLACE TEMP TABLE earlier (action_id UUID, account UUID, kind VARCHAR, granted_mg BIGINT, "
            "reversed_mg BIGINT, withdraws UUID, content VARCHAR)"
        )
        return
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE earlier AS
        WITH named AS (
            SELECT action_id FROM acts UNION ALL SELECT withdraws FROM acts WHERE withdraws IS NOT NULL
        ), met AS (
            SELECT * FROM {settled}
            WHERE outcome NOT IN {_SAME_REPORT} AND (withdraws IS NOT NULL OR action_id IN (FROM named))
        ), identified AS (
            SELECT m.*, r.family, r.told_by, r.overlap AND m.started IS NOT NULL AS by_overlap
            FROM met m LEFT JOIN recipes r ON m.plan = r.plan
        )
        SELECT action_id, account, kind, granted_mg, reversed_mg, withdraws,
            {_content_sql(f"nullif(claim, {_person_claim_sql(rules)})")} AS content
        FROM identified
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
            SELECT n, action_id, rank, coalesce(started, ended) AS start, plan, {_content_sql("claim")} AS content
            FROM (
                SELECT p.*, r.rank FROM reports p SEMI JOIN several USING (action_id)
                LEFT JOIN recipes r USING (plan_number)
            )
        ), ranked AS (
            SELECT *, row_number() OVER (PARTITION BY action_id
                ORDER BY rank NULLS LAST, start, content, plan, n) AS place
            FROM again
        )
        SELECT n, r.action_id, r.content AS tie, r.plan, place > 1 OR e.action_id IS NOT NULL AS loses,
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
        f"""
        UPDATE acts SET account = moved.account, claim = moved.claim
        FROM (
            SELECT r.n, r.account, coalesce(reported, {_person_claim_sql(rules, "r.account")}) AS claim
            FROM reversals r JOIN known k ON r.n = k.n
        ) AS moved
        WHERE acts.n = moved.n
        """
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


def _needed_sql(rules: Rules, act: str) -> str:
    """Microseconds that another act must share with this one to exclude it, were this one the shorter."""
    share = rules.overlap_threshold
    scaled = f"(epoch_us({act}.ended) - epoch_us({act}.started))::HUGEINT * {share.numerator}"
    return f"(({scaled} + {share.denominator - 1}) // {share.denominator})::BIGINT"


def _holders(con: duckdb.DuckDBPyConnection, settled: str, recipes: Mapping[str, Recipe], rules: Rules) -> None:
    """Table ``holders``: settled acts that may stand against live ones, by claim, by time or within a cap.

    Of all that the accounts did before only this is read: acts that had not ended when a live one began, and acts of
    plans with a cap in the day or month of a live one.
    """
    ((start, day),) = con.execute("SELECT min(started), min(day) FROM live").fetchall()
    recent = []
    if start is not None:
        overlapping = [plan for plan, recipe in recipes.items() if recipe.overlap]
        recent.append(f"started IS NOT NULL AND ended > TIMESTAMP '{start}' AND plan IN ({_texts(overlapping)})")
    if day is not None:
        for period, first in (("day", day), ("month", day.replace(day=1))):
            capped = [
                plan for plan, recipe in recipes.items() if any(cap.period == period for cap in caps_of(recipe, rules))
            ]
            if capped:
                recent.append(f"day >= DATE '{first}' AND plan IN ({_texts(capped)})")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE holders AS
        WITH met AS (
            SELECT * FROM {settled} WHERE {_HOLDS} AND (claim IN (SELECT claim FROM live WHERE claim IS NOT NULL)
                OR (({" OR ".join(f"({each})" for each in recent) or "false"})
                    AND account IN (SELECT account FROM live)))
        )
        SELECT m.action_id, m.account, m.plan, m.claim, m.started, m.ended, m.day, m.group_id, m.granted_mg,
            r.family, r.overlap AND m.started IS NOT NULL AS by_overlap
        FROM met m JOIN recipes r ON m.plan = r.plan WHERE m.action_id NOT IN (SELECT target FROM withdrawn_ids)
        """
    )


def _texts(texts: Iterable[str]) -> str:
    return ", ".join(map(quote, texts)) or "NULL"


def _held(con: duckdb.DuckDBPyConnection, rules: Rules) -> None:
    """``duplicate_of`` and ``overlap_of`` against settled acts, which win however good a later report is."""
    _except(
        con,
        f"""
        WITH by_claim AS (
            SELECT c.n, min(h.action_id) AS related FROM live c JOIN holders h ON c.claim = h.claim GROUP BY c.n
        ), near AS (
            SELECT c.n, c.started, c.ended, {_needed_sql(rules, "c")} AS needed, h.action_id, h.started AS h_started,
                h.ended AS h_ended, {_needed_sql(rules, "h")} AS h_needed
            FROM live c JOIN holders h ON c.account = h.account AND c.family = h.family AND c.by_overlap
                AND h.by_overlap AND c.started < h.ended AND h.started < c.ended
                AND coalesce(c.group_id <> h.group_id, true)
        ), by_time AS (
            SELECT n, min(action_id) AS related FROM near
            WHERE epoch_us(least(ended, h_ended)) - epoch_us(greatest(started, h_started)) >= least(needed, h_needed)
            GROUP BY n
        )
        SELECT n, CASE WHEN b.n IS NULL THEN 'overlap_of' ELSE 'duplicate_of' END AS outcome,
            coalesce(b.related, t.related) AS related
        FROM by_claim b FULL JOIN by_time t USING (n)
        """,
    )


def _crowded(
    pending: pa.Table, order: pa.Table, plan_numbers: Numbers, plans: list[str | None], recipes: Mapping[str, Recipe]
) -> Numbers:
    """Acts with a start of accounts in which any two of them meet in time, as row numbers; of whatever family.

    In the order of their ends, some two acts meet only if two neighbours do.
    """
    if "started" not in pending.column_names:
        return np.zeros(0, dtype=np.int64)
    overlapping = np.array([plan is not None and recipes[plan].overlap for plan in plans], dtype=bool)
    rows = np.asarray(one_array(order["n"]))
    has_start = np.asarray(one_array(pending["started"]).is_valid())
    chosen = (overlapping[plan_numbers] & has_start)[rows]
    rows, account = rows[chosen], runs(fixed_bytes(order["account"], 16))[chosen]
    started, ended = (integers(one_array(pending[name]), pa.int64())[rows] for name in ("started", "ended"))
    meet = (account[1:] == account[:-1]) & (started[1:] < ended[:-1])
    crowded: Numbers = rows[np.isin(account, account[1:][meet])]
    return crowded


def _contested(con: duckdb.DuckDBPyConnection, crowded: Numbers, rules: Rules) -> None:
    """``duplicate_of`` and ``overlap_of`` among pending acts: keep those that conflict with none kept, in order.

    Acts of one claim form a ring. Acts of one person and family that follow each other without a gap form an island;
    only inside one can two overlap.
    """
    con.register("crowded", pa.table({"n": crowded}))
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE rings AS
        SELECT claim, row_number() OVER () - 1 AS ring
        FROM (SELECT claim FROM live WHERE claim IS NOT NULL GROUP BY claim HAVING count(*) > 1)
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE open AS
        SELECT n, action_id, account, family, rank, started, ended, by_overlap, group_id, claim FROM live
        WHERE claim IN (SELECT claim FROM rings) OR n IN (SELECT n FROM crowded)
        """
    )
    con.unregister("crowded")
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE islands AS
        WITH shores AS (
            SELECT n, account, family, started, coalesce(started >= max(ended) OVER (
                PARTITION BY account, family ORDER BY started, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), true) AS shore
            FROM open WHERE by_overlap
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
        f"""
        SELECT coalesce(ring, -1) AS ring, coalesce(island, -1) AS island, coalesce(epoch_us(started), 0) AS start,
            epoch_us(ended) AS stop, coalesce({_needed_sql(rules, "c")}, 0) AS needed,
            coalesce(companions, -1) AS companions
        FROM contested c ORDER BY place
        """
    ).fetchnumpy()
    if not len(contested["ring"]):
        return
    lost_to = keep_in_order(**{name: np.asarray(column, dtype=np.int64) for name, column in contested.items()})
    losers = np.flatnonzero(lost_to >= 0)
    con.register("lost", pa.table({"place": losers, "winner": lost_to[losers]}))
    _except(
        con,
        "SELECT c.n, CASE WHEN c.claim = w.claim THEN 'duplicate_of' ELSE 'overlap_of' END AS outcome, "
        "w.action_id AS related FROM lost JOIN contested c USING (place) JOIN contested w ON w.place = lost.winner",
    )
    con.unregister("lost")


def _caps(con: duckdb.DuckDBPyConnection, recipes: Mapping[str, Recipe], rules: Rules) -> None:
    """``capped``: what a person's limit of the day or month leaves, earliest act first; settled acts come before."""
    bound: dict[CapRule, list[str]] = {}
    for digest, recipe in recipes.items():
        for cap in caps_of(recipe, rules):
            bound.setdefault(cap, []).append(digest)
    for cap in sorted(bound, key=cap_order):
        _apply_cap(con, cap, _texts(bound[cap]))


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
            FROM known c LEFT JOIN exceptions e USING (n)
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


def _decision(
    con: duckdb.DuckDBPyConnection,
    pending: pa.Table,
    order: pa.Table,
    plan_numbers: Numbers,
    plans: list[str | None],
    recipes: Mapping[str, Recipe],
) -> Decision:
    """Every report with its exception, if it has one, in batch order: by account, then by time.

    Equal sets of reports get equal orders: reports of one reference follow outcome, content and plan.
    """
    rows = np.array(one_array(order["n"]))
    outcomes = ", ".join(map(quote, OUTCOME_NUMBER))
    again = con.execute(
        f"""
        SELECT n FROM references_again r LEFT JOIN exceptions e USING (n) JOIN acts USING (n)
        ORDER BY account, ended, acts.action_id, list_position([{outcomes}], coalesce(outcome, 'granted')), tie,
            r.plan NULLS FIRST
        """
    ).fetchnumpy()["n"]
    if len(again):
        is_again = np.zeros(len(rows), dtype=bool)
        is_again[again] = True
        old_place = np.empty(len(rows), dtype=np.int64)
        old_place[rows] = np.arange(len(rows))
        # Only reports of one account, moment and reference change places among themselves.
        places = np.arange(len(rows))
        places[is_again[rows]] = old_place[again]
        order, rows = order.take(pa.array(places)), rows[places]
    place = np.empty(len(rows), dtype=np.int64)
    place[rows] = np.arange(len(rows))

    quantified = (
        pending["quantified_mg"] if "quantified_mg" in pending.column_names else pa.nulls(len(rows), pa.int64())
    )
    granted_mg = integers(quantified, pa.int64())[rows]
    kind_of_plan = [KINDS.index("reduction" if plan is None else recipes[plan].kind) for plan in plans]
    kind = np.array(kind_of_plan, dtype=np.uint8)[plan_numbers[rows]]
    outcome = np.zeros(len(rows), dtype=np.uint8)
    reversed_mg = np.zeros(len(rows), dtype=np.int64)
    related, is_related = np.zeros((len(rows), 16), dtype=np.uint8), np.zeros(len(rows), dtype=bool)

    found = con.sql("SELECT n, outcome, granted_mg, kind, related FROM exceptions").to_arrow_table()
    at = place[integers(found["n"], pa.int64())]
    granted_mg[at] = integers(found["granted_mg"], pa.int64())
    for target, column, numbers in ((outcome, "outcome", OUTCOME_NUMBER), (kind, "kind", _KIND_PLACE)):
        codes, texts = text_codes(found[column])
        said = np.array([text is not None for text in texts], dtype=bool)[codes]
        target[at[said]] = np.array([numbers.get(text or "", 0) for text in texts], dtype=np.uint8)[codes[said]]
    related[at] = fixed_bytes(found["related"], 16)
    is_related[at] = np.asarray(one_array(found["related"]).is_valid())
    back = con.execute("SELECT n, reversed_mg FROM reversals").fetchnumpy()
    reversed_mg[place[back["n"]]] = back["reversed_mg"]
    return Decision(
        reports=pending,
        order=rows,
        account=one_array(order["account"]),
        claim=one_array(order["claim"]),
        kind=kind,
        outcome=outcome,
        granted_mg=granted_mg,
        reversed_mg=reversed_mg,
        related=identities(related, is_related),
    )
