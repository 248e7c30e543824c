"""Partners that the operator registered: what was said of each, version by version, and how much each sent today.

A version is a whole document, added and never changed. The latest ones stand over the programme's own list; a process
finds out by the number of versions, which it asks for once every :data:`LOOKED_UP_S`. Nobody is ever removed: what a
partner reported stays booked under its name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.programme import Limits, Partner, Programme
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata

LOOKED_UP_S = 1.0
"""After how long a process looks for changes that others made."""

partner_version = sa.Table(
    "partner_version",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # from 1
    sa.Column("document", TEXT, nullable=False),  # JSON
    sa.Column("recorded_at", TEXT, nullable=False),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.UniqueConstraint("partner", "version"),
    info={ONLY_ADDED: True},
)
# Rows of reports that a partner with a daily limit sent on a local day.
partner_day = sa.Table(
    "partner_day",
    metadata,
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("day", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("partner", "day"),
)


class Partners:
    """The registered partners of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._revision = 0
        self._look_again = 0.0
        self._merged: tuple[Programme, int, Programme] | None = None

    def over(self, programme: Programme) -> Programme:
        """A programme with the registered partners over its own; the same object until something changes."""
        if self.is_due:
            moment = time.monotonic()
            # Only forward: a snapshot that is open may be older than what is known.
            self._revision = max(self._revision, self.revision())
            self._look_again = moment + LOOKED_UP_S
        if self._revision == 0:
            return programme
        merged = self._merged
        if merged is None or merged[0] is not programme or merged[1] != self._revision:
            revision, rows = self._revision, self.latest()
            known = {row.partner: partner_of(json.loads(row.document)) for row in rows}
            merged = programme, revision, replace(programme, partners={**programme.partners, **known})
            self._merged = merged
        return merged[2]

    @property
    def is_due(self) -> bool:
        """Whether the next use asks the book for changes; until then it costs nothing."""
        return time.monotonic() >= self._look_again

    def look_again(self) -> None:
        """Look for changes at the next use, since there was one here."""
        self._look_again = 0.0

    def revision(self) -> int:
        """A number that grows with every version."""
        (row,) = self._book.query(sa.select(sa.func.coalesce(sa.func.max(partner_version.c.id), 0).label("last")))
        return int(row.last)

    def latest(self) -> list[Any]:
        """The latest version of every registered partner, by partner."""
        last = sa.select(sa.func.max(partner_version.c.id)).group_by(partner_version.c.partner)
        statement = sa.select(partner_version).where(partner_version.c.id.in_(last))
        return self._book.query(statement.order_by(partner_version.c.partner))

    def version(self, partner: str) -> Any | None:
        """The latest version of a partner; None for one that was never registered."""
        rows = self.history(partner, None, 1)
        return rows[0] if rows else None

    def history(self, partner: str, before: int | None, limit: int) -> list[Any]:
        """Versions of a partner below ``before``, the latest first."""
        statement = sa.select(partner_version).where(partner_version.c.partner == partner)
        if before is not None:
            statement = statement.where(partner_version.c.version < before)
        return self._book.query(statement.order_by(partner_version.c.version.desc()).limit(limit))

    def add_version(
        self,
        document: Mapping[str, Any],
        expected: int,
        actor: Actor,
        at: str,
        also: Callable[[sa.Connection], None],
    ) -> int:
        """Say anew what holds of a partner, over version ``expected`` (0: none); ``partner-changed`` if that moved."""
        name = str(document["id"])
        own = sa.select(sa.func.coalesce(sa.func.max(partner_version.c.version), 0))
        with self._book.transaction() as con:
            current = con.execute(own.where(partner_version.c.partner == name)).scalar_one()
            if current != expected:
                raise refuse(
                    "partner-changed",
                    f"{name} has version {current} by now, not {expected}",
                    where=f"partner {name}",
                    remedy="read it again, and change what stands there",
                )
            row = {"partner": name, "version": expected + 1, "recorded_at": at}
            said = {"document": json.dumps(document, ensure_ascii=False), "role": actor.role, "actor": actor.subject}
            con.execute(partner_version.insert(), {**row, **said})
            also(con)
        self.look_again()
        return expected + 1

    def sent(self, partner: str, day: str) -> int:
        """Rows that a partner with a daily limit sent on a day."""
        own = (partner_day.c.partner == partner) & (partner_day.c.day == day)
        rows = self._book.query(sa.select(partner_day.c.rows).where(own))
        return int(rows[0].rows) if rows else 0


def count_rows(con: sa.Connection, partner: str, day: str, rows: int, limit: int) -> bool:
    """Whether a partner may send so many rows more on a day; then they are counted, in somebody's transaction."""
    own = (partner_day.c.partner == partner) & (partner_day.c.day == day)
    sent = con.execute(sa.select(partner_day.c.rows).where(own)).scalar()
    if (sent or 0) + rows > limit:
        return False
    if sent is None:
        con.execute(partner_day.insert(), {"partner": partner, "day": day, "rows": rows})
    else:
        con.execute(partner_day.update().where(own).values(rows=sent + rows))
    return True


def partner_of(document: Mapping[str, Any]) -> Partner:
    """A partner as screening sees it, from what the register says."""
    behaviours = document["behaviours"]
    return Partner(
        id=document["id"],
        name=document["name"],
        name_zh=document["name_zh"],
        behaviours=None if behaviours is None else frozenset(behaviours),
        evidence=document["evidence"],
        suspended=document["suspended"] is not None,
        limits=Limits(**document["limits"]),
        signed=document["signed"],
        certificate=document["certificate"],
    )
