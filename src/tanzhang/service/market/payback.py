"""Paying people back (返还): each sale of entrusted units is divided over all records of its lot.

A **run** follows each sale that was delivered, as award runs follow batches. What the units brought, less the fees of
the terms that the lot was frozen under, and what sponsors added is divided by running total over the lot's members, in
their order, whichever of its units were sold; then what the records of one account got is added up. The log says what
was divided, so that everybody can compute what their records had to get. docs/payback.md, docs/adr/0037-payback.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.lot import lot_text
from tanzhang.core.payback import Divided, FeeTaken
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, run_starts
from tanzhang.engine.lot import batches_of, places_of
from tanzhang.engine.payback import SHARES, by_account, running_total, summed
from tanzhang.service.award import accounts_at
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.rules import market_rules, market_rules_of
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import changed, is_as_written, read_members
from tanzhang.stores.register.money import ESCROW, PAYBACK
from tanzhang.stores.register.payback import HELD, OF_ERASED, OF_RUN

DIVIDED = "payback"
"""The kind of movements of money of a run, by its deal."""
TO_ESCROW = "to escrow"
"""Of movements of what is nobody's any more, by its number; and :data:`FROM_ESCROW` of its end."""
FROM_ESCROW = "escrow ended"


class Sold(Protocol):
    """A sale as the register of deals gives it: deal ``id``, its number in the order of delivery, what it brought."""

    @property
    def number(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def lot(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def gross_fen(self) -> int: ...
    @property
    def topup_fen(self) -> int: ...


# -- runs -----------------------------------------------------------------------------------------------------


def divide(home: Home, sale: Sold, *, now: datetime) -> dict[str, Any]:
    """Divide the money of a sale, under the home's write lock; a repeat changes nothing and gives the first answer.

    Raises ``unknown-lot``, ``lot-file-changed``, ``terms-unknown``, ``sale-unfunded`` where the sale's account does not
    have what the sale brought.
    """
    known = home.payback.run_of(sale.id)
    if known is not None:
        return described(known)
    lot = home.lots.one(sale.lot)
    fees = tuple(FeeTaken.of(fee.id, fee.share, sale.gross_fen) for fee in market_rules_of(home, lot.terms).fees)
    sold = (sale.id, sale.units, sale.gross_fen, sale.topup_fen, fees)
    divided = Divided(home.programme.id, lot.number, lot.members, lot.total_mg, *sold)
    if not is_as_written(home.storage, lot):  # what is paid by it cannot be taken back
        raise changed(lot, lot.file)
    shares, nobodys = shares_of_lot(home, lot, divided.shared_fen)
    at, day = received_at(now), received_day(home, now).isoformat()
    with home.book.transaction() as con:
        if home.payback.run_of(sale.id, con) is None:
            _post(home, con, divided, nobodys, at)
            if nobodys:
                home.payback.hold(con, OF_RUN, nobodys, since=day, at=at)
            values = {"deal": sale.id, "delivered": sale.number, "lot": lot.number, "made_at": at}
            values |= {"shared_fen": divided.shared_fen, "nobodys_fen": nobodys}
            home.payback.add_run(con, values, divided.to_text(), shares)
    return described(home.payback.run_of(sale.id))


def run_due(home: Home, *, now: datetime) -> dict[str, Any]:
    """Divide every sale that was delivered since the last one that was, in the order of delivery, and publish it.

    Nothing is left half done by a crash: a sale is divided whole or not at all. Raises as :func:`divide`, and
    ``home-busy``.
    """
    fen, done = 0, 0
    if is_due(home):
        with home.settling():
            for sale in home.deals.sales(home.payback.last_delivered()):
                fen += int(divide(home, sale, now=now)["shared_fen"])
                done += 1
            home.publish()
    return {"status": "divided", "sales": done, "fen": str(fen)}


def is_due(home: Home) -> bool:
    """Whether a sale was delivered that is not divided."""
    return bool(home.deals.sales(home.payback.last_delivered(), limit=1))


def _post(home: Home, con: sa.Connection, divided: Divided, nobodys: int, at: str) -> None:
    """Move what a sale brought to fees, to what is owed to persons, and to escrow what is nobody's."""
    account = f"sale:{divided.deal}"
    brought, there = divided.gross_fen + divided.topup_fen, home.money.balance(account, con)
    if there != brought:
        raise refuse(
            "sale-unfunded",
            f"deal {divided.deal} brought {brought} fen, and {there} fen are on its account",
            where=f"deal {divided.deal}",
            remedy="look at the movements of its account; nothing was divided",
        )
    legs = {account: -brought, PAYBACK: divided.shared_fen - nobodys, ESCROW: nobodys}
    legs |= {f"fee:{fee.id}": fee.fen for fee in divided.fees}
    if brought:
        home.money.post(con, DIVIDED, legs, f"deal:{divided.deal}", at)


def shares_of_lot(home: Home, lot: Any, shared_fen: int) -> tuple[pa.Table, int]:
    """What each account gets of an amount that is divided over a lot (a row of its table), and what is nobody's.

    Accounts (:data:`tanzhang.engine.payback.SHARES`) are those of the records, wherever their holdings are now.
    ``lot-file-changed``.
    """
    keys, mg = _members(home, lot)
    batches, places = batches_of(keys), places_of(keys)
    with home.connect() as con:
        fen = running_total(con, mg, revenue_fen=shared_fen, total_mg=lot.total_mg)
        paid = np.flatnonzero(fen)  # of most records of a small sale the running total passes no whole fen
        parts, nobodys = [SHARES.empty_table()], 0
        starts = [*run_starts(batches[paid]).tolist(), len(paid)]
        files = {row.seq: row for row in home.book.batches()}
        for start, end in pairwise(starts):
            own = paid[start:end]
            accounts = accounts_at(home, files[int(batches[own[0]])], pa.array(places[own]))
            part, gone = by_account(con, fixed_bytes(accounts, IDENTITY_BYTES), fen[own])
            parts.append(part)
            nobodys += gone
        return summed(con, pa.concat_tables(parts))[0], nobodys


def _members(home: Home, lot: Any) -> tuple[Numbers, Numbers]:
    """Key and mg of each member of a lot, in its order."""
    keys, mg = read_members(home.storage, lot)
    if (len(mg), int(mg.sum())) != (lot.members, lot.total_mg):
        raise changed(lot, lot.file)
    return keys, mg


def described(row: Any) -> dict[str, Any]:
    """A run as JSON members, as everybody may see it; ``entry`` is the log's word on it."""
    divided = Divided.parse(row.text)
    return {
        "deal": divided.deal,
        "lot": lot_text(divided.lot),
        "units": str(divided.units),
        "gross_fen": str(divided.gross_fen),
        "fees": [{"id": fee.id, "share": str(fee.share), "fen": str(fee.fen)} for fee in divided.fees],
        "topup_fen": str(divided.topup_fen),
        "shared_fen": str(divided.shared_fen),
        "members": str(divided.members),
        "total_mg": str(divided.total_mg),
        "accounts": str(row.accounts),
        "entry": row.entry,
        "made_at": row.made_at,
    }


def runs(home: Home, before: int | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """Every run, the latest first; ``number`` is for cursors."""
    return [{"number": row.seq, **described(row)} for row in home.payback.runs(before=before, limit=limit)]


# -- what is owed ---------------------------------------------------------------------------------------------


def accounts_paid(home: Home, account: uuid.UUID) -> Sequence[uuid.UUID]:
    """Accounts whose shares are paid out to an account now: itself and those in it; none if it is in another one."""
    row = home.joinings.of_source(str(account))
    return [] if row is not None and row.carries else own_accounts(home, account)


def owed(home: Home, account: uuid.UUID, con: sa.Connection | None = None) -> dict[uuid.UUID, int]:
    """Account -> fen that it is owed, of all whose shares are paid out to an account; those owed nothing left out."""
    found = {own: home.payback.owed(own, con) for own in accounts_paid(home, account)}
    return {own: fen for own, fen in found.items() if fen}


# -- what is nobody's any more --------------------------------------------------------------------------------


def forget(home: Home, con: sa.Connection, accounts: Sequence[str], *, now: datetime) -> None:
    """In somebody's transaction: let accounts go that are erased; what they were owed goes to escrow."""
    at = received_at(now)
    fen = home.payback.forget(con, accounts, at)
    if fen:
        to_escrow(home, con, OF_ERASED, fen, now=now)


def to_escrow(home: Home, con: sa.Connection, reason: str, fen: int, *, now: datetime) -> None:
    """In somebody's transaction: take what was owed to somebody who is gone out of what is owed."""
    at, day = received_at(now), received_day(home, now).isoformat()
    number = home.payback.hold(con, reason, fen, since=day, at=at)
    home.money.post(con, TO_ESCROW, {PAYBACK: -fen, ESCROW: fen}, str(number), at)


def end_escrow(home: Home, *, actor: Actor | None = None, now: datetime) -> dict[str, Any]:
    """Give what was long enough in escrow to the purpose that the rules of today declare; how much that was.

    Long enough is ``escrow_days`` of these rules. Raises ``no-market``, ``market-not-in-force``.
    """
    day, at = received_day(home, now), received_at(now)
    rules = market_rules(home, day)
    until = (day - timedelta(days=rules.escrow_days)).isoformat()
    fen = 0
    with home.book.transaction() as con:
        rows = home.payback.escrow(state=HELD, until=until)
        for row in rows:
            home.payback.end_escrow(con, row.seq, rules.escrow_purpose, at)
            legs = {ESCROW: -row.fen, f"public:{rules.escrow_purpose}": row.fen}
            home.money.post(con, FROM_ESCROW, legs, str(row.seq), at)
            fen += row.fen
        if rows and actor is not None:
            detail = {"amounts": str(len(rows)), "fen": str(fen), "purpose": rules.escrow_purpose}
            home.audit.write(con, actor, "escrow ended", "payback escrow", at=at, detail=detail)
    return {"status": "ended", "amounts": len(rows), "fen": str(fen), "purpose": rules.escrow_purpose}


def sums(home: Home) -> dict[str, Any]:
    """What all of paying back comes to: owed, on the way, paid, in escrow, given to a purpose. In fen, as texts."""
    found, balances = home.payback.sums(), home.money.balances()
    gone = sum(found[name] for name in ("escrow_run", "escrow_erased", "escrow_failed"))
    said = {
        "divided_fen": found["share"] + found["escrow_run"],
        "owed_fen": found["share"] - found["gone"] - found["taken"],
        "asked_fen": found["asked"],
        "in_files_fen": found["in_file"],
        "paid_fen": found["paid"],
        "escrow_fen": balances.get(ESCROW, 0),
        "ended_fen": gone - balances.get(ESCROW, 0),
    }
    return {name: str(fen) for name, fen in said.items()}
