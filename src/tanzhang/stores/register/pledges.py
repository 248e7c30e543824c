"""Pledges of sponsors (赞助加价): who adds how much to which prices, up to what, and what was added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata
from tanzhang.stores.register.deals import next_number

OPEN, SPENT, ENDED = "open", "spent", "ended"
UNIT, TONNE = "unit", "tonne"

market_pledge = sa.Table(
    "market_pledge",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("sponsor", TEXT, nullable=False),  # a party
    sa.Column("fen", sa.BigInteger, nullable=False),
    sa.Column("per", TEXT, nullable=False),  # unit or tonne
    sa.Column("cap_fen", sa.BigInteger, nullable=False),
    sa.Column("spent_fen", sa.BigInteger, nullable=False),
    sa.Column("lot", sa.Integer),  # only units of this lot; NULL for every lot
    sa.Column("vintage", sa.Integer),  # only units of this vintage
    sa.Column("state", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),  # the sponsor's
    sa.Column("source", TEXT, nullable=False),  # where the sponsor said so
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.UniqueConstraint("sponsor", "reference"),
)
market_pledge_use = sa.Table(
    "market_pledge_use",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("pledge", sa.Integer, nullable=False),
    sa.Column("deal", sa.Integer, nullable=False),
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.UniqueConstraint("pledge", "deal"),
    info={ONLY_ADDED: True},
)


class Pledges:
    """The pledges of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def one(self, number: int) -> Any | None:
        """A pledge by its number."""
        with self._book.reading() as con:
            return self.one_in(con, number)

    def page(self, before: int | None, limit: int, *, sponsor: str | None = None) -> list[Any]:
        """Pledges, the latest first, those before a number; of one sponsor or all."""
        own = sa.select(market_pledge).order_by(market_pledge.c.id.desc()).limit(limit)
        if before is not None:
            own = own.where(market_pledge.c.id < before)
        return self._book.query(own if sponsor is None else own.where(market_pledge.c.sponsor == sponsor))

    def all(self) -> list[Any]:
        """Every pledge, by number."""
        return self._book.query(sa.select(market_pledge).order_by(market_pledge.c.id))

    def uses(self, deal: int | None = None) -> list[Any]:
        """What was added to a deal, or to all, in order."""
        own = sa.select(market_pledge_use).order_by(market_pledge_use.c.id)
        return self._book.query(own if deal is None else own.where(market_pledge_use.c.deal == deal))

    # -- in somebody's transaction ----------------------------------------------------------------------------

    def one_in(self, con: sa.Connection, number: int) -> Any | None:
        """A pledge by its number."""
        return con.execute(sa.select(market_pledge).where(market_pledge.c.id == number)).first()

    def named(self, con: sa.Connection, sponsor: str, reference: str) -> Any | None:
        """A pledge by its sponsor's reference."""
        own = (market_pledge.c.sponsor == sponsor) & (market_pledge.c.reference == reference)
        return con.execute(sa.select(market_pledge).where(own)).first()

    def open_for(self, con: sa.Connection, lot: int, vintage: int) -> list[Any]:
        """Pledges that add to sales of a lot of a vintage, in the order in which they were made."""
        own = market_pledge.c.state == OPEN
        own &= market_pledge.c.lot.is_(None) | (market_pledge.c.lot == lot)
        own &= market_pledge.c.vintage.is_(None) | (market_pledge.c.vintage == vintage)
        return list(con.execute(sa.select(market_pledge).where(own).order_by(market_pledge.c.id)))

    def open_of(self, con: sa.Connection, sponsor: str) -> list[Any]:
        """Pledges of a sponsor that still add to sales."""
        own = (market_pledge.c.sponsor == sponsor) & (market_pledge.c.state == OPEN)
        return list(con.execute(sa.select(market_pledge).where(own).order_by(market_pledge.c.id)))

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> int:
        """Keep a new pledge; returns its number."""
        number = next_number(con, market_pledge)
        con.execute(market_pledge.insert(), {**values, "id": number, "spent_fen": 0, "state": OPEN})
        return number

    def change(self, con: sa.Connection, number: int, values: Mapping[str, Any]) -> None:
        """Say where a pledge stands by now."""
        con.execute(market_pledge.update().where(market_pledge.c.id == number).values(**values))

    def spend(self, con: sa.Connection, row: Any, deal: int, amount: int, at: str) -> None:
        """Add so much to a deal; the pledge is spent once nothing is left of it."""
        con.execute(market_pledge_use.insert(), {"pledge": row.id, "deal": deal, "amount_fen": amount, "made_at": at})
        spent = row.spent_fen + amount
        over = {"state": SPENT, "ended_at": at} if spent >= row.cap_fen else {}
        self.change(con, row.id, {"spent_fen": spent, **over})
