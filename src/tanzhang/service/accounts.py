"""Accounts: what each person has, confirmed and provisional, why, and which platforms are linked (1+N)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.core.errors import refuse
from tanzhang.core.record import Record, to_json
from tanzhang.engine.kernel import connect, quote
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.service.settle import decide_pending, open_reports, settled_records
from tanzhang.stores.book import link, system_account
from tanzhang.stores.home import Home
from tanzhang.stores.records import to_record

if TYPE_CHECKING:
    import duckdb

Result = TypeVar("Result")
_RECENT = 20


@dataclass(frozen=True, slots=True)
class Balance:
    """One account's amounts in mg: confirmed is booked, provisional is what open reports would add today."""

    account: uuid.UUID
    reduction_mg: int
    footprint_mg: int
    provisional_reduction_mg: int
    provisional_footprint_mg: int


def balances(home: Home) -> list[Balance]:
    """Every person's account, most reductions first. Counter-accounts of partners are left out."""
    confirmed, provisional = _unmoved(home, lambda: (home.book.balances(), _provisional(home, connect())))
    partners = {system_account(f"partner:{name}") for name in home.programme.partners}
    accounts = {account for account, _ in confirmed.keys() | provisional.keys()} - partners
    rows = [
        Balance(
            account,
            confirmed.get((account, "co2e_mg"), 0),
            confirmed.get((account, "footprint_mg"), 0),
            provisional.get((account, "reduction"), 0),
            provisional.get((account, "emission"), 0),
        )
        for account in accounts
    ]
    return sorted(rows, key=lambda row: (-row.reduction_mg, -row.provisional_reduction_mg, row.account))


def partner_totals(home: Home) -> dict[str, dict[str, int]]:
    """What each partner's citizens were granted through it, by unit: its side of the double entry."""
    everything = home.book.balances()
    totals: dict[str, dict[str, int]] = {}
    for name in home.programme.partners:
        own = system_account(f"partner:{name}")
        amounts = {unit: -amount for (account, unit), amount in everything.items() if account == own}
        if amounts:
            totals[name] = amounts
    return totals


def statement(home: Home, account: uuid.UUID) -> dict[str, Any]:
    """One account: balances, totals by behaviour, its latest records with outcome and reason, its linked children."""
    return _unmoved(home, lambda: _statement(home, account))


def _statement(home: Home, account: uuid.UUID) -> dict[str, Any]:
    con = connect()
    settled = settled_records(home, con)
    own = f"(SELECT * FROM {settled} WHERE account = {quote(str(account))}::UUID)"
    by_behaviour = con.execute(
        f"""
        SELECT kind, behaviour, count(*), sum(granted_mg - reversed_mg)::VARCHAR FROM {own}
        GROUP BY 1, 2 ORDER BY 1 DESC, sum(granted_mg - reversed_mg) DESC, 2
        """
    ).fetchall()
    outcomes = con.execute(f"SELECT outcome, count(*) FROM {own} GROUP BY 1 ORDER BY 1").fetchall()
    latest = read_records(con, f"SELECT * FROM {own} ORDER BY ended DESC, action_id LIMIT {_RECENT}")
    provisional = _provisional(home, con)
    pending = read_records(
        con,
        f"SELECT * FROM preview WHERE account = {quote(str(account))}::UUID ORDER BY ended DESC LIMIT {_RECENT}",
    )
    children = [
        {"child": row.child, "from": row.valid_from, "until": row.valid_until}
        for row in home.book.rows(link)
        if row.account == str(account)
    ]
    if not by_behaviour and not pending and not children:
        raise refuse(
            "unknown-account",
            f"{account} has no records, no open reports and no linked platform accounts",
            where="account",
            remedy="see 'tanzhang account list'; PARTNER:SUBJECT names a platform account too",
        )
    confirmed = home.book.balances(account)
    return {
        "account": str(account),
        "programme": home.programme.id,
        "confirmed": {
            "reduction_mg": str(confirmed.get((account, "co2e_mg"), 0)),
            "footprint_mg": str(confirmed.get((account, "footprint_mg"), 0)),
        },
        "provisional": {
            "reduction_mg": str(provisional.get((account, "reduction"), 0)),
            "footprint_mg": str(provisional.get((account, "emission"), 0)),
        },
        "by_behaviour": [
            {"kind": kind, "behaviour": behaviour, "records": count, "mg": total}
            for kind, behaviour, count, total in by_behaviour
        ],
        "outcomes": dict(outcomes),
        "children": children,
        "latest": [to_json(record) for record in latest],
        "open": [to_json(record) for record in pending],
    }


def link_child(
    home: Home, child: uuid.UUID, account: uuid.UUID, *, valid_from: date, valid_until: date | None, now: datetime
) -> dict[str, Any]:
    """Link a platform account to a person's account, with the person's consent from-to (local days of acts).

    Acts of those days that are settled from now on are booked in ``account``; what was booked stays where it is.
    Raises ``link-overlaps`` if the child is linked already in some of those days, ``link-empty`` for no day.
    """
    if valid_until is not None and valid_until <= valid_from:
        raise refuse(
            "link-empty",
            f"[{valid_from}, {valid_until}) holds no day",
            where="link",
            remedy="until must lie after from",
        )
    with home.writing():
        for row in home.book.query(sa.select(link).where(link.c.child == str(child))):
            starts_before_end = valid_until is None or row.valid_from < valid_until.isoformat()
            ends_after_start = row.valid_until is None or valid_from.isoformat() < row.valid_until
            if starts_before_end and ends_after_start:
                raise refuse(
                    "link-overlaps",
                    f"{child} is linked to {row.account} from {row.valid_from} until {row.valid_until or 'open'}",
                    where="link",
                    remedy="choose days after that consent ended",
                )
        values = {
            "child": str(child),
            "account": str(account),
            "valid_from": valid_from.isoformat(),
            "valid_until": None if valid_until is None else valid_until.isoformat(),
            "recorded_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        }
        home.book.add_link(values)
    return {
        "child": values["child"],
        "account": values["account"],
        "from": values["valid_from"],
        "until": values["valid_until"],
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


def _unmoved(home: Home, read: Callable[[], Result]) -> Result:
    """What is read while nothing was booked in between, so that no act is seen twice or not at all."""
    while True:
        before = home.book.heads()
        result = read()
        if home.book.heads() == before:
            return result


def _provisional(home: Home, con: duckdb.DuckDBPyConnection) -> dict[tuple[uuid.UUID, str], int]:
    """(account, kind) -> what settling every open report now would add; leaves view ``preview``."""
    pending = open_reports(home, None)
    if not pending.rows:
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
