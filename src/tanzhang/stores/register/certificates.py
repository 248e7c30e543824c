"""Certificates that were issued, their places in status lists, and the programme's keys for them in the log.

A certificate's text is sealed with the key of personal fields; when its person is erased, text and account go,
the place stays taken and set. Places are drawn at random, so that a list tells neither how many were issued nor in what
order.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.status_list import PLACES
from tanzhang.stores.book import Book, append, entry
from tanzhang.stores.book.schema import TEXT, metadata

KIND = "issuer"
"""Of entries of the log that make a key the programme's for certificates."""
MOST_IN_LIST = PLACES // 2
"""How many places of a list are given out before the next one is begun: a free one is found at the second try."""
ERASED = "erased"
"""The reason for which certificates of an erased person are revoked."""

certificate = sa.Table(
    "certificate",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("account", TEXT),  # empty once the person is erased
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("issued_at", TEXT, nullable=False),
    sa.Column("list", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("sealed", TEXT),  # the credential, sealed; empty once the person is erased
    sa.Column("revoked_at", TEXT),
    sa.Column("reason", TEXT),
    sa.Column("consent", TEXT),  # what the person agreed to, where it was made for somebody else
    sa.Index("certificate_account", "account", "issued_at"),
    sa.Index("certificate_place", "list", "place", unique=True),
)
# A list keeps the address under which its certificates know it, whatever the service is called later.
certificate_list = sa.Table(
    "certificate_list",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("address", TEXT, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a status list, and the list's address."""

    list: int
    place: int
    address: str


class Certificates:
    """The certificates of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- keys in the log --------------------------------------------------------------------------------------

    def issuers(self) -> list[Any]:
        """Entries of the log about keys for certificates, in order: seq, text."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return self._book.query(own)

    def add_issuer(self, text: str, also: Callable[[sa.Connection], None]) -> int:
        """Give the log an entry about a key; returns its index. ``also`` writes what else belongs to it."""
        with self._book.transaction() as con:
            index = append(con, entry, {"kind": KIND, "text": text})
            also(con)
        return index

    # -- certificates -----------------------------------------------------------------------------------------

    def get(self, name: str) -> Any | None:
        """A certificate by its id."""
        rows = self._book.query(sa.select(certificate).where(certificate.c.id == name))
        return rows[0] if rows else None

    def of(self, accounts: Sequence[str], before: tuple[str, str] | None, limit: int) -> list[Any]:
        """Certificates of accounts, the latest first, those before a moment and id."""
        own = sa.select(certificate).where(certificate.c.account.in_(accounts))
        if before is not None:
            own = own.where(sa.tuple_(certificate.c.issued_at, certificate.c.id) < sa.tuple_(*map(sa.literal, before)))
        return self._book.query(own.order_by(certificate.c.issued_at.desc(), certificate.c.id.desc()).limit(limit))

    def all(self) -> list[Any]:
        """Every certificate, by list and place."""
        return self._book.query(sa.select(certificate).order_by(certificate.c.list, certificate.c.place))

    def issued_since(self, account: str, at: str) -> int:
        """How many an account was given since a moment."""
        own = (certificate.c.account == account) & (certificate.c.issued_at > at)
        return int(self._book.query(sa.select(sa.func.count()).where(own))[0][0])

    def address(self, number: int) -> str | None:
        """The address of a status list; None where there is no such list."""
        rows = self._book.query(sa.select(certificate_list.c.address).where(certificate_list.c.number == number))
        return rows[0].address if rows else None

    def revoked(self, number: int) -> list[Any]:
        """What is set in a list: place, revoked_at."""
        own = (certificate.c.list == number) & certificate.c.revoked_at.is_not(None)
        return self._book.query(sa.select(certificate.c.place, certificate.c.revoked_at).where(own))

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def free_place(self, con: sa.Connection, address: Callable[[int], str]) -> Place:
        """A random place that nobody has, in the last list; in a new one where that is half full or moved away.

        ``address`` is what a list of a number is called today.
        """
        last = con.execute(sa.select(certificate_list).order_by(certificate_list.c.number.desc()).limit(1)).first()
        number = 0 if last is None else last.number
        taken = con.execute(sa.select(sa.func.count()).where(certificate.c.list == number)).scalar_one()
        if last is None or int(taken) >= MOST_IN_LIST or last.address != address(number):
            number += last is not None
            con.execute(certificate_list.insert(), {"number": number, "address": address(number)})
        while True:
            place = secrets.randbelow(PLACES)
            same = (certificate.c.list == number) & (certificate.c.place == place)
            if con.execute(sa.select(certificate.c.id).where(same)).first() is None:
                return Place(number, place, address(number))

    def add(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a certificate."""
        con.execute(certificate.insert(), dict(values))

    def revoke(self, con: sa.Connection, name: str, reason: str, at: str) -> bool:
        """Revoke a certificate; whether it had not been before."""
        own = (certificate.c.id == name) & certificate.c.revoked_at.is_(None)
        return bool(con.execute(certificate.update().where(own).values(revoked_at=at, reason=reason)).rowcount)

    def revoke_by_consent(self, con: sa.Connection, consent: str, reason: str, at: str) -> None:
        """Revoke what was made by a consent that is taken back."""
        own = (certificate.c.consent == consent) & certificate.c.revoked_at.is_(None)
        con.execute(certificate.update().where(own).values(revoked_at=at, reason=reason))

    def forget_one(self, con: sa.Connection, name: str, at: str) -> None:
        """Revoke one certificate, and let its text and whose it was go; nothing where there is none."""
        own = certificate.c.id == name
        standing = own & certificate.c.revoked_at.is_(None)
        con.execute(certificate.update().where(standing).values(revoked_at=at, reason=ERASED))
        con.execute(certificate.update().where(own).values(account=None, sealed=None))

    def forget(self, con: sa.Connection, accounts: Sequence[str], at: str) -> int:
        """Revoke the certificates of persons who are erased, and let their text and whose they were go."""
        count = 0
        for start in range(0, len(accounts), 500):
            own = certificate.c.account.in_(accounts[start : start + 500])
            standing = own & certificate.c.revoked_at.is_(None)
            con.execute(certificate.update().where(standing).values(revoked_at=at, reason=ERASED))
            count += con.execute(certificate.update().where(own).values(account=None, sealed=None)).rowcount
        return count
