"""Settlement in columns: accepted actions in, records out. One code path for one act, a day of a city, a partition.

Most acts meet no other: they share no reference, no claim, no time and no limit with any
(:mod:`tanzhang.engine.meeting`) and are granted as they are. Only the few that do come before the rules, in SQL. The
rules are those of :mod:`tanzhang.core.settlement`; :mod:`tanzhang.engine.reference` states them in plain Python, and
tests hold both to the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tanzhang.core.recipe import CapRule, Recipe
from tanzhang.core.record import CLAIMING, CONTENT, ERASED, OUTCOME_NUMBER
from tanzhang.core.settlement import Rules, cap_order, caps_of, person_claim_fields, rank
from tanzhang.engine import meeting
from tanzhang.engine.columns import (
    IDENTITY_BYTES,
    Numbers,
    fixed_bytes,
    given,
    identities,
    integers,
    one_array,
    run_starts,
    runs,
    text_codes,
)
from tanzhang.engine.contest import keep_in_order
from tanzhang.engine.kernel import identity_sql, quote
from tanzhang.engine.prepare import Flags, Plans, person_claim_text_sql, prepare
from tanzhang.engine.records import KINDS, RECORD_COLUMNS, Decision

if TYPE_CHECKING:
    import duckdb

SAME_REPORT = ("repeat", "conflict")  # outcomes of what is itself a second report of its reference
_HOLDS = f"outcome IN ({', '.join(quote(outcome) for outcome in CLAIMING)})"
_KIND_PLACE = {kind: place for place, kind in enumerate(KINDS)}


def settle(
    con: duckdb.DuckDBPyConnection,
    *,
    pending: pa.Table,
    settled: str | None,
    links: str | None = None,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> Decision:
    """Decide every pending action once and for all.

    ``pending`` has the columns of :data:`tanzhang.engine.screen.ACCEPTED_COLUMNS` and ``received`` (local day); columns
    without a value may be missing; it may have come through :func:`tanzhang.engine.prepare.prepare` already.
    ``settled`` names a relation with the columns of :data:`tanzhang.engine.records.RECORD_COLUMNS`: the records of
    earlier batches, which always win, at least all that share a key with a pending act, and what took those back,
    erased ones (:data:`tanzhang.core.record.ERASED`) among them;
    ``links`` one of child, account, valid_from, valid_until (consent, local days, never two at a time for one child);
    None where there are none. Every plan named by a row is in ``recipes``.
    """
    pending = prepare(con, pending, links=links, recipes=recipes, rules=rules)
    plans = Plans.of(pending, recipes, rules)
    past = _past(con, settled, recipes, rules)
    related = np.flatnonzero(_related(pending, past))
    if not len(related):  # a batch of seconds seldom has an act that meets another: half a hundred statements less
        order = _batch_order(con, pending)
        meets, crowded = _meeting(pending, past, order, plans, recipes, rules)
        if not meets.any():
            return _decided(pending, order.rows, plans, recipes)
    _recipes(con, plans, recipes)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE exceptions (n BIGINT PRIMARY KEY, outcome VARCHAR, related UUID, "
        "granted_mg BIGINT, kind VARCHAR)"
    )
    _acts(con, pending, related, plans)
    con.execute(
        "CREATE OR REPLACE TEMP VIEW known AS SELECT a.* EXCLUDE (behaviour), r.* EXCLUDE (plan_number) "
        "FROM acts a LEFT JOIN recipes r USING (plan_number)"
    )
    con.execute("CREATE OR REPLACE TEMP VIEW live AS SELECT * FROM known ANTI JOIN exceptions USING (n)")
    _earlier(con, settled, rules)
    _same_reference(con)
    pending = _withdrawals(con, pending, rules)
    if len(related):
        order = _batch_order(con, pending)
        meets, crowded = _meeting(pending, past, order, plans, recipes, rules)
    meets[related] = False
    _acts(con, pending, np.flatnonzero(meets), plans, more=True)
    if rules.report_within_days is not None:
        _except(con, f"SELECT n, 'late' AS outcome FROM live WHERE received - day > {rules.report_within_days}")
    _holders(con, settled)
    _held(con, rules)
    _contested(con, crowded, rules)
    _caps(con, recipes, rules)
    return _decision(con, pending, order, plans, recipes)


@dataclass(frozen=True, slots=True)
class _Order:
    """Reports in batch order, and the number of the run of reports of one account that each is in."""

    rows: Numbers
    run: Numbers


def _recipes(con: duckdb.DuckDBPyConnection, plans: Plans, recipes: Mapping[str, Recipe]) -> None:
    """Table ``recipes``: what SQL has to know of each plan, by the number that reports name it by."""
    # Plans of settled records come behind those of the reports.
    everything = [*plans.digests, *(plan for plan in recipes if plan not in set(plans.digests))]
    known = [(number, plan, recipes[plan]) for number, plan in enumerate(everything) if plan is not None]
    table = pa.table(
        {
            "plan_number": pa.array([number for number, _, _ in known], pa.int32()),
            "plan": pa.array([plan for _, plan, _ in known], pa.string()),
            "behaviour": pa.array([recipe.behaviour for _, _, recipe in known], pa.string()),
            "kind": pa.array([recipe.kind for _, _, recipe in known], pa.string()),
            "family": pa.array([recipe.family for _, _, recipe in known], pa.string()),
            "overlap": pa.array([recipe.overlap for _, _, recipe in known], pa.bool_()),
            "told_by": pa.array([person_claim_fields(recipe) for _, _, recipe in known], pa.string()),
            "rank": pa.array([rank(recipe) for _, _, recipe in known], pa.int32()),
        }
    )
    con.register("known_recipes", table)
    con.execute("CREATE OR REPLACE TEMP TABLE recipes AS FROM known_recipes")
    con.unregister("known_recipes")


def _past(
    con: duckdb.DuckDBPyConnection, settled: str | None, recipes: Mapping[str, Recipe], rules: Rules
) -> meeting.KeyColumn:
    """The keys by which settled records can stand against a report, sorted."""
    if settled is None:
        return np.zeros(0, dtype=np.uint64)
    rows = con.sql(
        "SELECT action_id, withdraws, claim, account, plan, started, ended, day, "
        f"({_HOLDS})::TINYINT AS holds, (outcome NOT IN {SAME_REPORT})::TINYINT AS refers FROM {settled}"
    ).to_arrow_table()
    holds, refers = (np.asarray(one_array(rows[name])).astype(bool) for name in ("holds", "refers"))
    found = meeting.of_records(rows, Plans.of(rows, recipes, rules), refers=refers, holds=holds)
    return meeting.all_of(found)


def _related(pending: pa.Table, past: meeting.KeyColumn) -> Flags:
    """Reports that share a reference with another or with a settled one, or take an act back that is known."""
    own, takers = meeting.reference_keys(pending), meeting.takers_keys(pending)
    taken_back = meeting.taken_back_keys(pending)
    marked = np.zeros(pending.num_rows, dtype=bool)
    marked[own.row[meeting.twice(own.key) | meeting.among(own.key, past)]] = True
    marked[
        takers.row[meeting.among(takers.key, past) | meeting.among(takers.key, meeting.distinct(taken_back.key))]
    ] = True
    marked[taken_back.row] = True
    return marked


def _meeting(
    pending: pa.Table,
    past: meeting.KeyColumn,
    order: _Order,
    plans: Plans,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> tuple[Flags, Numbers]:
    """Acts that meet another, a limit or the end of the time for reports; and those of crowded accounts."""
    crowded = _crowded(pending, order, plans)
    meets = _contestable(pending, past, plans) | _over_a_cap(pending, order, plans, recipes, rules)
    meets[crowded] = True
    if rules.report_within_days is not None:
        meets |= _days(pending, "received") - _days(pending, "day") > rules.report_within_days
    return meets, crowded


def _contestable(pending: pa.Table, past: meeting.KeyColumn, plans: Plans) -> Flags:
    """Acts that share a claim with another, or a claim, a time or a limit with a settled one."""
    claims = meeting.claim_keys(pending)
    marked = np.zeros(pending.num_rows, dtype=bool)
    marked[claims.row[meeting.twice(claims.key)]] = True
    if len(past):
        for keys in (claims, meeting.trip_keys(pending, plans), *meeting.cap_keys(pending, plans)):
            marked[keys.row[meeting.among(keys.key, past)]] = True
    return marked


def _over_a_cap(pending: pa.Table, order: _Order, plans: Plans, recipes: Mapping[str, Recipe], rules: Rules) -> Flags:
    """Acts of accounts whose reports of this batch alone may come over a limit, whatever day or month they are of."""
    marked = np.zeros(pending.num_rows, dtype=bool)
    for cap, bound in _bound(recipes, rules).items():
        chosen = np.array([digest in bound for digest in plans.digests], dtype=bool)[plans.number][order.rows]
        rows, run = order.rows[chosen], order.run[chosen]
        if not len(rows):
            continue
        starts = run_starts(run)
        counts = np.diff(np.concatenate([starts, [len(rows)]]))
        if cap.limit_count is not None:
            over = counts > cap.limit_count
        else:
            # Rounded, so that no sum overflows; one at the limit may be looked at in vain.
            over = np.add.reduceat(_quantified(pending)[rows].astype(float), starts) >= float(cap.limit_mg or 0)
        marked[rows[np.repeat(over, counts)]] = True
    return marked


def _bound(recipes: Mapping[str, Recipe], rules: Rules) -> dict[CapRule, set[str]]:
    """Each cap with the plans it binds."""
    bound: dict[CapRule, set[str]] = {}
    for digest, recipe in recipes.items():
        for cap in caps_of(recipe, rules):
            bound.setdefault(cap, set()).add(digest)
    return bound


def _quantified(pending: pa.Table) -> Numbers:
    if "quantified_mg" not in pending.column_names:
        return np.zeros(pending.num_rows, dtype=np.int64)
    amounts: Numbers = integers(one_array(pending["quantified_mg"]), pa.int64())
    return amounts


def _days(pending: pa.Table, name: str) -> Numbers:
    return integers(one_array(pending[name]), pa.int32()).astype(np.int64)


def _acts(
    con: duckdb.DuckDBPyConnection, pending: pa.Table, rows: Numbers, plans: Plans, *, more: bool = False
) -> None:
    """Table ``acts``: some of the reports, as they are, with number ``n``, ``plan_number`` and ``by_overlap``."""
    table = pending.drop_columns([name for name in ("plan", "row", "partner") if name in pending.column_names])
    table = table.take(pa.array(rows)).append_column("n", pa.array(rows))
    con.register("some_reports", table.append_column("plan_number", pa.array(plans.number[rows].astype(np.int32))))
    absent = [
        f"NULL::{kind} AS {name}"
        for name, kind in RECORD_COLUMNS.items()
        if name in (*CONTENT, "quantified_mg") and name not in table.column_names
    ]
    con.execute(
        f"""
        {"INSERT INTO acts BY NAME" if more else "CREATE OR REPLACE TEMP TABLE acts AS"}
        SELECT {", ".join(["p.*", *absent])}, coalesce(r.overlap, false) AND started IS NOT NULL AS by_overlap
        FROM some_reports p LEFT JOIN recipes r USING (plan_number)
        """
    )
    con.unregister("some_reports")


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
            "reversed_mg BIGINT, withdraws UUID, erased BOOLEAN, content VARCHAR)"
        )
        return
    made = identity_sql(rules.identity_key, person_claim_text_sql())
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE earlier AS
        WITH named AS (
            SELECT action_id FROM acts UNION ALL SELECT withdraws FROM acts WHERE withdraws IS NOT NULL
        ), met AS (
            SELECT * FROM {settled}
            WHERE outcome NOT IN {SAME_REPORT} AND (withdraws IS NOT NULL OR action_id IN (FROM named))
        ), identified AS (
            SELECT m.*, r.family, r.told_by, r.overlap AND m.started IS NOT NULL AS by_overlap
            FROM met m LEFT JOIN recipes r ON m.plan = r.plan
        )
        SELECT action_id, account, kind, granted_mg, reversed_mg, withdraws, outcome = {quote(ERASED)} AS erased,
            CASE WHEN NOT erased THEN {_content_sql(f"nullif(claim, {made})")} END AS content
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
            SELECT n, action_id, rank, coalesce(started, ended) AS start, plan, {_content_sql("reported")} AS content
            FROM (
                SELECT a.*, r.rank, r.plan FROM acts a SEMI JOIN several USING (action_id)
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


def _withdrawals(con: duckdb.DuckDBPyConnection, pending: pa.Table, rules: Rules) -> pa.Table:
    """Take back what a partner withdraws: before settlement it never counts, after it an opposite posting is made.

    Returns the reports with the accounts and claims of those that follow an act into the account it was booked in.
    """
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE reversals AS
        WITH asked AS (
            SELECT l.n, l.action_id, e.action_id AS target, e.account, e.kind, e.granted_mg,
                coalesce(l.kind <> e.kind, false) AS misplaced
            FROM live l JOIN earlier e ON l.withdraws = e.action_id AND NOT e.erased
        )
        SELECT n, target, account, kind, misplaced, CASE WHEN misplaced OR target IN (
                SELECT withdraws FROM earlier WHERE reversed_mg > 0
            ) OR row_number() OVER (PARTITION BY target, misplaced ORDER BY action_id) > 1
            THEN 0 ELSE granted_mg END AS reversed_mg
        FROM asked
        """
    )
    # An act stays in the account where it was booked, whatever was linked since.
    made = identity_sql(rules.identity_key, person_claim_text_sql())
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE moved AS
        SELECT n, account, coalesce(reported, {made}) AS claim
        FROM (SELECT k.* EXCLUDE (account), r.account FROM reversals r JOIN known k USING (n))
        """
    )
    con.execute("UPDATE acts SET account = moved.account, claim = moved.claim FROM moved WHERE acts.n = moved.n")
    # A correction may change the amount, not the book it stands in; one that would takes nothing back.
    _except(con, "SELECT n, 'conflict' AS outcome, target AS related FROM reversals WHERE misplaced")
    # What was booked of an erased act is not known any more and stays, so nothing can take its place.
    _except(
        con,
        "SELECT l.n, 'conflict' AS outcome, l.withdraws AS related FROM live l JOIN earlier e "
        "ON l.withdraws = e.action_id WHERE e.erased AND l.plan IS NOT NULL",
    )
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
    return _moved(con, pending)


def _moved(con: duckdb.DuckDBPyConnection, pending: pa.Table) -> pa.Table:
    """The reports with the accounts and claims of table ``moved``."""
    moved = con.sql("FROM moved").to_arrow_table()
    if not moved.num_rows:
        return pending
    rows = integers(moved["n"], pa.int64())
    for name in ("account", "claim"):
        column = one_array(pending[name])
        values, valid = fixed_bytes(column, IDENTITY_BYTES).copy(), np.array(column.is_valid())
        values[rows] = fixed_bytes(moved[name], IDENTITY_BYTES)
        valid[rows] = np.asarray(one_array(moved[name]).is_valid())
        pending = pending.set_column(pending.column_names.index(name), name, identities(values, valid))
    return pending


def _batch_order(con: duckdb.DuckDBPyConnection, pending: pa.Table) -> _Order:
    """Reports by account, then by time; equal reports of one moment in any order for now."""
    columns = {name: pending[name] for name in ("account", "ended", "action_id")}
    con.register("unordered", pa.table({"n": np.arange(pending.num_rows), **columns}))
    found = con.sql("SELECT n FROM unordered ORDER BY account, ended, action_id").to_arrow_table()
    con.unregister("unordered")
    rows = np.asarray(one_array(found["n"]))
    return _Order(rows, runs(fixed_bytes(pending["account"], IDENTITY_BYTES)[rows]))


def _needed_sql(rules: Rules, act: str) -> str:
    """Microseconds that another act must share with this one to exclude it, were this one the shorter."""
    share = rules.overlap_threshold
    scaled = f"(epoch_us({act}.ended) - epoch_us({act}.started))::HUGEINT * {share.numerator}"
    return f"(({scaled} + {share.denominator - 1}) // {share.denominator})::BIGINT"


def _holders(con: duckdb.DuckDBPyConnection, settled: str | None) -> None:
    """Table ``holders``: settled acts that may stand against live ones, by claim, by time or within a cap."""
    if settled is None:
        con.execute(
            "CREATE OR REPLACE TEMP TABLE holders (action_id UUID, account UUID, plan VARCHAR, claim UUID, "
            "started TIMESTAMP, ended TIMESTAMP, day DATE, group_id UUID, granted_mg BIGINT, family VARCHAR, "
            "by_overlap BOOLEAN)"
        )
        return
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE holders AS
        WITH met AS (
            SELECT * FROM {settled} WHERE {_HOLDS} AND (claim IN (SELECT claim FROM live WHERE claim IS NOT NULL)
                OR account IN (SELECT account FROM live))
        )
        SELECT m.action_id, m.account, m.plan, m.claim, m.started, m.ended, m.day, m.group_id, m.granted_mg,
            r.family, r.overlap AND m.started IS NOT NULL AS by_overlap
        FROM met m LEFT JOIN recipes r ON m.plan = r.plan
        WHERE m.outcome = {quote(ERASED)} OR m.action_id NOT IN (SELECT target FROM withdrawn_ids)
        """
    )


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


def _crowded(pending: pa.Table, order: _Order, plans: Plans) -> Numbers:
    """Acts with a start of accounts in which any two of them meet in time, as row numbers; of whatever family.

    In the order of their ends, some two acts meet only if two neighbours do.
    """
    if "started" not in pending.column_names:
        return np.zeros(0, dtype=np.int64)
    chosen = (plans.overlap[plans.number] & given(pending, "started"))[order.rows]
    rows, account = order.rows[chosen], order.run[chosen]
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
    bound = _bound(recipes, rules)
    for cap in sorted(bound, key=cap_order):
        _apply_cap(con, cap, _texts(sorted(bound[cap])))


def _texts(texts: Iterable[str]) -> str:
    return ", ".join(map(quote, texts)) or "NULL"


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
    order: _Order,
    plans: Plans,
    recipes: Mapping[str, Recipe],
) -> Decision:
    """Every report with its exception, if it has one, in batch order: by account, then by time.

    Equal sets of reports get equal orders: reports of one reference follow outcome, content and plan.
    """
    rows = order.rows
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
        old_place = _places(rows)
        # Only reports of one account, moment and reference change places among themselves.
        places = np.arange(len(rows))
        places[is_again[rows]] = old_place[again]
        rows = rows[places]
    decision = _decided(pending, rows, plans, recipes)
    place = _places(rows)
    related, is_related = np.zeros((len(rows), 16), dtype=np.uint8), np.zeros(len(rows), dtype=bool)
    found = con.sql("SELECT n, outcome, granted_mg, kind, related FROM exceptions").to_arrow_table()
    at = place[integers(found["n"], pa.int64())]
    decision.granted_mg[at] = integers(found["granted_mg"], pa.int64())
    for target, column, numbers in (
        (decision.outcome, "outcome", OUTCOME_NUMBER),
        (decision.kind, "kind", _KIND_PLACE),
    ):
        codes, texts = text_codes(found[column])
        said = np.array([text is not None for text in texts], dtype=bool)[codes]
        target[at[said]] = np.array([numbers.get(text or "", 0) for text in texts], dtype=np.uint8)[codes[said]]
    related[at] = fixed_bytes(found["related"], 16)
    is_related[at] = np.asarray(one_array(found["related"]).is_valid())
    back = con.execute("SELECT n, reversed_mg FROM reversals").fetchnumpy()
    decision.reversed_mg[place[back["n"]]] = back["reversed_mg"]
    return replace(decision, related=identities(related, is_related))


def _places(rows: Numbers) -> Numbers:
    """Where in batch order each report is."""
    place = np.empty(len(rows), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    return place


def _decided(pending: pa.Table, rows: Numbers, plans: Plans, recipes: Mapping[str, Recipe]) -> Decision:
    """Every report as it is where none meets another, in batch order ``rows``: granted what was quantified."""
    kind_of_plan = [KINDS.index("reduction" if plan is None else recipes[plan].kind) for plan in plans.digests]
    nobody = np.zeros((len(rows), 16), dtype=np.uint8)
    return Decision(
        reports=pending,
        order=rows,
        account=one_array(pending["account"]).take(pa.array(rows)),
        claim=one_array(pending["claim"]).take(pa.array(rows)),
        kind=np.array(kind_of_plan, dtype=np.uint8)[plans.number[rows]],
        outcome=np.zeros(len(rows), dtype=np.uint8),
        granted_mg=_quantified(pending)[rows],
        reversed_mg=np.zeros(len(rows), dtype=np.int64),
        related=identities(nobody, np.zeros(len(rows), dtype=bool)),
    )
