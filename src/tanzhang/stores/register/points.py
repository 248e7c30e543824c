"""Points (积分): what each account holds, in lots, and every single movement of it.

Points are a reward. They are never grams, never money, and nobody gives them to another person. A **lot** is what an
account was granted with one last day on which it can be used; what is left of it is spent first where it ends first. A
lot that waits to be collected (``collect_by``) cannot be spent. A **move** is a chained row of the book that takes
points from an account to a counter (a mall, a project) or back, or from one lot of an account to another, so every move
sums to zero by itself. Lots are what runs (points_runs.py) and moves come to, kept so that nobody has to add them up;
``tanzhang verify`` does: ``granted`` is what runs granted less what they took back, and ``available + ended`` is that
and the parts of moves.

What was taken back of an act when its points were spent already is owed: a lot below zero, repaid from what comes next.
What an account holds that is carried to another one (carrying.py) is there, and comes back as far as it is left. Lots
of erased persons are one account without a name, whose points nobody can spend and which end on their days.

Transactions that write stand one behind another on every database, so what is read inside one holds until its end.
Many spendings in one transaction cost a few statements together.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.stores.book import Book, points_move
from tanzhang.stores.book.schema import TEXT, append_many, end_of, metadata
from tanzhang.stores.register.carrying import edges

NEVER = "9999-12-31"
"""The last day of points that do not expire."""
UNIT = "points:"
"""What the units of points begin with; the id of their programme follows."""
NOBODY = b""
"""The account of lots of which nobody says any more whose they were."""
OWED = "owed"
"""What lots below zero are set off against."""
WRITTEN_OFF = "written_off"
_CARRIED = "carried"
_AT_ONCE = 500

points_lot = sa.Table(
    "points_lot",
    metadata,
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("account", sa.LargeBinary(16), nullable=False),
    sa.Column("last_day", TEXT, nullable=False),  # on which it can be used
    sa.Column("first_day", TEXT, nullable=False),
    sa.Column("collect_by", TEXT, nullable=False),  # the last day for that; empty where it need not be, or was
    sa.Column("granted", sa.BigInteger, nullable=False),
    sa.Column("available", sa.BigInteger, nullable=False),  # what is left; below zero is owed
    sa.Column("ended", sa.BigInteger, nullable=False),  # what nobody used or collected in time
    sa.PrimaryKeyConstraint("unit", "account", "last_day", "first_day", "collect_by"),
    sa.Index(
        "points_lot_owed",
        "unit",
        "account",
        sqlite_where=sa.text("available < 0"),
        postgresql_where=sa.text("available < 0"),
    ),
)
Key = tuple[str, str, str]
"""Last day, first day and collect-by day of a lot."""


@dataclass(frozen=True, slots=True)
class Lot:
    """What is left of points that can be used from ``first_day`` to ``last_day``, local days as text.

    ``collect_by`` is the last day on which its person may collect it, empty where nothing has to be.
    """

    last_day: str
    first_day: str
    granted: int
    available: int
    collect_by: str = ""

    @property
    def key(self) -> Key:
        """What tells it from other lots of its account."""
        return self.last_day, self.first_day, self.collect_by

    def is_usable(self, day: str) -> bool:
        """Whether it counts on a local day; what is owed always does."""
        return self.available < 0 or (not self.collect_by and self.first_day <= day <= self.last_day)

    def is_waiting(self, day: str) -> bool:
        """Whether it can be collected on a local day."""
        return self.available > 0 and self.first_day <= day <= self.collect_by and day <= self.last_day


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

    def units(self, account: uuid.UUID) -> list[str]:
        """The units that an account has or had anything in."""
        with self._book.reading() as con:
            return _units(con, account.bytes)

    def ending(self, unit: str, day: date, after: bytes | None, most: int) -> tuple[bytes, bytes] | None:
        """The first and the last account after one (None: of all) that have about ``most`` lots to end on a day."""
        lot, today = points_lot.c, day.isoformat()
        over = (lot.last_day < today) | ((lot.collect_by != "") & (lot.collect_by < today))
        own = sa.select(lot.account).where((lot.unit == unit) & (lot.available > 0) & over)
        if after is not None:
            own = own.where(lot.account > after)
        rows = self._book.query(own.order_by(lot.account).limit(most))
        return (bytes(rows[0].account), bytes(rows[-1].account)) if rows else None

    def moves(self, unit: str, *accounts: uuid.UUID, before: int | None = None, limit: int = 50) -> list[Any]:
        """Moves of some accounts, the latest first, those before number ``before``."""
        named = points_move.c.account.in_([str(account) for account in accounts])
        own = sa.select(points_move).where(named & (points_move.c.unit == unit))
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
        touched = []
        for name in names:
            row = booked.get((kind, name))
            if row is None or (as_kind, name) in done or not row.account:
                continue
            account = uuid.UUID(row.account)
            spending = Spending(account, -row.amount, as_kind, row.counter, name)
            back = [(_ending(_lot(part), not_before), -int(part[2])) for part in json.loads(row.lots)]
            changes += [(account, lot, amount) for lot, amount in back]
            touched.append(account)
            moves.append(_move(unit, spending, -row.amount, back, at))
        _change(con, unit, changes)
        append_many(con, points_move, moves)
        self.follow(con, touched, at=at)
        return len(moves)

    def collect(
        self, con: sa.Connection, unit: str, account: uuid.UUID, keys: Collection[Key] | None, *, at: str, day: date
    ) -> list[Lot]:
        """Let an account have what waits to be collected, of some lots or (None) all; returns what it was.

        What is not there, or waits no longer, is left alone. What the account owes is repaid from it.
        """
        today = day.isoformat()
        own = [lot for lot in _lots(con, unit, [account])[account] if lot.is_waiting(today)]
        chosen = [lot for lot in own if keys is None or lot.key in keys]
        parts = [(lot, -lot.available) for lot in chosen]
        parts += [(replace(lot, collect_by=""), lot.available) for lot in chosen]
        if parts:
            self._book_parts(con, unit, [(account, "collect", "waiting", parts, None)], at)
            self.settle_debts(con, unit, at=at, day=day, accounts=[account])
        return chosen

    def settle_debts(
        self,
        con: sa.Connection,
        unit: str,
        *,
        at: str,
        day: date,
        accounts: Iterable[uuid.UUID] | None = None,
        write_off: bool = False,
    ) -> int:
        """Set what accounts (None: all) owe off against what they have that did not end, the lots that end first first.

        With ``write_off`` what is left owed then is owed no more, and counter :data:`WRITTEN_OFF` has it. Returns how
        much that was.
        """
        today = day.isoformat()
        written = 0
        entries: list[_Entry] = []
        wanted = _owing(con, unit, only_able=not write_off) if accounts is None else list(accounts)
        for account, lots in _lots(con, unit, wanted).items():
            owed = [lot for lot in lots if lot.available < 0]
            there = [lot for lot in lots if lot.available > 0 and not lot.collect_by and lot.last_day >= today]
            parts, left = _set_off(owed, there)
            if parts:
                entries.append((account, "repay", OWED, parts, None))
            if write_off and left:
                entries.append((account, "write_off", WRITTEN_OFF, left, None))
                written += sum(amount for _, amount in left)
        self._book_parts(con, unit, entries, at)
        return written

    def end(self, con: sa.Connection, unit: str, day: date, accounts: tuple[bytes, bytes]) -> tuple[int, int]:
        """End every lot of accounts from one to another that nobody can use or collect any more on a day.

        Returns how many there were, and what was in them.
        """
        values = {"of_unit": unit, "today": day.isoformat(), "of_first": accounts[0], "of_last": accounts[1]}
        count, amount = con.execute(sa.text(f"SELECT count(*), sum(available) FROM points_lot {_OVER}"), values).one()
        if count:
            con.execute(sa.text(f"UPDATE points_lot SET ended = ended + available, available = 0 {_OVER}"), values)
        return int(count), int(amount or 0)

    def take_from_ended(self, con: sa.Connection, unit: str) -> int:
        """Take what is owed of a lot from what ended of it: whoever never used points owes nothing for them.

        Called in the run that took back; returns how much had ended and was not spent after all.
        """
        values = {"of_unit": unit}
        amount = con.execute(sa.text(f"SELECT sum({_NOT_SPENT}) FROM points_lot {_OWED_OF_ENDED}"), values).scalar()
        if amount:
            changed = f"SET available = available + {_NOT_SPENT}, ended = ended - {_NOT_SPENT}"
            con.execute(sa.text(f"UPDATE points_lot {changed} {_OWED_OF_ENDED}"), values)
        return int(amount or 0)

    # -- accounts that are one person's -----------------------------------------------------------------------

    def follow(self, con: sa.Connection, accounts: Iterable[uuid.UUID], *, at: str) -> None:
        """Let what joined accounts among these hold go on to where their holdings are."""
        waiting = {str(account) for account in accounts}
        while waiting:
            found = edges(con, waiting)
            sources = sorted(found)
            for unit in con.execute(sa.text(_EVERY_UNIT)).scalars().all() if found else ():
                own = _lots(con, unit, map(uuid.UUID, sources))
                carried = [(found[each], _all_of(own[uuid.UUID(each)])) for each in sources]
                self._carry(con, unit, [(edge, parts) for edge, parts in carried if parts], at)
            waiting = {row.target for row in found.values()}

    def part(self, con: sa.Connection, row: Any, *, at: str) -> None:
        """Give the source of a joining that has ended back what came from it, as far as it is left."""
        path, end = [row], row.target
        while (edge := edges(con, [end]).get(end)) is not None:
            path.append(edge)
            end = edge.target
        holder = uuid.UUID(end)
        for unit, flows in self._flows(con, row).items():
            there = {lot.key: lot.available for lot in _lots(con, unit, [holder])[holder]}
            back = {key: _left_of(amount, there.get(key, 0)) for key, amount in flows.items()}
            parts = [(_lot([*key[:2], "0", key[2]]), -amount) for key, amount in sorted(back.items()) if amount]
            for edge in reversed(path):
                self._carry(con, unit, [(edge, parts)] if parts else [], at)

    def forget(self, con: sa.Connection, accounts: Iterable[uuid.UUID]) -> list[int]:
        """Let accounts go that are erased; returns the moves that say no more whose they were, by number."""
        gone = sorted({account.bytes for account in accounts})
        moves: list[int] = []
        for some in _parts(gone):
            names = [str(uuid.UUID(bytes=each)) for each in some]
            own = points_move.c.account.in_(names)
            moves += [row.seq for row in con.execute(sa.select(points_move.c.seq).where(own))]
            con.execute(points_move.update().where(own).values(account=""))
            for account in some:
                for unit in _units(con, account):
                    con.execute(sa.text(_TO_NOBODY), {"nobody": NOBODY, "of_unit": unit, "of_account": account})
                    own = (points_lot.c.unit == unit) & (points_lot.c.account == account)
                    con.execute(points_lot.delete().where(own))
        return sorted(moves)

    def _carry(self, con: sa.Connection, unit: str, carried: Sequence[tuple[Any, _Amounts]], at: str) -> None:
        """Book parts from the source of each joining to its target; amounts below zero go the other way."""
        first, _ = end_of(con, points_move)
        entries: list[_Entry] = []
        for edge, parts in carried:
            reference = f"{edge.id}/{first + len(entries)}"
            taken = [(lot, -amount) for lot, amount in parts]
            entries.append((uuid.UUID(edge.source), "carry_out", _CARRIED, taken, reference))
            entries.append((uuid.UUID(edge.target), "carry_in", _CARRIED, parts, reference))
        self._book_parts(con, unit, entries, at)

    def _flows(self, con: sa.Connection, row: Any) -> dict[str, dict[Key, int]]:
        """Unit -> lot -> what came by a joining in all."""
        own = (points_move.c.account == row.target) & (points_move.c.kind == "carry_in")
        named = points_move.c.reference.like(f"{row.id}/%")
        flows: dict[str, dict[Key, int]] = {}
        for move in con.execute(sa.select(points_move).where(own & named).order_by(points_move.c.seq)):
            sums = flows.setdefault(move.unit, {})
            for part in json.loads(move.lots):
                key = _lot(part).key
                sums[key] = sums.get(key, 0) + int(part[2])
        return flows

    def _book_parts(self, con: sa.Connection, unit: str, entries: Sequence[_Entry], at: str) -> None:
        """Book moves of parts that are known; each is named by its number where nothing else names it."""
        first, _ = end_of(con, points_move)
        moves = []
        for number, (account, kind, counter, parts, reference) in enumerate(entries, first):
            amount = sum(part for _, part in parts)
            named = Spending(account, amount, kind, counter, str(number) if reference is None else reference)
            moves.append(_move(unit, named, amount, parts, at))
        _change(con, unit, ((account, lot, part) for account, _, _, parts, _ in entries for lot, part in parts))
        append_many(con, points_move, moves)


_Amounts = Sequence[tuple[Lot, int]]
_Entry = tuple[uuid.UUID, str, str, _Amounts, str | None]
"""Account, kind, counter, parts and reference of a move."""


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
        for row in con.execute(own.order_by(points_lot.c.last_day, points_lot.c.first_day, points_lot.c.collect_by)):
            lot = Lot(row.last_day, row.first_day, row.granted, row.available, row.collect_by)
            found[uuid.UUID(bytes=bytes(row.account))].append(lot)
    return found


def _named(con: sa.Connection, unit: str, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """The moves of kinds and references that there are."""
    found = {}
    by_kind: dict[str, set[str]] = {}
    for kind, reference in keys:
        by_kind.setdefault(kind, set()).add(reference)
    for kind, references in by_kind.items():  # one by one, so that a database needs no statistics to use the index
        own = (points_move.c.unit == unit) & (points_move.c.kind == kind)
        for some in _parts(sorted(references)):
            for row in con.execute(sa.select(points_move).where(own & points_move.c.reference.in_(some))):
                found[(row.kind, row.reference)] = row
    return found


def _change(con: sa.Connection, unit: str, changes: Iterable[tuple[uuid.UUID, Lot, int]]) -> None:
    """Add amounts to what is left of lots; lots that are new have been granted nothing."""
    sums: dict[tuple[bytes, str, str, str], int] = {}
    for account, lot, amount in changes:
        key = (account.bytes, *lot.key)
        sums[key] = sums.get(key, 0) + amount
    if not sums:
        return
    names = ("of_account", "of_last", "of_first", "collect_by", "amount")
    rows = [dict(zip(names, (*key, amount), strict=True)) | {"of_unit": unit} for key, amount in sums.items()]
    con.execute(sa.text(_ADD), rows)


_ADD = """
INSERT INTO points_lot (unit, account, last_day, first_day, collect_by, granted, available, ended)
VALUES (:of_unit, :of_account, :of_last, :of_first, :collect_by, 0, :amount, 0)
ON CONFLICT (unit, account, last_day, first_day, collect_by)
DO UPDATE SET available = points_lot.available + excluded.available
"""
_OVER = (
    "WHERE unit = :of_unit AND account >= :of_first AND account <= :of_last AND available > 0 "
    "AND (last_day < :today OR (collect_by <> '' AND collect_by < :today))"
)
_NOT_SPENT = "CASE WHEN ended < -available THEN ended ELSE -available END"
_OWED_OF_ENDED = "WHERE unit = :of_unit AND available < 0 AND ended > 0"
_TO_NOBODY = """
INSERT INTO points_lot (unit, account, last_day, first_day, collect_by, granted, available, ended)
SELECT unit, :nobody, last_day, first_day, collect_by, granted, available, ended
FROM points_lot WHERE unit = :of_unit AND account = :of_account
ON CONFLICT (unit, account, last_day, first_day, collect_by) DO UPDATE SET
    granted = points_lot.granted + excluded.granted,
    available = points_lot.available + excluded.available,
    ended = points_lot.ended + excluded.ended
"""


def _owing(con: sa.Connection, unit: str, *, only_able: bool) -> list[uuid.UUID]:
    """The accounts that owe something; with ``only_able`` those that have something too."""
    owed = sa.select(points_lot.c.account).distinct().where((points_lot.c.unit == unit) & (points_lot.c.available < 0))
    owed = owed.where(points_lot.c.account != NOBODY)
    if only_able:
        other = points_lot.alias()
        owed = owed.where(
            sa.exists().where(
                (other.c.unit == unit) & (other.c.account == points_lot.c.account) & (other.c.available > 0)
            )
        )
    return [uuid.UUID(bytes=bytes(row.account)) for row in con.execute(owed)]


def _set_off(owed: Sequence[Lot], there: Sequence[Lot]) -> tuple[list[tuple[Lot, int]], list[tuple[Lot, int]]]:
    """Parts that take what is owed from what is there, and parts that what is left owed then would need."""
    parts, left = [], []
    rest = [(lot, lot.available) for lot in there]
    for debt in owed:
        needed = -debt.available
        while needed and rest:
            lot, amount = rest.pop(0)
            part = min(needed, amount)
            parts += [(lot, -part), (debt, part)]
            needed -= part
            if amount > part:
                rest.insert(0, (lot, amount - part))
        if needed:
            left.append((debt, needed))
    return parts, left


def _all_of(lots: Iterable[Lot]) -> list[tuple[Lot, int]]:
    return [(lot, lot.available) for lot in lots]


def _left_of(flow: int, there: int) -> int:
    """How much of what came to a lot can go back: no more than is there, and debts only while they stand."""
    return min(flow, max(there, 0)) if flow > 0 else max(flow, min(there, 0))


def _units(con: sa.Connection, account: bytes) -> list[str]:
    """The units that an account has lots in, by one look-up for each unit that there is."""
    found = []
    for unit in con.execute(sa.text(_EVERY_UNIT)).scalars().all():
        own = (points_lot.c.unit == unit) & (points_lot.c.account == account)
        if con.execute(sa.select(points_lot.c.unit).where(own).limit(1)).first() is not None:
            found.append(unit)
    return found


_EVERY_UNIT = """
WITH RECURSIVE known(unit) AS (
    SELECT min(unit) FROM points_lot
    UNION ALL SELECT (SELECT min(unit) FROM points_lot WHERE unit > known.unit) FROM known WHERE known.unit IS NOT NULL
) SELECT unit FROM known WHERE unit IS NOT NULL
"""


def _move(unit: str, spending: Spending, amount: int, lots: Iterable[tuple[Lot, int]], at: str) -> Mapping[str, Any]:
    parts = [[lot.last_day, lot.first_day, str(part), *([lot.collect_by] * bool(lot.collect_by))] for lot, part in lots]
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
    return Lot(part[0], part[1], 0, 0, *part[3:])


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
