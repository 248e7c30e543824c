"""Retirements (注销): which units were used, for what, and what the public commitment to the beneficiary opens to.

Table ``retirement`` (stores/book/schema.py) is chained and names nobody; the log commits to its rows
(:mod:`tanzhang.core.retirement`). What a commitment is to is sealed with the key of personal fields, in a row beside it
that can be emptied: then nobody learns any more who it was, and the log stays as it is. Addenda correct the spelling of
names and notes; what they say changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.retirement import RETIREMENTS, Retirement
from tanzhang.stores.book import Book, append
from tanzhang.stores.book.schema import TEXT, metadata, retirement
from tanzhang.stores.register.log_rows import LogRows

retirement_opening = sa.Table(
    "retirement_opening",
    metadata,
    sa.Column("retirement", TEXT, primary_key=True),
    sa.Column("public", sa.Boolean, nullable=False),
    sa.Column("sealed", TEXT),  # the opening, sealed; empty once it was taken away
)
retirement_addendum = sa.Table(
    "retirement_addendum",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False, unique=True),  # of its retirement and reference
    sa.Column("retirement", TEXT, nullable=False),
    sa.Column("digest", TEXT, nullable=False),  # of the text, keyed; the audit trail has it too
    sa.Column("sealed", TEXT),  # the text, sealed; empty once it was taken away
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("retirement_addendum_retirement", "retirement", "seq"),
)


class Retirements(LogRows[Retirement]):
    """The retirements of a home."""

    def __init__(self, book: Book) -> None:
        super().__init__(book, retirement, RETIREMENTS, retirement_of)

    def page(self, *, before: int | None = None, limit: int | None = None, **wanted: Any) -> list[Any]:
        """Retirements, the latest first, those before number ``before``.

        ``wanted`` is any of lot, vintage, purpose, holder, since and until: those whose period of claim touches that.
        """
        own = sa.select(retirement)
        if before is not None:
            own = own.where(retirement.c.seq < before)
        for name in ("lot", "vintage", "purpose", "holder"):
            if wanted.get(name) is not None:
                own = own.where(retirement.c[name] == wanted[name])
        if wanted.get("since") is not None:
            own = own.where(retirement.c.until >= wanted["since"])
        if wanted.get("until") is not None:
            own = own.where(retirement.c.since <= wanted["until"])
        return self._book.query(own.order_by(retirement.c.seq.desc()).limit(limit))

    def opening(self, name: str) -> Any:
        """Whether the opening of a retirement is public, and it, sealed."""
        own = sa.select(retirement_opening).where(retirement_opening.c.retirement == name)
        return self._book.query(own)[0]

    def addenda(self, name: str | None = None) -> list[Any]:
        """Addenda to a retirement, or to all, in order."""
        own = sa.select(retirement_addendum).order_by(retirement_addendum.c.seq)
        if name is not None:
            own = own.where(retirement_addendum.c.retirement == name)
        return self._book.query(own)

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def add(self, con: sa.Connection, values: Mapping[str, Any], sealed: str, *, public: bool) -> None:
        """Keep a retirement and its sealed opening."""
        append(con, retirement, values)
        con.execute(retirement_opening.insert(), {"retirement": values["id"], "public": public, "sealed": sealed})

    def publish(self, con: sa.Connection, name: str) -> None:
        """Let everybody see what a commitment is to."""
        own = retirement_opening.c.retirement == name
        con.execute(retirement_opening.update().where(own).values(public=True))

    def forget(self, con: sa.Connection, name: str) -> None:
        """Let what a commitment is to go, and what addenda say."""
        con.execute(retirement_opening.update().where(retirement_opening.c.retirement == name).values(sealed=None))
        con.execute(retirement_addendum.update().where(retirement_addendum.c.retirement == name).values(sealed=None))

    def add_addendum(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep an addendum."""
        last = con.execute(sa.select(sa.func.max(retirement_addendum.c.seq))).scalar()
        con.execute(retirement_addendum.insert(), {**values, "seq": 0 if last is None else int(last) + 1})


def retirement_of(row: Any) -> Retirement:
    """A row as the log commits to it."""
    serials = tuple(json.loads(row.serials))
    claim = (row.purpose, row.market, row.since, row.until)
    return Retirement(row.id, serials, row.units, *claim, row.commitment, row.made_at)
