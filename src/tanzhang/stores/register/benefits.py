"""Benefits that are not goods (权益): what points buy besides the mall, and every use that somebody made of it.

What is said of a benefit is a whole document; each change is a new version, and a use names the version it was bought
under. A use and its move of points are written in one transaction, under one id. Whom a transfer or a pay-out is for is
a personal field, sealed, and gone as soon as it is not needed any more.

States: a token is ``issued``, then ``used``, ``expired`` or ``refunded``; a transfer ``pending``, then ``confirmed`` or
``refunded``; a pay-out ``asked``, ``in_file``, then ``paid`` or ``refunded``. What was under way for somebody who was
erased is ``erased`` where nobody can finish it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata
from tanzhang.stores.register.said import Said, said_table

BENEFIT, REFUND = "benefit", "benefit_refund"
"""Kinds of the moves of points that buy a benefit, and that give points back."""
ISSUED, USED, EXPIRED = "issued", "used", "expired"
PENDING, CONFIRMED = "pending", "confirmed"
ASKED, IN_FILE, PAID = "asked", "in_file", "paid"
REFUNDED, ERASED = "refunded", "erased"
RED_PACKET = "red_packet"
"""The kind of files of pay-outs that are uses of benefits."""
STATES = (ISSUED, USED, EXPIRED, PENDING, CONFIRMED, ASKED, IN_FILE, PAID, REFUNDED, ERASED)
_AT_ONCE = 500

benefit = said_table("benefit")
benefit_use = sa.Table(
    "benefit_use",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("benefit", TEXT, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("account", TEXT, nullable=False),  # empty once the person was erased
    sa.Column("points", sa.BigInteger, nullable=False),
    sa.Column("counter", TEXT, nullable=False),
    sa.Column("value", sa.BigInteger),  # fen of a pay-out, a bank's points of a transfer
    sa.Column("sponsor", TEXT),  # whose money it is
    sa.Column("partner", TEXT),  # who takes the token, or keeps the bank's points
    sa.Column("payee", TEXT),  # sealed
    sa.Column("state", TEXT, nullable=False),
    sa.Column("day", TEXT, nullable=False),  # local
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Column("due_at", TEXT),  # when a token ends, when a transfer is asked about again
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("file", TEXT),  # of a pay-out
    sa.Column("note", TEXT),  # a partner's reference, why something failed
    sa.Index("benefit_use_account", "account", "seq"),
    sa.Index("benefit_use_day", "benefit", "day", "account"),
    sa.Index("benefit_use_due", "state", "due_at"),
)
# Files of pay-outs that were handed over, without their rows, which are uses, or pay-outs of what sales brought
# (stores/register/payback.py): ``kind`` says of which.
payout_file = sa.Table(
    "payout_file",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("adapter", TEXT, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("fen", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
)


class Benefits:
    """Benefits of a home, and the uses of them."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.said = Said(book, benefit)
        """What is offered."""

    # -- uses -------------------------------------------------------------------------------------------------

    def use(self, name: str) -> Any | None:
        """A use by its id."""
        rows = self._book.query(sa.select(benefit_use).where(benefit_use.c.id == name))
        return rows[0] if rows else None

    def of(self, accounts: Sequence[str], *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """The uses of accounts, the latest first, those before number ``before``."""
        own = sa.select(benefit_use).where(benefit_use.c.account.in_(list(accounts)))
        if before is not None:
            own = own.where(benefit_use.c.seq < before)
        return self._book.query(own.order_by(benefit_use.c.seq.desc()).limit(limit))

    def has_of(self, accounts: Sequence[str]) -> bool:
        """Whether any of many accounts used something."""
        parts = (accounts[start : start + _AT_ONCE] for start in range(0, len(accounts), _AT_ONCE))
        return any(self.of(some, limit=1) for some in parts)

    def uses(self, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Any]:
        """Uses that meet conditions, in their order."""
        return self._book.query(sa.select(benefit_use).where(*conditions).order_by(benefit_use.c.seq).limit(limit))

    def counted(self, con: sa.Connection, *conditions: sa.ColumnElement[bool]) -> tuple[int, int]:
        """In somebody's transaction: how many uses meet conditions and were not given back, and their values."""
        columns = (sa.func.count(), sa.func.coalesce(sa.func.sum(benefit_use.c.value), 0))
        found = con.execute(sa.select(*columns).where(*conditions, benefit_use.c.state != REFUNDED)).one()
        return int(found[0]), int(found[1])

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """In somebody's transaction: keep the next use."""
        last = con.execute(sa.select(sa.func.max(benefit_use.c.seq))).scalar()
        con.execute(benefit_use.insert(), {**values, "seq": 0 if last is None else int(last) + 1, "tries": 0})

    def change(self, con: sa.Connection, name: str, state: str, values: Mapping[str, Any]) -> bool:
        """In somebody's transaction: change a use that is in a state; whether it was."""
        own = (benefit_use.c.id == name) & (benefit_use.c.state == state)
        return bool(con.execute(benefit_use.update().where(own).values(**values)).rowcount)

    def claim(self, state: str, at: str, until: str, limit: int) -> list[Any]:
        """Uses in a state that are due, whose person is there; they are due again at ``until``, whoever asks then."""
        with self._book.transaction() as con:
            due = (benefit_use.c.state == state) & (benefit_use.c.due_at <= at) & benefit_use.c.payee.is_not(None)
            rows = list(con.execute(sa.select(benefit_use).where(due).order_by(benefit_use.c.due_at).limit(limit)))
            named = benefit_use.c.id.in_([row.id for row in rows])
            con.execute(benefit_use.update().where(named).values(due_at=until, tries=benefit_use.c.tries + 1))
        return rows

    def has(self, state: str) -> bool:
        """Whether any use is in a state."""
        return bool(self.uses(benefit_use.c.state == state, limit=1))

    def files(self, kind: str, name: str | None = None) -> list[Any]:
        """Files of one kind of pay-outs, or one by its id, the latest first."""
        own = sa.select(payout_file).where(payout_file.c.kind == kind)
        own = own.order_by(payout_file.c.made_at.desc(), payout_file.c.id)
        return self._book.query(own if name is None else own.where(payout_file.c.id == name))

    def forget(self, con: sa.Connection, accounts: Sequence[str]) -> int:
        """In somebody's transaction: uses of accounts say no more whose they were; returns how many.

        A pay-out that no file has yet is never paid; a transfer whose bank has not answered is asked about no more.
        """
        count = 0
        for start in range(0, len(accounts), _AT_ONCE):
            some = benefit_use.c.account.in_(accounts[start : start + _AT_ONCE])
            ending = benefit_use.c.state.in_((ASKED, PENDING))
            con.execute(benefit_use.update().where(some & ending).values(state=ERASED))
            gone = {"account": "", "payee": None, "note": None}
            count += con.execute(benefit_use.update().where(some).values(**gone)).rowcount
        return count
