"""The audit trail: who did what dangerous thing, when and from where. Rows are only added; the database sees to it.

A row is written in the transaction of what it tells of, so neither is there without the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("origin", TEXT, nullable=False),
    sa.Column("act", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),  # what it was done to: "partner cainiao", "key ..."
    sa.Column("detail", TEXT, nullable=False),  # JSON
    info={ONLY_ADDED: True},
)


class Audit:
    """The audit trail of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def write(
        self, con: sa.Connection, actor: Actor, act: str, subject: str, *, at: str, detail: Mapping[str, Any]
    ) -> None:
        """Write down an act, in the transaction that does it."""
        said = {"role": actor.role.value, "actor": actor.subject, "origin": actor.origin, "act": act}
        text = json.dumps(detail, ensure_ascii=False)
        con.execute(audit.insert(), {**said, "subject": subject, "at": at, "detail": text})

    def page(
        self,
        before: int | None,
        limit: int,
        *,
        actor: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> list[Any]:
        """Rows with a smaller number than ``before``, the newest first, of moments ``[since, until)``.

        ``kind`` is an act, or the words that acts begin with.
        """
        statement = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        wanted = [
            (before, audit.c.id.__lt__),
            (actor, audit.c.actor.__eq__),
            (since, audit.c.at.__ge__),
            (until, audit.c.at.__lt__),
        ]
        for given, compare in wanted:
            if given is not None:
                statement = statement.where(compare(given))
        if kind is not None:
            statement = statement.where((audit.c.act == kind) | audit.c.act.startswith(f"{kind} ", autoescape=True))
        return self._book.query(statement)
