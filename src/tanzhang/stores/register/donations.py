"""Donations (捐赠): projects that can be given to, and what was given to each.

What is said of a project is a whole document; each change is a new version. A gift of grams is a transfer of kind
``donate`` in unit ``donated_mg``, from the person to the account of the project; a gift of points is a move of kind
``donate``. A row here joins the two with the project, in the order in which the log's entries commit to them. Whose a
gift was goes with the person; the rest of the row stays, so that totals and proofs do.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.donation import DONATIONS, Gift
from tanzhang.stores.book import Book, system_account
from tanzhang.stores.book.schema import TEXT, metadata
from tanzhang.stores.register.log_rows import PersonalLogRows
from tanzhang.stores.register.said import Said, said_table

DONATE = "donate"
"""The kind of the transfers and of the moves of points that are gifts."""

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
)
# What the gifts above come to, added up with each of them, so that a page of a project does not read them all.
donation_total = sa.Table(
    "donation_total",
    metadata,
    sa.Column("project", TEXT, nullable=False),
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("givers", sa.BigInteger, nullable=False),  # whose first gift to the project was in this unit
    sa.PrimaryKeyConstraint("project", "unit"),
)
_GIVEN = """
INSERT INTO donation_total (project, unit, amount, givers) VALUES (:of_project, :of_unit, :more, :new)
ON CONFLICT (project, unit)
DO UPDATE SET amount = donation_total.amount + excluded.amount, givers = donation_total.givers + excluded.givers
"""


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


class Donations(PersonalLogRows[Gift]):
    """Projects and gifts of a home."""

    def __init__(self, book: Book) -> None:
        super().__init__(book, donation, DONATIONS, gift_of)
        self.said = Said(book, donation_project)
        """The projects."""

    def given(self, project: str) -> Given:
        """What a project was given in all."""
        rows = self._book.query(sa.select(donation_total).where(donation_total.c.project == project))
        return Given({row.unit: row.amount for row in rows}, sum(row.givers for row in rows))

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> int:
        """In somebody's transaction: keep the next gift; returns its number."""
        seq = self.next_seq(con)
        same = (donation.c.account == values["account"]) & (donation.c.project == values["project"])
        known = con.execute(sa.select(donation.c.seq).where(same).limit(1)).first()
        first = int(known is None)
        con.execute(donation.insert(), {**values, "seq": seq, "first": first})
        more = {"of_project": values["project"], "of_unit": values["unit"], "more": values["amount"], "new": first}
        con.execute(sa.text(_GIVEN), more)
        return seq


def gift_of(row: Any) -> Gift:
    """A row as the log commits to it."""
    return Gift(row.id, row.project, row.unit, row.amount, row.made_at)
