"""Table of joinings, and which of them carry: what grams (joinings.py) and points (points.py) follow alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book.schema import TEXT, metadata

_AT_ONCE = 500

joining = sa.Table(
    "joining",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),  # link: a platform account; merge: another account of the person
    sa.Column("source", TEXT, nullable=False),
    sa.Column("target", TEXT, nullable=False),
    sa.Column("partner", TEXT),
    sa.Column("carries", sa.Integer, nullable=False),
    sa.Column("valid_from", TEXT, nullable=False),
    sa.Column("moved", TEXT, nullable=False),  # consents of the source's own platform accounts that went along
    sa.Column("flows", TEXT, nullable=False),  # unit -> amount
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.Column("valid_until", TEXT),
    sa.Index("joining_source", "source"),
    sa.Index("joining_target", "target"),
)


def standing() -> sa.ColumnElement[bool]:
    """Of joinings: those that were not ended."""
    return joining.c.ended_at.is_(None)


def carries() -> sa.ColumnElement[bool]:
    """Of joinings: those by which what the source holds goes to the target."""
    return standing() & (joining.c.carries == 1)


def sources(con: sa.Connection, first: str, last: str) -> list[str]:
    """The accounts from ``first`` to ``last`` whose holdings are another one's."""
    between = (joining.c.source >= first) & (joining.c.source <= last)
    return list(con.execute(sa.select(joining.c.source).where(carries() & between)).scalars())


def edges(con: sa.Connection, accounts: Iterable[str]) -> dict[str, Any]:
    """Source -> the joining that carries it, of those among some accounts."""
    found, names = {}, sorted(accounts)
    for start in range(0, len(names), _AT_ONCE):
        some = joining.c.source.in_(names[start : start + _AT_ONCE])
        found.update({row.source: row for row in con.execute(sa.select(joining).where(carries() & some))})
    return found
