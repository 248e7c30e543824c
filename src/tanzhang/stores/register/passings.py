"""Passing on (转出): schemes that grams go to and come from, and what went and came.

What is said of a scheme is a whole document; each change is a new version. What a person passed on is a transfer of
kind ``pass_on`` in unit ``passed_mg`` to the account ``passed:<scheme>``; what was received is one of kind ``receive``
in unit ``received_mg`` from ``received:<scheme>``. A row here joins the two with the scheme, in the order in which the
log's entries commit to them. Whose it was goes with the person; the rest stays, so that totals and proofs do.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.passing import PASSED, PASSINGS, RECEIVED, Passing
from tanzhang.stores.book import Book, system_account
from tanzhang.stores.book.schema import TEXT, metadata
from tanzhang.stores.register.log_rows import PersonalLogRows
from tanzhang.stores.register.said import Said, said_table

PASS_ON, RECEIVE = "pass_on", "receive"
"""The kinds of transfers to and from schemes."""

passing_scheme = said_table("passing_scheme")
passing = sa.Table(
    "passing",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False),
    sa.Column("scheme", TEXT, nullable=False),
    sa.Column("log", TEXT, nullable=False),  # of the other side; empty where that has none
    sa.Column("to", TEXT, nullable=False),  # commitment to the account at the receiver; empty where log is
    sa.Column("account", TEXT, nullable=False),  # here; empty once the person was erased
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("rehearsal", sa.Boolean, nullable=False),
    sa.Column("transfer", sa.Integer, nullable=False),  # its number
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # of the scheme, as it was then
    sa.Column("file", TEXT),  # by which it was received; it names nobody
    sa.Index("passing_once", "id", "log", "unit", unique=True),  # a file is taken in once
    sa.Index("passing_account", "account", "seq"),
    sa.Index("passing_scheme_unit", "scheme", "unit"),
)


def account_of(scheme: str, unit: str) -> uuid.UUID:
    """The account of a scheme, which has what was passed on to it, or less than nothing of what came from it."""
    return system_account(f"{'passed' if unit == PASSED else 'received'}:{scheme}")


def legs_of(row: Any) -> tuple[str, str]:
    """From and to which account a row's transfer is."""
    scheme = str(account_of(row.scheme, row.unit))
    return (row.account, scheme) if row.unit == PASSED else (scheme, row.account)


class Passings(PersonalLogRows[Passing]):
    """Schemes, what was passed on to them, and what was received from them."""

    def __init__(self, book: Book) -> None:
        super().__init__(book, passing, PASSINGS, passing_of)
        self.said = Said(book, passing_scheme)
        """The schemes."""

    def one(self, name: str, unit: str, log: str | None = None) -> Any | None:
        """What was passed on under an id, or received (from ``log``)."""
        own = (passing.c.id == name) & (passing.c.unit == unit)
        if log is not None:
            own &= passing.c.log == log
        rows = self._book.query(sa.select(passing).where(own))
        return rows[0] if rows else None

    def sums(self, scheme: str) -> dict[str, int]:
        """Unit -> what was passed on to a scheme and received from it in all."""
        own = sa.select(passing.c.unit, sa.func.sum(passing.c.amount)).where(passing.c.scheme == scheme)
        found = {unit: int(amount) for unit, amount in self._book.query(own.group_by(passing.c.unit))}
        return {unit: found.get(unit, 0) for unit in (PASSED, RECEIVED)}

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """In somebody's transaction: keep the next one."""
        con.execute(passing.insert(), {**values, "seq": self.next_seq(con)})


def passing_of(row: Any) -> Passing:
    """A row as the log commits to it."""
    return Passing(row.id, row.scheme, row.log, row.to, row.unit, row.amount, bool(row.rehearsal), row.made_at)
