"""Staff: people of an enterprise, of the city, auditors and operators, and how they prove who they are.

A password is kept as its Argon2id hash, an invitation as the hash of its token. The secret of one-time codes is kept
nowhere: it comes from the home's identity key, the person and a number that says how often it was made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Role
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata

staff = sa.Table(
    "staff",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("name", TEXT, nullable=False, unique=True),  # to sign in by, in small letters
    sa.Column("role", TEXT, nullable=False),
    sa.Column("partner", TEXT),  # the organisation: a partner; of role buyer a party, of role verifier a verifier
    sa.Column("position", TEXT),  # of an enterprise's: owner or analyst
    sa.Column("password_hash", TEXT),  # NULL until the invitation is used
    sa.Column("code_secret", sa.Integer, nullable=False),  # which secret of one-time codes; 0 before the first
    sa.Column("codes", sa.Boolean, nullable=False),  # whether a code is asked for
    sa.Column("code_step", sa.BigInteger, nullable=False),  # the last step a code was used of; none is used twice
    sa.Column("failures", sa.Integer, nullable=False),  # since the last success
    sa.Column("locked_until", TEXT),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("disabled_at", TEXT),
)
invitation = sa.Table(
    "staff_invitation",
    metadata,
    sa.Column("token_hash", TEXT, primary_key=True),
    sa.Column("staff", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
    sa.Column("used_at", TEXT),
)


class Staff:
    """The staff of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def add(self, values: Mapping[str, Any], invited: Mapping[str, Any], also: Callable[[sa.Connection], None]) -> bool:
        """Whether somebody with an invitation was added; False where the name is taken."""
        with self._book.transaction() as con:
            if con.execute(sa.select(staff.c.id).where(staff.c.name == values["name"])).first() is not None:
                return False
            con.execute(staff.insert(), dict(values))
            con.execute(invitation.insert(), dict(invited))
            also(con)
        return True

    def invite_again(self, invited: Mapping[str, Any], at: str, also: Callable[[sa.Connection], None]) -> None:
        """Add an invitation of somebody; earlier ones open nothing any more."""
        with self._book.transaction() as con:
            own = (invitation.c.staff == invited["staff"]) & invitation.c.used_at.is_(None)
            con.execute(invitation.update().where(own).values(used_at=at))
            con.execute(invitation.insert(), dict(invited))
            also(con)

    def is_invited(self, token_hash: str, at: str) -> bool:
        """Whether an invitation can be used."""
        rows = self._book.query(sa.select(invitation).where(invitation.c.token_hash == token_hash))
        return bool(rows) and rows[0].used_at is None and rows[0].expires_at > at

    def accept(self, token_hash: str, password_hash: str, at: str) -> str | None:
        """Whose invitation this was, who has a password from now on; None if it is none (any more)."""
        with self._book.transaction() as con:
            row = con.execute(sa.select(invitation).where(invitation.c.token_hash == token_hash)).first()
            if row is None or row.used_at is not None or row.expires_at <= at:
                return None
            con.execute(invitation.update().where(invitation.c.token_hash == token_hash).values(used_at=at))
            fresh = {"password_hash": password_hash, "failures": 0, "locked_until": None}
            con.execute(staff.update().where(staff.c.id == row.staff).values(fresh))
            return str(row.staff)

    def by_name(self, name: str) -> Any | None:
        """Somebody by the name they sign in by."""
        rows = self._book.query(sa.select(staff).where(staff.c.name == name))
        return rows[0] if rows else None

    def row(self, number: str) -> Any | None:
        """Somebody by id."""
        rows = self._book.query(sa.select(staff).where(staff.c.id == number))
        return rows[0] if rows else None

    def page(self, partner: str | None, after: str, limit: int) -> list[Any]:
        """Staff by name after one, of one enterprise or all; other organisations may have an id that it has too."""
        statement = sa.select(staff).where(staff.c.name > after).order_by(staff.c.name).limit(limit)
        own = (staff.c.partner == partner) & (staff.c.role == Role.ENTERPRISE.value)
        return self._book.query(statement if partner is None else statement.where(own))

    def failed(self, number: str, locked_until: Callable[[int], str | None]) -> int:
        """Count a failed sign-in; ``locked_until`` says of how many in a row until when. Returns how many."""
        with self._book.transaction() as con:
            counted = staff.update().where(staff.c.id == number).values(failures=staff.c.failures + 1)
            count = int(con.execute(counted.returning(staff.c.failures)).scalar_one())
            con.execute(staff.update().where(staff.c.id == number).values(locked_until=locked_until(count)))
        return count

    def succeeded(self, number: str, code_step: int | None) -> bool:
        """Whether somebody may be signed in; not by a code of a step that was used before (``code_step``)."""
        own = staff.c.id == number
        fresh: dict[str, Any] = {"failures": 0, "locked_until": None}
        if code_step is not None:
            own &= staff.c.code_step < code_step
            fresh["code_step"] = code_step
        with self._book.transaction() as con:
            return bool(con.execute(staff.update().where(own).values(fresh)).rowcount)

    def change(
        self, number: str, values: Mapping[str, Any], also: Callable[[sa.Connection], None] | None = None
    ) -> None:
        """Change what is kept of somebody."""
        with self._book.transaction() as con:
            con.execute(staff.update().where(staff.c.id == number).values(dict(values)))
            if also is not None:
                also(con)
