"""Deals over units (交易): standing offers, what was agreed, every change of it, and what was delivered in what order.

Units are reserved in the register of units under ``deal:<number>``, money moves under the same name, in the same
transactions. Whoever asks names an offer or a deal by a reference of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.deal import FOLLOWING, DealState
from tanzhang.core.units import PROGRAMME
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata

OPEN, ENDED = "open", "ended"
BEGUN = "begun"
"""What the first change of a deal comes from."""

market_offer = sa.Table(
    "market_offer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("seller", TEXT, nullable=False),  # programme, or a party
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("left", sa.BigInteger, nullable=False),
    sa.Column("price_fen", sa.BigInteger, nullable=False),  # a unit
    sa.Column("until", TEXT, nullable=False),  # the moment from which on it cannot be accepted
    sa.Column("buyer", TEXT),  # the one party it is for; NULL for every party
    sa.Column("state", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.UniqueConstraint("seller", "reference"),
)
market_deal = sa.Table(
    "market_deal",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("source", TEXT, nullable=False),  # offer:<id>, auction:<id> or agreed
    sa.Column("seller", TEXT, nullable=False),
    sa.Column("buyer", TEXT, nullable=False),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("price_fen", sa.BigInteger, nullable=False),
    sa.Column("gross_fen", sa.BigInteger, nullable=False),
    sa.Column("topup_fen", sa.BigInteger, nullable=False),  # of sponsors, known once it is delivered
    sa.Column("state", TEXT, nullable=False),
    sa.Column("due_day", TEXT, nullable=False),  # local; the last one on which it can be paid
    sa.Column("reference", TEXT, nullable=False),  # the buyer's
    sa.Column("delivered", sa.Integer, unique=True),  # from 1, in the order of delivery
    sa.Column("note", TEXT),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.UniqueConstraint("buyer", "reference"),
    sa.Index("market_deal_state", "state", "due_day"),
    sa.Index("market_deal_seller", "seller", "id"),
)
market_deal_event = sa.Table(
    "market_deal_event",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("deal", sa.Integer, nullable=False),
    sa.Column("before", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("by", TEXT, nullable=False),
    sa.Column("note", TEXT),
    sa.Index("market_deal_event_deal", "deal", "id"),
    info={ONLY_ADDED: True},
)


@dataclass(frozen=True, slots=True)
class Sale:
    """A delivered deal of units that the programme sold; ``number`` counts deliveries of all deals, from 1."""

    number: int
    id: int
    lot: int
    units: int
    gross_fen: int
    topup_fen: int
    made_at: str
    price_fen: int


def reference_of(deal: int) -> str:
    """What units are reserved for, and money moves under, for a deal."""
    return f"deal:{deal}"


class Deals:
    """The offers and deals of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def sales(self, after: int = 0, limit: int | None = None) -> list[Sale]:
        """Sales of the programme in the order of delivery, those whose number is greater than ``after``."""
        own = (market_deal.c.seller == PROGRAMME) & (market_deal.c.delivered > after)
        rows = self._book.query(sa.select(market_deal).where(own).order_by(market_deal.c.delivered).limit(limit))
        return [
            Sale(
                row.delivered, row.id, row.lot, row.units, row.gross_fen, row.topup_fen, row.changed_at, row.price_fen
            )
            for row in rows
        ]  # fmt: skip

    def deal(self, number: int) -> Any | None:
        """A deal by its number."""
        with self._book.reading() as con:
            return self.deal_in(con, number)

    def page(self, before: int | None, limit: int, *, party: str | None = None, state: str | None = None) -> list[Any]:
        """Deals with a smaller number than ``before``, the latest first: all, or those that a party buys or sells."""
        own = sa.select(market_deal).order_by(market_deal.c.id.desc()).limit(limit)
        if before is not None:
            own = own.where(market_deal.c.id < before)
        if party is not None:
            own = own.where((market_deal.c.buyer == party) | (market_deal.c.seller == party))
        return self._book.query(own if state is None else own.where(market_deal.c.state == state))

    def all(self) -> list[Any]:
        """Every deal, by number."""
        return self._book.query(sa.select(market_deal).order_by(market_deal.c.id))

    def events(self, deal: int | None = None) -> list[Any]:
        """The changes of a deal, or of all, in their order."""
        own = sa.select(market_deal_event).order_by(market_deal_event.c.id)
        return self._book.query(own if deal is None else own.where(market_deal_event.c.deal == deal))

    def overdue(self, day: str) -> list[int]:
        """Deals that wait for money that had to come before a local day."""
        own = (market_deal.c.state == DealState.AGREED) & (market_deal.c.due_day < day)
        return [row.id for row in self._book.query(sa.select(market_deal.c.id).where(own).order_by(market_deal.c.id))]

    def waits(self) -> bool:
        """Whether any deal waits for money."""
        own = sa.select(market_deal.c.id).where(market_deal.c.state == DealState.AGREED).limit(1)
        return bool(self._book.query(own))

    def offers(
        self,
        before: int | None,
        limit: int,
        *,
        at: str | None = None,
        buyer: str | None = None,
        seller: str | None = None,
    ) -> list[Any]:
        """Offers, the latest first: all, or those open ``at`` a moment for everybody and one buyer; of a seller."""
        own = sa.select(market_offer).order_by(market_offer.c.id.desc()).limit(limit)
        if before is not None:
            own = own.where(market_offer.c.id < before)
        if at is not None:
            own = own.where((market_offer.c.state == OPEN) & (market_offer.c.until > at) & (market_offer.c.left > 0))
            own = own.where(market_offer.c.buyer.is_(None) | (market_offer.c.buyer == (buyer or "")))
        return self._book.query(own if seller is None else own.where(market_offer.c.seller == seller))

    def offer(self, number: int) -> Any | None:
        """An offer by its number."""
        with self._book.reading() as con:
            return self.offer_in(con, number)

    # -- in somebody's transaction ----------------------------------------------------------------------------

    def offer_in(self, con: sa.Connection, number: int) -> Any | None:
        """An offer by its number."""
        return con.execute(sa.select(market_offer).where(market_offer.c.id == number)).first()

    def offer_named(self, con: sa.Connection, seller: str, reference: str) -> Any | None:
        """An offer by its seller's reference."""
        own = (market_offer.c.seller == seller) & (market_offer.c.reference == reference)
        return con.execute(sa.select(market_offer).where(own)).first()

    def add_offer(self, con: sa.Connection, values: Mapping[str, Any]) -> int:
        """Keep a new offer; returns its number."""
        number = next_number(con, market_offer)
        con.execute(market_offer.insert(), {**values, "id": number})
        return number

    def change_offer(self, con: sa.Connection, number: int, values: Mapping[str, Any]) -> None:
        """Say something of an offer anew."""
        con.execute(market_offer.update().where(market_offer.c.id == number).values(**values))

    def deal_in(self, con: sa.Connection, number: int) -> Any | None:
        """A deal by its number."""
        return con.execute(sa.select(market_deal).where(market_deal.c.id == number)).first()

    def deal_named(self, con: sa.Connection, buyer: str, reference: str) -> Any | None:
        """A deal by its buyer's reference."""
        own = (market_deal.c.buyer == buyer) & (market_deal.c.reference == reference)
        return con.execute(sa.select(market_deal).where(own)).first()

    def add(self, con: sa.Connection, number: int, values: Mapping[str, Any], *, by: str) -> None:
        """Keep a new deal, agreed."""
        con.execute(market_deal.insert(), {**values, "id": number, "state": DealState.AGREED.value})
        self._tell(con, number, BEGUN, DealState.AGREED, values["made_at"], by, None)

    def next_deal(self, con: sa.Connection) -> int:
        """The number that the next deal has."""
        return next_number(con, market_deal)

    def advance(
        self, con: sa.Connection, row: Any, to: DealState, *, at: str, by: str, note: str | None = None, **values: Any
    ) -> None:
        """Take a deal, as it was read in this transaction, to its next state; ValueError for what does not follow."""
        if to not in FOLLOWING[DealState(row.state)]:
            raise ValueError(f"deal {row.id} is {row.state} and cannot become {to}")
        if to is DealState.DELIVERED:
            last = con.execute(sa.select(sa.func.max(market_deal.c.delivered))).scalar()
            values["delivered"] = 1 + int(last or 0)
        said = {"state": to.value, "changed_at": at, "note": note, **values}
        con.execute(market_deal.update().where(market_deal.c.id == row.id).values(**said))
        self._tell(con, row.id, row.state, to, at, by, note)

    def note(self, con: sa.Connection, number: int, note: str | None) -> None:
        """Say why a deal stands where it stands."""
        con.execute(market_deal.update().where(market_deal.c.id == number).values(note=note))

    @staticmethod
    def _tell(con: sa.Connection, deal: int, before: str, state: DealState, at: str, by: str, note: str | None) -> None:
        said = {"deal": deal, "before": before, "state": state.value, "at": at, "by": by, "note": note}
        con.execute(market_deal_event.insert(), said)


def next_number(con: sa.Connection, table: sa.Table) -> int:
    """In somebody's transaction: the next number of a table that is counted from 1."""
    return 1 + int(con.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0)
