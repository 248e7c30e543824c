"""Runs by which points are awarded and end, and what is kept between them: rules by digest, limits used, budgets spent.

A run is one chained row, booked with what it gives: lots (points.py), what it used of limits and budgets. What a run
over a large batch gives comes into the book slice by slice before that row; a row of table points_open is the mark of
how far, written with each slice, and goes when the run's row comes. An account's lot is what all runs, and slices, gave
it and all moves changed, so that none of it is a second truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json
from tanzhang.stores.book import Book, entry, points_move, points_rules, points_run
from tanzhang.stores.book.bulk import add_amounts
from tanzhang.stores.book.schema import TEXT, append, end_of, metadata
from tanzhang.stores.register.points import NOBODY, points_lot

AWARD, EXPIRE = "award", "expire"
KIND = "points"
"""The kind of entries of the log that commit to runs and moves."""
FORMAT = "tanzhang.points/1"
_FEW = 2_000
_AT_ONCE = 500

# What accounts used of limits: the name of a limit, the first day of its period, acts or points.
points_used = sa.Table(
    "points_used",
    metadata,
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("account", sa.LargeBinary(16), nullable=False),
    sa.Column("key", TEXT, nullable=False),
    sa.Column("period", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("unit", "account", "key", "period"),
)
# What came out of the budget of each sponsor so far, less what came back.
points_budget = sa.Table(
    "points_budget",
    metadata,
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("sponsor", TEXT, nullable=False),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("unit", "sponsor"),
)
# Award runs of which slices are in the book and others are not, at most one of a unit: what their row of points_run
# will say, their files, and how far they came. Rows change and go; none names a person.
points_open = sa.Table(
    "points_open",
    metadata,
    sa.Column("unit", TEXT, primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("rules", TEXT, nullable=False),
    sa.Column("day", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("granted", sa.BigInteger, nullable=False),
    sa.Column("taken_back", sa.BigInteger, nullable=False),
    sa.Column("sponsors", TEXT, nullable=False),
    sa.Column("writes_off", sa.Integer, nullable=False),
    sa.Column("file", TEXT),
    sa.Column("file_digest", TEXT),
    sa.Column("used_file", TEXT),
    sa.Column("used_digest", TEXT),
    sa.Column("done", sa.BigInteger, nullable=False),
)

USED = pa.schema({"account": pa.binary(16), "key": pa.string(), "period": pa.date32(), "amount": pa.int64()})
LOTS = pa.schema(
    {
        "account": pa.binary(),  # NOBODY where nobody says any more whose it is
        "last_day": pa.string(),
        "first_day": pa.string(),
        "collect_by": pa.string(),
        "granted": pa.int64(),
    }
)
"""What a run gives to lots; below zero where it takes back."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An award run on its way into the book: what table points_run will say of it, and how far it came.

    All that the run gives records before place ``done`` of the batch, and accounts whose first record is before it, is
    in the book. ``writes_off`` says what becomes of debts; ``used_file`` what is added to limits (points_runs.py of
    stores).
    """

    unit: str
    batch: int
    rules: str
    day: str
    rows: int
    granted: int
    taken_back: int
    sponsors: str
    writes_off: bool
    file: str | None
    file_digest: str | None
    used_file: str | None = None
    used_digest: str | None = None
    done: int = 0


class PointsRuns:
    """The runs of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def of(self, unit: str, kind: str | None = None) -> list[Any]:
        """The runs of a unit in order."""
        own = points_run.c.unit == unit
        if kind is not None:
            own &= points_run.c.kind == kind
        return self._book.query(sa.select(points_run).where(own).order_by(points_run.c.seq))

    def of_batch(self, unit: str, number: int) -> Any | None:
        """The award run of a batch, if there is one."""
        own = (points_run.c.unit == unit) & (points_run.c.kind == AWARD) & (points_run.c.batch == number)
        rows = self._book.query(sa.select(points_run).where(own))
        return rows[0] if rows else None

    def next_batch(self, unit: str) -> int:
        """The first batch that has no award run yet."""
        own = (points_run.c.unit == unit) & (points_run.c.kind == AWARD)
        last = self._book.query(sa.select(sa.func.max(points_run.c.batch)).where(own))[0][0]
        return 0 if last is None else int(last) + 1

    def open_runs(self) -> list[OpenRun]:
        """The award runs that are not whole, at most one of a unit."""
        rows = self._book.query(sa.select(points_open).order_by(points_open.c.unit))
        return [OpenRun(**{**row._mapping, "writes_off": bool(row.writes_off)}) for row in rows]

    def files(self) -> set[str]:
        """The files that runs name, those that are not whole too."""
        rows = self._book.query(sa.select(points_run.c.file).where(points_run.c.file.is_not(None)))
        named = {row.file for row in rows}
        for run in self.open_runs():
            named |= {name for name in (run.file, run.used_file) if name is not None}
        return named

    def units(self) -> list[str]:
        """Every unit that rules were kept of."""
        rows = self._book.query(sa.select(points_rules.c.unit).distinct().order_by(points_rules.c.unit))
        return [row.unit for row in rows]

    def documents(self, digests: Iterable[str]) -> dict[str, str]:
        """Rules as they were written down, by digest."""
        statement = sa.select(points_rules.c.digest, points_rules.c.document)
        rows = self._book.query(statement.where(points_rules.c.digest.in_(sorted(set(digests)))))
        return {row.digest: row.document for row in rows}

    def spent(self, unit: str) -> dict[str, int]:
        """Sponsor -> what came out of its budget so far."""
        own = sa.select(points_budget).where(points_budget.c.unit == unit).order_by(points_budget.c.sponsor)
        return {row.sponsor: int(row.spent) for row in self._book.query(own)}

    def used(self, unit: str, accounts: Sequence[bytes]) -> pa.Table:
        """What some accounts (sorted, each once) used of limits, as :data:`USED`."""
        columns = (points_used.c.account, points_used.c.key, points_used.c.period, points_used.c.amount)
        own = sa.select(*columns).where(points_used.c.unit == unit)
        if len(accounts) > _FEW:
            rows = self._book.query(own.where(points_used.c.account.between(accounts[0], accounts[-1])))
        else:
            rows = []
            for start in range(0, len(accounts), _AT_ONCE):
                rows += self._book.query(own.where(points_used.c.account.in_(accounts[start : start + _AT_ONCE])))
        if not rows:
            return USED.empty_table()
        account, key, period, amount = zip(*rows, strict=True)
        days = pa.array(period, pa.string()).cast(pa.date32())
        return pa.table(
            [pa.array(map(bytes, account), pa.binary(16)), pa.array(key), days, pa.array(amount)], schema=USED
        )

    def totals(self, unit: str) -> dict[str, int]:
        """What runs granted, took back and ended in all."""
        names = ("granted", "taken_back", "ended")
        sums = sa.select(*(sa.func.coalesce(sa.func.sum(points_run.c[name]), 0) for name in names))
        row = self._book.query(sums.where(points_run.c.unit == unit))[0]
        return {name: int(value) for name, value in zip(names, row, strict=True)}

    def moved(self, unit: str) -> dict[str, int]:
        """Counter -> what moves took from accounts into it, less what they gave back."""
        sums = sa.select(points_move.c.counter, sa.func.sum(points_move.c.amount)).where(points_move.c.unit == unit)
        rows = self._book.query(sums.group_by(points_move.c.counter).order_by(points_move.c.counter))
        return {counter: -int(amount) for counter, amount in rows}

    def held(self, unit: str, today: str) -> dict[str, int]:
        """What all accounts hold on a local day: usable or not yet, waiting to be collected, owed, nobody's."""
        lot = points_lot.c
        ended = (lot.last_day < today) | ((lot.collect_by != "") & (lot.collect_by < today))
        named = lot.account != NOBODY
        cases = {
            "held": named & ~ended & (lot.collect_by == "") & (lot.available > 0),
            "waiting": named & ~ended & (lot.collect_by != "") & (lot.available > 0),
            "owed": named & (lot.available < 0),
            "nobodys": ~named,
            "over": named & ended & (lot.available > 0),
        }
        sums = [sa.func.coalesce(sa.func.sum(sa.case((what, lot.available), else_=0)), 0) for what in cases.values()]
        row = self._book.query(sa.select(*sums).where(lot.unit == unit))[0]
        return {name: int(value) for name, value in zip(cases, row, strict=True)}

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def keep_rules(self, con: sa.Connection, unit: str, documents: Mapping[str, str]) -> None:
        """Keep rules that are not kept yet, by digest."""
        known = set(con.execute(sa.select(points_rules.c.digest).where(points_rules.c.digest.in_(documents))).scalars())
        for digest in sorted(documents.keys() - known):
            append(con, points_rules, {"unit": unit, "digest": digest, "document": documents[digest]})

    def add(self, con: sa.Connection, values: Mapping[str, Any], spent: Mapping[str, int]) -> int:
        """Book a run; ``spent`` is sponsor -> what came out of its budget, less what came back."""
        said = {"granted": 0, "taken_back": 0, "ended": 0, **values, "sponsors": sponsors_text(spent)}
        number = append(con, points_run, said)
        for sponsor, amount in sorted(spent.items()):
            row = {"of_unit": values["unit"], "of_sponsor": sponsor, "amount": amount}
            con.execute(sa.text(_SPEND), row)
        return number

    def mark(self, con: sa.Connection, run: OpenRun) -> None:
        """Keep how far a run came, in place of what was kept of it before."""
        self.unmark(con, run.unit)
        con.execute(points_open.insert(), {**asdict(run), "writes_off": int(run.writes_off)})

    def unmark(self, con: sa.Connection, unit: str) -> None:
        """Let the mark of a run go: it is whole."""
        con.execute(points_open.delete().where(points_open.c.unit == unit))

    def give(self, con: sa.Connection, unit: str, lots: pa.Table) -> None:
        """Add what a run gives (:data:`LOTS`, each lot once, sorted by account) to what is there."""
        rows = lots.append_column("available", lots["granted"])
        rows = rows.append_column("ended", pa.array([0] * lots.num_rows, pa.int64()))
        rows = rows.append_column("unit", pa.array([unit] * lots.num_rows, pa.string()))
        add_amounts(con, points_lot, rows, amounts=("granted", "available", "ended"))

    def use(self, con: sa.Connection, unit: str, used: pa.Table) -> None:
        """Add what a run used of limits (:data:`USED`, each limit and period of an account once)."""
        rows = used.set_column(2, "period", used["period"].cast(pa.string()))
        rows = rows.append_column("unit", pa.array([unit] * used.num_rows, pa.string()))
        add_amounts(con, points_used, rows, amounts=("amount",))

    def seal(self, con: sa.Connection, programme: str) -> None:
        """Give the log an entry over all runs and moves, if there are new ones since the last."""
        runs, moves = end_of(con, points_run), end_of(con, points_move)
        text = entry_text(programme, runs, moves)
        own = sa.select(entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq.desc()).limit(1)
        if con.execute(own).scalar() != text and (runs[0] or moves[0]):
            append(con, entry, {"kind": KIND, "text": text})

    def forget(self, con: sa.Connection, accounts: Sequence[bytes]) -> None:
        """Let go what erased accounts used of limits."""
        units = con.execute(sa.select(points_rules.c.unit).distinct()).scalars().all()
        for unit in units:
            for start in range(0, len(accounts), _AT_ONCE):
                some = points_used.c.account.in_(accounts[start : start + _AT_ONCE])
                con.execute(points_used.delete().where((points_used.c.unit == unit) & some))


_SPEND = """
INSERT INTO points_budget (unit, sponsor, spent) VALUES (:of_unit, :of_sponsor, :amount)
ON CONFLICT (unit, sponsor) DO UPDATE SET spent = points_budget.spent + excluded.spent
"""


def entry_text(programme: str, runs: tuple[int, str], moves: tuple[int, str]) -> str:
    """The log's entry over the first rows of runs and moves, as canonical JSON."""
    said = {name: {"rows": str(rows), "head": head} for name, (rows, head) in (("runs", runs), ("moves", moves))}
    return canonical_json({"format": FORMAT, "programme": programme, **said})


def sponsors_text(spent: Mapping[str, int]) -> str:
    """Sponsor -> what came out of its budget, less what came back, as a run says it."""
    return canonical_json({sponsor: str(amount) for sponsor, amount in sorted(spent.items()) if amount})


def sponsors_of(run: Any) -> dict[str, int]:
    """Sponsor -> what a run took out of its budget, less what it gave back."""
    return {sponsor: int(amount) for sponsor, amount in json.loads(run.sponsors).items()}
