"""Publications of market terms: entries of the log."""

from __future__ import annotations

import sqlalchemy as sa

from tanzhang.core.market import KIND, Published
from tanzhang.stores.book import Book, append, entry


class MarketTerms:
    """Which terms a home gave the log, in order."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def published(self, con: sa.Connection | None = None) -> list[tuple[int, Published]]:
        """Index in the log and content of every publication, whether or not the log has it yet."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        rows = self._book.query(own) if con is None else con.execute(own)
        return [(row.seq, Published.parse(row.text)) for row in rows]

    def texts(self) -> list[tuple[int, str]]:
        """Index in the log and text of every publication, as the book has it."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return [(row.seq, row.text) for row in self._book.query(own)]

    def add(self, con: sa.Connection, said: Published) -> int:
        """In somebody's transaction: give the log an entry; returns its index."""
        return append(con, entry, {"kind": KIND, "text": said.to_text()})
