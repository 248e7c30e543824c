"""Documents that an operator says anew: each change is a version of its own, and what was said stays."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata


def said_table(name: str) -> sa.Table:
    """The table of documents of one kind, by id and version."""
    return sa.Table(
        name,
        metadata,
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", TEXT, nullable=False),  # canonical JSON
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )


class Said:
    """The documents of a table made by :func:`said_table`."""

    def __init__(self, book: Book, table: sa.Table) -> None:
        self._book, self._table = book, table

    def one(self, name: str, version: int | None = None) -> Any | None:
        """A version of a document, the last one by default."""
        own = self._of(name)
        if version is not None:
            own = own.where(self._table.c.version == version)
        rows = self._book.query(own.limit(1))
        return rows[0] if rows else None

    def all(self, after: str = "", limit: int | None = None) -> list[Any]:
        """The last version of every document whose id comes after another, by id."""
        own = self._table
        last = sa.select(sa.func.max(own.c.version).label("version"), own.c.id)
        latest = last.where(own.c.id > after).group_by(own.c.id).subquery()
        same = (own.c.id == latest.c.id) & (own.c.version == latest.c.version)
        return self._book.query(sa.select(own).join(latest, same).order_by(own.c.id).limit(limit))

    def versions(self) -> list[Any]:
        """Every version of every document there ever was."""
        own = self._table
        return self._book.query(sa.select(own).order_by(own.c.id, own.c.version))

    def say(
        self, con: sa.Connection, name: str, document: str, at: str, *, seen: int | None = None
    ) -> tuple[int, bool]:
        """In somebody's transaction: what holds from now on; its version, and whether it is new.

        ``seen`` is the last version as the caller knows it, 0 for none: ``resource-changed`` if there is another one.
        """
        last = con.execute(self._of(name).limit(1)).first()
        there = 0 if last is None else int(last.version)
        if seen not in (None, there):
            raise refuse(
                "resource-changed",
                f"{name} has version {there} by now, not {seen}",
                where="header: If-Match",
                remedy="read it again, and change what stands there",
            )
        if last is not None and last.document == document:
            return int(last.version), False
        version = 1 if last is None else last.version + 1
        row = {"id": name, "version": version, "document": document, "recorded_at": at}
        con.execute(self._table.insert(), row)
        return version, True

    def _of(self, name: str) -> sa.Select[Any]:
        """The versions of a document, the last one first."""
        own = self._table
        return sa.select(own).where(own.c.id == name).order_by(own.c.version.desc())
