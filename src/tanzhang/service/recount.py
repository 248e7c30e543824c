"""Totals and postings of a batch counted again from its records, in SQL: what verification holds the book to.

Sealing counts them by other means (:mod:`tanzhang.service.totals`), so that one mistake does not vouch for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.engine.kernel import quote
from tanzhang.stores.book import system_account

if TYPE_CHECKING:
    import duckdb


def recounted_totals(con: duckdb.DuckDBPyConnection, records: str) -> dict[str, Any]:
    """What a manifest says of its records: how many of each outcome, and the amounts granted and reversed by unit."""
    outcomes = con.execute(f"SELECT outcome, count(*)::VARCHAR FROM {records} GROUP BY 1 ORDER BY 1").fetchall()
    amounts = con.execute(
        f"SELECT kind, sum(granted_mg)::VARCHAR, sum(reversed_mg)::VARCHAR FROM {records} GROUP BY 1 ORDER BY 1"
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
    unit = "CASE kind " + " ".join(f"WHEN '{kind}' THEN '{name}'" for kind, name in UNIT_OF_KIND.items()) + " END"
    net = "sum(granted_mg - reversed_mg)::BIGINT"
    partners = [text for (text,) in con.execute(f"SELECT DISTINCT partner FROM {records}").fetchall()]
    own = " ".join(
        f"WHEN {quote(name)} THEN {quote(str(system_account(f'partner:{name}')))}::UUID" for name in partners
    )
    return con.sql(
        f"""
        SELECT account, {unit} AS unit, {net} AS amount FROM {records} GROUP BY ALL HAVING amount <> 0
        UNION ALL
        SELECT CASE partner {own} END AS account, {unit} AS unit, -{net} AS amount FROM {records}
        GROUP BY ALL HAVING amount <> 0
        ORDER BY unit, account
        """
    ).to_arrow_table()
