"""Money that came in for the market (来款), what it was used for, and money on its way back (退款).

A payment stands under the bank's own number of it, so that a statement that is read twice adds nothing. Its amount
never changes: ``used_fen`` and ``sent_fen`` say how much of it went where, the rest is in the account ``holder``. Who
paid, from where and with what words is sealed, and gone once the last of it was sent back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.deal import PaymentState, ReturnState
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata
from tanzhang.stores.register.deals import next_number

market_payment = sa.Table(
    "market_payment",
    metadata,
    sa.Column("entry", TEXT, primary_key=True),  # the bank's number of it
    sa.Column("id", sa.Integer, nullable=False, unique=True),  # from 1, in the order of reading
    sa.Column("booked_on", TEXT, nullable=False),  # by the bank
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("payer", TEXT),  # sealed JSON: name, account, words
    sa.Column("deal", sa.Integer),  # what it is for, as far as is known
    sa.Column("pledge", sa.Integer),
    sa.Column("holder", TEXT, nullable=False),  # the account of money that its rest is in
    sa.Column("used_fen", sa.BigInteger, nullable=False),
    sa.Column("sent_fen", sa.BigInteger, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("source", TEXT, nullable=False),  # digest of the statement, or manual
    sa.Column("by", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Index("market_payment_deal", "deal", "id"),
    sa.Index("market_payment_state", "state", "id"),
)
market_payment_use = sa.Table(
    "market_payment_use",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("entry", TEXT, nullable=False),
    sa.Column("purpose", TEXT, nullable=False),  # deal:<id> or pledge:<id>
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("market_payment_use_entry", "entry"),
    info={ONLY_ADDED: True},
)
market_return = sa.Table(
    "market_return",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("name", TEXT, nullable=False, unique=True),  # by which the bank knows it
    sa.Column("account", TEXT, nullable=False),  # of money, that it came from
    sa.Column("entry", TEXT),  # the payment that goes back; NULL for proceeds that are paid out
    sa.Column("reference", TEXT, nullable=False, unique=True),  # of whoever asked for it
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("payee", TEXT),  # sealed; NULL once it was sent
    sa.Column("state", TEXT, nullable=False),
    sa.Column("file", TEXT),
    sa.Column("note", TEXT),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Index("market_return_state", "state", "id"),
)
market_return_file = sa.Table(
    "market_return_file",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("adapter", TEXT, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("fen", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
)


def rest_of(row: Any) -> int:
    """What of a payment was neither used nor sent back."""
    return int(row.amount_fen - row.used_fen - row.sent_fen)


class Payments:
    """Money that came in, and went back."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def page(self, before: int | None, limit: int, *, state: str | None = None) -> list[Any]:
        """Payments, the latest first, those before a number, in one state or all."""
        own = sa.select(market_payment).order_by(market_payment.c.id.desc()).limit(limit)
        if before is not None:
            own = own.where(market_payment.c.id < before)
        return self._book.query(own if state is None else own.where(market_payment.c.state == state))

    def all(self) -> list[Any]:
        """Every payment, in the order of reading."""
        return self._book.query(sa.select(market_payment).order_by(market_payment.c.id))

    def uses(self) -> list[Any]:
        """Everything that payments were used for, in order."""
        return self._book.query(sa.select(market_payment_use).order_by(market_payment_use.c.id))

    def purposes(self, entry: str) -> set[str]:
        """What a payment was used for."""
        own = sa.select(market_payment_use.c.purpose).where(market_payment_use.c.entry == entry)
        return {row.purpose for row in self._book.query(own)}

    def one(self, entry: str) -> Any | None:
        """A payment by the bank's number."""
        with self._book.reading() as con:
            return self.one_in(con, entry)

    def of_deal(self, deal: int) -> list[Any]:
        """Payments for a deal, in the order of reading."""
        with self._book.reading() as con:
            return self.of_deal_in(con, deal)

    def returns(self, *, state: str | None = None, file: str | None = None) -> list[Any]:
        """Money on its way back, by number; in one state, of one file, or all."""
        own = sa.select(market_return).order_by(market_return.c.id)
        if file is not None:
            own = own.where(market_return.c.file == file)
        return self._book.query(own if state is None else own.where(market_return.c.state == state))

    def files(self, name: str | None = None) -> list[Any]:
        """Files for the bank, or one by its id, the latest first."""
        own = sa.select(market_return_file).order_by(market_return_file.c.made_at.desc(), market_return_file.c.id)
        return self._book.query(own if name is None else own.where(market_return_file.c.id == name))

    # -- in somebody's transaction ----------------------------------------------------------------------------

    def one_in(self, con: sa.Connection, entry: str) -> Any | None:
        """A payment by the bank's number."""
        return con.execute(sa.select(market_payment).where(market_payment.c.entry == entry)).first()

    def of_deal_in(self, con: sa.Connection, deal: int) -> list[Any]:
        """Payments for a deal, in the order of reading."""
        own = sa.select(market_payment).where(market_payment.c.deal == deal).order_by(market_payment.c.id)
        return list(con.execute(own))

    def waiting_for(self, con: sa.Connection, deal: int) -> list[Any]:
        """Payments that wait for a deal, in the order of reading."""
        return [row for row in self.of_deal_in(con, deal) if row.state == PaymentState.WAITING]

    def held_by(self, con: sa.Connection, holder: str) -> int:
        """What of payments, neither used nor sent back, is in an account of money."""
        rest = market_payment.c.amount_fen - market_payment.c.used_fen - market_payment.c.sent_fen
        own = sa.select(sa.func.coalesce(sa.func.sum(rest), 0)).where(market_payment.c.holder == holder)
        return int(con.execute(own).scalar_one())

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a payment, nothing of it used."""
        con.execute(
            market_payment.insert(), {"used_fen": 0, "sent_fen": 0, **values, "id": next_number(con, market_payment)}
        )

    def change(self, con: sa.Connection, entry: str, values: Mapping[str, Any]) -> None:
        """Say where a payment stands by now."""
        con.execute(market_payment.update().where(market_payment.c.entry == entry).values(**values))

    def use(self, con: sa.Connection, row: Any, amount: int, purpose: str, at: str) -> int:
        """Use so much of a payment for a deal or a pledge; returns what is left of it."""
        said = {"entry": row.entry, "purpose": purpose, "amount_fen": amount, "made_at": at}
        con.execute(market_payment_use.insert(), said)
        left = rest_of(row) - amount
        state = PaymentState.SURPLUS if left else PaymentState.SETTLED
        self.change(con, row.entry, {"used_fen": row.used_fen + amount, "state": state.value, "changed_at": at})
        return left

    def return_named(self, con: sa.Connection, reference: str) -> Any | None:
        """Money on its way back by the reference of whoever asked for it."""
        return con.execute(sa.select(market_return).where(market_return.c.reference == reference)).first()

    def returns_in(self, con: sa.Connection, names: Iterable[str]) -> dict[str, Any]:
        """Money on its way back by the names that the bank knows."""
        own = sa.select(market_return).where(market_return.c.name.in_(sorted(set(names))))
        return {row.name: row for row in con.execute(own)}

    def returns_of(self, con: sa.Connection, entry: str) -> list[Any]:
        """Every try to send a payment back, in order."""
        own = sa.select(market_return).where(market_return.c.entry == entry).order_by(market_return.c.id)
        return list(con.execute(own))

    def payouts_of(self, con: sa.Connection, account: str) -> int:
        """How many payouts of an account's proceeds the bank has not answered for."""
        under_way = market_return.c.state.in_([ReturnState.ASKED.value, ReturnState.IN_FILE.value])
        own = (market_return.c.account == account) & market_return.c.entry.is_(None) & under_way
        return int(con.execute(sa.select(sa.func.count()).where(own)).scalar_one())

    def asked_in(self, con: sa.Connection) -> list[Any]:
        """Money that is to go back and is in no file yet."""
        own = sa.select(market_return).where(market_return.c.state == ReturnState.ASKED).order_by(market_return.c.id)
        return list(con.execute(own))

    def next_return(self, con: sa.Connection) -> int:
        """The number of the next money that goes back."""
        return next_number(con, market_return)

    def add_return(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep money that is to go back."""
        con.execute(market_return.insert(), {"state": ReturnState.ASKED.value, **values})

    def change_return(self, con: sa.Connection, number: int, values: Mapping[str, Any]) -> None:
        """Say where money on its way back is."""
        con.execute(market_return.update().where(market_return.c.id == number).values(**values))

    def add_file(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep that a file for the bank was made."""
        con.execute(market_return_file.insert(), dict(values))
