"""Accounts: what each person has, confirmed and provisional, why, and which platforms are linked (1+N)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.core.errors import refuse
from tanzhang.core.record import Record
from tanzhang.engine.kernel import quote
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.service.reading import RECENT, Reader
from tanzhang.service.settle import decide_pending, open_reports
from tanzhang.stores.book import system_account
from tanzhang.stores.home import Home
from tanzhang.stores.records import to_record

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Balance:
    """One account's amounts in mg: confirmed is booked, provisional is what open reports would add today."""

    account: uuid.UUID
    reduction_mg: int
    footprint_mg: int
    provisional_reduction_mg: int
    provisional_footprint_mg: int


def balances(home: Home, limit: int | None = None) -> tuple[int, list[Balance]]:
    """How many persons' accounts there are, and those with most reductions (all if ``limit`` is None), best first.

    Counter-accounts of partners are left out.
    """
    con = home.connect()
    with home.book.snapshot():
        confirmed = home.book.balances()
        _provisional(home, con)
    con.register("confirmed", confirmed)
    partners = ", ".join(quote(str(system_account(f"partner:{name}"))) for name in home.programme.partners) or "NULL"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE balance AS
        WITH booked AS (
            SELECT account::UUID AS account, sum(amount) FILTER (unit = 'co2e_mg') AS reduction,
                sum(amount) FILTER (unit = 'footprint_mg') AS footprint FROM confirmed
            WHERE unit IN ('co2e_mg', 'footprint_mg') GROUP BY 1
        ), open AS (
            SELECT account, sum(granted_mg - reversed_mg) FILTER (kind = 'reduction') AS reduction,
                sum(granted_mg - reversed_mg) FILTER (kind = 'emission') AS footprint FROM preview GROUP BY 1
        )
        SELECT coalesce(b.account, o.account) AS account, coalesce(b.reduction, 0)::VARCHAR AS reduction_mg,
            coalesce(b.footprint, 0)::VARCHAR AS footprint_mg, coalesce(o.reduction, 0)::VARCHAR AS open_reduction_mg,
            coalesce(o.footprint, 0)::VARCHAR AS open_footprint_mg
        FROM booked b FULL JOIN open o ON b.account = o.account
        WHERE coalesce(b.account, o.account)::VARCHAR NOT IN ({partners})
        """
    )
    ((count,),) = con.execute("SELECT count(*) FROM balance").fetchall()
    rows = con.execute(
        "SELECT * FROM balance ORDER BY reduction_mg::HUGEINT DESC, open_reduction_mg::HUGEINT DESC, account "
        f"{'' if limit is None else f'LIMIT {limit}'}"
    ).fetchall()
    return count, [Balance(account, *map(int, amounts)) for account, *amounts in rows]


def statement(home: Home, account: uuid.UUID, *, recent: int | None = RECENT) -> dict[str, Any]:
    """One account: balances, totals by behaviour, its latest records with outcome and reason, its linked children.

    ``recent`` is how many records are shown at most, and how many open ones (all if None). ``erased`` is there where
    records were: what of the confirmed amounts they came to. Raises ``unknown-account``, and ``account-erased`` where
    nothing but booked amounts is left. Whoever asks often holds a :class:`~tanzhang.service.reading.Reader`.
    """
    return Reader(home).statement(account, recent=recent)


def account_named(home: Home, text: str) -> uuid.UUID:
    """An account by its id, or the platform account of ``PARTNER:SUBJECT``; ``account-malformed``."""
    return _named(home, text, CHILD, "account", "PARTNER:SUBJECT")


def action_named(home: Home, text: str) -> uuid.UUID:
    """An action by its id, or by ``PARTNER:REFERENCE``; ``action-malformed``."""
    return _named(home, text, ACTION, "action", "PARTNER:REFERENCE")


def read_records(con: duckdb.DuckDBPyConnection, sql: str) -> list[Record]:
    """The rows of a query over record columns, as records."""
    table = con.sql(sql).to_arrow_table()
    return [to_record(row) for row in table.to_pylist()]


def _provisional(home: Home, con: duckdb.DuckDBPyConnection) -> None:
    """View ``preview``: what settling every open report now would make of it."""
    pending = open_reports(home, None).table
    if not pending.num_rows:
        columns = ", ".join(f"NULL::{kind} AS {name}" for name, kind in RECORD_COLUMNS.items())
        con.execute(f"CREATE OR REPLACE TEMP VIEW preview AS SELECT {columns} WHERE false")
    else:
        con.register("preview", decide_pending(home, con, pending).records())


def _named(home: Home, text: str, purpose: str, noun: str, form: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        partner, colon, rest = text.partition(":")
    if not colon or not rest:
        raise refuse(
            f"{noun}-malformed",
            f"{text!r} names no {noun}",
            where=f"an {noun}",
            remedy=f"give its id, or {form}",
        )
    return identity(home.identity_key, purpose, partner, rest)
