"""What proves who a caller is: keys of partners and sessions of people. Only hashes of secrets are kept.

None of these tables is chained: they say who may ask, not what is booked. What was done with them is in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("label", TEXT, nullable=False),
    sa.Column("scopes", TEXT, nullable=False),  # sorted, one blank between
    sa.Column("secret_hash", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("expires_at", TEXT),
    sa.Column("revoked_at", TEXT),
    sa.Column("last_used_on", TEXT),  # local day; more would be a record of when somebody works
    sa.Index("api_key_partner", "partner"),
)
session = sa.Table(
    "session",
    metadata,
    sa.Column("token_hash", TEXT, primary_key=True),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),  # account or staff id
    sa.Column("partner", TEXT),  # whose staff
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
    sa.Column("agent", TEXT),  # what the browser calls itself, for the person's list of sessions
    sa.Index("session_subject", "role", "subject"),
)


class Access:
    """Keys and sessions of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def add_key(self, values: Mapping[str, Any], also: Callable[[sa.Connection], None] | None = None) -> None:
        """Keep a new key; ``also`` writes what else belongs to it."""
        with self._book.transaction() as con:
            con.execute(api_key.insert(), dict(values))
            if also is not None:
                also(con)

    def key_used(self, name: str, day: str) -> None:
        """A key was used on a day."""
        other = api_key.c.last_used_on.is_(None) | (api_key.c.last_used_on < day)
        with self._book.transaction() as con:
            con.execute(api_key.update().where((api_key.c.id == name) & other).values(last_used_on=day))

    def key(self, name: str) -> Any | None:
        """The row of a key."""
        rows = self._book.query(sa.select(api_key).where(api_key.c.id == name))
        return rows[0] if rows else None

    def keys(self, partner: str) -> list[Any]:
        """A partner's keys, the newest first."""
        own = sa.select(api_key).where(api_key.c.partner == partner)
        return self._book.query(own.order_by(api_key.c.created_at.desc(), api_key.c.id))

    def revoke_key(self, name: str, at: str, also: Callable[[sa.Connection], None] | None = None) -> bool:
        """Whether a key was not revoked until now; it is from now on. ``also`` writes what else belongs to it."""
        valid = (api_key.c.id == name) & api_key.c.revoked_at.is_(None)
        with self._book.transaction() as con:
            done = bool(con.execute(api_key.update().where(valid).values(revoked_at=at)).rowcount)
            if done and also is not None:
                also(con)
        return done

    def rotate_key(
        self, old: str, ends_at: str, values: Mapping[str, Any], also: Callable[[sa.Connection], None]
    ) -> None:
        """Keep a new key, and let the old one end at a moment if it does not end before."""
        own = (api_key.c.id == old) & (api_key.c.expires_at.is_(None) | (api_key.c.expires_at > ends_at))
        with self._book.transaction() as con:
            con.execute(api_key.update().where(own).values(expires_at=ends_at))
            con.execute(api_key.insert(), dict(values))
            also(con)

    def add_session(self, values: Mapping[str, Any]) -> None:
        """Keep a new session."""
        with self._book.transaction() as con:
            con.execute(session.insert(), dict(values))

    def session(self, token_hash: str) -> Any | None:
        """The row of a session."""
        rows = self._book.query(sa.select(session).where(session.c.token_hash == token_hash))
        return rows[0] if rows else None

    def sessions(self, role: str, subject: str) -> list[Any]:
        """Somebody's sessions, the newest first."""
        own = (session.c.role == role) & (session.c.subject == subject)
        return self._book.query(sa.select(session).where(own).order_by(session.c.created_at.desc()))

    def end_session(self, token_hash: str) -> bool:
        """Whether there was such a session; there is none any more."""
        with self._book.transaction() as con:
            return bool(con.execute(session.delete().where(session.c.token_hash == token_hash)).rowcount)

    def end_sessions(self, role: str, subject: str) -> int:
        """End everything that somebody is signed in with; returns how many."""
        own = (session.c.role == role) & (session.c.subject == subject)
        with self._book.transaction() as con:
            return int(con.execute(session.delete().where(own)).rowcount)

    def forget_sessions(self, before: str) -> int:
        """Remove sessions that ended before a moment."""
        with self._book.transaction() as con:
            return int(con.execute(session.delete().where(session.c.expires_at < before)).rowcount)
