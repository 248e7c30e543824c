"""Points (积分): what each account holds, in lots, and every single movement of it.

Points are a reward. They are never grams, never money, and nobody gives them to another person. A **lot** is what an
account was granted with one last day on which it can be used; what is left of it is spent first where it ends first. A
**move** is a chained row of the book that takes points from an account to a counter (a mall, a project, what expired)
or back, so every move sums to zero by itself. Lots are what awards and moves come to, kept so that nobody has to add
them up; ``tanzhang verify`` does.

Transactions that write stand one behind another on every database, so what is read inside one holds until its end.
Many spendings in one transaction cost a few statements together.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.stores.book import Book, points_move
from tanzhang.stores.book.schema import TEXT, append_many, metadata

NEVER = "9999-12-31"
"""The last day of points that do not expire."""
UNIT = "points:"
"""What the units of points begin with; the id of their programme follows."""
_AT_ONCE = 500

points_lot = sa.Table(
    "points_lot",
    metadata,
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("account", sa.LargeBinary(16), nullable=False),
    sa.Column("last_day", TEXT, nullable=False),  # on which it can be used
    sa.Column("first_day", TEXT, nullable=False),
    sa.Column("granted", sa.BigInteger, nullable=False),
    sa.Column("available", sa.BigInteger, nullable=False),  # what is left; below zero is owed
    sa.PrimaryKeyConstraint("unit", "account", "last_day", "first_day"),
)


@dataclass(frozen=True, slots=True)
class Lot:
    """What is left of points that can be used from ``first_day`` to ``last_day``, local days as text."""

    last_day: str
    first_day: str
    granted: int
    available: int

    def is_usable(self, day: str) -> bool:
        """Whether it counts on a local day; what is owed always does."""
        return self.available < 0 or self.first_day <= day <= self.last_day


@dataclass(frozen=True, slots=True)
class Spending:
    """Points that go from an account to ``counter``. ``kind`` and ``reference`` name it once and for all."""

    account: uuid.UUID
    amount: int
    kind: str
    counter: str
    reference: str
    memo: str | None = None


class Points:
    """The points of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def lots(self, unit: str, account: uuid.UUID) -> list[Lot]:
        """The lots of an account of which anything is left, those that end first first."""
        with self._book.reading() as con:
            return _lots(con, unit, [account])[account]

    def usable(self, unit: str, account: uuid.UUID, day: date) -> int:
        """What an account can spend on a local day; below zero is owed."""
        return usable(self.lots(unit, account), day)

    def moves(self, unit: str, account: uuid.UUID, *, before: int | None = None, limit: int = 50) -> list[Any]:
        """Moves of an account, the latest first, those before number ``before``."""
        own = sa.select(points_move).where((points_move.c.account == str(account)) & (points_move.c.unit == unit))
        if before is not None:
            own = own.where(points_move.c.seq < before)
        return self._book.query(own.order_by(points_move.c.seq.desc()).limit(limit))

    def move(self, unit: str, kind: str, reference: str) -> Any | None:
        """The move of a kind and reference."""
        with self._book.reading() as con:
            return _named(con, unit, {(kind, reference)}).get((kind, reference))

    def usable_in(
        self, con: sa.Connection, unit: str, accounts: Iterable[uuid.UUID], day: date
    ) -> dict[uuid.UUID, int]:
        """As :meth:`usable`, of many accounts at once, in somebody's transaction."""
        return {account: usable(own, day) for account, own in _lots(con, unit, accounts).items()}

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def spend(
        self, con: sa.Connection, unit: str, spendings: Sequence[Spending], *, at: str, day: date
    ) -> list[TanzhangError | None]:
        """Book spendings, in their order; for each None, or why not: ``points-short``, ``points-reference-taken``.

        One that was booked before, with the same account and amount, is not booked again. ``at`` is the moment in UTC,
        ``day`` the local day.
        """
        lots = _lots(con, unit, [each.account for each in spendings])
        booked = _named(con, unit, {(each.kind, each.reference) for each in spendings})
        known = {key: (row.account, -row.amount) for key, row in booked.items()}
        answers: list[TanzhangError | None] = []
        taken: list[tuple[uuid.UUID, Lot]] = []
        moves = []
        for each in spendings:
            if each.amount <= 0:
                raise ValueError(f"{each.amount} points cannot be spent")
            key = (each.kind, each.reference)
            if key in known:
                same = known[key] == (str(each.account), each.amount)
                answers.append(None if same else _taken(each))
                continue
            own = lots[each.account]
            there = usable(own, day)
            if there < each.amount:
                answers.append(_short(each.amount, there))
                continue
            lots[each.account], parts = _take(own, each.amount, day.isoformat())
            taken += [(each.account, part) for part in parts]
            moves.append(_move(unit, each, -each.amount, [(lot, -lot.available) for lot in parts], at))
            known[key] = (str(each.account), each.amount)
            answers.append(None)
        _change(con, unit, ((account, lot, -lot.available) for account, lot in taken))
        append_many(con, points_move, moves)
        return answers

    def give_back(
        self, con: sa.Connection, unit: str, kind: str, references: Iterable[str], *, at: str, as_kind: str,
        not_before: date | None = None,
    ) -> int:  # fmt: skip
        """Take spendings back, whole, into the lots that they came from; returns how many were taken back.

        What is given back already, or was never booked, is left alone. Points whose last day is before ``not_before``
        come back as a lot that ends then. ``as_kind`` is what the opposite moves are called.
        """
        names = sorted(set(references))
        booked = _named(con, unit, {(kind, name) for name in names})
        done = _named(con, unit, {(as_kind, name) for name in names})
        moves, changes = [], []
        for name in names:
            row = booked.get((kind, name))
            if row is None or (as_kind, name) in done or not row.account:
                continue
            account = uuid.UUID(row.account)
            spending = Spending(account, -row.amount, as_kind, row.counter, name)
            back = [(_ending(_lot(part), not_before), -int(part[2])) for part in json.loads(row.lots)]
            changes += [(account, lot, amount) for lot, amount in back]
            moves.append(_move(unit, spending, -row.amount, back, at))
        _change(con, unit, changes)
        append_many(con, points_move, moves)
        return len(moves)


def usable(lots: Iterable[Lot], day: date) -> int:
    """What some lots of one account come to on a local day.

    >>> usable([Lot("2026-12-31", "2026-01-01", 50, 30), Lot("2026-06-30", "2026-01-01", 50, 50)], date(2026, 7, 1))
    30
    """
    return sum(lot.available for lot in lots if lot.is_usable(day.isoformat()))


def _take(lots: Sequence[Lot], amount: int, day: str) -> tuple[list[Lot], list[Lot]]:
    """What is left of lots once an amount was taken, and the parts that were taken, as lots of their size."""
    left, parts = [], []
    for lot in lots:
        part = min(amount, lot.available) if lot.available > 0 and lot.is_usable(day) else 0
        if part:
            parts.append(replace(lot, available=part))
            amount -= part
        left.append(replace(lot, available=lot.available - part))
    return left, parts


def _lots(con: sa.Connection, unit: str, accounts: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[Lot]]:
    """The lots of accounts, in the order in which they are spent."""
    found: dict[uuid.UUID, list[Lot]] = {account: [] for account in accounts}
    for some in _parts([account.bytes for account in found]):
        own = sa.select(points_lot).where(
            (points_lot.c.unit == unit) & points_lot.c.account.in_(some) & (points_lot.c.available != 0)
        )
        for row in con.execute(own.order_by(points_lot.c.last_day, points_lot.c.first_day)):
            lot = Lot(row.last_day, row.first_day, row.granted, row.available)
            found[uuid.UUID(bytes=bytes(row.account))].append(lot)
    return found


def _named(con: sa.Connection, unit: str, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """The moves of kinds and references that there are."""
    found = {}
    for some in _parts(sorted(keys)):
        named = sa.tuple_(points_move.c.kind, points_move.c.reference).in_(some)
        for row in con.execute(sa.select(points_move).where((points_move.c.unit == unit) & named)):
            found[(row.kind, row.reference)] = row
    return found


def _change(con: sa.Connection, unit: str, changes: Iterable[tuple[uuid.UUID, Lot, int]]) -> None:
    """Add amounts to what is left of lots; lots that are new have been granted nothing."""
    sums: dict[tuple[bytes, str, str], int] = {}
    for account, lot, amount in changes:
        key = (account.bytes, lot.last_day, lot.first_day)
        sums[key] = sums.get(key, 0) + amount
    if not sums:
        return
    names = ("of_account", "of_last", "of_first", "amount")
    rows = [dict(zip(names, (*key, amount), strict=True)) | {"of_unit": unit} for key, amount in sums.items()]
    con.execute(sa.text(_ADD), rows)


_ADD = """
INSERT INTO points_lot (unit, account, last_day, first_day, granted, available)
VALUES (:of_unit, :of_account, :of_last, :of_first, 0, :amount)
ON CONFLICT (unit, account, last_day, first_day) DO UPDATE SET available = points_lot.available + excluded.available
"""


def _move(unit: str, spending: Spending, amount: int, lots: Iterable[tuple[Lot, int]], at: str) -> Mapping[str, Any]:
    parts = [[lot.last_day, lot.first_day, str(part)] for lot, part in lots]
    return {
        "unit": unit,
        "kind": spending.kind,
        "reference": spending.reference,
        "account": str(spending.account),
        "counter": spending.counter,
        "amount": amount,
        "lots": canonical_json(parts),
        "memo": spending.memo,
        "made_at": at,
    }


def _lot(part: Sequence[str]) -> Lot:
    return Lot(part[0], part[1], 0, 0)


def _ending(lot: Lot, not_before: date | None) -> Lot:
    least = "" if not_before is None else not_before.isoformat()
    return replace(lot, last_day=max(lot.last_day, least))


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _short(amount: int, there: int) -> TanzhangError:
    return refuse(
        "points-short",
        f"{amount} points are asked for, and {max(there, 0)} are there",
        where="points",
        remedy="collect what is waiting, or come back with more points",
    )


def _taken(spending: Spending) -> TanzhangError:
    return refuse(
        "points-reference-taken",
        f"{spending.kind} {spending.reference} is booked already, for another account or amount",
        where="reference",
        remedy="give each spending a reference of its own",
    )
