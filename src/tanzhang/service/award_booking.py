"""Book an award run in slices, so that who else wants to write waits for a slice and not for a batch.

A slice is what the run gives the records of some places of its batch, of whole accounts since a batch is in their
order: lots, what was used of limits, what goes on to joined accounts. One transaction books it with the mark of how far
the run came (table points_open). The last one takes what is owed from what had ended, adds the run's chained row and
what sponsors paid, settles debts and removes the mark. A run of one slice is that transaction alone, without a mark.

Debts wait for the last slice, since a person's accounts may be in several, and what is left owed may be written off.

While a mark stands its run is not computed again: limits of some accounts have what it used already. Its files say what
is left to book, by place and not by account, so that persons may be erased meanwhile: what was not booked yet becomes
nobody's, as what was booked did. Whatever else people do between two slices meets accounts as they are then.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.core.points import UNIT
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, integers, one_array, run_starts, runs
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files
from tanzhang.stores.points_runs import (
    USED_BY_PLACE,
    is_as_written,
    is_used_as_written,
    read_run,
    read_used,
    used_name,
    write_used,
)
from tanzhang.stores.register.carrying import sources
from tanzhang.stores.register.points import NOBODY
from tanzhang.stores.register.points_runs import AWARD, LOTS, USED, OpenRun, sponsors_of
from tanzhang.stores.storage import parquet_file

SLICE_ROWS = 20_000
"""About so many rows of lots and limits are booked in one transaction; ours to say."""
_FEW = 1_000
"""Up to so many accounts are asked for one by one; of more, all that are joined between the first and the last."""


def go_on(home: Home, run: OpenRun, now: datetime, progress: Progress = silent) -> OpenRun:
    """Book what is left of a run whose mark stands, from its files.

    Raises ``points-file-missing``, ``points-file-changed``.
    """
    for name, right in (
        (run.file, is_as_written(home.storage, run)),
        (run.used_file, is_used_as_written(home.storage, run)),
    ):
        if name is not None and (home.storage / name).is_file() and not right:
            raise refuse(
                "points-file-changed",
                f"{name} is not what was written, and part of it is in the book",
                where=name,
                remedy="restore it from a backup; the run over its batch goes on from it then",
            )
    row = home.book.batch_files(run.batch)[0]
    files = _Files(batch_accounts(home, row), read_run(home.storage, run), read_used(home.storage, run))
    return _book(home, run, files, files.ends(run.done), {}, now, progress)


def book(
    home: Home, row: Any, run: OpenRun, rows: pa.Table, used: pa.Table, rules: dict[str, str], now: datetime,
    progress: Progress = silent,
) -> OpenRun:  # fmt: skip
    """Book a run whose file is written, over batch ``row``; ``used`` is what it adds to limits, by account.

    ``rules`` are the documents, by digest, of the rules that it names.
    """
    accounts = _NO_ACCOUNTS if not rows.num_rows and not used.num_rows else batch_accounts(home, row)
    files = _Files(accounts, rows, _by_place(used, accounts))
    ends = files.ends()
    if len(ends) > 1:  # what no mark will name need not be kept
        name = used_name(row.folder, run.unit.removeprefix(UNIT))
        run = replace(run, used_file=name, used_digest=write_used(home.storage, name, files.used))
    return _book(home, run, files, ends, rules, now, progress)


def batch_accounts(home: Home, row: Any) -> pa.FixedSizeBinaryArray:
    """The account of each record of a batch; null where it was erased."""
    parts = []
    for file in record_files(home.storage, row):
        with parquet_file(file.path) as parquet:
            account = one_array(parquet.read(columns=["account"])["account"])
            parts.append(account.storage if isinstance(account, pa.ExtensionArray) else account)
    return pa.concat_arrays(parts)


def lots_of(rows: pa.Table, account: pa.Array) -> pa.Table:
    """What rows of a run give to lots, as :data:`LOTS`; ``account`` is that of each row, null for nobody's."""
    collect = pc.fill_null(rows["collect_by"].cast(pa.string()), "")
    named = pc.fill_null(account.cast(pa.binary()), NOBODY)
    columns = [named, rows["last_day"].cast(pa.string()), rows["first_day"].cast(pa.string()), collect]
    plain = pa.table([*columns, rows["points"]], names=LOTS.names)
    sums = plain.group_by(LOTS.names[:4]).aggregate([("granted", "sum")])
    sums = sums.rename_columns(LOTS.names).cast(LOTS)
    sums = sums.filter(pc.not_equal(sums["granted"], 0))
    return sums.sort_by([(name, "ascending") for name in LOTS.names[:4]])


def used_of(used: pa.Table, accounts: pa.Array) -> pa.Table:
    """What a run adds to limits (:data:`USED_BY_PLACE`), by account; nothing is kept of those that were erased."""
    named = used.set_column(0, "account", accounts.take(one_array(used["place"]))).cast(USED)
    return named.filter(pc.is_valid(named["account"])).sort_by([(name, "ascending") for name in USED.names[:3]])


def before(table: pa.Table, place: int) -> pa.Table:
    """The rows of a run's file before a place of the batch."""
    return table.slice(0, int(np.searchsorted(_places(table), place)))


# -- slices -------------------------------------------------------------------------------------------------------

_NO_ACCOUNTS = pa.array([], pa.binary(IDENTITY_BYTES))


@dataclass(frozen=True, slots=True)
class _Slice:
    """What is booked at once: all before place ``end`` that no earlier slice has."""

    end: int
    lots: pa.Table
    used: pa.Table


@dataclass(frozen=True, slots=True)
class _Files:
    """What a run gives, by place of the batch, and whose the places are."""

    accounts: pa.FixedSizeBinaryArray
    rows: pa.Table
    used: pa.Table

    def ends(self, done: int = 0) -> list[int]:
        """The places at which slices after place ``done`` end: where an account begins, at last that of the batch."""
        places = np.sort(np.concatenate([_places(self.rows), _places(self.used)]))
        places = places[places >= done]
        heads = run_starts(runs(fixed_bytes(self.accounts, IDENTITY_BYTES)))
        after = np.searchsorted(heads, places[SLICE_ROWS::SLICE_ROWS])
        ends = np.unique(heads[after[after < len(heads)]])
        return [*ends[ends > done].tolist(), len(self.accounts)]

    def slices(self, done: int, ends: Sequence[int]) -> Iterator[_Slice]:
        """What is left to book from place ``done`` on, in order."""
        for end in ends:
            rows, used = (_from(before(table, end), done) for table in (self.rows, self.used))
            yield _Slice(end, lots_of(rows, self.accounts.take(one_array(rows["place"]))), used_of(used, self.accounts))
            done = end


def _from(table: pa.Table, place: int) -> pa.Table:
    return table.slice(int(np.searchsorted(_places(table), place)))


def _places(table: pa.Table) -> Numbers:
    return integers(table["place"], pa.int64())


def _by_place(used: pa.Table, accounts: pa.FixedSizeBinaryArray) -> pa.Table:
    """What is added to limits by the first place of each account in the batch (:data:`USED_BY_PLACE`)."""
    heads = run_starts(runs(fixed_bytes(accounts, IDENTITY_BYTES)))
    number = pc.index_in(one_array(used["account"]), value_set=accounts.take(pa.array(heads)))
    place = pa.array(heads).take(number)
    table = used.select(USED.names[1:]).add_column(0, "place", place).cast(USED_BY_PLACE)
    return table.sort_by([(name, "ascending") for name in USED_BY_PLACE.names[:3]])


def _book(
    home: Home, run: OpenRun, files: _Files, ends: Sequence[int], rules: dict[str, str], now: datetime,
    progress: Progress,
) -> OpenRun:  # fmt: skip
    runs, unit = home.points_runs, run.unit
    total = len(files.accounts)
    for slice_ in files.slices(run.done, ends):
        progress(f"points of {unit.removeprefix(UNIT)}", 100 * run.done // max(total, 1), total)
        with home.book.transaction() as con:
            if not run.done:
                runs.keep_rules(con, unit, rules)
            runs.give(con, unit, slice_.lots)
            runs.use(con, unit, slice_.used)
            home.points.follow(con, _carried(con, slice_.lots), at=received_at(now))
            run = replace(run, done=slice_.end)
            if slice_.end < total:
                runs.mark(con, run)
            else:
                _close(home, con, run, now)
    return run


def _close(home: Home, con: sa.Connection, run: OpenRun, now: datetime) -> None:
    """What is booked once for all of a run, and ends it."""
    not_spent = home.points.take_from_ended(con, run.unit) if run.taken_back else 0
    own = ("unit", "batch", "rules", "day", "rows", "granted", "taken_back", "file", "file_digest")
    said = {name: getattr(run, name) for name in own}
    at, spent = received_at(now), sponsors_of(run)
    home.points_runs.add(con, {**said, "kind": AWARD, "ended": -not_spent, "made_at": at}, spent)
    home.points.settle_debts(con, run.unit, at=at, day=received_day(home, now), write_off=run.writes_off)
    home.points_runs.unmark(con, run.unit)


def _carried(con: sa.Connection, lots: pa.Table) -> list[uuid.UUID]:
    """The accounts of a slice, or of very many those alone whose holdings are another one's."""
    accounts = pc.unique(lots["account"].filter(pc.not_equal(lots["account"], NOBODY)))
    if len(accounts) > _FEW:
        first, last = (str(uuid.UUID(bytes=accounts[at].as_py())) for at in (0, -1))  # lots are in their order
        carried = pa.array([uuid.UUID(each).bytes for each in sources(con, first, last)], pa.binary())
        accounts = accounts.filter(pc.is_in(accounts, value_set=carried))
    return [uuid.UUID(bytes=each) for each in accounts.to_pylist()]
