"""Accounts: what each person has, confirmed and provisional, why, and which platforms are linked (1+N)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.core.errors import refuse
from tanzhang.core.record import UNIT_OF_KIND, Record, to_json
from tanzhang.engine.kernel import quote
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.service.links import children_of
from tanzhang.service.settle import decide_pending, open_reports, open_reports_near, settled_records
from tanzhang.stores.book import system_account
from tanzhang.stores.home import Home
from tanzhang.stores.records import to_record

if TYPE_CHECKING:
    import duckdb

_RECENT = 20


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
                sum(amount) FILTER (unit = 'footprint_mg') AS footprint FROM confirmed GROUP BY 1
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


def partner_totals(home: Home) -> dict[str, dict[str, int]]:
    """What each partner's citizens were granted through it, by unit: its side of the double entry."""
    totals = {}
    for name in home.programme.partners:
        amounts = home.book.balance(system_account(f"partner:{name}"))
        if amounts:
            totals[name] = {unit: -amount for unit, amount in amounts.items()}
    return totals


def statement(home: Home, account: uuid.UUID, *, recent: int | None = _RECENT) -> dict[str, Any]:
    """One account: balances, totals by behaviour, its latest records with outcome and reason, its linked children.

    ``recent`` is how many records are shown at most, and how many open ones (all if None). ``erased`` is there where
    records were: what of the confirmed amounts they came to. Raises ``unknown-account``, and ``account-erased`` where
    nothing but booked amounts is left.
    """
    with home.book.snapshot():  # so that no act is seen twice or not at all, whatever is settled meanwhile
        return _statement(home, account, "" if recent is None else f"LIMIT {recent}")


def _statement(home: Home, account: uuid.UUID, limit: str) -> dict[str, Any]:
    con = home.connect()
    settled = settled_records(home, con)
    own = "own_records"  # read once: files are many, and an account's records are few
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {own} AS SELECT * FROM {settled} WHERE account = {quote(str(account))}::UUID"
    )
    by_behaviour = con.execute(
        f"""
        SELECT kind, behaviour, count(*), sum(granted_mg - reversed_mg)::VARCHAR FROM {own}
        GROUP BY 1, 2 ORDER BY 1 DESC, sum(granted_mg - reversed_mg) DESC, 2
        """
    ).fetchall()
    outcomes = con.execute(f"SELECT outcome, count(*) FROM {own} GROUP BY 1 ORDER BY 1").fetchall()
    latest = read_records(con, f"SELECT * FROM {own} ORDER BY ended DESC, action_id {limit}")
    children = children_of(home, con, account)
    own_platforms = {account, *(uuid.UUID(each["child"]) for each in children)}
    provisional = _provisional(home, con, sorted(own_platforms))
    pending = read_records(
        con,
        f"SELECT * FROM preview WHERE account = {quote(str(account))}::UUID ORDER BY ended DESC, action_id {limit}",
    )
    confirmed, transferred = home.book.balance(account), home.book.transferred(account)
    if not by_behaviour and not pending and not children and not transferred:
        if any(confirmed.values()):
            raise refuse(
                "account-erased",
                f"the records of {account} were erased; what it comes to is booked and tells nothing of its acts",
                where="account",
                remedy="nothing more can be said of it",
            )
        raise refuse(
            "unknown-account",
            f"{account} has no records, no open reports and no linked platform accounts",
            where="account",
            remedy="see 'tanzhang account list'; PARTNER:SUBJECT names a platform account too",
        )
    erased = {
        f"{name}_mg": str(amount)
        for kind, name in (("reduction", "reduction"), ("emission", "footprint"))
        for unit in (UNIT_OF_KIND[kind],)
        for recorded in [sum(int(total) for found, _, _, total in by_behaviour if found == kind)]
        if (amount := confirmed.get(unit, 0) - transferred.get(unit, 0) - recorded)
    }
    return {
        "account": str(account),
        "programme": home.programme.id,
        "confirmed": {
            "reduction_mg": str(confirmed.get("co2e_mg", 0)),
            "footprint_mg": str(confirmed.get("footprint_mg", 0)),
        },
        "provisional": {
            "reduction_mg": str(provisional.get((account, "reduction"), 0)),
            "footprint_mg": str(provisional.get((account, "emission"), 0)),
        },
        **({"transferred": _said_of(transferred)} if transferred else {}),
        **({"erased": erased} if erased else {}),
        "by_behaviour": [
            {"kind": kind, "behaviour": behaviour, "records": count, "mg": total}
            for kind, behaviour, count, total in by_behaviour
        ],
        "outcomes": dict(outcomes),
        "children": children,
        "latest": [to_json(record) for record in latest],
        "open": [to_json(record) for record in pending],
    }


def _said_of(transferred: Mapping[str, int]) -> dict[str, str]:
    """What came from other accounts of the person, less what went to them."""
    return {
        "reduction_mg": str(transferred.get("co2e_mg", 0)),
        "footprint_mg": str(transferred.get("footprint_mg", 0)),
    }


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


def _provisional(
    home: Home, con: duckdb.DuckDBPyConnection, own: Sequence[uuid.UUID] | None = None
) -> dict[tuple[uuid.UUID, str], int]:
    """(account, kind) -> what settling every open report now would add; leaves view ``preview``.

    With ``own``, of these platform accounts alone: only reports that can touch them are decided.
    """
    pending = open_reports(home, None).table if own is None else open_reports_near(home, con, own)
    if not pending.num_rows:
        columns = ", ".join(f"NULL::{kind} AS {name}" for name, kind in RECORD_COLUMNS.items())
        con.execute(f"CREATE OR REPLACE TEMP VIEW preview AS SELECT {columns} WHERE false")
        return {}
    con.register("preview", decide_pending(home, con, pending).records())
    rows = con.execute(
        "SELECT account, kind, sum(granted_mg - reversed_mg)::BIGINT FROM preview GROUP BY 1, 2"
    ).fetchall()
    return {(account, kind): amount for account, kind, amount in rows}


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
