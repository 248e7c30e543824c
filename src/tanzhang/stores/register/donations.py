"""Donations (捐赠): projects that can be given to, and what was given to each.

What is said of a project is a whole document; each change is a new version. A gift of grams is a transfer of kind
``donate`` in unit ``donated_mg``, from the person to the account of the project; a gift of points is a move of kind
``donate``. A row here joins the two with the project, in the order in which the log's entries commit to them. Whose a
gift was goes with the person; the rest of the row stays, so that totals and proofs do.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.donation import KIND, Gift, Sealed
from tanzhang.stores.book import Book, entry, system_account
from tanzhang.stores.book.schema import TEXT, append, metadata
from tanzhang.stores.register.said import Said, said_table

DONATE = "donate"
"""The kind of the transfers and of the moves of points that are gifts."""
_AT_ONCE = 500

donation_project = said_table("donation_project")
donation = sa.Table(
    "donation",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("project", TEXT, nullable=False),
    sa.Column("account", TEXT, nullable=False),  # empty once the person was erased
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("transfer", sa.Integer),  # its number, of a gift of grams
    sa.Column("first", sa.Integer, nullable=False),  # 1 if it is the first one of this giver to this project
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("donation_account", "account", "seq"),
    sa.Index("donation_project_unit", "project", "unit"),
)


@dataclass(frozen=True, slots=True)
class Given:
    """What a project was given in all: amounts by unit, and by how many givers."""

    amounts: Mapping[str, int]
    givers: int


def counter_of(project: str) -> str:
    """The name of a project's side of every gift."""
    return f"donation:{project}"


def account_of(project: str) -> uuid.UUID:
    """The account of a project, which holds what was given to it in grams."""
    return system_account(counter_of(project))


class Donations:
    """Projects and gifts of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.said = Said(book, donation_project)
        """The projects."""

    # -- gifts ------------------------------------------------------------------------------------------------

    def row(self, name: str) -> Any | None:
        """A gift by its id."""
        rows = self._book.query(sa.select(donation).where(donation.c.id == name))
        return rows[0] if rows else None

    def of(self, accounts: Sequence[str], *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """The gifts of accounts, the latest first, those before number ``before``."""
        own = sa.select(donation).where(donation.c.account.in_(list(accounts)))
        if before is not None:
            own = own.where(donation.c.seq < before)
        return self._book.query(own.order_by(donation.c.seq.desc()).limit(limit))

    def has_of(self, accounts: Sequence[str]) -> bool:
        """Whether any of many accounts gave something."""
        parts = (accounts[start : start + _AT_ONCE] for start in range(0, len(accounts), _AT_ONCE))
        return any(self.of(some, limit=1) for some in parts)

    def rows(self, first: int = 0, stop: int | None = None) -> list[Any]:
        """Gifts number ``first`` to ``stop - 1`` (default: all that follow), in order."""
        wanted = donation.c.seq >= first
        if stop is not None:
            wanted &= donation.c.seq < stop
        return self._book.query(sa.select(donation).where(wanted).order_by(donation.c.seq))

    def given(self, project: str) -> Given:
        """What a project was given in all."""
        columns = (donation.c.unit, sa.func.sum(donation.c.amount), sa.func.sum(donation.c.first))
        own = sa.select(*columns).where(donation.c.project == project).group_by(donation.c.unit)
        rows = self._book.query(own)
        return Given({unit: int(amount) for unit, amount, _ in rows}, sum(int(first) for *_, first in rows))

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> int:
        """In somebody's transaction: keep the next gift; returns its number."""
        last = con.execute(sa.select(sa.func.max(donation.c.seq))).scalar()
        seq = 0 if last is None else int(last) + 1
        same = (donation.c.account == values["account"]) & (donation.c.project == values["project"])
        known = con.execute(sa.select(donation.c.seq).where(same).limit(1)).first()
        con.execute(donation.insert(), {**values, "seq": seq, "first": int(known is None)})
        return seq

    def forget(self, con: sa.Connection, accounts: Sequence[str]) -> int:
        """In somebody's transaction: gifts of accounts say no more whose they were; returns how many."""
        count = 0
        for start in range(0, len(accounts), _AT_ONCE):
            some = donation.c.account.in_(accounts[start : start + _AT_ONCE])
            count += con.execute(donation.update().where(some).values(account="")).rowcount
        return count

    # -- the log ----------------------------------------------------------------------------------------------

    def sealed(self) -> list[tuple[int, str]]:
        """Index in the log and text of every entry that commits to gifts, in order."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return [(row.seq, row.text) for row in self._book.query(own)]

    def seal(self, con: sa.Connection, programme: str) -> None:
        """In somebody's transaction: give the log an entry over gifts that none commits to yet, if there are any."""
        own = sa.select(entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq.desc()).limit(1)
        last = con.execute(own).scalar()
        before = None if last is None else Sealed.parse(last)
        first, totals = (0, {}) if before is None else (before.rows, before.totals)
        rows = list(con.execute(sa.select(donation).where(donation.c.seq >= first).order_by(donation.c.seq)))
        if rows:
            gifts = [gift_of(row) for row in rows]
            text = Sealed.of(programme, first, gifts, added(totals, gifts)).to_text()
            append(con, entry, {"kind": KIND, "text": text})


def gift_of(row: Any) -> Gift:
    """A row as the log commits to it."""
    return Gift(row.id, row.project, row.unit, row.amount, row.made_at)


def added(totals: Mapping[str, Mapping[str, int]], gifts: Sequence[Gift]) -> dict[str, dict[str, int]]:
    """Totals by project and unit, and gifts on top of them."""
    found = {project: dict(sums) for project, sums in totals.items()}
    for gift in gifts:
        sums = found.setdefault(gift.project, {})
        sums[gift.unit] = sums.get(gift.unit, 0) + gift.amount
    return found
