"""Rows of a table that the log commits to some at a time, as :mod:`tanzhang.core.log_tree` says it.

Such a table has ``seq`` from 0 on without a gap, and ``id``. Entries come with the next batch or epoch, so that an
entry tells little of one person, or at once where its register asks for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from tanzhang.core.log_tree import LogRow, LogTree, added
from tanzhang.stores.book import Book, entry
from tanzhang.stores.book.schema import append

R = TypeVar("R", bound=LogRow)
_AT_ONCE = 500


class LogRows(Generic[R]):
    """The rows of one table. ``row_of`` makes of a row what the log commits to."""

    def __init__(self, book: Book, table: sa.Table, tree: LogTree[R], row_of: Callable[[Any], R]) -> None:
        self._book, self._table = book, table
        self.tree = tree
        self.row_of = row_of

    def row(self, name: str) -> Any | None:
        """A row by its id."""
        rows = self._book.query(sa.select(self._table).where(self._table.c.id == name))
        return rows[0] if rows else None

    def rows(self, first: int = 0, stop: int | None = None) -> list[Any]:
        """Rows number ``first`` to ``stop - 1`` (default: all that follow), in order."""
        wanted = self._table.c.seq >= first
        if stop is not None:
            wanted &= self._table.c.seq < stop
        return self._book.query(sa.select(self._table).where(wanted).order_by(self._table.c.seq))

    def sealed(self, last: int | None = None) -> list[tuple[int, str]]:
        """Index in the log and text of every entry that commits to rows, or of the ``last`` ones, in order."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == self.tree.kind)
        found = self._book.query(own.order_by(entry.c.seq.desc()).limit(last))
        return [(row.seq, row.text) for row in reversed(found)]

    def seal(self, con: sa.Connection, programme: str) -> None:
        """In somebody's transaction: give the log an entry over rows that none commits to yet, if there are any."""
        own = sa.select(entry.c.text).where(entry.c.kind == self.tree.kind).order_by(entry.c.seq.desc()).limit(1)
        last = con.execute(own).scalar()
        before = None if last is None else self.tree.parse(last)
        first, totals = (0, {}) if before is None else (before.rows, before.totals)
        found = con.execute(sa.select(self._table).where(self._table.c.seq >= first).order_by(self._table.c.seq))
        rows = [self.row_of(row) for row in found]
        if rows:
            text = self.tree.text(self.tree.entry(programme, first, rows, added(totals, rows)))
            append(con, entry, {"kind": self.tree.kind, "text": text})

    def next_seq(self, con: sa.Connection) -> int:
        """In somebody's transaction: the number of the next row."""
        last = con.execute(sa.select(sa.func.max(self._table.c.seq))).scalar()
        return 0 if last is None else int(last) + 1


class PersonalLogRows(LogRows[R]):
    """Rows that are an account's each, until its person is erased; the log does not say whose."""

    def of(self, accounts: Sequence[str], *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """The rows of accounts, the latest first, those before number ``before``."""
        own = sa.select(self._table).where(self._table.c.account.in_(list(accounts)))
        if before is not None:
            own = own.where(self._table.c.seq < before)
        return self._book.query(own.order_by(self._table.c.seq.desc()).limit(limit))

    def has_of(self, accounts: Sequence[str]) -> bool:
        """Whether any of many accounts has a row."""
        parts = (accounts[start : start + _AT_ONCE] for start in range(0, len(accounts), _AT_ONCE))
        return any(self.of(some, limit=1) for some in parts)

    def forget(self, con: sa.Connection, accounts: Sequence[str]) -> int:
        """In somebody's transaction: rows of accounts say no more whose they were; returns how many."""
        count = 0
        for start in range(0, len(accounts), _AT_ONCE):
            some = self._table.c.account.in_(accounts[start : start + _AT_ONCE])
            count += con.execute(self._table.update().where(some).values(account="")).rowcount
        return count
