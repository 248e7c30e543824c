"""Persons: their accounts, the identities they sign in with, consents, and what is under way for them.

Personal fields (phone number, subject at an issuer, display name) are sealed with a key outside the database; what
they are found by is a keyed hash. None of these tables is chained: everything here can change and be erased.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Role
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.engine.personal import PersonalKeys, key_of
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, TEXT, metadata
from tanzhang.stores.register.access import session
from tanzhang.stores.register.auctions import auction_bid
from tanzhang.stores.register.benefits import benefit_use
from tanzhang.stores.register.certificates import certificate
from tanzhang.stores.register.groups import forget_members, friends_group, friends_member
from tanzhang.stores.register.guard import guard_case
from tanzhang.stores.register.mall import mall_code, mall_order
from tanzhang.stores.register.parties import market_party, party_document
from tanzhang.stores.register.payback import payback_payout
from tanzhang.stores.register.payments import market_payment, market_return
from tanzhang.stores.register.retirements import retirement_addendum, retirement_opening

person = sa.Table(
    "person",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("display_name", TEXT),  # sealed; shown on rankings if the person agreed
    sa.Column("erase_after", TEXT),  # the person asked to be erased, and may still think again until then
)
person_identity = sa.Table(
    "person_identity",
    metadata,
    sa.Column("hash", TEXT, primary_key=True),  # keyed, of kind, issuer and subject
    sa.Column("account", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),  # oidc or phone
    sa.Column("issuer", TEXT, nullable=False),
    sa.Column("sealed", TEXT, nullable=False),  # the subject, or the number
    sa.Column("origin", TEXT, nullable=False),  # the account it was added to, to which a split gives it back
    sa.Column("added_at", TEXT, nullable=False),
    sa.Column("used_at", TEXT, nullable=False),
    sa.Index("person_identity_account", "account"),
)
consent = sa.Table(
    "consent",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("scope", TEXT, nullable=False),  # link, display_name, friends
    sa.Column("purpose", TEXT, nullable=False),
    sa.Column("partner", TEXT),
    sa.Column("joining", TEXT),
    sa.Column("valid_from", TEXT, nullable=False),
    sa.Column("valid_until", TEXT),
    sa.Column("given_at", TEXT, nullable=False),
    sa.Column("revoked_at", TEXT),
    sa.Index("consent_account", "account"),
)
# A code on its way to a phone; a new one takes the place of the one before.
phone_code = sa.Table(
    "phone_code",
    metadata,
    sa.Column("phone", TEXT, primary_key=True),  # keyed hash
    sa.Column("code", TEXT, nullable=False),  # keyed hash
    sa.Column("expires_at", TEXT, nullable=False),
    sa.Column("tries_left", sa.Integer, nullable=False),
)
# A browser that was sent to an issuer and has not come back.
sign_in = sa.Table(
    "sign_in",
    metadata,
    sa.Column("state", TEXT, primary_key=True),  # hash of the state and of what the browser keeps
    sa.Column("provider", TEXT, nullable=False),
    sa.Column("nonce", TEXT, nullable=False),
    sa.Column("verifier", TEXT, nullable=False),
    sa.Column("return_to", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
)
# A person who was sent to a partner to link an account there, and has not come back.
link_begun = sa.Table(
    "link_begun",
    metadata,
    sa.Column("state", TEXT, primary_key=True),  # hash
    sa.Column("account", TEXT, nullable=False),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("return_to", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
)
# What somebody did of which there is a limit, by keyed hash of whoever it was.
attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("bucket", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Index("attempt_bucket", "bucket", "at"),
)
# Single-use tokens by which an account is joined to that of whoever shows it.
join_token = sa.Table(
    "join_token",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("token_hash", TEXT, nullable=False, unique=True),
    sa.Column("kind", TEXT, nullable=False),  # link or merge
    sa.Column("partner", TEXT),
    sa.Column("source", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False),
    sa.Column("used_at", TEXT),
    sa.Column("joining", TEXT),
    sa.Column("account", TEXT),  # whose it became
    sa.Index("join_token_source", "source"),
)
# Accounts of persons who asked to be erased, until nothing of them is left to settle either.
erase_again = sa.Table(
    "erase_again",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("after", TEXT, nullable=False),
)
# Who looked at a person's data.
access_log = sa.Table(
    "access_log",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("role", TEXT, nullable=False),
    sa.Column("who", TEXT, nullable=False),
    sa.Column("what", TEXT, nullable=False),
    sa.Index("access_log_account", "account", "id"),
)
_OF_ACCOUNT = (person, person_identity, consent, access_log, link_begun)
SEALED: tuple[tuple[sa.Table, str, str], ...] = (
    (person, "account", "display_name"),
    (person_identity, "hash", "sealed"),
    (benefit_use, "id", "payee"),
    (payback_payout, "id", "payee"),
    (certificate, "id", "sealed"),
    (friends_group, "id", "title"),
    (friends_member, "id", "name"),
    (mall_order, "id", "address"),
    (mall_code, "hash", "sealed"),
    (guard_case, "id", "appeal"),
    (market_party, "id", "contact"),
    (market_party, "id", "bank_account"),
    (party_document, "id", "sealed"),
    (auction_bid, "id", "sealed"),
    (market_payment, "entry", "payer"),
    (market_return, "name", "payee"),
    (retirement_opening, "retirement", "sealed"),
    (retirement_addendum, "id", "sealed"),
)
"""Where sealed texts stand: table, key and column."""
_SEALED_AT_ONCE = 500


def place_of(table: sa.Table, column: str, key: str) -> str:
    """What a sealed text is bound to."""
    return f"{table.name}.{column}:{key}"


def _filling(bucket: str, most: int, since: str) -> sa.Select[Any]:
    """The last of the ``most`` latest attempts of a bucket since a moment; none if there are fewer."""
    own = sa.select(attempt.c.at).where((attempt.c.bucket == bucket) & (attempt.c.at > since))
    return own.order_by(attempt.c.at.desc()).limit(1).offset(max(most, 1) - 1)


class People:
    """Persons of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def row(self, table: sa.Table, **values: Any) -> Any | None:
        """The first row of a table with these values."""
        rows = self.rows(table, **values)
        return rows[0] if rows else None

    def rows(self, table: sa.Table, **values: Any) -> list[Any]:
        """The rows of a table with these values, by their keys."""
        own = sa.and_(sa.true(), *(table.c[name] == value for name, value in values.items()))
        return self._book.query(sa.select(table).where(own).order_by(*table.primary_key.columns))

    def add(self, table: sa.Table, *rows: Mapping[str, Any]) -> None:
        """Keep new rows."""
        with self._book.transaction() as con:
            con.execute(table.insert(), [dict(row) for row in rows])

    def change(self, table: sa.Table, values: Mapping[str, Any], **where: Any) -> int:
        """Change the rows with these values; returns how many there were."""
        own = sa.and_(sa.true(), *(table.c[name] == value for name, value in where.items()))
        with self._book.transaction() as con:
            return int(con.execute(table.update().where(own).values(**values)).rowcount)

    def remove(self, table: sa.Table, **where: Any) -> int:
        """Remove the rows with these values; returns how many there were."""
        own = sa.and_(*(table.c[name] == value for name, value in where.items()))
        with self._book.transaction() as con:
            return int(con.execute(table.delete().where(own)).rowcount)

    def enter(self, account: str, identity: Mapping[str, Any], at: str) -> str:
        """The account of an identity: the one it has, or ``account``, which is new then; signed in at this moment."""
        with self._book.transaction() as con:
            own = person_identity.c.hash == identity["hash"]
            known = con.execute(sa.select(person_identity.c.account).where(own)).scalar()
            if known is not None:
                con.execute(person_identity.update().where(own).values(used_at=at))
                return str(known)
            self._person(con, account, at)
            con.execute(
                person_identity.insert(),
                {**identity, "account": account, "origin": account, "added_at": at, "used_at": at},
            )
        return account

    def keep_code(self, values: Mapping[str, Any]) -> None:
        """Keep a phone's code in place of the one before."""
        with self._book.transaction() as con:
            con.execute(phone_code.delete().where(phone_code.c.phone == values["phone"]))
            con.execute(phone_code.insert(), dict(values))

    def try_code(self, phone: str, code: str, at: str) -> str:
        """``right`` once for a phone's code while it lasts; ``wrong`` takes one try away, ``none`` if there is none."""
        with self._book.transaction() as con:
            own = phone_code.c.phone == phone
            row = con.execute(sa.select(phone_code).where(own)).first()
            if row is None or row.expires_at <= at or row.tries_left <= 0:
                con.execute(phone_code.delete().where(own))
                return "none"
            if row.code == code:  # both are keyed hashes, so the time it takes tells nothing
                con.execute(phone_code.delete().where(own))
                return "right"
            con.execute(phone_code.update().where(own).values(tries_left=row.tries_left - 1))
            return "wrong"

    def take(self, begun: sa.Table, state: str, at: str) -> Any | None:
        """What was begun (a row of sign_in or link_begun), once, if it is not too old."""
        with self._book.transaction() as con:
            row = con.execute(sa.select(begun).where(begun.c.state == state)).first()
            con.execute(begun.delete().where((begun.c.state == state) | (begun.c.expires_at <= at)))
        return row if row is not None and row.expires_at > at else None

    def allowed(self, limits: Iterable[tuple[str, int, str]], at: str) -> tuple[str, str, str] | None:
        """Count one more of each bucket, if all of ``limits`` (bucket, most, since when) allow it.

        Returns of one that does not the bucket, since when it counts, and when that was which has to pass out of it;
        None if all do.
        """
        wanted = list(limits)
        with self._book.transaction() as con:
            for bucket, most, since in wanted:
                first = con.execute(_filling(bucket, most, since)).scalar()
                if first is not None:
                    return bucket, since, first
            named = sorted({bucket for bucket, _, _ in wanted})
            con.execute(attempt.insert(), [{"bucket": bucket, "at": at} for bucket in named])
        return None

    def filled_at(self, bucket: str, most: int, since: str) -> str | None:
        """When that was which has to be further back than ``since`` for fewer than ``most`` to be left of a bucket.

        None if there are fewer.
        """
        rows = self._book.query(_filling(bucket, most, since))
        return rows[0].at if rows else None

    def forget_old(self, before: str, now: str) -> None:
        """Remove attempts of before a moment, and what has expired."""
        with self._book.transaction() as con:
            con.execute(attempt.delete().where(attempt.c.at < before))
            con.execute(phone_code.delete().where(phone_code.c.expires_at <= now))
            con.execute(sign_in.delete().where(sign_in.c.expires_at <= now))
            unused = join_token.c.used_at.is_(None) & (join_token.c.expires_at <= before)
            con.execute(join_token.delete().where(unused))

    def looks(self, account: str, before: int | None, limit: int) -> list[Any]:
        """Who looked at an account's data, the latest first; only those below number ``before``."""
        own = access_log.c.account == account
        if before is not None:
            own &= access_log.c.id < before
        return self._book.query(sa.select(access_log).where(own).order_by(access_log.c.id.desc()).limit(limit))

    def looks_of_staff(
        self,
        before: int | None,
        limit: int,
        *,
        who: str | None,
        what: str | None,
        since: str | None,
        until: str | None,
    ) -> list[Any]:
        """Who of the staff looked at whose data, the latest first, below number ``before``, of ``[since, until)``."""
        statement = sa.select(access_log).where(access_log.c.role != Role.PERSON.value)
        wanted = [
            (before, access_log.c.id.__lt__),
            (who, access_log.c.who.__eq__),
            (what, access_log.c.what.__eq__),
            (since, access_log.c.at.__ge__),
            (until, access_log.c.at.__lt__),
        ]
        for given, compare in wanted:
            if given is not None:
                statement = statement.where(compare(given))
        return self._book.query(statement.order_by(access_log.c.id.desc()).limit(limit))

    def name(self, account: str, sealed: str, at: str) -> None:
        """Keep a person's sealed display name."""
        with self._book.transaction() as con:
            self._person(con, account, at)
            con.execute(person.update().where(person.c.account == account).values(display_name=sealed))

    def ask_erasure(self, account: str, after: str, at: str) -> None:
        """Keep that a person is to be erased after a moment."""
        with self._book.transaction() as con:
            self._person(con, account, at)
            con.execute(person.update().where(person.c.account == account).values(erase_after=after))

    def due(self, at: str) -> list[str]:
        """Accounts whose persons are to be erased by a moment."""
        rows = self._book.query(sa.select(person.c.account).where(person.c.erase_after <= at))
        return sorted(row.account for row in rows)

    def to_erase(self, accounts: Iterable[str], at: str) -> list[str]:
        """Keep that accounts are to be erased from now on; returns all whose time has come."""
        with self._book.transaction() as con:
            known = {row.account for row in con.execute(sa.select(erase_again.c.account))}
            new = [{"account": each, "after": at} for each in sorted(set(accounts) - known)]
            if new:
                con.execute(erase_again.insert(), new)
        rows = self._book.query(sa.select(erase_again.c.account).where(erase_again.c.after <= at))
        return sorted(row.account for row in rows)

    def erased(self, accounts: Sequence[str], later: Mapping[str, str]) -> None:
        """Accounts are erased, but for those that have something left until a moment."""
        with self._book.transaction() as con:
            for account in accounts:
                own = erase_again.c.account == account
                if account in later:
                    con.execute(erase_again.update().where(own).values(after=later[account]))
                else:
                    con.execute(erase_again.delete().where(own))

    def forget(self, con: sa.Connection, accounts: Sequence[str]) -> int:
        """In somebody's transaction: remove everything of persons; returns how many rows."""
        count = 0
        for start in range(0, len(accounts), 500):
            some = accounts[start : start + 500]
            for table in _OF_ACCOUNT:
                count += con.execute(table.delete().where(table.c.account.in_(some))).rowcount
            tokens = join_token.c.source.in_(some) | join_token.c.account.in_(some)
            count += con.execute(join_token.delete().where(tokens)).rowcount
            count += forget_members(con, some)
            signed_in = (session.c.role == Role.PERSON.value) & session.c.subject.in_(some)
            count += con.execute(session.delete().where(signed_in)).rowcount
        return count

    @staticmethod
    def _person(con: sa.Connection, account: str, at: str) -> None:
        if con.execute(sa.select(person.c.account).where(person.c.account == account)).first() is None:
            con.execute(person.insert(), {"account": account, "created_at": at})

    def seal_again(self, keys: PersonalKeys) -> int:
        """Seal every text with the current key that was sealed with another; returns how many, none the second time."""
        changed = 0
        for table, key, column in SEALED:
            rows = self._book.query(sa.select(table.c[key], table.c[column]).where(table.c[column].is_not(None)))
            old = [(name, sealed) for name, sealed in rows if key_of(sealed) != keys.current]
            for start in range(0, len(old), _SEALED_AT_ONCE):
                some = []
                for name, sealed in old[start : start + _SEALED_AT_ONCE]:
                    place = place_of(table, column, name)
                    some.append((name, sealed, keys.seal(keys.open(sealed, place), place)))
                with self._book.transaction() as con:
                    for name, sealed, again in some:
                        same = (table.c[key] == name) & (table.c[column] == sealed)
                        changed += con.execute(table.update().where(same).values({column: again})).rowcount
        return changed

    def problems(self, keys: PersonalKeys) -> tuple[int, list[Problem]]:
        """How many sealed texts there are, and which do not open."""
        count, found = 0, list[Problem]()
        for table, key, column in SEALED:
            for name, sealed in self._book.query(
                sa.select(table.c[key], table.c[column]).where(table.c[column].is_not(None)).order_by(table.c[key])
            ):
                count += 1
                try:
                    keys.open(sealed, place_of(table, column, name))
                except TanzhangError as error:
                    found += error.problems
        return count, found

    def keys_used(self) -> set[str]:
        """The ids of all keys that something is sealed with."""
        found: set[str] = set()
        for table, _, column in SEALED:
            rows = self._book.query(sa.select(table.c[column]).where(table.c[column].is_not(None)))
            found |= {key_of(row[0]) for row in rows}
        return found
