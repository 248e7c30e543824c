"""Auctions (竞价) and their bids. What is bid is sealed until the close; its commitment stands from the start.

A sealed bid is opened by closing alone, and stands in the clear from then on, with what it got. Rows of bids are never
taken out: one that was withdrawn keeps its place and its commitment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book, append, entry
from tanzhang.stores.book.schema import TEXT, metadata
from tanzhang.stores.register.deals import next_number

KIND = "auction"
"""Of entries of the log about results."""
OPEN, CLEARED, VOID = "open", "cleared", "void"
PLACED, WITHDRAWN, EXCLUDED, WON, LOST = "placed", "withdrawn", "excluded", "won", "lost"
"""States of a bid. One is excluded whose bidder may not buy any more when the auction is closed."""

market_auction = sa.Table(
    "market_auction",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("seller", TEXT, nullable=False),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("reserve_fen", sa.BigInteger, nullable=False),  # a unit
    sa.Column("opens_at", TEXT, nullable=False),
    sa.Column("closes_at", TEXT, nullable=False),  # from then on no bid is taken, and the auction can be closed
    sa.Column("state", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Column("note", TEXT),
    # What closing decides; empty before.
    sa.Column("price_fen", sa.BigInteger),
    sa.Column("sold", sa.BigInteger),
    sa.Column("marginal", sa.Integer),
    sa.Column("bids", sa.Integer),
    sa.Column("digest", TEXT),
    sa.Column("entry", sa.Integer),
    sa.UniqueConstraint("seller", "reference"),
)
auction_bid = sa.Table(
    "auction_bid",
    metadata,
    sa.Column("id", TEXT, primary_key=True),  # auction and place
    sa.Column("auction", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),  # from 1
    sa.Column("bidder", TEXT, nullable=False),  # a party
    sa.Column("reference", TEXT, nullable=False),  # the bidder's
    sa.Column("commitment", TEXT, nullable=False),
    sa.Column("sealed", TEXT),  # JSON of units and price; NULL once the auction is closed
    sa.Column("state", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    # What is known once the auction is closed.
    sa.Column("units", sa.BigInteger),
    sa.Column("price_fen", sa.BigInteger),
    sa.Column("awarded", sa.BigInteger),
    sa.Column("deal", sa.Integer),
    sa.UniqueConstraint("auction", "place"),
    sa.UniqueConstraint("auction", "bidder", "reference"),
)


def reference_of(auction: int) -> str:
    """What the units of an auction are reserved for until it is closed."""
    return f"auction:{auction}"


class Auctions:
    """The auctions of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def one(self, number: int) -> Any | None:
        """An auction by its number."""
        with self._book.reading() as con:
            return self.one_in(con, number)

    def page(self, before: int | None, limit: int) -> list[Any]:
        """Auctions, the latest first, those before a number."""
        own = sa.select(market_auction).order_by(market_auction.c.id.desc()).limit(limit)
        return self._book.query(own if before is None else own.where(market_auction.c.id < before))

    def all(self) -> list[Any]:
        """Every auction, by number."""
        return self._book.query(sa.select(market_auction).order_by(market_auction.c.id))

    def bids(self, auction: int, *, bidder: str | None = None) -> list[Any]:
        """The bids of an auction by place, of one bidder or all."""
        with self._book.reading() as con:
            found = self.bids_in(con, auction)
        return [row for row in found if bidder is None or row.bidder == bidder]

    def due(self, at: str) -> list[int]:
        """Open auctions whose close has come."""
        own = (market_auction.c.state == OPEN) & (market_auction.c.closes_at <= at)
        return [row.id for row in self._book.query(sa.select(market_auction.c.id).where(own))]

    def waits(self) -> bool:
        """Whether any auction is open."""
        return bool(self._book.query(sa.select(market_auction.c.id).where(market_auction.c.state == OPEN).limit(1)))

    def entries(self) -> dict[int, str]:
        """Index in the log and text of every entry about a result."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return {row.seq: row.text for row in self._book.query(own)}

    # -- in somebody's transaction ----------------------------------------------------------------------------

    def one_in(self, con: sa.Connection, number: int) -> Any | None:
        """An auction by its number."""
        return con.execute(sa.select(market_auction).where(market_auction.c.id == number)).first()

    def named(self, con: sa.Connection, seller: str, reference: str) -> Any | None:
        """An auction by its seller's reference."""
        own = (market_auction.c.seller == seller) & (market_auction.c.reference == reference)
        return con.execute(sa.select(market_auction).where(own)).first()

    def next_auction(self, con: sa.Connection) -> int:
        """The number that the next auction has."""
        return next_number(con, market_auction)

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a new auction, open."""
        con.execute(market_auction.insert(), {**values, "state": OPEN})

    def change(self, con: sa.Connection, number: int, values: Mapping[str, Any]) -> None:
        """Say where an auction stands by now."""
        con.execute(market_auction.update().where(market_auction.c.id == number).values(**values))

    def bids_in(self, con: sa.Connection, auction: int) -> list[Any]:
        """The bids of an auction by place."""
        own = sa.select(auction_bid).where(auction_bid.c.auction == auction).order_by(auction_bid.c.place)
        return list(con.execute(own))

    def add_bid(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a bid in its place."""
        con.execute(auction_bid.insert(), {**values, "state": PLACED})

    def change_bid(self, con: sa.Connection, name: str, values: Mapping[str, Any]) -> None:
        """Say what became of a bid."""
        con.execute(auction_bid.update().where(auction_bid.c.id == name).values(**values))

    def seal_result(self, con: sa.Connection, text: str) -> int:
        """Give the log an entry about a result; returns its index."""
        return append(con, entry, {"kind": KIND, "text": text})
