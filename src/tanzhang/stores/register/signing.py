"""Keys by which partners sign requests, and the nonces of the last minutes.

Of an Ed25519 key the public half is kept; a shared secret is kept nowhere, it is made from the home's identity key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata

signing_key = sa.Table(
    "signing_key",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("algorithm", TEXT, nullable=False),
    sa.Column("public_key", TEXT),  # base64 of 32 bytes; NULL for a shared secret
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("revoked_at", TEXT),
    sa.Index("signing_key_partner", "partner"),
)
nonce = sa.Table(
    "signature_nonce",
    metadata,
    sa.Column("key", TEXT, nullable=False),
    sa.Column("nonce", TEXT, nullable=False),
    sa.Column("seen_at", TEXT, nullable=False),
    sa.PrimaryKeyConstraint("key", "nonce"),
    sa.Index("signature_nonce_seen", "seen_at"),
)


class Signing:
    """The signing keys of a home's partners."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def add(self, values: Mapping[str, Any], also: Callable[[sa.Connection], None]) -> None:
        """Keep a new key."""
        with self._book.transaction() as con:
            con.execute(signing_key.insert(), dict(values))
            also(con)

    def revoke(self, name: str, at: str, also: Callable[[sa.Connection], None]) -> None:
        """Let a key sign nothing from now on."""
        valid = (signing_key.c.id == name) & signing_key.c.revoked_at.is_(None)
        with self._book.transaction() as con:
            con.execute(signing_key.update().where(valid).values(revoked_at=at))
            also(con)

    def of(self, partner: str) -> list[Any]:
        """A partner's signing keys, the newest first."""
        own = sa.select(signing_key).where(signing_key.c.partner == partner)
        return self._book.query(own.order_by(signing_key.c.created_at.desc(), signing_key.c.id))

    def use_nonce(self, key: str, value: str, at: str, forget_before: str) -> bool:
        """Whether a nonce is used for the first time; nonces from before a moment are forgotten."""
        own = (nonce.c.key == key) & (nonce.c.nonce == value)
        with self._book.transaction() as con:
            con.execute(nonce.delete().where(nonce.c.seen_at < forget_before))
            if con.execute(sa.select(nonce.c.key).where(own)).first() is not None:
                return False
            con.execute(nonce.insert(), {"key": key, "nonce": value, "seen_at": at})
        return True
