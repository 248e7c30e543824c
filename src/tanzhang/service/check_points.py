"""What verification asks of points: every run computed again, every lot the sum of runs and moves, the log's word.

A run is computed again from its batch, from the rules that it names and from what the runs before it used. Of erased
records only the rows of the run's file are left: they count as they stand. Of a run that is not whole everything is
computed again too, and as much counts as its mark says is in the book.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.points import PointsProgramme
from tanzhang.engine.columns import one_array
from tanzhang.service.award import (
    by_sponsor,
    compute,
    read_document,
    records_of,
    settled_day,
    sorted_rows,
    summed,
    taken_back,
)
from tanzhang.service.award_booking import batch_accounts, before, lots_of, used_of
from tanzhang.service.findings import RESTORE, SHOWN
from tanzhang.stores.book import entry, points_move, points_rules, points_run
from tanzhang.stores.home import Home
from tanzhang.stores.points_runs import SCHEMA, is_as_written, is_used_as_written, read_run, read_used
from tanzhang.stores.register.points import NOBODY, points_lot
from tanzhang.stores.register.points_runs import (
    AWARD,
    KIND,
    LOTS,
    USED,
    OpenRun,
    entry_text,
    points_used,
    sponsors_of,
)

Wrong = Callable[[str, str], None]
_SOME = "lots of points"


@dataclass
class PointsCheck:
    """What was looked at, what is wrong, what can no longer be told."""

    count: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_points(
    home: Home, batches: Sequence[Any], sound: Sequence[int], heads: Mapping[str, Sequence[str]]
) -> PointsCheck:
    """Check every points programme that ever had rules here.

    ``sound`` are the numbers of batches whose files are as written; ``heads`` has the heads of every chained table
    after each row.
    """
    check = PointsCheck()

    def wrong(message: str, where: str) -> None:
        check.problems.append(Problem("points-mismatch", message, where, RESTORE))

    documents = _documents(home, wrong)
    for unit in _units(home):
        _Unit(home, unit, {row.seq: row for row in batches}, set(sound), documents, check, wrong).run()
    _check_log(home, heads, wrong)
    return check


def _units(home: Home) -> list[str]:
    found = {*home.points_runs.units(), *(run.unit for run in home.points_runs.open_runs())}
    for table in (points_lot, points_run, points_move):
        found |= {row.unit for row in home.book.query(sa.select(table.c.unit).distinct())}
    return sorted(found)


def _documents(home: Home, wrong: Wrong) -> dict[str, PointsProgramme]:
    """Rules by digest; one whose text is another one's is told of and left out."""
    found = {}
    for row in home.book.rows(points_rules):
        if hashlib.sha256(row.document.encode()).hexdigest() == row.digest:
            found[row.digest] = read_document(row.document)
        else:
            wrong(f"rules {row.digest} have another text", f"{home.book.name}: points_rules {row.seq}")
    return found


def _check_log(home: Home, heads: Mapping[str, Sequence[str]], wrong: Wrong) -> None:
    """Each entry of the log over runs and moves against their heads."""
    own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
    for row in home.book.query(own):
        ends = []
        for name, table in (("runs", points_run), ("moves", points_move)):
            known, rows = heads[table.name], _rows_said(row.text, name)
            ends.append((rows, known[rows]) if 0 <= rows < len(known) else (rows, ""))
        if row.text != entry_text(home.programme.id, *ends):
            wrong("the entry is not that of the runs and moves of then", f"{home.book.name}: entry {row.seq}")


def _rows_said(text: str, name: str) -> int:
    try:
        return int(json.loads(text)[name]["rows"])
    except (ValueError, KeyError, TypeError):
        return -1


class _Unit:
    """The check of one unit; what runs gave and used is added up on the way."""

    def __init__(
        self, home: Home, unit: str, batches: Mapping[int, Any], sound: set[int],
        documents: Mapping[str, PointsProgramme], check: PointsCheck, wrong: Wrong,
    ) -> None:  # fmt: skip
        self.home, self.unit, self.batches, self.sound = home, unit, batches, sound
        self.documents, self.check, self.wrong = documents, check, wrong
        self.runs = home.points_runs.of(unit)
        self.open = next((run for run in home.points_runs.open_runs() if run.unit == unit), None)
        self.used, self.spent = USED.empty_table(), dict[str, int]()
        self.given: list[pa.Table] = []
        self.back: set[tuple[int, int]] = set()
        self.whole = True  # whether every run could be computed again
        self.erased = False

    def run(self) -> None:
        """Every run in order, then what they come to."""
        awards = [run for run in self.runs if run.kind == AWARD]
        if [run.batch for run in awards] != list(range(len(awards))):
            self.wrong(
                "runs do not follow their batches one by one", f"{self.home.book.name}: points_run of {self.unit}"
            )
        for run in awards:
            self._run(run, f"{self.home.book.name}: points_run {run.seq}")
        if self.open is not None:
            self._open(self.open, len(awards))
        self._lots()
        if self.whole:
            self._limits()
        self._moves()
        if not self.whole:
            self.check.notes.append(f"{self.unit}: runs over batches that are damaged were not computed again")

    def _run(self, run: Any, where: str) -> None:
        """One run; of one that is not whole (:class:`OpenRun`) only what is in the book counts."""
        row = self.batches.get(run.batch)
        try:
            right = is_as_written(self.home.storage, run)
            rows = read_run(self.home.storage, run) if right else SCHEMA.empty_table()
        except TanzhangError:
            right, rows = False, SCHEMA.empty_table()
        if not right:
            self.wrong(f"{run.file} is missing or not what was written", run.file or where)
        if row is None or not right or run.batch not in self.sound or not self._known(run):
            self.whole = False
            return
        self.check.count += rows.num_rows
        self._totals(run, rows, where)
        accounts = batch_accounts(self.home, row)
        booked = before(rows, run.done) if isinstance(run, OpenRun) else rows
        if booked.num_rows:
            self.given.append(lots_of(booked, accounts.take(one_array(booked["place"]))))
        used = self._computed(run, row, rows, accounts.take(one_array(rows["place"])), where)
        if isinstance(run, OpenRun):
            used = self._used_so_far(run, used, accounts)
        else:
            for sponsor, amount in sponsors_of(run).items():
                self.spent[sponsor] = self.spent.get(sponsor, 0) + amount
        self.used = summed(self.used, used)

    def _open(self, run: OpenRun, following: int) -> None:
        """The run that is not whole; it is over the batch after those that have theirs."""
        where = f"{self.home.book.name}: points_open of {self.unit}"
        if run.batch != following:
            self.wrong(f"the run that is open is over batch {run.batch}, the next one is {following}", where)
        self._run(run, where)
        self.check.notes.append(
            f"{self.unit}: the run over batch {run.batch} is open, booked up to its record {run.done}; "
            "'tanzhang points award' goes on with it"
        )

    def _used_so_far(self, run: OpenRun, wanted: pa.Table, accounts: pa.Array) -> pa.Table:
        """What of a run that is open was added to limits; all of it is in its file, as it is computed again."""
        if not is_used_as_written(self.home.storage, run):
            self.wrong(f"{run.used_file} is missing or not what was written", str(run.used_file))
            self.whole = False
            return USED.empty_table()
        by_place = read_used(self.home.storage, run)
        if not used_of(by_place, accounts).equals(wanted):
            self.wrong("what is added to limits is not what the records and rules give", str(run.used_file))
        return used_of(before(by_place, run.done), accounts)

    def _known(self, run: Any) -> bool:
        """Whether the rules of a run are there; what is not is told of."""
        missing = [digest for digest in json.loads(run.rules or "[]") if digest not in self.documents]
        for digest in missing:
            self.wrong(
                f"a run of {self.unit} names rules {digest}, which are not there",
                f"{self.home.book.name}: points_rules",
            )
        return not missing

    def _totals(self, run: Any, rows: pa.Table, where: str) -> None:
        """What a run says of its rows; what it takes back is what was given, and that once."""
        given = rows.filter(pc.greater(rows["points"], 0))
        back = rows.filter(pc.less(rows["points"], 0))
        found = (rows.num_rows, _total(given), -_total(back))
        if found != (run.rows, run.granted, run.taken_back):
            self.wrong(
                f"the run says {run.rows} rows, {run.granted} granted, {run.taken_back} taken back; found {found}",
                where,
            )
        acts = set(zip(back["of_batch"].to_pylist(), back["of_place"].to_pylist(), strict=True))
        if acts & self.back:
            self.wrong(f"{len(acts & self.back)} acts are taken back twice", where)
        self.back |= acts

    def _computed(self, run: Any, row: Any, rows: pa.Table, accounts: pa.Array, where: str) -> pa.Table:
        """The rows of a run computed again, but for those of erased records; returns what it used."""
        versions = [self.documents[digest] for digest in json.loads(run.rules)]
        settled_on = settled_day(self.home, row)
        if run.day != settled_on.isoformat():
            self.wrong(f"the run is of {run.day}, its batch of {settled_on}", where)
        awarded = compute(versions, records_of(self.home, row), self.used, self.spent, settled_on)
        gone = pc.is_null(accounts)
        some_gone = bool(pc.any(gone).as_py())
        kept = rows.filter(pc.invert(gone))
        wanted = sorted_rows(pa.concat_tables([awarded.rows, taken_back(self.home, self.unit, row)]))
        if some_gone:
            self.erased = True
            limits = {each.id: each.budget for version in versions for each in version.sponsors.values()}
            after = {**self.spent}
            for sponsor, amount in sponsors_of(run).items():
                after[sponsor] = after.get(sponsor, 0) + amount
            if any(after.get(sponsor, 0) >= limit for sponsor, limit in limits.items()):
                # Which act the end of a budget met cannot be told without the erased ones before it.
                kept, wanted = (each.filter(pc.is_null(each["sponsor"])) for each in (kept, wanted))
        if not kept.equals(wanted):
            differing = _differing(kept, wanted)
            self.wrong(f"{differing} rows are not what the records and rules give", run.file or where)
        self._sponsors(run, versions, rows, settled_on, where)
        return awarded.used

    def _sponsors(self, run: Any, versions: Sequence[PointsProgramme], rows: pa.Table, day: date, where: str) -> None:
        """What a run took out of budgets: what it gave at sponsors' cost; what it took back came back if it is owed."""
        said, given = sponsors_of(run), by_sponsor(rows.filter(pc.greater(rows["points"], 0)))
        back = by_sponsor(rows.filter(pc.less(rows["points"], 0)))
        returned = {name: given.get(name, 0) + back.get(name, 0) for name in given.keys() | back.keys()}
        choices = [{name: amount for name, amount in each.items() if amount} for each in (given, returned)]
        if said not in choices:
            self.wrong(f"the run says that sponsors paid {said}, its rows say {given}", where)
        for version in versions:
            for sponsor in version.sponsors.values():
                spent = self.spent.get(sponsor.id, 0) + given.get(sponsor.id, 0)
                if given.get(sponsor.id, 0) > 0 and spent > sponsor.budget:
                    self.wrong(f"{spent} came out of the budget of {sponsor.id}, which is {sponsor.budget}", where)

    # -- what they come to --------------------------------------------------------------------------------------

    def _lots(self) -> None:
        """Every lot against what runs gave and moves changed; what ended against the runs that say so."""
        con = self.home.connect()
        where = f"{self.home.book.name}: points_lot of {self.unit}"
        parts = _table([(account, *key, amount) for account, key, amount in self._parts()])
        con.register("moved", parts)
        con.register("given", pa.concat_tables([LOTS.empty_table(), *self.given]))
        columns = [points_lot.c[name] for name in (*LOTS.names, "available", "ended")]
        held = self.home.book.query(sa.select(*columns).where(points_lot.c.unit == self.unit))
        self.check.count += len(held)
        con.register("held", _held([(bytes(row.account), *row[1:]) for row in held]))
        key = "account, last_day, first_day, collect_by"
        differing = con.execute(
            f"""
            SELECT hex(account), last_day, coalesce(h.granted, 0), coalesce(g.granted, 0),
                coalesce(h.available + h.ended, 0), coalesce(h.granted, 0) + coalesce(m.granted, 0)
            FROM held h FULL JOIN (SELECT {key}, sum(granted) AS granted FROM given GROUP BY ALL) g USING ({key})
                FULL JOIN (SELECT {key}, sum(granted) AS granted FROM moved GROUP BY ALL) m USING ({key})
            WHERE ($whole AND coalesce(h.granted, 0) <> coalesce(g.granted, 0))
                OR coalesce(h.available + h.ended, 0) <> coalesce(h.granted, 0) + coalesce(m.granted, 0)
            ORDER BY ALL LIMIT {SHOWN}
            """,
            {"whole": self.whole},
        ).fetchall()
        for account, last, said, given, left, right in differing:
            self.wrong(
                f"the lot of account {account.lower() or 'nobody'} that ends on {last} says {said} granted and {left} "
                f"left or ended, runs give {given}, and with moves it is {right}",
                where,
            )
        ended, runs = sum(row.ended for row in held), sum(run.ended for run in self.runs)
        if ended != runs:
            self.wrong(f"{ended} points of lots ended, the runs say {runs}", where)

    def _parts(self) -> Iterator[tuple[bytes, tuple[str, str, str], int]]:
        own = sa.select(points_move.c.account, points_move.c.lots).where(points_move.c.unit == self.unit)
        for account, lots in self.home.book.query(own):
            name = bytes.fromhex(account.replace("-", "")) if account else NOBODY
            for last, first, amount, *collect in json.loads(lots):
                yield name, (last, first, collect[0] if collect else ""), int(amount)

    def _moves(self) -> None:
        """Each move is the sum of its parts; what was carried between a person's accounts sums to zero."""
        carried = 0
        for row in self.home.book.query(sa.select(points_move).where(points_move.c.unit == self.unit)):
            self.check.count += 1
            carried += row.amount if row.counter == "carried" else 0
            if row.amount != sum(int(part[2]) for part in json.loads(row.lots)):
                self.wrong("the move is not the sum of its parts", f"{self.home.book.name}: points_move {row.seq}")
        if carried:
            self.wrong(
                f"{carried} points came to or left a person's accounts from nowhere",
                f"{self.home.book.name}: points_move",
            )

    def _limits(self) -> None:
        """What is kept of limits and budgets against what all runs used of them."""
        own = sa.select(points_used.c.account, points_used.c.key, points_used.c.period, points_used.c.amount)
        kept = {
            (bytes(account), key, period): amount
            for account, key, period, amount in self.home.book.query(own.where(points_used.c.unit == self.unit))
            if amount
        }
        columns = [self.used[name].to_pylist() for name in USED.names]
        wanted = {
            (account, key, period.isoformat()): amount
            for account, key, period, amount in zip(*columns, strict=True)
            if amount
        }
        for (account, key, period), _ in sorted(kept.items() ^ wanted.items())[:SHOWN]:
            message = f"what account {account.hex()} used of {key} in the period from {period} is not what runs used"
            self.wrong(message, f"{self.home.book.name}: points_used of {self.unit}")
        spent = {name: amount for name, amount in self.home.points_runs.spent(self.unit).items() if amount}
        if spent != {name: amount for name, amount in self.spent.items() if amount}:
            self.wrong(
                f"budgets say {spent}, runs say {self.spent}", f"{self.home.book.name}: points_budget of {self.unit}"
            )


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in LOTS)
    return pa.table(
        [pa.array(list(column), kind) for column, kind in zip(columns, LOTS.types, strict=True)], schema=LOTS
    )


def _held(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    schema = LOTS.append(pa.field("available", pa.int64())).append(pa.field("ended", pa.int64()))
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table(
        [pa.array(list(column), kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema
    )


def _total(rows: pa.Table) -> int:
    return int(pc.sum(rows["points"]).as_py() or 0)


def _differing(found: pa.Table, wanted: pa.Table) -> int:
    """How many rows are in one of two tables and not in the other."""
    one, other = ({tuple(row.values()) for row in table.to_pylist()} for table in (found, wanted))
    return len(one ^ other)
