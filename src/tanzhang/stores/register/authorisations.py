"""Authorisations (授权): whose reductions may be pooled into lots and sold, of which days and acts, on what terms.

Each stands until it is revoked, and several of one account add up. A person speaks for their own account and all that
is part of it; a partner's file for platform accounts, as long as they are no person's. Revoking is for the future: what
is in a lot that is frozen stays there. Every change carries a ``revision`` that only grows, so that whoever builds a
lot can ask what changed meanwhile.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json
from tanzhang.engine.columns import IDENTITY_BYTES, transposed
from tanzhang.stores.book import Book
from tanzhang.stores.book.bulk import add_rows
from tanzhang.stores.book.schema import NUMBER, TEXT, metadata

PERSON = "person"
"""The source of what persons said themselves; others are ``partner:`` and its id."""
_AT_ONCE = 500

authorisation = sa.Table(
    "authorisation",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("account", sa.LargeBinary(16), nullable=False),
    sa.Column("from_day", TEXT, nullable=False),  # local days of acts, [from, until)
    sa.Column("until_day", TEXT),
    sa.Column("behaviours", TEXT),  # JSON; empty where all are meant
    sa.Column("terms", TEXT, nullable=False),  # digest of what was agreed to
    sa.Column("source", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("revoked_at", TEXT),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Index("authorisation_account", "account"),
    sa.Index("authorisation_revision", "revision"),
)
# One per file of a partner, so that a file that comes twice is taken in once.
authorisation_file = sa.Table(
    "authorisation_file",
    metadata,
    sa.Column("fingerprint", TEXT, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("answer", TEXT, nullable=False),  # JSON
    sa.Column("made_at", TEXT, nullable=False),
)
SAID = ("account", "from_day", "until_day", "behaviours", "terms", "source")
"""What an authorisation says; two that say the same are one."""


class Authorisations:
    """The authorisations of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def of(self, accounts: Sequence[uuid.UUID], *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """The authorisations of accounts, the latest first, those with a smaller id than ``before``."""
        own = sa.select(authorisation).where(authorisation.c.account.in_([each.bytes for each in accounts]))
        if before is not None:
            own = own.where(authorisation.c.id < before)
        return self._book.query(own.order_by(authorisation.c.id.desc()).limit(limit))

    def has_of(self, accounts: Sequence[uuid.UUID]) -> bool:
        """Whether any of many accounts authorised something."""
        parts = (accounts[start : start + _AT_ONCE] for start in range(0, len(accounts), _AT_ONCE))
        return any(self.of(some, limit=1) for some in parts)

    def revision(self) -> int:
        """A number that grows with every change."""
        return int(self._book.query(sa.select(sa.func.coalesce(sa.func.max(authorisation.c.revision), 0)))[0][0])

    def narrowed_since(self, con: sa.Connection, revision: int) -> list[uuid.UUID]:
        """The accounts of which something was revoked after a revision, or for whom a person spoke."""
        by_person = authorisation.c.source == PERSON
        own = (authorisation.c.revision > revision) & (authorisation.c.revoked_at.is_not(None) | by_person)
        found = con.execute(sa.select(authorisation.c.account).where(own).distinct())
        return [uuid.UUID(bytes=bytes(each)) for each in found.scalars()]

    def standing(self) -> pa.Table:
        """All that stand: account, from_day, until_day, behaviours (JSON or null), source; millions of rows.

        Those of partners are left out where a person ever said something of the account.
        """
        names = ("account", "from_day", "until_day", "behaviours", "source")
        said = "EXISTS (SELECT 1 FROM authorisation p WHERE p.account = a.account AND p.source = 'person')"
        statement = (
            f"SELECT {', '.join(names)} FROM authorisation a "
            f"WHERE revoked_at IS NULL AND (source = 'person' OR NOT {said})"
        )
        with self._book.reading() as con:  # rows of the driver's own: of millions everything else is felt
            cursor: Any = con.connection.cursor()
            cursor.execute(statement)
            columns = transposed(cursor, len(names))
            cursor.close()
        accounts = pa.array(columns[0], pa.binary(IDENTITY_BYTES))
        texts = [pa.array(column, pa.string()) for column in columns[1:]]
        return pa.table([accounts, *texts], names=list(names))

    def spoken_for(self) -> pa.Array:
        """The accounts of which a person said something themselves, even if it was revoked."""
        own = sa.select(authorisation.c.account).where(authorisation.c.source == PERSON).distinct()
        return pa.array([bytes(row[0]) for row in self._book.query(own)], pa.binary(IDENTITY_BYTES))

    def file(self, fingerprint: str) -> dict[str, Any] | None:
        """What was answered to a file; None where it is new."""
        own = sa.select(authorisation_file.c.answer).where(authorisation_file.c.fingerprint == fingerprint)
        rows = self._book.query(own)
        return json.loads(rows[0].answer) if rows else None

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def grant(self, con: sa.Connection, values: Mapping[str, Any]) -> Any:
        """Keep what an account authorises (:data:`SAID`, made_at); one that stands and says the same is that one."""
        same = sa.and_(
            *(authorisation.c[name].is_not_distinct_from(values[name]) for name in SAID),
            authorisation.c.revoked_at.is_(None),
        )
        known = con.execute(sa.select(authorisation).where(same).limit(1)).first()
        if known is None:
            con.execute(authorisation.insert(), {**values, "revoked_at": None, "revision": _next(con)})
            known = con.execute(sa.select(authorisation).where(same).limit(1)).first()
        return known

    def revoke(self, con: sa.Connection, accounts: Sequence[uuid.UUID], name: int, at: str) -> Any | None:
        """Revoke an authorisation of one of these accounts; the row as it is then, None where there is none."""
        if not 0 < name < 1 << 63:  # no database has such a number
            return None
        own = (authorisation.c.id == name) & authorisation.c.account.in_([each.bytes for each in accounts])
        standing = own & authorisation.c.revoked_at.is_(None)
        con.execute(authorisation.update().where(standing).values(revoked_at=at, revision=_next(con)))
        return con.execute(sa.select(authorisation).where(own)).first()

    def add_file(self, con: sa.Connection, rows: pa.Table, said: Mapping[str, Any]) -> None:
        """Keep the authorisations of a file (:data:`SAID`, made_at; nothing twice), and that it was taken in."""
        revision = pa.array([_next(con)] * rows.num_rows, pa.int32())
        add_rows(con, authorisation, rows.append_column("revision", revision))
        con.execute(authorisation_file.insert(), {**said, "answer": canonical_json(said["answer"])})

    def forget(self, con: sa.Connection, accounts: Iterable[uuid.UUID]) -> int:
        """Let the authorisations of persons who are erased go; returns how many."""
        names, count = [each.bytes for each in accounts], 0
        for start in range(0, len(names), _AT_ONCE):
            some = authorisation.c.account.in_(names[start : start + _AT_ONCE])
            count += con.execute(authorisation.delete().where(some)).rowcount
        return count


def _next(con: sa.Connection) -> int:
    return int(con.execute(sa.select(sa.func.coalesce(sa.func.max(authorisation.c.revision), 0))).scalar_one()) + 1
