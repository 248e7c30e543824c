"""Parties of the market (市场主体): organisations that may hold units, and the documents by which they are known.

A contact, a bank account and a document are sealed with a key outside the database. What is said of a party here
changes; who changed it is in the audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata

RECEIVED, ACCEPTED, REFUSED = "received", "accepted", "refused"
"""States of a document."""

market_party = sa.Table(
    "market_party",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("title", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("credit_code", TEXT, unique=True),  # NULL for one that has none
    sa.Column("contact", TEXT),  # sealed JSON; NULL once it is forgotten
    sa.Column("bank_account", TEXT),  # sealed; where money goes back to, and the only one it should come from
    sa.Column("request", TEXT, nullable=False),  # keyed hash of what was said in the application
    sa.Column("state", TEXT, nullable=False),
    sa.Column("note", TEXT),  # why it was refused or suspended
    sa.Column("applied_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
)
party_document = sa.Table(
    "party_document",
    metadata,
    sa.Column("id", TEXT, primary_key=True),  # party and digest
    sa.Column("party", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("digest", TEXT, nullable=False),  # SHA-256 of the content
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sealed", TEXT),  # the content in base64; NULL once it is forgotten
    sa.Column("state", TEXT, nullable=False),
    sa.Column("note", TEXT),
    sa.Column("received_at", TEXT, nullable=False),
    sa.Index("party_document_party", "party", "received_at"),
)
_SHOWN = [column for column in party_document.c if column.name != "sealed"]


class Parties:
    """The parties of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def row(self, name: str) -> Any | None:
        """A party by its id."""
        with self._book.reading() as con:
            return self.row_in(con, name)

    def page(self, after: str, limit: int, state: str | None = None) -> list[Any]:
        """Parties by id after one, in one state or all."""
        own = sa.select(market_party).where(market_party.c.id > after)
        if state is not None:
            own = own.where(market_party.c.state == state)
        return self._book.query(own.order_by(market_party.c.id).limit(limit))

    def documents(self, party: str) -> list[Any]:
        """The documents of a party without their contents, in the order in which they came."""
        own = sa.select(*_SHOWN).where(party_document.c.party == party)
        return self._book.query(own.order_by(party_document.c.received_at, party_document.c.id))

    def document(self, name: str) -> Any | None:
        """A document with its sealed content."""
        rows = self._book.query(sa.select(party_document).where(party_document.c.id == name))
        return rows[0] if rows else None

    # -- in somebody's transaction ----------------------------------------------------------------------------

    def row_in(self, con: sa.Connection, name: str) -> Any | None:
        """A party by its id."""
        return con.execute(sa.select(market_party).where(market_party.c.id == name)).first()

    def has_code(self, con: sa.Connection, credit_code: str) -> bool:
        """Whether any party has a number."""
        own = sa.select(market_party.c.id).where(market_party.c.credit_code == credit_code)
        return con.execute(own).first() is not None

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a new party."""
        con.execute(market_party.insert(), dict(values))

    def change(self, con: sa.Connection, name: str, values: Mapping[str, Any]) -> None:
        """Say something of a party anew."""
        con.execute(market_party.update().where(market_party.c.id == name).values(**values))

    def states_of_documents(self, con: sa.Connection, party: str) -> list[str]:
        """The states of a party's documents."""
        own = sa.select(party_document.c.state).where(party_document.c.party == party)
        return [row.state for row in con.execute(own)]

    def add_document(self, con: sa.Connection, values: Mapping[str, Any]) -> bool:
        """Keep a document; False where the very same was kept before."""
        known = sa.select(party_document.c.id).where(party_document.c.id == values["id"])
        if con.execute(known).first() is not None:
            return False
        con.execute(party_document.insert(), dict(values))
        return True

    def judge(self, con: sa.Connection, document: str, state: str, note: str | None) -> bool:
        """Say what is thought of a document; whether there is such a one."""
        own = party_document.c.id == document
        return bool(con.execute(party_document.update().where(own).values(state=state, note=note)).rowcount)

    def forget(self, con: sa.Connection, party: str) -> None:
        """Let go whom to ask at a party, its bank account and what its documents say; their digests stay."""
        self.change(con, party, {"contact": None, "bank_account": None})
        own = party_document.c.party == party
        con.execute(party_document.update().where(own).values(sealed=None))
