"""Settle: decide every report whose window has closed, finally and once, and seal the result.

Which acts are kept: :mod:`tanzhang.engine.settle`. What is written and committed: :mod:`tanzhang.service.seal`. A run
that finds nothing to settle still brings the log up to the book, so recovery after a crash is this same call.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

import pyarrow as pa

from tanzhang.core.errors import refuse
from tanzhang.core.record import ERASED
from tanzhang.engine.columns import values_of
from tanzhang.engine.kernel import quote
from tanzhang.engine.prepare import prepare
from tanzhang.engine.records import RECORD_COLUMNS, Decision
from tanzhang.engine.settle import settle as decide
from tanzhang.service.gather import gather
from tanzhang.service.guard import look_at
from tanzhang.service.history import History, kept_history
from tanzhang.service.links import links_near, links_relation
from tanzhang.service.observe import stepped
from tanzhang.service.progress import Progress, silent
from tanzhang.service.seal import seal
from tanzhang.stores.home import Home
from tanzhang.stores.parts import all_record_files
from tanzhang.stores.records import ROW_GROUP
from tanzhang.stores.reports import ReportFile, last_close_day, read_report_slice, read_reports, report_slices

if TYPE_CHECKING:
    import duckdb


_FEW_ROWS = 100_000
"""Up to how many rows are settled by an engine that is kept: what its last statements left stays in memory."""
_FEW = 5_000
"""Up to how many rows links are looked up one by one."""


class Engine(Protocol):
    """Another way than this process alone to decide, book and seal; the same records come out."""

    def settle(
        self, home: Home, files: list[ReportFile], *, through: date, now: datetime, progress: Progress
    ) -> dict[str, Any] | None:
        """Settle what is due in these files, under the home's write lock; None if nothing is."""


@stepped("settle")
def settle(
    home: Home,
    *,
    through: date | None = None,
    now: datetime,
    progress: Progress = silent,
    engine: Engine | None = None,
    at_once: bool = False,
) -> dict[str, Any]:
    """Settle all accepted reports whose window closed on or before local day ``through`` (default: yesterday).

    ``engine`` decides and writes instead of this process. With ``at_once`` only requests of which every report is to be
    settled as soon as it comes: whatever may contest another act of its day waits for the day.
    Returns the batch number (None if there was nothing to settle), records and milligrams by outcome and unit.
    Raises ``day-not-over`` for a ``through`` of today or later: a better report may still come in time.
    """
    yesterday = now.astimezone(ZoneInfo(home.programme.time_zone)).date() - timedelta(days=1)
    last = through or yesterday
    if last > yesterday:
        raise refuse(
            "day-not-over",
            f"{last} is not over yet in {home.programme.time_zone}",
            where="--through",
            remedy=f"settle through {yesterday} at most; a window is closed when its last day is over",
        )
    with home.settling():
        home.publish()
        progress("gathering reports", 0, 0)
        gather(home, now=now, at_once=at_once)
        look_at(home, last, now=now, at_once=at_once)
        nothing: dict[str, Any] = {"batch": None, "through": last.isoformat(), "records": 0, "outcomes": {}}
        if engine is not None:
            files = _report_files(home, last, at_once=at_once)
            return engine.settle(home, files, through=last, now=now, progress=progress) or nothing
        pending = open_reports(home, last, at_once=at_once)
        if not pending.rows:
            return nothing
        con = home.kept_engine if pending.rows <= _FEW_ROWS else home.connect()
        progress("deciding", 10, pending.rows)
        kept = kept_history(home)
        history = kept.opened()
        decision = _decide(home, con, pending.table, history)
        progress("booking and sealing", 60, pending.rows)
        sealed = seal(home, decision, consumed=pending.consumed, through=last, now=now)
        history.add(sealed["batch"], decision)
        kept.keep(history)
        return sealed


@dataclass(frozen=True, slots=True)
class OpenReports:
    """Accepted reports that are not settled yet, and how many of which submissions."""

    table: pa.Table
    consumed: list[dict[str, Any]]

    @property
    def rows(self) -> int:
        """How many."""
        return int(self.table.num_rows)


def open_reports(home: Home, through: date | None, *, at_once: bool = False) -> OpenReports:
    """Accepted reports not settled yet whose window closes by ``through`` (None: all of them)."""
    table, counts = read_reports(_report_files(home, through, at_once=at_once))
    return OpenReports(table, consumed_rows(counts, through))


def consumed_rows(counts: Mapping[int, int], through: date | None) -> list[dict[str, Any]]:
    """Rows of table ``consumption`` but for their batch: how many reports of which submissions."""
    last = None if through is None else through.isoformat()
    return [{"submission": number, "through": last, "rows": count} for number, count in counts.items()]


def _report_files(home: Home, through: date | None, *, at_once: bool = False) -> list[ReportFile]:
    """Files of submissions that have reports which are not settled yet."""
    rows = home.book.open_submissions(None if through is None else through.isoformat(), at_once=at_once)
    held = home.guard.held_rows(row.seq for row in rows)
    return [
        ReportFile(
            path=home.storage / row.file,
            submission=row.seq,
            received=date.fromisoformat(row.received_day),
            after=None if row.settled_through is None else date.fromisoformat(row.settled_through),
            through=through,
            held=held.get(row.seq, ()),
        )
        for row in rows
    ]


def reports_due(home: Home, through: date) -> int:
    """How many reports wait that were received, and whose window closed, by a day. Only their days are read."""
    files = [file for file in _report_files(home, through) if file.received <= through]
    slices = report_slices(files, ROW_GROUP)
    return sum(read_report_slice(each, ("close_day",)).num_rows for each in slices)


def last_closing_day(home: Home) -> date | None:
    """The day on which the last of the open reports closes, None if none is open."""
    return last_close_day(_report_files(home, None))


def decide_pending(home: Home, con: duckdb.DuckDBPyConnection, pending: pa.Table) -> Decision:
    """What settling some open reports now would decide."""
    return _decide(home, con, pending, History(home).catch_up(keep=False))


def _decide(home: Home, con: duckdb.DuckDBPyConnection, pending: pa.Table, history: History) -> Decision:
    recipes, rules = history.recipes, history.rules
    pending = prepare(con, pending, links=_links(home, con, pending), recipes=recipes, rules=rules)
    return decide(con, pending=pending, settled=history.near(con, pending), recipes=recipes, rules=rules)


def _links(home: Home, con: duckdb.DuckDBPyConnection, pending: pa.Table) -> str | None:
    """Whose platform accounts are: of few reports only those that they are of."""
    if pending.num_rows > _FEW:
        return links_relation(home, con)
    return links_near(home, con, {str(uuid.UUID(bytes=each)) for each in values_of(pending["child"])})


def settled_records(home: Home, con: duckdb.DuckDBPyConnection) -> str:
    """View ``settled``: the records of every batch the book names, but for erased ones."""
    files = all_record_files(home.storage, home.book.batches())
    if files:
        named = ", ".join(quote(str(file.path)) for file in files)
        con.execute(
            f"CREATE OR REPLACE TEMP VIEW settled AS SELECT * FROM read_parquet([{named}]) "
            f"WHERE outcome <> {quote(ERASED)}"
        )
    else:
        columns = ", ".join(f"{name} {kind}" for name, kind in RECORD_COLUMNS.items())
        con.execute(f"CREATE OR REPLACE TEMP TABLE no_records ({columns}, seed BLOB)")
        con.execute("CREATE OR REPLACE TEMP VIEW settled AS SELECT * FROM no_records")
    return "settled"
