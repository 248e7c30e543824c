"""Totals and postings of a batch counted again from its records, in SQL: what verification holds the book to.

Sealing counts them by other means (:mod:`tanzhang.service.totals`), so that one mistake does not vouch for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.engine.kernel import quote
from tanzhang.engine.tally import AMOUNTS, COUNTS, DIMENSIONS, in_order
from tanzhang.stores.book import system_account

if TYPE_CHECKING:
    import duckdb


def recounted_totals(con: duckdb.DuckDBPyConnection, records: str) -> dict[str, Any]:
    """What a manifest says of its records: how many of each outcome, and the amounts granted and reversed by unit."""
    return totals_of(con, f"({record_sums_sql(records)})")


def record_sums_sql(records: str) -> str:
    """Counts and amounts of records by the dimensions of a tally; sums of parts add up to those of the whole."""
    return (
        f"SELECT {', '.join(DIMENSIONS)}, count(*) AS records, count(*) FILTER (granted_mg > 0) AS credited, "
        "count(*) FILTER (reversed_mg > 0) AS taken_back, sum(granted_mg) AS granted_mg, "
        f"sum(reversed_mg) AS reversed_mg FROM {records} GROUP BY ALL"
    )


def recounted_tally(con: duckdb.DuckDBPyConnection, records: str) -> pa.Table:
    """The tally of some records; see :mod:`tanzhang.engine.tally`."""
    return tally_from(con, f"({record_sums_sql(records)})")


def tally_from(con: duckdb.DuckDBPyConnection, sums: str) -> pa.Table:
    """:func:`recounted_tally` from the sums of a batch, or of its parts."""
    amounts = ", ".join(f"sum({name})::BIGINT AS {name}" for name in (*COUNTS, *AMOUNTS))
    return in_order(con.sql(f"SELECT {', '.join(DIMENSIONS)}, {amounts} FROM {sums} GROUP BY ALL").to_arrow_table())


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


def recounted_postings(con: duckdb.DuckDBPyConnection, records: str) -> pa.Table:
    """The double entry of a batch: each account's net amount by unit, against the partners who reported it.

    Columns account, unit and amount, sorted by unit and account; amounts of one unit sum to zero; no zero
    amounts.
    """
    return double_entry(con, f"({account_postings_sql(records)})", f"({record_sums_sql(records)})")


def account_postings_sql(records: str) -> str:
    """Each account's net amount by unit, not zero; of parts that share no account they are those of the whole."""
    return f"SELECT account, {_UNIT} AS unit, {_NET} AS amount FROM {records} GROUP BY ALL HAVING amount <> 0"


def double_entry(con: duckdb.DuckDBPyConnection, accounts: str, sums: str) -> pa.Table:
    """:func:`recounted_postings` from postings of accounts and sums, of a batch or of its parts."""
    partners = [text for (text,) in con.execute(f"SELECT DISTINCT partner FROM {sums}").fetchall()]
    own = " ".join(
        f"WHEN {quote(name)} THEN {quote(str(system_account(f'partner:{name}')))}::UUID" for name in partners
    )
    return con.sql(
        f"""
        SELECT account, unit, amount FROM {accounts}
        UNION ALL
        SELECT CASE partner {own} END AS account, {_UNIT} AS unit, -{_NET} AS amount FROM {sums}
        GROUP BY ALL HAVING amount <> 0
        ORDER BY unit, account
        """
    ).to_arrow_table()


_UNIT = "CASE kind " + " ".join(f"WHEN '{kind}' THEN '{name}'" for kind, name in UNIT_OF_KIND.items()) + " END"
_NET = "sum(granted_mg - reversed_mg)::BIGINT"
