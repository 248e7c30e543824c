"""What epochs keep of persons: each account's secret, from which its salts come, and leaves whose owner is forgotten.

Secrets stand in pages of up to 1,024 accounts: first all accounts, 16 bytes each, then all secrets, 16 bytes each. The
secret of a forgotten account is zero. Its leaves are kept without it, so that every earlier root can be computed again
and none of them tells whose they were.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from tanzhang.core.epoch import SECRET_BYTES
from tanzhang.core.errors import refuse
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes
from tanzhang.stores.book import Book, entry
from tanzhang.stores.book.schema import TEXT, append, epoch_key, metadata

PAGE_ACCOUNTS = 1_024
KIND = "epoch"
"""The kind of entries of the log that are epochs."""

epoch_secret = sa.Table(
    "epoch_secret",
    metadata,
    sa.Column("entry", sa.Integer, nullable=False),  # the epoch that had these accounts first
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.LargeBinary, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("entry", "first"),
)
forgotten_leaf = sa.Table(
    "forgotten_leaf",
    metadata,
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("entry", "unit", "leaf"),
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Every account that has or had a secret, and the secrets, zero where the account is forgotten."""

    accounts: Bytes
    secrets: Bytes


class Epochs:
    """The epochs of a home, as far as they stand in its book."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def entries(self) -> list[Any]:
        """Entries of the log that are epochs: seq, text."""
        statement = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return self._book.query(statement)

    def latest(self) -> int | None:
        """Index in the log of the last epoch; None before the first."""
        (row,) = self._book.query(sa.select(sa.func.max(entry.c.seq).label("seq")).where(entry.c.kind == KIND))
        return None if row.seq is None else int(row.seq)

    def key(self) -> bytes:
        """The key of the secrets of accounts that the next epoch has first; ``book-damaged``."""
        rows = self._book.query(sa.select(epoch_key.c.key))
        if len(rows) != 1:
            raise refuse(
                "book-damaged",
                f"table epoch_key has {len(rows)} rows instead of one",
                where=f"{self._book.name}: epoch_key",
                remedy="restore the book from a backup",
            )
        key: bytes = rows[0].key
        return key

    def secrets(self) -> Secrets:
        """All secrets."""
        pages = [_parts(row.data) for row in self._book.query(sa.select(epoch_secret))]
        none = np.zeros((0, IDENTITY_BYTES), np.uint8)
        return Secrets(
            np.concatenate([none, *(accounts for accounts, _ in pages)]),
            np.concatenate([none, *(secrets for _, secrets in pages)]),
        )

    def secret(self, account: uuid.UUID) -> bytes | None:
        """An account's secret; None if it has none, or has been forgotten."""
        for row in self._book.query(_pages_of(account)):
            accounts, secrets = _parts(row.data)
            place = _place(accounts, account)
            if place is not None and secrets[place].any():
                return bytes(secrets[place])
        return None

    def forgotten(self, entry_index: int, unit: str) -> tuple[Bytes, list[int]]:
        """Leaves and amounts of an epoch's tree whose accounts were forgotten after it was closed."""
        statement = sa.select(forgotten_leaf.c.leaf, forgotten_leaf.c.amount).where(
            forgotten_leaf.c.entry == entry_index, forgotten_leaf.c.unit == unit
        )
        rows = self._book.query(statement.order_by(forgotten_leaf.c.leaf))
        leaves = np.frombuffer(b"".join(row.leaf for row in rows), np.uint8).reshape(-1, 32)
        return leaves, [int(row.amount) for row in rows]

    def close(
        self, text: str, accounts: Bytes, secrets: Bytes, next_key: bytes, before: Callable[[sa.Connection], None]
    ) -> int:
        """The one transaction of an epoch: its entry, the secrets of accounts (sorted) that are new, the next key.

        ``before`` writes what has to stand in the log before it.
        """
        with self._book.transaction() as con:
            before(con)
            index = append(con, entry, {"kind": KIND, "text": text})
            pages = list(_pages(index, accounts, secrets))
            if pages:
                con.execute(epoch_secret.insert(), pages)
            con.execute(epoch_key.update().values(key=next_key))
        return index

    def forget(self, con: sa.Connection, accounts: Iterable[uuid.UUID], leaves: Sequence[Mapping[str, Any]]) -> None:
        """In somebody's transaction: overwrite secrets of accounts, keep their leaves (entry, unit, leaf, amount)."""
        if leaves:
            con.execute(forgotten_leaf.insert(), list(leaves))
        changed: dict[tuple[int, bytes], tuple[Bytes, Bytes]] = {}
        for account in accounts:
            for row in con.execute(_pages_of(account, *_KEY)):
                if (row.entry, row.first) not in changed:
                    page = con.execute(
                        sa.select(epoch_secret.c.data).where(_is_page(row.entry, row.first))
                    ).scalar_one()
                    known, secrets = _parts(page)
                    changed[row.entry, row.first] = known, secrets.copy()
                known, secrets = changed[row.entry, row.first]
                place = _place(known, account)
                if place is not None:
                    secrets[place] = 0
        for (number, first), (known, secrets) in changed.items():
            data = known.tobytes() + secrets.tobytes()
            con.execute(epoch_secret.update().where(_is_page(number, first)).values(data=data))


_KEY = (epoch_secret.c.entry, epoch_secret.c.first)


def _is_page(number: int, first: bytes) -> sa.ColumnElement[bool]:
    return (epoch_secret.c.entry == number) & (epoch_secret.c.first == first)


def _pages_of(account: uuid.UUID, *columns: sa.Column[Any]) -> sa.Select[Any]:
    """The pages that may hold an account."""
    inside = (epoch_secret.c.first <= account.bytes) & (epoch_secret.c.last >= account.bytes)
    return sa.select(*(columns or (epoch_secret,))).where(inside)


def _pages(index: int, accounts: Bytes, secrets: Bytes) -> Iterable[dict[str, Any]]:
    for start in range(0, len(accounts), PAGE_ACCOUNTS):
        own, secret = accounts[start : start + PAGE_ACCOUNTS], secrets[start : start + PAGE_ACCOUNTS]
        yield {
            "entry": index,
            "first": own[0].tobytes(),
            "last": own[-1].tobytes(),
            "data": own.tobytes() + secret.tobytes(),
        }


def _parts(data: bytes) -> tuple[Bytes, Bytes]:
    count, rest = divmod(len(data), IDENTITY_BYTES + SECRET_BYTES)
    if rest:
        raise refuse(
            "page-damaged",
            f"a page of secrets has {len(data)} bytes",
            where="table epoch_secret",
            remedy="restore the book from a backup",
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, IDENTITY_BYTES)
    return rows[:count], rows[count:]


def _place(accounts: Bytes, account: uuid.UUID) -> int | None:
    found = np.flatnonzero((accounts == np.frombuffer(account.bytes, np.uint8)).all(axis=1))
    return int(found[0]) if len(found) else None
