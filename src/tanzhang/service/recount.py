"""Totals and postings of a batch counted again from its records, in SQL: what verification holds the book to.

Sealing counts them by other means (:mod:`tanzhang.service.totals`), so that one mistake does not vouch for itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.engine.columns import run_starts
from tanzhang.engine.kernel import quote
from tanzhang.engine.tally import AMOUNTS, COUNTS, DIMENSIONS, in_order
from tanzhang.stores.book import system_account

if TYPE_CHECKING:
    import duckdb


def recounted_totals(con: duckdb.DuckDBPyConnection, records: str, erased: str | None = None) -> dict[str, Any]:
    """What a manifest says of its records: how many of each outcome, and the amounts granted and reversed by unit.

    ``erased`` is what the book keeps of those that were erased, which are not among ``records``.
    """
    return totals_of(con, _all_sums_sql(records, erased))


def totals_by_batch(con: duckdb.DuckDBPyConnection, records: str) -> dict[int, dict[str, Any]]:
    """:func:`recounted_totals` of every batch of a relation with column ``batch``, of which nothing was erased."""
    found: dict[int, dict[str, Any]] = {}
    sums = con.execute(
        "SELECT batch, kind, outcome, count(*)::VARCHAR, sum(granted_mg), sum(reversed_mg) "
        f"FROM {records} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for number, kind, outcome, count, granted_mg, reversed_mg in sums:
        own = found.setdefault(number, {"outcomes": {}, "granted": {}, "reversed": {}})
        own["outcomes"][outcome] = str(int(own["outcomes"].get(outcome, 0)) + int(count))
        unit = UNIT_OF_KIND[kind]
        for name, amount_mg in (("granted", granted_mg), ("reversed", reversed_mg)):
            own[name][unit] = str(int(own[name].get(unit, 0)) + int(amount_mg))
    return found


def record_sums_sql(records: str) -> str:
    """Counts and amounts of records by the dimensions of a tally; sums of parts add up to those of the whole."""
    return (
        f"SELECT {', '.join(DIMENSIONS)}, count(*) AS records, count(*) FILTER (granted_mg > 0) AS credited, "
        "count(*) FILTER (reversed_mg > 0) AS taken_back, sum(granted_mg) AS granted_mg, "
        f"sum(reversed_mg) AS reversed_mg FROM {records} GROUP BY ALL"
    )


def plain_sums_sql(records: str) -> str:
    """Counts and amounts of records by what totals and postings need; sums of parts add up to those of the whole."""
    return (
        "SELECT partner, kind, outcome, count(*) AS records, sum(granted_mg) AS granted_mg, "
        f"sum(reversed_mg) AS reversed_mg FROM {records} GROUP BY ALL"
    )


def recounted_tally(con: duckdb.DuckDBPyConnection, records: str) -> pa.Table:
    """The tally of some records; see :mod:`tanzhang.engine.tally`."""
    return tally_from(con, f"({record_sums_sql(records)})")


def tallies_by_batch(con: duckdb.DuckDBPyConnection, records: str) -> dict[int, pa.Table]:
    """The tally of every batch of a relation with column ``batch``; memory is that of all their cells."""
    amounts = ", ".join(f"sum({name})::BIGINT AS {name}" for name in (*COUNTS, *AMOUNTS))
    dimensions = ", ".join(DIMENSIONS)
    sums = record_sums_sql(records).replace("SELECT ", "SELECT batch, ", 1)
    cells = con.sql(f"SELECT batch, {dimensions}, {amounts} FROM ({sums}) GROUP BY ALL ORDER BY batch").to_arrow_table()
    return {number: in_order(own) for number, own in _by_batch(cells)}


def _by_batch(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each batch, without column ``batch``, by which they are in order."""
    number = np.asarray(rows["batch"].combine_chunks())
    starts = run_starts(number) if len(number) else np.zeros(0, dtype=np.int64)
    own = rows.drop_columns(["batch"])
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(number)], strict=False):
        yield int(number[start]), own.slice(start, stop - start)


def tally_from(con: duckdb.DuckDBPyConnection, sums: str) -> pa.Table:
    """:func:`recounted_tally` from the sums of a batch, or of its parts."""
    amounts = ", ".join(f"sum({name})::BIGINT AS {name}" for name in (*COUNTS, *AMOUNTS))
    return in_order(con.sql(f"SELECT {', '.join(DIMENSIONS)}, {amounts} FROM {sums} GROUP BY ALL").to_arrow_table())


def erased_totals(con: duckdb.DuckDBPyConnection, before: str | None, sums: str) -> str:
    """What all erased records of a batch came to, as the book keeps it: those of before, and of sums of more."""
    found = con.execute(
        "SELECT partner, kind, outcome, sum(records)::VARCHAR, sum(granted_mg)::VARCHAR, sum(reversed_mg)::VARCHAR "
        f"FROM ({erased_sums_sql(before)} UNION ALL {sums}) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def erased_tally(con: duckdb.DuckDBPyConnection, totals: str | None) -> dict[tuple[str, str, str], tuple[int, ...]]:
    """Partner, kind and outcome -> records, granted and reversed mg of erased records, from what the book keeps."""
    if totals is None:
        return {}
    names = "partner, kind, outcome, records, granted_mg, reversed_mg"
    found = con.execute(f"SELECT {names} FROM ({erased_sums_sql(totals)})").fetchall()
    return {(partner, kind, outcome): tuple(map(int, sums)) for partner, kind, outcome, *sums in found}


def erased_sums_sql(totals: str | None) -> str:
    """:func:`plain_sums_sql` of erased records, from what the book keeps of them."""
    rows = [
        f"({', '.join(map(quote, texts))}, {', '.join(f'{int(number)}::HUGEINT' for number in numbers)})"
        for *texts, one, two, three in json.loads(totals or "[]")
        for numbers in [(one, two, three)]
    ]
    names = "partner, kind, outcome, records, granted_mg, reversed_mg"
    if rows:
        return f"SELECT * FROM (VALUES {', '.join(rows)}) erased({names})"
    return f"SELECT {', '.join(f'NULL AS {name}' for name in names.split(', '))} WHERE false"


def totals_of(con: duckdb.DuckDBPyConnection, sums: str) -> dict[str, Any]:
    """:func:`recounted_totals` from the sums of a batch, or of its parts."""
    outcomes = con.execute(f"SELECT outcome, sum(records)::VARCHAR FROM {sums} GROUP BY 1 ORDER BY 1").fetchall()
    amounts = con.execute(
        f"SELECT kind, sum(granted_mg)::VARCHAR, sum(reversed_mg)::VARCHAR FROM {sums} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {
        "outcomes": dict(outcomes),
        "granted": {UNIT_OF_KIND[kind]: granted for kind, granted, _ in amounts},
        "reversed": {UNIT_OF_KIND[kind]: reversed_mg for kind, _, reversed_mg in amounts},
    }


def recounted_postings(
    con: duckdb.DuckDBPyConnection, records: str, erased: str | None = None, *, booked: str | None = None
) -> pa.Table:
    """The double entry of a batch: each account's net amount by unit, against the partners who reported it.

    Columns account, unit and amount, sorted by unit and account; amounts of one unit sum to zero; no zero
    amounts. Whose the erased records were is not known any more: where something is ``erased``, accounts of which no
    record is left keep what is ``booked`` in them, if all of it together is what the erased records came to.
    """
    accounts, sums = account_postings_sql(records), _all_sums_sql(records, erased)
    if erased is not None and booked is not None:
        accounts = f"{accounts} UNION ALL {_without_records_sql(con, records, erased, booked)}"
    return double_entry(con, f"({accounts})", sums)


def _all_sums_sql(records: str, erased: str | None) -> str:
    sums = plain_sums_sql(records)
    return f"({sums})" if erased is None else f"({sums} UNION ALL {erased_sums_sql(erased)})"


def _without_records_sql(con: duckdb.DuckDBPyConnection, records: str, erased: str, booked: str) -> str:
    """Postings of accounts that have no record of this batch any more, by unit, where their sum is right."""
    partners = con.execute(f"SELECT DISTINCT partner FROM {_all_sums_sql(records, erased)}").fetchall()
    own = ", ".join(quote(str(system_account(f"partner:{name}"))) for (name,) in partners)
    others = (
        f"SELECT account, unit, amount FROM {booked} WHERE account NOT IN (SELECT account FROM {records}) "
        f"AND account::VARCHAR NOT IN ({own})"
    )
    right = (
        f"SELECT coalesce(o.unit, e.unit) FROM (SELECT unit, sum(amount) AS amount FROM ({others}) GROUP BY 1) o "
        f"FULL JOIN (SELECT {_UNIT} AS unit, {_NET} AS amount FROM ({erased_sums_sql(erased)}) GROUP BY 1) e "
        "ON o.unit = e.unit WHERE coalesce(o.amount, 0) = coalesce(e.amount, 0)"
    )
    return f"SELECT account, unit, amount FROM ({others}) WHERE unit IN ({right})"


def account_postings_sql(records: str) -> str:
    """Each account's net amount by unit, not zero; of parts that share no account they are those of the whole."""
    return f"SELECT account, {_UNIT} AS unit, {_NET} AS amount FROM {records} GROUP BY ALL HAVING amount <> 0"


def postings_by_batch(con: duckdb.DuckDBPyConnection, records: str) -> dict[int, pa.Table]:
    """:func:`recounted_postings` of every batch of a relation with column ``batch``, of which nothing was erased."""
    net = f"{_UNIT} AS unit, {_NET} AS amount FROM {records} GROUP BY ALL HAVING amount <> 0"
    booked = con.sql(
        f"""
        SELECT * FROM (
            SELECT batch, account, {net}
            UNION ALL
            SELECT batch, {_system_accounts(con, records)} AS account, unit, -amount AS amount
            FROM (SELECT batch, partner, {net})
        ) ORDER BY batch, unit, account
        """
    ).to_arrow_table()
    return dict(_by_batch(booked))


def _system_accounts(con: duckdb.DuckDBPyConnection, rows: str) -> str:
    """The counter-account of a row's partner, as SQL."""
    partners = [text for (text,) in con.execute(f"SELECT DISTINCT partner FROM {rows}").fetchall()]
    own = " ".join(
        f"WHEN {quote(name)} THEN {quote(str(system_account(f'partner:{name}')))}::UUID" for name in partners
    )
    return f"CASE partner {own} END"


def double_entry(con: duckdb.DuckDBPyConnection, accounts: str, sums: str) -> pa.Table:
    """:func:`recounted_postings` from postings of accounts and sums, of a batch or of its parts."""
    own = _system_accounts(con, sums)
    return con.sql(
        f"""
        SELECT account, unit, amount FROM {accounts}
        UNION ALL
        SELECT {own} AS account, {_UNIT} AS unit, -{_NET} AS amount FROM {sums}
        GROUP BY ALL HAVING amount <> 0
        ORDER BY unit, account
        """
    ).to_arrow_table()


_UNIT = "CASE kind " + " ".join(f"WHEN '{kind}' THEN '{name}'" for kind, name in UNIT_OF_KIND.items()) + " END"
_NET = "sum(granted_mg - reversed_mg)::BIGINT"
